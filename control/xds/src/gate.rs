//! What every stream passes: a bounded number of places, and the phases that the server goes through until its end.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tonic::Status;

use crate::limits::{FIRST_PATIENCE, Limits, MAX_FIRST_RESPONSES};
use crate::telemetry::{Reason, Telemetry};

/// How far the server is on its way to its end. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everybody is served.
    Serving,
    /// Who is there is served. Nobody should come any more, and who asks for the health hears it.
    Draining,
    /// No connection is taken, and clients are told to open no stream on theirs.
    Leaving,
    /// Streams end.
    Closing,
}

/// The places and the phase. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    firsts: Arc<Semaphore>,
    phase: Arc<watch::Sender<Phase>>,
    pub(crate) limits: Limits,
    pub(crate) telemetry: Arc<Telemetry>,
}

/// A first response that is under way, until it is answered.
#[derive(Debug)]
pub(crate) struct Admission {
    _place: OwnedSemaphorePermit,
    until: Instant,
}

// === impl Admission ===

impl Admission {
    /// Ready when the answer is not waited for any more; never without an admission.
    pub(crate) async fn is_over(admission: Option<&Self>) {
        match admission {
            Some(admission) => tokio::time::sleep_until(admission.until).await,
            None => std::future::pending().await,
        }
    }
}

// === impl Gate ===

impl Gate {
    pub(crate) fn new(limits: Limits, telemetry: Arc<Telemetry>) -> Self {
        let phase = Arc::new(watch::Sender::new(Phase::Serving));
        let [places, firsts] =
            [limits.streams, MAX_FIRST_RESPONSES].map(|places| Arc::new(Semaphore::new(places)));
        Self { places, firsts, phase, limits, telemetry }
    }

    /// Takes a place, which is free again when the permit is dropped.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, Status> {
        if *self.phase.borrow() >= Phase::Draining {
            self.telemetry.refused(Reason::Draining);
            return Err(Status::unavailable("server is about to shut down; turn to another one"));
        }
        self.places.clone().try_acquire_owned().map_err(|_| {
            self.telemetry.refused(Reason::TooManyStreams);
            let limit = self.limits.streams;
            Status::resource_exhausted(format!("{limit} streams are open, which is the limit"))
        })
    }

    /// Waits until a stream that just came may be sent its first response. When ten thousand come at once, as after a restart, those
    /// that wait cost nothing but their place, and the answers of the others are not held up.
    pub(crate) async fn admit(&self) -> Option<Admission> {
        // Nobody closes it.
        let place = Arc::clone(&self.firsts).acquire_owned().await.ok()?;
        Some(Admission { _place: place, until: Instant::now() + FIRST_PATIENCE })
    }

    /// Counts why a stream is refused or ended.
    pub(crate) fn refuse(&self, reason: Reason, status: Status) -> Status {
        self.telemetry.refused(reason);
        status
    }

    /// Goes on to a phase, unless it was reached before.
    pub(crate) fn go_on(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_later = to > *phase;
            *phase = to.max(*phase);
            is_later
        });
    }

    /// Ready once the server is in this phase or a later one.
    pub(crate) async fn reached(&self, wanted: Phase) {
        // The sender is in this gate, so it is there as long as this waits.
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= wanted).await;
    }

    /// Ready when streams have to end, with what their clients are told.
    pub(crate) async fn closing(&self) -> Status {
        self.reached(Phase::Closing).await;
        Status::unavailable("server is shutting down")
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_phase_is_never_taken_back() {
        let gate = Gate::new(Limits::DEFAULT, Arc::default());
        let place = gate.enter().unwrap();
        gate.go_on(Phase::Leaving);
        gate.go_on(Phase::Draining);
        gate.reached(Phase::Draining).await;
        gate.reached(Phase::Leaving).await;
        assert_eq!(gate.enter().unwrap_err().code(), Code::Unavailable, "nobody comes in any more");
        drop(place);
        gate.go_on(Phase::Closing);
        assert_eq!(gate.clone().closing().await.code(), Code::Unavailable);
    }
}
