//! The health service, `grpc.health.v1`.

use tonic::server::NamedService as _;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::discovery::{Ads, Ecds};
use crate::gate::{Gate, Phase};

/// What one may ask for; the empty name is the server as a whole.
const NAMES: [&str; 3] = ["", Ecds::NAME, Ads::NAME];

/// The service, which says that all is well.
pub(crate) async fn service() -> (HealthReporter, HealthServer<impl Health>) {
    let (reporter, service) = health_reporter();
    for name in NAMES {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    (reporter, service)
}

/// Says that nothing is served once the server drains, and ends who watches when it closes: they would hold up its end.
pub(crate) async fn follow(mut reporter: HealthReporter, gate: Gate) {
    gate.reached(Phase::Draining).await;
    for name in NAMES {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
    gate.reached(Phase::Closing).await;
    for name in NAMES {
        reporter.clear_service_status(name).await;
    }
}
