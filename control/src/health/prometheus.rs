//! Figures from Prometheus, for those who have it: asked for in rounds, and handed to [`Vitals`] as those of proxies are.
//!
//! Counters are asked for as they stand, and not as a `rate()`. The sequential test counts each request once; rates of windows that
//! overlap would count it several times, and errors that come by chance would look like more and more evidence.

mod answer;
mod query;
#[cfg(test)]
mod tests;

pub use query::{MAX_QUERY_BYTES, Placeholder, Queries, Query, QueryError};

pub(crate) use answer::Told;
pub(crate) use query::Question;

use super::Vitals;
use crate::remote::{Call, CallLimits, Endpoint, Remote, RemoteError};
use answer::AnswerError;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};
use ureq::http::Method;

/// Bytes of an answer: of [`answer::MAX_SERIES`] with labels as a cluster's Prometheus adds them.
const MAX_ANSWER_BYTES: u64 = 8 << 20;

/// The least time between two lines in the log that say that there are no figures.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Where Prometheus is, and what it is asked.
#[derive(Clone, Debug)]
pub struct PrometheusSettings {
    /// Where.
    pub endpoint: Endpoint,
    /// How often.
    pub interval: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How old a sample may be that speaks of the present.
    pub stale: Duration,
    /// What.
    pub queries: Queries,
}

/// A Prometheus that is asked.
#[derive(Debug)]
pub struct Prometheus {
    remote: Arc<Remote>,
    interval: Duration,
    round: u64,
    /// In which round a service of a tenant gave no figures, while it gives none.
    failed: BTreeMap<(String, String), u64>,
    /// When the log said last that there are no figures.
    logged: Option<Instant>,
}

/// How queries ended. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct QueryCounts(Family<[(&'static str, &'static str); 1], Counter>);

/// Why a query gives no figures.
#[derive(Debug, Error)]
enum QueryFailure {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("asking broke off: {0}")]
    Broken(#[from] JoinError),
}

// === impl Prometheus ===

impl Prometheus {
    /// One that has not been asked. Blocks: a file with authorities is read.
    ///
    /// # Errors
    /// When it is to be asked by TLS, and its authorities cannot be used.
    pub fn new(settings: &PrometheusSettings) -> Result<Self, RemoteError> {
        let PrometheusSettings { endpoint, interval, timeout, .. } = settings.clone();
        let limits = CallLimits { connect: timeout, call: timeout, answer_bytes: MAX_ANSWER_BYTES };
        let remote = Arc::new(Remote::new(endpoint, limits)?);
        Ok(Self { remote, interval, round: 0, failed: BTreeMap::new(), logged: None })
    }

    /// Asks in rounds for what [`Vitals`] needs, one question at a time, and never ends.
    pub async fn read(mut self, vitals: Arc<Vitals>) {
        let mut rounds = interval(self.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.ask_all(&vitals).await;
        }
    }

    /// Asks once for every service. A tenant with one that gives no figures comes last, and only until the next round begins: if it is
    /// slow, it makes nobody else late. Of its services that one comes last.
    async fn ask_all(&mut self, vitals: &Vitals) {
        let until = Instant::now() + self.interval;
        let questions = vitals.questions();
        self.round += 1;
        let is_asked = |(tenant, service): &(String, String)| {
            questions.iter().any(|question| question.tenant == *tenant && question.service == *service)
        };
        self.failed.retain(|key, _| is_asked(key));
        let (mut doubtful, mut failure) = (Vec::new(), None);
        for question in questions {
            match self.failed.keys().any(|(tenant, _)| *tenant == question.tenant) {
                true => doubtful.push(question),
                false => self.ask(&question, vitals, &mut failure).await,
            }
        }
        doubtful.sort_by_key(|question| self.failed.get(&key(question)).copied());
        for question in doubtful {
            if Instant::now() >= until {
                break;
            }
            self.ask(&question, vitals, &mut failure).await;
        }
        if let Some((question, failure)) = failure
            && self.logged.is_none_or(|logged| logged.elapsed() >= LOG_PAUSE)
        {
            self.logged = Some(Instant::now());
            let Question { tenant, service, .. } = &*question;
            tracing::warn!(%tenant, %service, services = self.failed.len(), %failure, "no figures from Prometheus");
        }
    }

    /// Asks a question, hands its answer on, and keeps in mind how that ended. The first failure of a round is kept for the log.
    async fn ask(
        &mut self,
        question: &Arc<Question>,
        vitals: &Vitals,
        first: &mut Option<(Arc<Question>, QueryFailure)>,
    ) {
        let asked = Instant::now();
        let (remote, of) = (Arc::clone(&self.remote), Arc::clone(question));
        let answered = spawn_blocking(move || call(&remote, &of.query)).await;
        match answered.map_err(QueryFailure::from).flatten() {
            Ok(told) => {
                vitals.queries.count(OK);
                self.failed.remove(&key(question));
                vitals.take_samples(question, told, asked.elapsed());
            }
            Err(failure) => {
                vitals.queries.count(failure.word());
                self.failed.insert(key(question), self.round);
                first.get_or_insert_with(|| (Arc::clone(question), failure));
            }
        }
    }
}

fn key(question: &Question) -> (String, String) {
    (question.tenant.clone(), question.service.clone())
}

/// Asks one query. It goes in the body, because it may be longer than a URL.
fn call(remote: &Remote, query: &str) -> Result<Vec<Told>, QueryFailure> {
    let body = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
    let answer = remote.call(&Call {
        method: Method::POST,
        path: "/api/v1/query",
        headers: &[("content-type", "application/x-www-form-urlencoded".to_owned())],
        body: body.as_bytes(),
        ..Call::default()
    })?;
    Ok(answer::read(answer.status().as_u16(), answer.body())?)
}

// === impl QueryFailure ===

/// The label of queries that give figures.
const OK: &str = "ok";

/// What [`QueryFailure::word`] says.
const FAILURES: [&str; 9] = [
    "timeout",
    "unreachable",
    "refused",
    "partial",
    "malformed",
    "too-large",
    "empty",
    "unusable",
    "not-asked",
];

impl QueryFailure {
    /// The one of [`FAILURES`] that it is.
    fn word(&self) -> &'static str {
        let [timeout, unreachable, refused, partial, malformed, too_large, empty, unusable, not_asked] =
            FAILURES;
        match self {
            Self::Remote(RemoteError::NoAnswer { source, .. }) => match **source {
                ureq::Error::Timeout(_) => timeout,
                _ => unreachable,
            },
            Self::Remote(RemoteError::TooLong { .. }) | Self::Answer(AnswerError::TooManySeries(_)) => {
                too_large
            }
            Self::Remote(_) | Self::Broken(_) => not_asked,
            Self::Answer(AnswerError::Refused { .. }) => refused,
            Self::Answer(AnswerError::Partial(_)) => partial,
            Self::Answer(AnswerError::Malformed { .. } | AnswerError::Twice(_)) => malformed,
            Self::Answer(AnswerError::Empty) => empty,
            Self::Answer(AnswerError::Unusable { .. }) => unusable,
        }
    }
}

// === impl QueryCounts ===

impl QueryCounts {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Queries that Prometheus was asked, by whether they gave figures";
        registry.register("prometheus_queries", help, self.0.clone());
    }

    fn count(&self, result: &'static str) {
        self.0.get_or_create(&[("result", result)]).inc();
    }
}

impl Default for QueryCounts {
    fn default() -> Self {
        let counts = Self(Family::default());
        for result in FAILURES.into_iter().chain([OK]) {
            drop(counts.0.get_or_create(&[("result", result)]));
        }
        counts
    }
}
