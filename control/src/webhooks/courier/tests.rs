//! Days of deliveries to a real receiver, in simulated time.

#[path = "../../../tests/receiver/mod.rs"]
mod receiver;

use super::*;
use crate::config::Config;
use crate::daemon::{OrderAction, StartOrder, Terms};
use crate::remote::{Endpoint, parse_url};
use crate::webhooks::figures::Figures;
use crate::webhooks::{Format, LIMITS};
use graylane_order::Actor;
use graylane_store::MemoryStore;
use graylane_xds::limits::Limits;
use graylane_xds::{CanaryShare, FilterSettings, Xds};
use jiff::Timestamp;
use receiver::{Conduct, Receiver};
use tokio::time::sleep;

const PLAN: &str = include_str!("../../../examples/loan-2026-11.yaml");
const HOUR: Duration = Duration::from_secs(3_600);

/// A clock that follows tokio's.
struct Simulated(Instant);

impl Clock for Simulated {
    fn now(&self) -> Timestamp {
        Timestamp::constant(1_793_600_000, 0) + SignedDuration::try_from(self.elapsed()).unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A daemon with an order, and a courier that tells of it.
struct Stage {
    daemon: Arc<Daemon>,
    receiver: Receiver,
    standing: Arc<Standing>,
    begun: Instant,
}

impl Stage {
    fn build() -> (Self, Courier) {
        let begun = Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(Simulated(begun));
        let xds = Xds::new(FilterSettings::default(), CanaryShare::default(), Limits::DEFAULT);
        let store = Arc::new(MemoryStore::default());
        let daemon = Daemon::open(store, Config::default(), Arc::new(xds), Arc::clone(&clock));
        let daemon = Arc::new(daemon.unwrap());
        daemon.begin_deliveries(&["ops".to_owned()].into());
        let receiver = Receiver::plain();
        let url = parse_url(&format!("http://{}", receiver.address)).unwrap();
        let settings = WebhookSettings {
            name: "ops".into(),
            endpoint: Endpoint { url, ca: None, token: None },
            format: Format::Slack,
            secret: None,
            events: Default::default(),
            tenants: Default::default(),
        };
        let remote = Remote::new(settings.endpoint.clone(), LIMITS).unwrap();
        let standing = Arc::new(Standing::new("ops", &Figures::default()));
        let courier =
            Courier::new(settings, remote, Arc::clone(&standing), Arc::clone(&daemon), clock).unwrap();
        daemon.apply_plan(PLAN, Terms::default(), Actor::daemon()).unwrap();
        let start = StartOrder { plan: "loan-2026-11".into(), tenant: None, reason: String::new() };
        daemon.start_order(start, Terms::default(), Actor::daemon()).unwrap();
        (Self { daemon, receiver, standing, begun }, courier)
    }

    fn act(&self, action: OrderAction) {
        self.daemon.act(1, action, Actor::daemon(), Terms::default()).unwrap();
    }

    fn now(&self) -> Timestamp {
        Simulated(self.begun).now()
    }

    /// What the receiver took, in short.
    fn taken(&self) -> Vec<&'static str> {
        let short = |text: &str| {
            ["started", "paused", "resumed"]
                .into_iter()
                .find(|what| text.contains(&format!(": {what}")))
                .unwrap()
        };
        self.receiver.taken().iter().map(|heard| short(&heard.text())).collect()
    }

    async fn until_taken(&self, count: usize) {
        let begun = Instant::now();
        while self.receiver.taken().len() < count {
            assert!(begun.elapsed() < 2 * HOUR, "it took {:?} alone", self.taken());
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Runs a courier along a script.
async fn play(courier: Courier, script: impl Future<Output = ()>) {
    let (_ask, tests) = mpsc::channel(1);
    let (_stop, stopped) = watch::channel(false);
    tokio::select! {
        () = courier.run(tests, stopped) => panic!("it ended"),
        () = script => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_makes_way_after_a_quarter_of_an_hour() {
    let (stage, courier) = Stage::build();
    stage.receiver.conduct(Conduct::Refuse400Of(": paused".into()));
    play(courier, async {
        stage.act(OrderAction::Pause);
        stage.act(OrderAction::Resume);
        stage.until_taken(2).await;
        assert_eq!(stage.taken(), ["started", "resumed"]);
        let took = stage.begun.elapsed();
        assert!((REFUSED_FOR..2 * REFUSED_FOR).contains(&took), "{took:?}");
        assert!(stage.receiver.heard().len() > 8, "it was tried again and again");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_loses_nothing_and_after_a_day_only_what_is_fresh_is_told() {
    let (stage, courier) = Stage::build();
    stage.receiver.conduct(Conduct::Refuse(404, String::new(), String::new()));
    play(courier, async {
        sleep(8 * HOUR).await;
        stage.act(OrderAction::Pause);
        sleep(12 * HOUR).await;
        stage.receiver.conduct(Conduct::Take(String::new()));
        stage.until_taken(2).await;
        assert_eq!(stage.taken(), ["started", "paused"]);

        stage.receiver.conduct(Conduct::Close);
        stage.act(OrderAction::Resume);
        sleep(20 * HOUR).await;
        stage.act(OrderAction::Pause);
        assert!(stage.standing.lag(stage.now()) >= SignedDuration::from_hours(20));
        sleep(5 * HOUR).await;
        stage.receiver.conduct(Conduct::Take(String::new()));
        stage.until_taken(3).await;
        assert_eq!(stage.taken(), ["started", "paused", "paused"]);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(stage.standing.lag(stage.now()), SignedDuration::ZERO);
        let heard = stage.receiver.heard().len();
        assert!(heard < 1_100, "it was asked {heard} times, as if it never waited for minutes");
    })
    .await;
}
