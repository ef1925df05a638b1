//! A network that is cut, of which nobody tells the server.

use std::time::Duration;

use graylane_xds::Protocol;
use graylane_xds::limits::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use tokio::time::{Instant, pause, timeout};

use crate::clients::{Answer, DeltaClient, Proxy};
use crate::relay::Relay;
use crate::stage::Stage;

#[tokio::test]
async fn a_connection_that_gives_no_sign_of_life_is_ended_and_its_proxy_is_gone() {
    let stage = Stage::start().await;
    stage.publish(1);
    let relay = Relay::start(&stage, 1 << 16, Duration::ZERO).await;
    let mut proxy = DeltaClient::connect(relay.channel(), Protocol::EcdsDelta, None).await;
    let first = proxy.next().await;
    proxy.answer(&first, Answer::Ack).await;
    stage.until(|status| status.acknowledged == Some(1)).await;

    relay.freeze();
    // From here on time passes as soon as nobody has anything to do.
    pause();
    let (cut, mut changes) = (Instant::now(), stage.xds.changes());
    let gone = async {
        while stage.xds.proxies().iter().any(|proxy| proxy.connected) {
            changes.changed().await.unwrap();
        }
    };
    let longest = KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT + Duration::from_secs(1);
    timeout(longest, gone).await.expect("the server goes on with who is not there");
    assert!(cut.elapsed() > KEEPALIVE_TIMEOUT, "a short silence is none: {:?}", cut.elapsed());
}
