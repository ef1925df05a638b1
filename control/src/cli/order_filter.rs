//! Which orders `graylane order list` lists.

use crate::cli::client::escaped;
use crate::clock::{Clock as _, SystemClock};
use clap::Args;
use graylane_plan::Span;
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;

#[derive(Args)]
pub(crate) struct OrderFilter {
    /// Only those of this tenant
    #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
    tenant: Option<String>,
    /// Only those of this plan
    #[arg(long)]
    plan: Option<String>,
    /// Only those that have this service
    #[arg(long)]
    service: Option<String>,
    /// Only those in this phase, like `Running`; may be given more than once
    #[arg(long = "phase", value_name = "PHASE")]
    phases: Vec<String>,
    /// Only those that are not rolled back or finished
    #[arg(long)]
    active: bool,
    /// Only those that were started then or later: a time like 2026-11-01T08:00:00+08:00, or how long ago, like 7d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Only those that were started before, written alike
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Only those with a lower number: older ones than the last list had
    #[arg(long, value_name = "ORDER")]
    before: Option<u64>,
    /// At most so many, up to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) limit: usize,
}

// === impl OrderFilter ===

impl OrderFilter {
    /// The path that asks for them.
    pub(crate) fn path(&self) -> String {
        let Self { tenant, plan, service, phases, active, since, until, before, limit } = self;
        let phases = Some(phases.join(",")).filter(|phases| !phases.is_empty());
        let [since, until] = [since, until].map(|time| time.map(|time| time.to_string()));
        let before = before.map(|before| before.to_string());
        let mut path = format!("/orders?active={active}&limit={limit}");
        for (name, value) in [
            ("tenant", tenant),
            ("plan", plan),
            ("service", service),
            ("phase", &phases),
            ("since", &since),
            ("until", &until),
            ("before", &before),
        ] {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", escaped(value));
            }
        }
        path
    }
}

/// Reads a time, or how long ago it was.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = Span::new(text).seconds().ok().map(|seconds| SignedDuration::from_secs(seconds.cast_signed()));
    let time = ago.and_then(|ago| SystemClock::default().now().checked_sub(ago).ok());
    time.ok_or_else(|| {
        "it is no time; write one like 2026-11-01T08:00:00+08:00, or how long ago, like 7d".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_offset_or_as_a_span_before_now() {
        assert_eq!(parse_time("2026-11-01T08:00:00+08:00").unwrap().to_string(), "2026-11-01T00:00:00Z");
        let now = SystemClock::default().now();
        let ago = now.duration_since(parse_time("1h30m").unwrap());
        assert!((5_390..=5_400).contains(&ago.as_secs()), "{ago}");
        for wrong in ["", "yesterday", "2026-11-01", "7", "-7d", "400d"] {
            assert!(parse_time(wrong).unwrap_err().contains("like 7d"), "{wrong}");
        }
    }
}
