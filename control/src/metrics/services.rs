//! What is found of judged services, as Prometheus reads it.

use crate::health::Finding;
use graylane_health::Figures;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::collections::BTreeMap;
use std::fmt;

/// What is found of each service, by tenant and service.
pub(super) type Findings = BTreeMap<(String, String), Finding>;

/// The percentiles of the time that requests took, with the label of each.
///
/// The label is not `quantile`: `promtool` takes that for summaries alone.
const PERCENTILES: [(&str, f64); 2] = [("50", 50.0), ("99", 99.0)];

/// A sample: what it has besides its tenant and its service, and its value.
type Sample<const N: usize, V> = ([(&'static str, &'static str); N], V);

/// A gauge of services.
struct Gauge {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
}

/// Writes what is found.
pub(super) fn write(encoder: &mut DescriptorEncoder<'_>, findings: &Findings) -> fmt::Result {
    let help = "How the gray version of a judged service does: 1 for what holds";
    gauge("service_verdict", help).write(encoder, findings, |finding| {
        let holds = finding.word();
        let verdict = |word: &'static str| ([("verdict", word)], u64::from(word == holds));
        Finding::WORDS.map(verdict).into()
    })?;
    let help = "Requests of a version of a judged service, in the window of its verdict";
    gauge("service_requests", help).write(encoder, findings, |finding| {
        by_version(finding).map(|(version, figures)| ([version], figures.tally.requests())).into()
    })?;
    let help = "Requests of a version of a judged service that failed, in the window of its verdict";
    gauge("service_errors", help).write(encoder, findings, |finding| {
        by_version(finding).map(|(version, figures)| ([version], figures.tally.errors())).into()
    })?;
    let help = "How long requests of a version of a judged service took, in the window of its verdict";
    let latency = Gauge { unit: Some(Unit::Seconds), ..gauge("service_latency", help) };
    latency.write(encoder, findings, |finding| {
        let versions = by_version(finding);
        versions.iter().flat_map(|(version, figures)| latencies(*version, figures)).collect()
    })?;
    let help = "Endpoints of the gray version of a judged service that may be sent requests";
    gauge("service_endpoints", help).write(encoder, findings, |finding| {
        finding.endpoints.map(|endpoints| ([], endpoints)).into_iter().collect()
    })
}

/// Both versions, each with its label.
fn by_version(finding: &Finding) -> [((&'static str, &'static str), &Figures); 2] {
    [(("version", "gray"), &finding.gray), (("version", "stable"), &finding.stable)]
}

/// The percentiles that are known, in seconds.
fn latencies(
    version: (&'static str, &'static str),
    figures: &Figures,
) -> impl Iterator<Item = Sample<2, f64>> {
    PERCENTILES.into_iter().filter_map(move |(label, percent)| {
        let ms = figures.latency.percentile(percent)?;
        Some(([version, ("percentile", label)], ms / 1_000.0))
    })
}

// === impl Gauge ===

/// A gauge without a unit.
const fn gauge(name: &'static str, help: &'static str) -> Gauge {
    Gauge { name, help, unit: None }
}

impl Gauge {
    /// Writes the samples of each service.
    fn write<const N: usize, V: EncodeGaugeValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        findings: &Findings,
        samples: impl Fn(&Finding) -> Vec<Sample<N, V>>,
    ) -> fmt::Result {
        let mut family =
            encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Gauge)?;
        for ((tenant, service), finding) in findings {
            for (more, value) in samples(finding) {
                let mut labels = vec![("tenant", tenant.as_str()), ("service", service.as_str())];
                labels.extend(more);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graylane_health::{Basis, Histogram, Series, Verdict, Why};
    use graylane_plan::HealthSource;
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{prometheus_text, text};
    use prometheus_client::registry::Registry;
    use std::time::Duration;

    #[derive(Debug)]
    struct Found(Findings);

    impl Collector for Found {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            write(&mut encoder, &self.0)
        }
    }

    fn finding(verdict: Verdict) -> Finding {
        let latency = Histogram::from_cumulative([(10.0, 0), (20.0, 100)], 100);
        let gray = Figures::new(100, 3, latency);
        Finding {
            verdict,
            gray,
            stable: Figures::default(),
            endpoints: Some(2),
            unheard: Vec::new(),
            window: Duration::from_secs(60),
            series: Series::default(),
            source: HealthSource::Envoy,
        }
    }

    fn registry(findings: Findings) -> Registry {
        let mut registry = Registry::with_prefix("graylane");
        registry.register_collector(Box::new(Found(findings)));
        registry
    }

    fn written(findings: Findings) -> String {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry(findings)).unwrap();
        text
    }

    fn of(tenant: &str, service: &str, finding: Finding) -> ((String, String), Finding) {
        ((tenant.to_owned(), service.to_owned()), finding)
    }

    #[test]
    fn one_verdict_holds_and_figures_are_of_both_versions() {
        let text = written([of("retail", "loan", finding(Verdict::Healthy(Basis::Limits)))].into());
        for line in [
            r#"graylane_service_verdict{tenant="retail",service="loan",verdict="healthy"} 1"#,
            r#"graylane_service_verdict{tenant="retail",service="loan",verdict="unhealthy"} 0"#,
            r#"graylane_service_verdict{tenant="retail",service="loan",verdict="undecided"} 0"#,
            r#"graylane_service_requests{tenant="retail",service="loan",version="gray"} 100"#,
            r#"graylane_service_requests{tenant="retail",service="loan",version="stable"} 0"#,
            r#"graylane_service_errors{tenant="retail",service="loan",version="gray"} 3"#,
            r#"graylane_service_latency_seconds{tenant="retail",service="loan",version="gray",percentile="50"} 0.015"#,
            r#"graylane_service_endpoints{tenant="retail",service="loan"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(
            !text.contains(r#"latency_seconds{tenant="retail",service="loan",version="stable""#),
            "{text}"
        );
    }

    #[test]
    fn what_nobody_knows_is_not_written() {
        let unknown = Finding { endpoints: None, ..finding(Verdict::Undecided(Why::NoData)) };
        let text = written([of("retail", "loan", unknown)].into());
        assert!(text.contains(r#"verdict="undecided"} 1"#), "{text}");
        assert!(!text.contains("service_endpoints{"), "{text}");
        assert!(!written(Findings::new()).contains('{'));
    }

    #[test]
    fn odd_names_end_no_label() {
        let odd = "a\"} 1\nb\\";
        let text = written([of(odd, "loan", finding(Verdict::Healthy(Basis::Limits)))].into());
        assert!(text.contains(r#"{tenant="a\"} 1\nb\\",service="loan","#), "{text}");
        assert!(text.lines().all(|line| line.starts_with("graylane_") || line.starts_with('#')), "{text}");
    }

    #[test]
    fn open_metrics_say_the_unit() {
        let mut written = String::new();
        text::encode(
            &mut written,
            &registry([of("retail", "loan", finding(Verdict::Healthy(Basis::Limits)))].into()),
        )
        .unwrap();
        assert!(written.contains("# UNIT graylane_service_latency_seconds seconds\n"), "{written}");
    }
}
