//! What Prometheus answers, as readings of instances.

use super::query::{Figure, LABEL};
use graylane_health::{Cumulative, Reading, Sample, Times};
use graylane_xds::whole_count;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Series of one answer. Those of a service with both versions, five figures and twenty buckets are fifty for each instance.
pub(crate) const MAX_SERIES: usize = 20_000;

/// Bytes of what Prometheus says went wrong that are told on.
const MAX_MESSAGE_BYTES: usize = 300;

/// What is found of one instance, and of which version that is.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) version: String,
    /// Its labels.
    pub(crate) instance: Arc<str>,
    pub(crate) reading: Reading,
}

/// Why an answer gives no figures.
#[derive(Debug, Error)]
pub(crate) enum AnswerError {
    /// It says that the query went wrong.
    #[error("status {status}: {message}")]
    Refused { status: u16, message: String },
    /// It says that something is missing in it.
    #[error("the answer is not whole: {0}")]
    Partial(String),
    /// It is no answer to a query.
    #[error("status {status}, and no answer of Prometheus: {message}")]
    Malformed { status: u16, message: String },
    /// It has too many series.
    #[error(
        "{0} series are over the limit of {MAX_SERIES}; have the queries give fewer, or take `source: envoy`"
    )]
    TooManySeries(usize),
    /// Two series are of the same.
    #[error("two series have the figure {0}; a query has to give one for each instance")]
    Twice(String),
    /// Nobody is found.
    #[error("no instance has figures; see whether the queries have the names that Prometheus has")]
    Empty,
    /// Instances are found, and none of them can be used.
    #[error(
        "no instance can be used: {untimed} have no time of their sample (query `sampled`), {odd} have values that are no counts"
    )]
    Unusable { untimed: usize, odd: usize },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// When the query was evaluated, in seconds since 1970, and the value.
    value: (f64, String),
}

/// What is found of one instance of one version so far.
#[derive(Default)]
struct Found {
    completed: Option<u64>,
    errors: Option<u64>,
    endpoints: Option<u64>,
    /// Requests that took at most so many milliseconds, by the bits of that number; infinity is all.
    by_bound: BTreeMap<u64, u64>,
    /// When it was sampled, and when it was asked, in milliseconds.
    sampled: Option<(u64, u64)>,
    /// Whether it has a value that cannot be.
    is_odd: bool,
}

/// Reads an answer. An instance whose figures cannot be is left out; an answer that is not whole gives nothing.
pub(super) fn read(status: u16, body: &[u8]) -> Result<Vec<Told>, AnswerError> {
    let malformed = |message: String| AnswerError::Malformed { status, message: short(&message) };
    let answer: Answer = serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    if answer.status != "success" || !(200..300).contains(&status) {
        return Err(AnswerError::Refused { status, message: short(&answer.error.unwrap_or_default()) });
    }
    if let Some(warning) = answer.warnings.first() {
        return Err(AnswerError::Partial(short(warning)));
    }
    let series = answer.data.ok_or_else(|| malformed("it has no data".to_owned()))?.result;
    match series.len() {
        0 => return Err(AnswerError::Empty),
        count if count > MAX_SERIES => return Err(AnswerError::TooManySeries(count)),
        _ => {}
    }
    let mut by_instance = BTreeMap::<(String, String), Found>::new();
    for Series { mut metric, value: (asked, value) } in series {
        let label = metric.remove(LABEL).unwrap_or_default();
        let (version, figure) =
            Figure::find(&label).ok_or_else(|| malformed(format!("{LABEL}={label:?} was not asked for")))?;
        metric.remove("__name__");
        let bound = if figure == Figure::Latency { metric.remove("le") } else { None };
        let instance = named(&metric);
        let what = format!("{label} of {instance}");
        let found = by_instance.entry((version.to_owned(), instance)).or_default();
        if !found.take(figure, bound.as_deref(), asked, &value) {
            return Err(AnswerError::Twice(short(&what)));
        }
    }
    told(by_instance)
}

fn told(by_instance: BTreeMap<(String, String), Found>) -> Result<Vec<Told>, AnswerError> {
    let (mut told, mut untimed, mut odd) = (Vec::new(), 0, 0);
    for ((version, instance), found) in by_instance {
        match found.sample() {
            _ if found.is_odd => odd += 1,
            None => untimed += 1,
            Some(sample) => {
                told.push(Told { version, instance: instance.into(), reading: found.reading(sample) });
            }
        }
    }
    if told.is_empty() { Err(AnswerError::Unusable { untimed, odd }) } else { Ok(told) }
}

// === impl Found ===

impl Found {
    /// Takes a value; gives whether there was none before.
    fn take(&mut self, figure: Figure, bound: Option<&str>, asked: f64, value: &str) -> bool {
        let number = value.parse::<f64>().ok();
        let count = number.and_then(whole_count);
        let is_new = match figure {
            Figure::Completed => put(&mut self.completed, count),
            Figure::Errors => put(&mut self.errors, count),
            Figure::Endpoints => put(&mut self.endpoints, count),
            Figure::Sampled => put(&mut self.sampled, number.and_then(ms).zip(ms(asked))),
            Figure::Latency => {
                let bound = bound.and_then(|bound| bound.parse::<f64>().ok()).map(f64::to_bits);
                self.is_odd |= bound.is_none();
                bound.zip(count).is_none_or(|(bound, count)| self.by_bound.insert(bound, count).is_none())
            }
        };
        self.is_odd |= match figure {
            Figure::Sampled => self.sampled.is_none(),
            _ => count.is_none(),
        };
        is_new
    }

    /// When it was sampled. The time at which the query was evaluated is none: that is what Prometheus gives for what is no sample.
    fn sample(&self) -> Option<Sample> {
        let (at_ms, asked_ms) = self.sampled?;
        let age_ms = asked_ms.checked_sub(at_ms).filter(|age| *age > 0)?;
        Some(Sample { at_ms, age: Duration::from_millis(age_ms) })
    }

    fn reading(self, sample: Sample) -> Reading {
        let Self { completed, errors, endpoints, mut by_bound, .. } = self;
        let all = by_bound.remove(&f64::INFINITY.to_bits());
        let bounds = by_bound.into_iter().map(|(bound, count)| (f64::from_bits(bound), count));
        let times = all.map(|requests| Times::Total(Cumulative::new(bounds, requests)));
        Reading { completed, errors, steered: None, times, endpoints, sample: Some(sample) }
    }
}

fn put<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let is_new = place.is_none();
    *place = value;
    is_new
}

/// Milliseconds since 1970 of a time in seconds.
fn ms(seconds: f64) -> Option<u64> {
    whole_count((seconds * 1_000.0).round())
}

/// Labels in one text.
fn named(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",")
}

fn short(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_MESSAGE_BYTES);
    text.get(..end).unwrap_or_default().replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// When the query was evaluated, and when the instance was sampled, in seconds.
    const ASKED: f64 = 1_700_000_015.5;
    const SAMPLED: &str = "1700000000.25";

    fn series(of: &str, labels: &[(&str, &str)], value: &str) -> Value {
        let mut metric: BTreeMap<&str, &str> = labels.iter().copied().collect();
        metric.insert("__name__", "some");
        metric.insert(LABEL, of);
        json!({ "metric": metric, "value": [ASKED, value] })
    }

    fn answer(result: &[Value]) -> Vec<u8> {
        json!({ "status": "success", "data": { "resultType": "vector", "result": result } })
            .to_string()
            .into_bytes()
    }

    fn whole() -> Vec<Value> {
        let a = [("instance", "a:1"), ("job", "envoy")];
        let le = |bound| [a[0], a[1], ("le", bound)];
        vec![
            series("v2 completed", &a, "120"),
            series("v2 errors", &a, "3"),
            series("v2 endpoints", &a, "2"),
            series("v2 sampled", &a, SAMPLED),
            series("v2 latency", &le("25"), "100"),
            series("v2 latency", &le("+Inf"), "119"),
            series("v2 latency", &le("0.5"), "7"),
        ]
    }

    #[test]
    fn series_of_one_instance_are_one_reading_with_its_age() {
        let other = [("instance", "b:1"), ("job", "envoy")];
        let more = [series("v1 completed", &other, "7"), series("v1 sampled", &other, SAMPLED)];
        let told = read(200, &answer(&[whole(), more.to_vec()].concat())).unwrap();
        let [b, a] = &told[..] else { panic!("{told:?}") };
        assert_eq!((a.version.as_str(), b.version.as_str()), ("v2", "v1"));
        assert_eq!(&*a.instance, r#"instance="a:1",job="envoy""#);
        let Reading { completed, errors, steered, endpoints, sample, ref times } = a.reading;
        assert_eq!([completed, errors, endpoints, steered], [Some(120), Some(3), Some(2), None]);
        let age = Duration::from_millis(15_250);
        assert_eq!(sample, Some(Sample { at_ms: 1_700_000_000_250, age }));
        let Some(Times::Total(total)) = times else { panic!("{times:?}") };
        assert_eq!(*total, Cumulative::new([(0.5, 7), (25.0, 100)], 119));
        assert_eq!([b.reading.completed, b.reading.errors, b.reading.endpoints], [Some(7), None, None]);
        assert!(b.reading.times.is_none());
    }

    #[test]
    fn what_is_no_count_takes_its_instance_out_and_no_other() {
        let healthy = [("instance", "b:1")];
        let healthy = [series("v2 completed", &healthy, "7"), series("v2 sampled", &healthy, SAMPLED)];
        for odd in ["NaN", "+Inf", "-1", "0.5", "1e300", "many", ""] {
            // The time of the sample is another matter.
            for place in [0, 1, 2, 4, 5, 6] {
                let mut result = whole();
                result[place]["value"][1] = odd.into();
                let told = read(200, &answer(&[&result[..], &healthy].concat())).unwrap();
                assert_eq!(told.len(), 1, "{odd} as {}", result[place]);
                let alone = read(200, &answer(&result)).unwrap_err();
                assert!(matches!(alone, AnswerError::Unusable { .. }), "{odd}: {alone}");
            }
        }
    }

    #[test]
    fn a_sample_of_which_nobody_knows_when_it_was_is_none() {
        // What a function gives has the time of the query, and what is later was never sampled.
        for at in ["1700000015.5", "1700000016", "-3", "NaN", "now"] {
            let mut result = whole();
            result[3]["value"][1] = at.into();
            assert!(matches!(read(200, &answer(&result)), Err(AnswerError::Unusable { .. })), "{at}");
        }
        let mut result = whole();
        result.remove(3);
        let refused = read(200, &answer(&result)).unwrap_err();
        assert!(matches!(refused, AnswerError::Unusable { untimed: 1, odd: 0 }), "{refused}");
    }

    #[test]
    fn answers_that_are_not_whole_give_nothing_and_say_why() {
        let long = "x".repeat(1_000);
        let error = json!({ "status": "error", "errorType": "bad_data", "error": format!("parse\n{long}") });
        let warning =
            json!({ "status": "success", "warnings": ["a store is away"], "data": { "result": whole() } });
        let scalar =
            json!({ "status": "success", "data": { "resultType": "scalar", "result": [ASKED, "1"] } });
        let matrix = json!({ "metric": {}, "values": [[ASKED, "1"]] });
        let mut twice = whole();
        twice.push(series("v2 latency", &[("instance", "a:1"), ("job", "envoy"), ("le", "25.0")], "5"));
        for (status, body, part) in [
            (400, error.to_string().into_bytes(), "status 400: parse x"),
            (200, error.to_string().into_bytes(), "status 200: parse x"),
            (500, answer(&whole()), "status 500"),
            (200, warning.to_string().into_bytes(), "not whole: a store is away"),
            (200, scalar.to_string().into_bytes(), "no answer of Prometheus"),
            (200, answer(&[matrix]), "no answer of Prometheus: missing field `value`"),
            (302, b"<html>".to_vec(), "status 302, and no answer of Prometheus"),
            (200, Vec::new(), "no answer of Prometheus"),
            (200, br#"{"status":"success"}"#.to_vec(), "it has no data"),
            (200, answer(&[]), "no instance has figures"),
            (200, answer(&[series("v2 others", &[], "1")]), r#"graylane="v2 others" was not asked for"#),
            (200, answer(&[series("completed", &[], "1")]), "was not asked for"),
            (200, answer(&twice), r#"two series have the figure v2 latency of instance="a:1""#),
            (
                200,
                answer(&vec![series("v2 completed", &[], "1"); MAX_SERIES + 1]),
                "20001 series are over the limit",
            ),
        ] {
            let refused = read(status, &body).unwrap_err().to_string();
            assert!(refused.contains(part), "{part}: {refused}");
            assert!(refused.len() < 500 && !refused.contains('\n'), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), status in any::<u16>()) {
            prop_assert!(read(status, &bytes).is_err());
        }

        /// An answer with some of its bytes changed is refused, or says what it says of instances alone.
        #[test]
        fn an_answer_that_was_garbled_does_no_harm(at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 0..4)) {
            let mut bytes = answer(&whole());
            let at = at.index(bytes.len());
            bytes.splice(at..(at + with.len()).min(bytes.len()), with);
            if let Ok(told) = read(200, &bytes) {
                prop_assert!(told.iter().all(|told| told.reading.sample.is_some_and(|sample| !sample.age.is_zero())));
            }
        }
    }
}
