//! What should be seen, said by hand. Nothing here asks the daemon, the filter, or the code that compiles plans.

use graylane_rules::xxh64;

use crate::callers::{Caller, EAST, EXCLUDED_TELLER, PILOT_BRANCH, PILOT_TELLERS, Service};

/// The plan's name is the salt of its percentages.
const SALT: &str = "loan-2026-11";
/// 20 percent of 10,000 buckets.
const EAST_BUCKETS: u64 = 2_000;

/// The steps of the demo in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Before,
    PilotTellers,
    PilotBranch,
    East20,
    WholeBank,
    LedgerBack,
    AllBack,
}

// === impl Step ===

impl Step {
    /// All stages of the plan, in their order.
    pub(crate) const STAGES: [Self; 4] =
        [Self::PilotTellers, Self::PilotBranch, Self::East20, Self::WholeBank];

    /// Its name: for a stage, the plan's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Before => "before the release",
            Self::PilotTellers => "pilot-tellers",
            Self::PilotBranch => "pilot-branch",
            Self::East20 => "east-20",
            Self::WholeBank => "whole-bank",
            Self::LedgerBack => "ledger rolled back",
            Self::AllBack => "all rolled back",
        }
    }

    /// What it means, in one line.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Before => "No order has started, so everybody is on v1.",
            Self::PilotTellers => "Two tellers of branch B012 work with v2; nobody else notices.",
            Self::PilotBranch => {
                "The rest of their branch follows, except T0000099, who is excluded by name."
            }
            Self::East20 => {
                "20 % of the region's tellers follow, by the hash of their id: the same for both services."
            }
            Self::WholeBank => "Everybody follows, also callers with no headers. T0000099 stays excluded.",
            Self::LedgerBack => {
                "Ledger goes back in one action. Loan, which it depends on, stays where it is."
            }
            Self::AllBack => "The rest goes back too: everybody is on v1 again.",
        }
    }

    /// The step before it; the first has none and gives itself.
    pub(crate) fn before(self) -> Self {
        match self {
            Self::Before | Self::PilotTellers => Self::Before,
            Self::PilotBranch => Self::PilotTellers,
            Self::East20 => Self::PilotBranch,
            Self::WholeBank => Self::East20,
            Self::LedgerBack => Self::WholeBank,
            Self::AllBack => Self::LedgerBack,
        }
    }

    /// The version that should answer.
    pub(crate) fn expected(self, service: Service, caller: &Caller) -> &'static str {
        let is_gray = match (self, service) {
            (Self::AllBack, _) | (Self::LedgerBack, Service::Ledger) => false,
            (Self::LedgerBack, Service::Loan) => Self::WholeBank.reaches(caller),
            _ => self.reaches(caller),
        };
        if is_gray { "v2" } else { "v1" }
    }

    /// Whether this stage, or one before it, lets the caller onto v2.
    fn reaches(self, caller: &Caller) -> bool {
        let teller = caller.teller.as_deref();
        if teller == Some(EXCLUDED_TELLER) {
            return false;
        }
        let is_pilot = teller.is_some_and(|teller| PILOT_TELLERS.contains(&teller));
        let is_taken = teller.is_some_and(|teller| bucket(teller) < EAST_BUCKETS);
        self >= Self::PilotTellers && is_pilot
            || self >= Self::PilotBranch && caller.branch == Some(PILOT_BRANCH)
            || self >= Self::East20 && caller.region == Some(EAST) && is_taken
            || self >= Self::WholeBank
    }
}

/// The bucket, 0 to 9,999, that a teller falls into for good.
fn bucket(teller: &str) -> u64 {
    xxh64(0, format!("{SALT}\0{teller}").as_bytes()) % 10_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::{Group, everybody};

    #[test]
    fn another_implementation_of_xxh64_takes_the_same_tellers() {
        // Python: xxhash.xxh64(b"loan-2026-11\0" + teller).intdigest() % 10_000 < 2_000. T0000047 just misses it: 2009.
        let taken = ["T0000024", "T0000032", "T0000033", "T0000034", "T0000042", "T0000048", "T0000050"];
        let east = everybody().into_iter().filter(|caller| caller.group == Group::East);
        let is_on_v2 = |caller: &Caller| Step::East20.expected(Service::Loan, caller) == "v2";
        let found: Vec<String> = east.filter(is_on_v2).filter_map(|caller| caller.teller).collect();
        assert_eq!(found, taken);
    }

    #[test]
    fn each_stage_moves_somebody_and_nobody_back() {
        let on_v2 = |step: Step| {
            let callers = everybody();
            let is_on_v2 = |caller: &Caller| step.expected(Service::Ledger, caller) == "v2";
            callers.into_iter().map(|caller| is_on_v2(&caller)).collect::<Vec<bool>>()
        };
        let steps = [Step::Before].into_iter().chain(Step::STAGES);
        let counts: Vec<Vec<bool>> = steps.map(on_v2).collect();
        for (before, after) in counts.iter().zip(counts.iter().skip(1)) {
            assert!(before != after && before.iter().zip(after).all(|(before, after)| before <= after));
        }
        assert!(on_v2(Step::LedgerBack).iter().chain(&on_v2(Step::AllBack)).all(|is_on_v2| !is_on_v2));
    }
}
