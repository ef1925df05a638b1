//! The sequential test: is the evidence enough, asked after each tick, for weeks?
//!
//! A test that is made for one look is wrong sooner or later when it looks four times a second. This one is not: it is an
//! *e-detector* (Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2023).
//!
//! - For each tick an *e-value* `E` is computed: a number that is never below 0, and whose expectation is at most 1 as long as the
//!   version keeps its limit (the null hypothesis), given all that came before. It is a bet against the limit, with fair odds.
//! - [`ALTERNATIVES`] bets run side by side, one for each guess of how bad the version may be. Each keeps a CUSUM,
//!   `M <- max(1, M) * E`: it forgets what spoke for the version, so that a good week does not hide a bad minute.
//! - When the mean of all `M` reaches `1 / ALPHA`, it is an alarm. The mean number of ticks until a false one is at least `1 / ALPHA`,
//!   and the probability of one within `n` ticks at most `n * ALPHA`: the sum over all starts of the products of `E` since the start
//!   is at least `M`, and grows by at most 1 a tick in expectation.
//!
//! A limit on gray's own share has two nulls: gray keeps it, or is no worse than stable of the same time. A fault is neither. So there are
//! two e-values, and the lesser one is one for "either holds", whichever does from tick to tick: when both versions fail alike, nothing
//! grows. An outage of both that is seen of gray a tick or two earlier does no harm, because no tick decides; one that is seen a second
//! earlier can.
//!
//! Where few requests count in a tick, so strict a test finds little: a single error of stable outweighs many ticks without. Over stretches
//! ([`Detector::over_stretches`]) each e-value is multiplied up for itself, and the lesser product is taken. That is an e-value as long as
//! one of the nulls, the same one, holds throughout the stretch; resets and limits only lower `M`. So [`ALPHA`] is promised to versions
//! that keep one of the two in any stretch. One that is near its limit and worse than stable, and then fails with it for a moment, is
//! neither on average, and may be blamed.
//!
//! Everything is kept as logarithms and is finite for any counts.

use std::array;
use std::time::Duration;

use crate::figures::Tally;
use crate::limits::ticks;

/// The probability of a false alarm per tick, of each test of a service.
///
/// A release that is watched for a week has 7 * 86,400 * 4 = 2,419,200 ticks. Three alarms of a service are tests of this kind: the
/// largest share of errors, errors against stable, latency. So the probability that a service which keeps all its limits has a
/// false alarm within the week is at most 3 * 2,419,200 * 1.3e-10 = 0.094 %.
pub const ALPHA: f64 = 1.3e-10;

/// How many guesses run side by side.
pub const ALTERNATIVES: usize = 8;

/// Shares that are told from none and from all: one request in a million. A limit of 0 is taken as this, or one error would be proof.
const MIN_SHARE: f64 = 1e-6;

/// Ticks over which stable's share is averaged, about: a minute.
const MEMORY_TICKS: f64 = 240.0;

/// What a version must not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// This share of errors, from 0 to 1; and stable's share of the same time besides, whenever stable is given.
    Share(f64),
    /// Stable's share of errors of the same time, plus this, from 0 to 1. Ticks without stable say nothing.
    OverStable(f64),
}

/// One test of one version.
#[derive(Clone, Debug)]
pub struct Detector {
    limit: Limit,
    /// Ticks after which requests of one side, with none of the other to compare them with, are let go. What is compared has to be of
    /// the same time.
    patience_ticks: u64,
    /// After how many ticks a stretch ends.
    stretch_ticks: u64,
    bets: [Bet; ALTERNATIVES],
    /// How often stable fails, from earlier ticks alone: the bet is made before the tick is seen.
    stable: Average,
    pending: Evidence,
}

/// What speaks against a version, since it began to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What gray did.
    pub gray: Tally,
    /// What stable did meanwhile.
    pub stable: Tally,
    /// For how many ticks.
    pub ticks: u64,
}

/// One guess of how bad the version may be.
#[derive(Clone, Copy, Debug, Default)]
struct Bet {
    /// The logarithm of `M` when the stretch began.
    log_start: f64,
    /// What it grew by since.
    grown: LogE,
    /// For how many ticks the stretch lasts.
    ticks: u64,
    /// What came since `M` was last at 1 or below.
    since: Evidence,
}

/// The logarithms of two e-values.
#[derive(Clone, Copy, Debug, Default)]
struct LogE {
    /// Against "gray keeps its own limit".
    alone: f64,
    /// Against "gray is no worse than stable".
    compared: f64,
}

/// A share of errors, averaged over the last ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    requests: f64,
    errors: f64,
}

/// Two shares of errors.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    gray: f64,
    stable: f64,
}

// === impl Detector ===

impl Detector {
    /// A test that has seen nothing. Requests of one side wait so long for some of the other.
    #[must_use]
    pub fn new(limit: Limit, patience: Duration) -> Self {
        Self {
            limit,
            patience_ticks: ticks(patience),
            stretch_ticks: 1,
            bets: Default::default(),
            stable: Average::default(),
            pending: Evidence::default(),
        }
    }

    /// The same test over stretches: of so much time, and until the next tick with both versions in it. Its rate of false alarms is that of
    /// versions that in any stretch keep their own limit throughout, or are no worse than stable throughout.
    #[must_use]
    pub fn over_stretches(self, length: Duration) -> Self {
        Self { stretch_ticks: ticks(length).max(1), ..self }
    }

    /// Takes what gray and stable did in one tick. Whether stable is given must not depend on how requests of this tick went.
    pub fn tick(&mut self, gray: Tally, stable: Option<Tally>) {
        let Some(stable) = stable else {
            let alone = self.pending.plus(gray, Tally::default());
            self.pending = Evidence::default();
            return if let Limit::Share(_) = self.limit {
                self.bet(alone, false)
            };
        };
        // With few requests a second most ticks have only one side. They are put together until both are there; when that is depends
        // on how many requests came, and not on how they went, so it makes no bet unfair.
        self.pending = self.pending.plus(gray, stable);
        if self.pending.gray.requests() > 0 && self.pending.stable.requests() > 0 {
            self.bet(self.pending, true);
        } else if self.pending.ticks < self.patience_ticks {
            return;
        } else {
            // The time passed all the same.
            self.pass(self.pending.ticks);
        }
        self.stable.observe(self.pending.stable);
        self.pending = Evidence::default();
    }

    /// Lets a tick pass of which nothing is known. Nothing before it is compared with anything after it.
    pub fn miss(&mut self) {
        self.pending = Evidence::default();
        self.pass(1);
    }

    /// What speaks against the version, when it is enough for an alarm.
    #[must_use]
    pub fn alarm(&self) -> Option<Evidence> {
        (self.log_evidence() >= -ALPHA.ln()).then(|| self.strongest().since)
    }

    /// The logarithm of the evidence: below 0 when nothing speaks against the version, `-ln(ALPHA)`, 22.8, for an alarm.
    #[must_use]
    pub fn log_evidence(&self) -> f64 {
        let most = self.strongest().log_m();
        let sum: f64 = self.bets.iter().map(|bet| (bet.log_m() - most).exp()).sum();
        most + (sum / ALTERNATIVES as f64).ln()
    }

    fn pass(&mut self, ticks: u64) {
        self.bets.iter_mut().for_each(|bet| bet.pass(ticks));
    }

    fn strongest(&self) -> Bet {
        let [first, rest @ ..] = self.bets;
        rest.into_iter().fold(first, |most, bet| if bet.log_m() > most.log_m() { bet } else { most })
    }

    fn bet(&mut self, seen: Evidence, is_compared: bool) {
        let stable = self.stable.share();
        let (limit, edge) = match self.limit {
            Limit::Share(share) => (self.limit, share),
            Limit::OverStable(over) => (self.limit, stable + over.clamp(0.0, 1.0)),
        };
        let Some(guesses) = guesses(edge) else { return };
        for (bet, gray) in self.bets.iter_mut().zip(guesses) {
            let alternative = Shares { gray, stable };
            let log_e = match limit {
                Limit::OverStable(over) => LogE::of_one(log_e_over_stable(seen, alternative, over)),
                Limit::Share(share) => {
                    let alone = log_e_over_share(seen.gray, gray, share);
                    let compared = is_compared.then(|| log_e_over_stable(seen, alternative, 0.0));
                    LogE { alone, compared: compared.unwrap_or(alone) }
                }
            };
            bet.take(log_e, seen, self.stretch_ticks);
        }
    }
}

// === impl Bet ===

impl Bet {
    /// The logarithm of `M`.
    fn log_m(&self) -> f64 {
        self.log_start + self.grown.alone.min(self.grown.compared)
    }

    /// Lets time pass without evidence. What is known before and after it is not of one stretch.
    fn pass(&mut self, ticks: u64) {
        self.end_stretch();
        self.since = self.since.plus_evidence(Evidence { ticks, ..Evidence::default() });
    }

    fn end_stretch(&mut self) {
        *self = Self { log_start: self.log_m(), since: self.since, ..Self::default() };
    }

    fn take(&mut self, log_e: LogE, seen: Evidence, stretch_ticks: u64) {
        if self.log_m() <= 0.0 {
            *self = Self::default();
        } else if self.ticks >= stretch_ticks {
            self.end_stretch();
        }
        // Requests are not independent as the e-value takes them to be: failures come in bursts, when a pod dies or a link breaks.
        // So no tick may decide alone, nor three: what it says counts up to a quarter of an alarm. (The lesser of an e-value and a
        // constant is an e-value.)
        let counted = |log_e: f64| log_e.min(-ALPHA.ln() / 4.0);
        self.grown.alone += counted(log_e.alone);
        self.grown.compared += counted(log_e.compared);
        self.ticks = self.ticks.saturating_add(seen.ticks);
        self.since = self.since.plus_evidence(seen);
        // More than an alarm by this bet alone is not kept: what was over long ago must not take as long to be forgotten.
        let most = (ALTERNATIVES as f64).ln() - ALPHA.ln();
        self.log_start -= (self.log_m() - most).max(0.0);
    }
}

// === impl LogE ===

impl LogE {
    /// Of a test that has one null alone.
    const fn of_one(log_e: f64) -> Self {
        Self { alone: log_e, compared: log_e }
    }
}

// === impl Evidence ===

impl Evidence {
    fn plus(self, gray: Tally, stable: Tally) -> Self {
        self.plus_evidence(Self { gray, stable, ticks: 1 })
    }

    fn plus_evidence(self, other: Self) -> Self {
        Self {
            gray: self.gray.plus(other.gray),
            stable: self.stable.plus(other.stable),
            ticks: self.ticks.saturating_add(other.ticks),
        }
    }
}

// === impl Average ===

impl Average {
    fn observe(&mut self, tally: Tally) {
        let keep = 1.0 - 1.0 / MEMORY_TICKS;
        self.requests = self.requests * keep + tally.requests() as f64;
        self.errors = self.errors * keep + tally.errors() as f64;
    }

    /// The share, as if half an error in fifty requests had been seen before.
    fn share(self) -> f64 {
        ((self.errors + 0.5) / (self.requests + 50.0)).clamp(MIN_SHARE, 1.0 - MIN_SHARE)
    }
}

/// Shares of errors above a limit, from a little more to nearly all, evenly spread in the logarithm of the odds. None when the limit is
/// everything, or no number.
fn guesses(limit: f64) -> Option<[f64; ALTERNATIVES]> {
    /// The largest guess, if the limit is not near it: 95 % of the requests.
    const MOST: f64 = 19.0;
    if limit.is_nan() || limit > 1.0 - MIN_SHARE {
        return None;
    }
    let limit = limit.max(MIN_SHARE);
    let odds = |share: f64| share / (1.0 - share);
    // Half more, and at least half a percentage point more: less is nothing to roll back for in seconds, and is found in minutes.
    let first = (1.5 * odds(limit)).max(odds((limit + 0.005).min(1.0 - MIN_SHARE / 2.0)));
    let last = MOST.max(8.0 * first);
    let step = (last / first).powf(1.0 / (ALTERNATIVES as f64 - 1.0));
    Some(array::from_fn(|index| {
        let odds = first * step.powf(index as f64);
        odds / (1.0 + odds)
    }))
}

/// The logarithm of the probability of so many errors in so many requests, but for a constant.
fn log_likelihood(tally: Tally, share: f64) -> f64 {
    let (errors, good) = (tally.errors() as f64, (tally.requests() - tally.errors()) as f64);
    errors * share.ln() + good * (-share).ln_1p()
}

/// The e-value against "gray's share of errors is at most `limit`": how much better a larger share explains what was seen.
fn log_e_over_share(gray: Tally, guess: f64, limit: f64) -> f64 {
    let limit = limit.max(MIN_SHARE);
    if guess <= limit { 0.0 } else { log_likelihood(gray, guess) - log_likelihood(gray, limit) }
}

/// The e-value against "gray's share of errors is at most stable's plus `over`", of the same time.
///
/// How much better the alternative explains what was seen than the null's point that is nearest to it does: nearest in
/// Kullback-Leibler divergence, weighted by the numbers of requests (the reverse information projection; Turner, Ly, Grünwald,
/// "Generic e-variables for exact sequential k-sample tests and their application to 2x2 tables", 2024; for nulls with an `over`
/// Turner, Grünwald, "Exact anytime-valid confidence intervals for contingency tables and beyond", 2023). The null is convex, so
/// the expectation is at most 1 in all of it. Nothing on one side makes it 1 at most, for want of a comparison.
fn log_e_over_stable(seen: Evidence, alternative: Shares, over: f64) -> f64 {
    let over = over.clamp(0.0, 1.0);
    let is_in_null = alternative.gray <= alternative.stable + over;
    if is_in_null || seen.gray.requests() == 0 || seen.stable.requests() == 0 {
        return 0.0;
    }
    let null = nearest_null(seen, alternative, over);
    log_likelihood(seen.gray, alternative.gray) - log_likelihood(seen.gray, null.gray)
        + log_likelihood(seen.stable, alternative.stable)
        - log_likelihood(seen.stable, null.stable)
}

/// The point with `gray <= stable + over` that is nearest to an alternative outside. It lies on the border, between where stable's share
/// is the alternative's and where gray's is; the divergence is convex there, so that the zero of its slope is found by halving.
fn nearest_null(seen: Evidence, alternative: Shares, over: f64) -> Shares {
    let (gray, stable) = (seen.gray.requests() as f64, seen.stable.requests() as f64);
    if over == 0.0 {
        // Then it is the share of both together.
        let both = (gray * alternative.gray + stable * alternative.stable) / (gray + stable);
        return Shares { gray: both, stable: both };
    }
    let slope = |stable_share: f64| {
        let gray_share = stable_share + over;
        stable * (stable_share - alternative.stable) / (stable_share * (1.0 - stable_share))
            + gray * (gray_share - alternative.gray) / (gray_share * (1.0 - gray_share))
    };
    let (mut low, mut high) = (alternative.stable, alternative.gray - over);
    for _ in 0..f64::MANTISSA_DIGITS {
        let middle = low.midpoint(high);
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    let stable = low.midpoint(high);
    Shares { gray: stable + over, stable }
}

#[cfg(test)]
mod tests;
