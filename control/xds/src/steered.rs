//! What a proxy's filter counted, in Envoy's metrics stream: the requests that it steered to each version of each service.
//!
//! Envoy 1.40 names the counter as the filter does, with `wasmcustom.` before it. Where it is told to send tags as labels, and has the
//! tags of our configurations, service and version are labels.

use std::collections::BTreeMap;

use envoy_types::pb::io::prometheus::client::MetricType;

use crate::clusters::whole_count;
use crate::fields::Garbled;
use crate::limits::MAX_STEERED;
use crate::report::{Family, Metric, bounded_entry, is_prefix};

/// What the name of every counter of requests begins with, behind Envoy's prefix.
const REQUESTS: &str = "graylane_requests";

/// What stands before the parts of the name, and before nothing else in it.
const SERVICE: &str = ".service.";
const VERSION: &str = ".version.";
const LEVEL: &str = ".level.";

/// The labels with the same parts.
const SERVICE_LABEL: &str = "service";
const VERSION_LABEL: &str = "version";

/// Service and version of the counter for what has none of its own, because the filter has too many. They are nobody's.
const OTHER: (&str, &str) = ("other", "other");

/// Takes what a family counts, if it is one of requests. Service and version have a counter for each level, which add up.
pub(crate) fn take<'a>(
    steered: &mut BTreeMap<(&'a str, &'a str), u64>,
    family: &Family<'a>,
) -> Result<(), Garbled> {
    let Some((prefix, parts)) = family.name.split_once(REQUESTS) else { return Ok(()) };
    if !is_prefix(prefix) || family.kind != MetricType::Counter {
        return Ok(());
    }
    if parts.is_empty() {
        for metric in family.metrics() {
            let metric = metric?;
            if let Some(of) = metric.label(SERVICE_LABEL)?.zip(metric.label(VERSION_LABEL)?) {
                add(steered, of, metric)?;
            }
        }
    } else if let Some(of) = service_and_version(parts)
        && let Some(metric) = family.last()?
    {
        add(steered, of, metric)?;
    }
    Ok(())
}

fn add<'a>(
    steered: &mut BTreeMap<(&'a str, &'a str), u64>,
    of: (&'a str, &'a str),
    metric: Metric<'_>,
) -> Result<(), Garbled> {
    if let Some(requests) = metric.counter()?.and_then(whole_count)
        && of != OTHER
        && let Some(sum) = bounded_entry(steered, of, MAX_STEERED)
    {
        *sum = sum.saturating_add(requests);
    }
    Ok(())
}

/// Service and version in the parts of a name. Their own names may have dots: what could be read in two ways is nobody's.
fn service_and_version(parts: &str) -> Option<(&str, &str)> {
    let (service, rest) = split_at_only(parts.strip_prefix(SERVICE)?, VERSION)?;
    let (version, _level) = split_at_only(rest, LEVEL)?;
    Some((service, version))
}

/// What stands before and behind a mark that is there once.
fn split_at_only<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(mark).filter(|halves| text.rsplit_once(mark) == Some(*halves))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::io::prometheus::client::{Counter, LabelPair, Metric, MetricFamily};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn read(families: &[MetricFamily]) -> Vec<(String, String, u64)> {
        let encoded: Vec<Vec<u8>> = families.iter().map(MetricFamily::encode_to_vec).collect();
        let mut steered = BTreeMap::new();
        encoded.iter().for_each(|family| take(&mut steered, &Family::read(family).unwrap()).unwrap());
        let owned = |((service, version), requests): ((&str, &str), u64)| {
            (service.to_owned(), version.to_owned(), requests)
        };
        steered.into_iter().map(owned).collect()
    }

    fn counter(name: &str, value: f64, labels: &[(&str, &str)]) -> MetricFamily {
        let label = |(name, value): &(&str, &str)| LabelPair {
            name: Some((*name).to_owned()),
            value: Some((*value).to_owned()),
        };
        let metric = Metric {
            counter: Some(Counter { value: Some(value), ..Counter::default() }),
            label: labels.iter().map(label).collect(),
            ..Metric::default()
        };
        MetricFamily {
            name: Some(name.to_owned()),
            r#type: Some(MetricType::Counter.into()),
            metric: vec![metric],
            ..MetricFamily::default()
        }
    }

    fn of(service: &str, version: &str, requests: u64) -> (String, String, u64) {
        (service.to_owned(), version.to_owned(), requests)
    }

    #[test]
    fn levels_add_up_under_the_names_that_envoy_gives() {
        for prefix in ["wasmcustom.", "envoy_wasmcustom_", ""] {
            let named =
                |parts: &str, value| counter(&format!("{prefix}graylane_requests.{parts}"), value, &[]);
            let families = [
                named("service.loan.version.v2.level.teller", 3.0),
                named("service.loan.version.v2.level.none", 4.0),
                named("service.loan.version.v1.level.none", 5.0),
                named("service.loan.core.version.v1.2.level.a.b", 6.0),
                named("service.other.version.other.level.other", 7.0),
            ];
            assert_eq!(
                read(&families),
                [of("loan", "v1", 5), of("loan", "v2", 7), of("loan.core", "v1.2", 6)],
                "{prefix}"
            );
        }
    }

    #[test]
    fn where_tags_are_labels_they_say_service_and_version() {
        let labelled = |service, version, level, value| {
            let labels = [("service", service), ("version", version), ("level", level)];
            counter("wasmcustom.graylane_requests", value, &labels)
        };
        let mut both = labelled("loan", "v2", "teller", 3.0);
        both.metric.extend(labelled("loan", "v2", "none", 4.0).metric);
        let families = [both, labelled("loan", "v1", "none", 5.0), labelled("other", "other", "other", 7.0)];
        assert_eq!(read(&families), [of("loan", "v1", 5), of("loan", "v2", 7)]);
    }

    #[test]
    fn what_is_no_counter_of_requests_or_could_be_of_two_is_nobodys() {
        for name in [
            "wasmcustom.graylane_requests",
            "wasmcustom.graylane_requests.service.loan",
            "wasmcustom.graylane_requests.service.loan.version.v2",
            "wasmcustom.graylane_requests.version.v2.level.none",
            "wasmcustom.graylane_requests_service_loan_version_v2_level_none",
            "notgraylane_requests.service.loan.version.v2.level.none",
            "graylane_requests.service.a.version.b.version.c.level.none",
            "graylane_requests.service.a.version.version.c.level.none",
            "graylane_requests.service.a.version.b.level.c.level.none",
        ] {
            assert_eq!(read(&[counter(name, 1.0, &[])]), [], "{name}");
        }
        let name = "graylane_requests.service.loan.version.v2.level.none";
        for odd in [-1.0, 0.5, f64::NAN, 1e300] {
            assert_eq!(read(&[counter(name, odd, &[])]), [], "{odd}");
        }
        let gauge = MetricFamily { r#type: Some(MetricType::Gauge.into()), ..counter(name, 1.0, &[]) };
        assert_eq!(read(&[gauge]), []);
    }

    #[test]
    fn more_versions_than_anybody_has_say_nothing() {
        let named = |number: usize| {
            counter(&format!("graylane_requests.service.s.version.v{number}.level.none"), 1.0, &[])
        };
        let families: Vec<_> = (0..MAX_STEERED + 10).map(named).chain([named(0)]).collect();
        let read = read(&families);
        assert_eq!((read.len(), read.first()), (MAX_STEERED, Some(&of("s", "v0", 2))));
    }

    proptest! {
        /// Whatever the names are: it is their own counter, or nobody's.
        #[test]
        fn nobody_gets_the_requests_of_others(parts in prop::array::uniform3("(a|v|version|level|service)([.](a|v|version|level|service)){0,3}")) {
            let [service, version, level] = parts;
            let name = format!("wasmcustom.graylane_requests.service.{service}.version.{version}.level.{level}");
            let read = read(&[counter(&name, 1.0, &[])]);
            prop_assert!(read.is_empty() || read == [of(&service, &version, 1)], "{name}: {read:?}");
            let is_plain = |part: &String| ["a", "v"].contains(&part.as_str());
            prop_assert!(![service, version, level].iter().all(is_plain) || !read.is_empty(), "{name}");
        }
    }
}
