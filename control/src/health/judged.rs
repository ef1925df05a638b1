//! Who judges a service in an order, and what came of it.

use super::Finding;
use super::ward::{Sight, Unheard, stale};
use crate::config::Config;
use graylane_health::limits::PATIENCE;
use graylane_health::{
    EndpointLimit, ErrorLimits, Figures, Freshness, Judge, LatencyLimit, Observed, Policy, TICK, Verdict, Why,
};
use graylane_order::{Health, Order};
use graylane_plan::{HealthSource, HealthSpec};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

/// How long an order stays healthy while figures raise doubts: a share of errors may lie beside its limit, now below and now above, and
/// each change of mind is written down.
const DOUBT_LASTS: Duration = Duration::from_secs(5);

/// A judge, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    judge: Judge,
    source: HealthSource,
    verdict: Verdict,
    endpoints: Option<u64>,
    unheard: Vec<Unheard>,
    pub(super) scene: Scene,
    /// What the order was told last of it.
    pub(super) told: Option<Health>,
    /// For how many ticks nobody could say.
    undecided: u32,
    /// As many are no news while requests are too few: they come and go.
    quiet_max: u32,
}

/// Who gets the gray version: another scene is judged anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    /// How many stages the service entered.
    stages: usize,
    /// What stood of them.
    hash: String,
}

// === impl Scene ===

impl Scene {
    pub(super) fn of(order: &Order, stages: usize) -> Self {
        Self { stages, hash: order.standing_hash().to_owned() }
    }

    pub(super) fn is_of(&self, order: &Order, stages: usize) -> bool {
        self.stages == stages && self.hash == order.standing_hash()
    }
}

// === impl Judged ===

impl Judged {
    /// One who has seen nothing. What the order was told before, as before a restart, is known no longer than nobody can say for a
    /// whole window.
    pub(super) fn new(health: &HealthSpec, config: &Config, standing: Health, scene: Scene) -> Self {
        let policy = policy(health, config);
        let quiet_max = ticks(policy.window);
        let mut judge = Judge::new(policy);
        let nothing = Figures::default();
        let (gray, stable) = (&nothing, &nothing);
        let freshness = Freshness::Missing;
        let verdict = judge.tick(&Observed { gray, stable, endpoints: None, freshness, is_alone: false });
        let told = Some(standing).filter(|standing| *standing == Health::Healthy);
        let source = health.source;
        let (endpoints, unheard) = Default::default();
        Self { judge, source, verdict, endpoints, unheard, scene, told, undecided: 0, quiet_max }
    }

    /// Looks at another scene: the order forgot what it was told of the one before.
    pub(super) fn begin_scene(&mut self, scene: Scene) {
        (self.scene, self.told) = (scene, None);
        self.judge.begin_stage();
    }

    pub(super) fn look(&mut self, sight: Sight, is_alone: bool) {
        let Sight { gray, stable, endpoints, freshness, unheard } = sight;
        (self.endpoints, self.unheard) = (endpoints, unheard);
        let observed = Observed { gray: &gray, stable: &stable, endpoints, freshness, is_alone };
        self.verdict = self.judge.tick(&observed);
        let is_undecided = matches!(self.verdict, Verdict::Undecided(_));
        self.undecided = if is_undecided { self.undecided.saturating_add(1) } else { 0 };
    }

    pub(super) fn finding(&self) -> Finding {
        let (gray, stable) = self.judge.seen();
        Finding {
            verdict: self.verdict.clone(),
            gray,
            stable,
            endpoints: self.endpoints,
            unheard: self.unheard.clone(),
            window: self.judge.length(),
            series: self.judge.series(),
            source: self.source,
        }
    }

    /// What those who watch are told of at once.
    pub(super) const fn outlook(&self) -> (Discriminant<Verdict>, &'static str, Option<u64>, usize) {
        (discriminant(&self.verdict), self.verdict.cause(), self.endpoints, self.unheard.len())
    }

    /// Whether somebody said something else of what was found faulty: then it is looked at anew.
    pub(super) fn is_overruled(&self, standing: Health) -> bool {
        self.told == Some(Health::Faulty) && standing != Health::Faulty
    }

    /// What the order does not know yet. What a person said stays, unless it is found faulty.
    pub(super) fn news(&self, standing: Health) -> Option<Health> {
        match (&self.verdict, standing) {
            (Verdict::Unhealthy(_), Health::Unknown | Health::Healthy) => Some(Health::Faulty),
            (Verdict::Healthy(_), Health::Unknown) => Some(Health::Healthy),
            (Verdict::Undecided(why), Health::Healthy)
                if self.told == Some(Health::Healthy) && self.undecided >= self.undecided_max(why) =>
            {
                Some(Health::Unknown)
            }
            _ => None,
        }
    }

    /// For how many ticks nobody has to be able to say before it is news. Few requests are as usual for a while, and after a start of the
    /// daemon proxies come back one by one; figures that speak against gray, or that came and come no more, are not.
    fn undecided_max(&self, why: &Why) -> u32 {
        match why {
            Why::NoData | Why::NoTraffic | Why::TooFewRequests { .. } | Why::StableTooFewRequests { .. } => {
                self.quiet_max
            }
            _ => ticks(DOUBT_LASTS).min(self.quiet_max),
        }
    }
}

/// How many ticks are in a time, rounded up.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
}

/// What a plan says of health, as a judge takes it. The plan was checked, so what it says are numbers.
fn policy(health: &HealthSpec, config: &Config) -> Policy {
    let default = Policy::default();
    let share = |share: &graylane_plan::Share| share.percent().ok().map(|percent| percent / 100.0);
    let seconds = health.window.as_ref().and_then(|window| window.seconds().ok());
    let errors = health.errors.as_ref().map(|errors| ErrorLimits {
        max: errors.max.as_ref().and_then(share),
        over_stable: errors.over_stable.as_ref().and_then(share),
    });
    let latency = health.latency.as_ref().and_then(|latency| {
        let percentile = latency.percentile.percent().ok()?;
        Some(LatencyLimit { percentile, max_ratio: latency.max_ratio.get().ok()? })
    });
    Policy {
        window: seconds.map_or(default.window, Duration::from_secs),
        min_requests: health.min_requests.unwrap_or(default.min_requests),
        errors,
        latency,
        endpoints: health.endpoints.as_ref().map(|endpoints| EndpointLimit { min: endpoints.min }),
        patience: match health.source {
            HealthSource::Envoy => PATIENCE,
            // Instances are sampled each at its own time.
            HealthSource::Prometheus => stale(health.source, config),
        },
    }
}
