//! Who says how the gray version of a service does, tick after tick.

use std::time::Duration;

use crate::figures::{Figures, Tally};
use crate::histogram::Percentile;
use crate::limits::{STRETCH, TICK, ticks};
use crate::policy::{LatencyLimit, Policy};
use crate::sequential::{Detector, Evidence, Limit};
use crate::verdict::{Basis, Fault, Verdict, Why};
use crate::window::{Series, Side, Window};

/// Judges the gray version of one service in one release order.
#[derive(Clone, Debug)]
pub struct Judge {
    policy: Policy,
    window: Window,
    /// Errors against the largest share that is allowed.
    errors: Option<(f64, Detector)>,
    /// Errors against stable's.
    over_stable: Option<(f64, Detector)>,
    /// Slow requests against the share that stable has of them.
    latency: Option<(LatencyLimit, Detector)>,
    /// Whether there were enough endpoints once.
    was_up: bool,
    /// In how many ticks the window begins.
    begins_in: u64,
    /// For how many ticks nothing came to an end of what was steered to gray.
    unanswered: u64,
    /// The first fault. It stays: what was found unhealthy is not healed by being rolled back.
    fault: Option<Fault>,
}

/// What was observed in one tick.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// What gray did.
    pub gray: &'a Figures,
    /// What stable did in the same tick: figures that lag by a second behind gray's make an outage of both look like gray's alone.
    pub stable: &'a Figures,
    /// How many endpoints gray has that can take requests, if somebody knows.
    pub endpoints: Option<u64>,
    /// Whether the figures are of this tick.
    pub freshness: Freshness,
    /// Whether all requests are to be gray: then stable has none to be compared with, and nobody waits for them.
    pub is_alone: bool,
}

/// Whether figures are of the tick in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// They are.
    Fresh,
    /// They are this old: too old to count for this tick.
    Stale(Duration),
    /// There are none.
    Missing,
}

/// Stable's percentile and what follows from it, if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Threshold {
    Ms(f64),
    TooCoarse(f64),
    Unknown,
}

// === impl Judge ===

impl Judge {
    /// A judge who has seen nothing.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let errors = policy.errors.unwrap_or_default();
        let detector = |limit| Detector::new(limit, policy.patience);
        let over_stable = |over| (over, detector(Limit::OverStable(over)));
        let latency =
            |limit: LatencyLimit| (limit, detector(Limit::Share(limit.share())).over_stretches(STRETCH));
        Self {
            window: Window::new(policy.window),
            errors: errors.max.map(|max| (max, detector(Limit::Share(max)))),
            over_stable: errors.over_stable.map(over_stable),
            latency: policy.latency.map(latency),
            was_up: false,
            begins_in: 0,
            unanswered: 0,
            fault: None,
            policy,
        }
    }

    /// Begins the window anew, as gray is let to more people: those who had it before say nothing of these. So it begins when what is
    /// reported is of the new stage: [`Policy::patience`] later. What speaks against gray stays.
    pub fn begin_stage(&mut self) {
        self.window = Window::new(self.policy.window);
        self.begins_in = ticks(self.policy.patience);
        self.unanswered = 0;
    }

    /// Takes what was observed in the next tick. It is called for each tick, also when there is nothing to tell.
    pub fn tick(&mut self, observed: &Observed<'_>) -> Verdict {
        if self.fault.is_none() {
            self.observe(observed);
            self.fault = self
                .missing_endpoints(observed.endpoints)
                .or_else(|| self.alarm())
                .or_else(|| self.missing_answers(observed.endpoints));
        }
        match &self.fault {
            Some(fault) => Verdict::Unhealthy(fault.clone()),
            None => self.doubt(observed).map_or_else(|| self.healthy(), Verdict::Undecided),
        }
    }

    /// How far back the window goes: as far as the policy says, or to the first tick.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.window.length()
    }

    /// What gray and stable did in the window.
    #[must_use]
    pub fn seen(&self) -> (Figures, Figures) {
        let of = |side| Figures {
            tally: self.window.tally(side),
            latency: self.window.latency(side),
            steered: self.window.steered(side),
        };
        (of(Side::Gray), of(Side::Stable))
    }

    /// The same, part by part of the window.
    #[must_use]
    pub fn series(&self) -> Series {
        self.window.series()
    }

    fn observe(&mut self, observed: &Observed<'_>) {
        if observed.freshness != Freshness::Fresh {
            self.unanswered = 0;
            miss(&mut self.errors);
            miss(&mut self.over_stable);
            miss(&mut self.latency);
            return self.push(&Figures::default(), &Figures::default());
        }
        // What the window says of stable is taken before this tick is in it, or the test would choose by what it tests.
        let threshold = self.threshold();
        let (gray, stable) = (observed.gray.tally, observed.stable.tally);
        let compared = self.is_compared(stable, observed.is_alone).then_some(stable);
        if let Some((_, detector)) = &mut self.errors {
            detector.tick(gray, compared);
        }
        if let Some((_, detector)) = &mut self.over_stable {
            detector.tick(gray, compared);
        }
        if let (Some((_, detector)), Threshold::Ms(limit_ms)) = (&mut self.latency, threshold) {
            // Stable's percentile is an estimate, and of few requests a bad one. That stable exceeds it as often is why gray is not
            // blamed for it, however bad: the test compares both, besides the share that is allowed.
            detector.tick(slow(observed.gray, limit_ms), Some(slow(observed.stable, limit_ms)));
        } else {
            miss(&mut self.latency);
        }
        self.push(observed.gray, observed.stable);
        self.unanswered = match (gray.requests(), self.window.steered(Side::Gray)) {
            (0, 1..) => self.unanswered.saturating_add(1),
            _ => 0,
        };
    }

    fn push(&mut self, gray: &Figures, stable: &Figures) {
        match self.begins_in.checked_sub(1) {
            Some(less) => self.begins_in = less,
            None => self.window.push(gray, stable),
        }
    }

    /// Whether gray is tested against stable in this tick: when stable has as many requests as it takes, or will have them in the
    /// window if they keep coming as they do. A new judge waits for them for a while, or else one that begins in the middle of an
    /// outage would blame gray for it; but not for those that will not come.
    fn is_compared(&self, stable: Tally, is_alone: bool) -> bool {
        let length = self.window.length();
        let part = length.as_secs_f64() / self.policy.window.max(TICK).as_secs_f64();
        let requests = self.window.tally(Side::Stable).plus(stable).requests();
        let wanted = self.policy.min_requests as f64 * part.min(1.0);
        let is_waiting = length < self.policy.patience && !is_alone;
        is_waiting || (requests > 0 && requests as f64 >= wanted)
    }

    /// Whether stable had enough requests in the window to be compared with.
    fn is_comparable(&self) -> bool {
        let requests = self.window.tally(Side::Stable).requests();
        requests > 0 && requests >= self.policy.min_requests
    }

    /// How long a gray request may take to be no slow one.
    fn threshold(&self) -> Threshold {
        let Some((limit, _)) = &self.latency else { return Threshold::Unknown };
        let latency = self.window.latency(Side::Stable);
        match latency.quantile(limit.percentile) {
            _ if latency.requests() < self.policy.min_requests => Threshold::Unknown,
            Some(Percentile::About(ms)) => Threshold::Ms(ms * limit.ratio()),
            Some(Percentile::MoreThan(ms)) => Threshold::TooCoarse(ms),
            None => Threshold::Unknown,
        }
    }

    /// The fault of too few endpoints: at once, because an endpoint that is gone is no matter of chance.
    fn missing_endpoints(&mut self, endpoints: Option<u64>) -> Option<Fault> {
        let (limit, ready) = (self.policy.endpoints?, endpoints?);
        self.was_up |= ready >= limit.min;
        (self.was_up && ready < limit.min).then_some(Fault::NoEndpoints { ready, min: limit.min })
    }

    /// The fault of a version that hangs: what was steered to it half a window ago or earlier did not come to an end, nor did anything else
    /// for a whole window. It is none where nobody counts gray, which shows by its endpoints: then its name may be misread.
    fn missing_answers(&self, endpoints: Option<u64>) -> Option<Fault> {
        let (steered, during) = (self.window.steered(Side::Gray), self.window.length());
        let is_limited = self.errors.is_some() || self.policy.compares() || self.policy.endpoints.is_some();
        let is_found = endpoints.is_some()
            && self.unanswered >= ticks(self.policy.window).max(1)
            && self.window.steered_early(Side::Gray) >= self.policy.min_requests.max(1)
            && self.is_comparable();
        (is_limited && is_found).then_some(Fault::Unanswered { steered, during })
    }

    fn alarm(&self) -> Option<Fault> {
        let of = |evidence: Evidence| (evidence.gray, evidence.stable, during(evidence.ticks));
        if let Some((max, evidence)) = raised(&self.errors) {
            let (gray, stable, during) = of(evidence);
            return Some(Fault::TooManyErrors { gray, stable, max, during });
        }
        if let Some((over_stable, evidence)) = raised(&self.over_stable) {
            let (gray, stable, during) = of(evidence);
            return Some(Fault::WorseThanStable { gray, stable, over_stable, during });
        }
        let (limit, evidence) = raised(&self.latency)?;
        let Threshold::Ms(limit_ms) = self.threshold() else { return None };
        self.too_slow(limit, limit_ms, evidence.gray, during(evidence.ticks))
    }

    fn too_slow(&self, limit: LatencyLimit, limit_ms: f64, gray: Tally, during: Duration) -> Option<Fault> {
        let percentile = limit.percentile;
        let gray_ms = self.window.latency(Side::Gray).percentile(percentile)?;
        Some(Fault::TooSlow { gray, percentile, gray_ms, limit_ms, during })
    }

    fn healthy(&self) -> Verdict {
        let is_compared = self.is_comparable() || !self.policy.compares();
        Verdict::Healthy(if is_compared { Basis::Limits } else { Basis::OwnLimits })
    }

    /// Why the version cannot be called healthy; none when it can.
    fn doubt(&self, observed: &Observed<'_>) -> Option<Why> {
        match observed.freshness {
            Freshness::Missing => return Some(Why::NoData),
            Freshness::Stale(age) => return Some(Why::StaleData { age }),
            Freshness::Fresh => {}
        }
        let (gray, stable) = (self.window.tally(Side::Gray), self.window.tally(Side::Stable));
        let too_few = || {
            (gray.requests() < self.policy.min_requests)
                .then_some(Why::TooFewRequests { seen: gray.requests(), wanted: self.policy.min_requests })
        };
        self.doubt_of_endpoints(observed.endpoints)
            .or_else(|| self.doubt_of_traffic(gray))
            .or_else(too_few)
            .or_else(|| self.doubt_of_errors(gray, stable))
            .or_else(|| self.doubt_of_comparison(stable, observed.is_alone))
            .or_else(|| self.doubt_of_difference(gray, stable))
            .or_else(|| self.doubt_of_latency())
    }

    /// Whether there is too little of stable for what is compared with it. Where it is to have nothing, gray's own limits do alone.
    fn doubt_of_comparison(&self, stable: Tally, is_alone: bool) -> Option<Why> {
        if !self.policy.compares() || self.is_comparable() {
            return None;
        }
        match (is_alone, self.errors.is_some() || self.policy.endpoints.is_some()) {
            (false, _) => Some(self.stable_too_few(stable.requests())),
            (true, false) => Some(Why::NothingToCompare),
            (true, true) => None,
        }
    }

    fn doubt_of_endpoints(&self, endpoints: Option<u64>) -> Option<Why> {
        let limit = self.policy.endpoints?;
        let Some(ready) = endpoints else { return Some(Why::EndpointsUnknown) };
        (ready < limit.min).then_some(Why::NeverUp { ready, min: limit.min })
    }

    fn doubt_of_traffic(&self, gray: Tally) -> Option<Why> {
        match (gray.requests(), self.window.steered(Side::Gray)) {
            (0, 0) => Some(Why::NoTraffic),
            (0, steered) => Some(Why::Unanswered { steered }),
            _ => None,
        }
    }

    fn doubt_of_errors(&self, gray: Tally, stable: Tally) -> Option<Why> {
        let (max, _) = self.errors.as_ref()?;
        gray.share().filter(|share| share > max)?;
        let max = *max;
        if self.is_comparable() && gray.share() <= stable.share() {
            return Some(Why::StableFailsToo { gray, stable, max });
        }
        Some(Why::NotYet(Fault::TooManyErrors { gray, stable, max, during: self.window.length() }))
    }

    fn doubt_of_difference(&self, gray: Tally, stable: Tally) -> Option<Why> {
        let (over_stable, _) = self.over_stable.as_ref()?;
        let (over_stable, during) = (*over_stable, self.window.length());
        let is_over = gray.share()? > stable.share()? + over_stable.clamp(0.0, 1.0);
        (is_over && self.is_comparable()).then_some(Why::NotYet(Fault::WorseThanStable {
            gray,
            stable,
            over_stable,
            during,
        }))
    }

    fn doubt_of_latency(&self) -> Option<Why> {
        let (limit, _) = self.latency.as_ref()?;
        let percentile = limit.percentile;
        let limit_ms = match self.threshold() {
            Threshold::Ms(limit_ms) => limit_ms,
            Threshold::TooCoarse(last_ms) => return Some(Why::TooCoarse { percentile, last_ms }),
            Threshold::Unknown if !self.is_comparable() => return None,
            Threshold::Unknown => {
                return Some(self.stable_too_few(self.window.latency(Side::Stable).requests()));
            }
        };
        let latency = self.window.latency(Side::Gray);
        match latency.quantile(percentile) {
            // Requests are there, and nobody measures how long they take.
            None => Some(Why::NoData),
            Some(Percentile::About(ms)) if ms <= limit_ms => None,
            Some(Percentile::MoreThan(last_ms)) if last_ms < limit_ms => {
                Some(Why::TooCoarse { percentile, last_ms })
            }
            Some(_) => {
                let gray = Tally::new(latency.requests(), latency.above(limit_ms));
                self.too_slow(*limit, limit_ms, gray, self.window.length()).map(Why::NotYet)
            }
        }
    }

    fn stable_too_few(&self, seen: u64) -> Why {
        Why::StableTooFewRequests { seen, wanted: self.policy.min_requests.max(1) }
    }
}

// === impl LatencyLimit ===

impl LatencyLimit {
    /// The share of requests that may take longer.
    fn share(self) -> f64 {
        1.0 - self.percentile / 100.0
    }

    fn ratio(self) -> f64 {
        self.max_ratio.clamp(1.0, f64::MAX)
    }
}

/// The requests of which the time is known, with the slow ones as errors.
fn slow(figures: &Figures, limit_ms: f64) -> Tally {
    Tally::new(figures.latency.requests(), figures.latency.above(limit_ms))
}

fn miss<L>(test: &mut Option<(L, Detector)>) {
    if let Some((_, detector)) = test {
        detector.miss();
    }
}

fn raised<L: Copy>(test: &Option<(L, Detector)>) -> Option<(L, Evidence)> {
    test.as_ref().and_then(|(limit, detector)| Some((*limit, detector.alarm()?)))
}

fn during(ticks: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
