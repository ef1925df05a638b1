//! Who calls: a small bank, the same in every run.

use graylane_wasm_tests::{LEDGER_HOST, LOAN_HOST, Request};

/// The two tellers that the plan's first stage names.
pub(crate) const PILOT_TELLERS: [&str; 2] = ["T0000017", "T0000018"];
/// The teller that the plan's second stage excludes.
pub(crate) const EXCLUDED_TELLER: &str = "T0000099";
/// The branch of the plan's second stage.
pub(crate) const PILOT_BRANCH: &str = "B012";
/// The region of the plan's third stage.
pub(crate) const EAST: &str = "R-EAST";

/// A service, by its name in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Loan,
    /// It depends on loan.
    Ledger,
}

/// Callers that a release manager thinks of together; each is one row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    PilotTellers,
    PilotBranch,
    Excluded,
    East,
    West,
    NoHeaders,
    OwnVersion,
}

/// One who calls. A value that is none is a header that the request does not carry.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The row that it belongs to.
    pub(crate) group: Group,
    /// `x-teller`.
    pub(crate) teller: Option<String>,
    /// `x-branch`.
    pub(crate) branch: Option<&'static str>,
    /// `x-region`.
    pub(crate) region: Option<&'static str>,
}

/// Everybody: 40 tellers of four branches in two regions, and two callers with no dimension.
pub(crate) fn everybody() -> Vec<Caller> {
    let mut callers = Vec::new();
    let mut branch = |branch: &'static str, region: &'static str, tellers: &mut dyn Iterator<Item = u32>| {
        callers.extend(tellers.map(|number| Caller::teller(number, branch, region)));
    };
    branch(PILOT_BRANCH, EAST, &mut (12..=20).chain([99]));
    branch("B021", EAST, &mut (21..=35));
    branch("B022", EAST, &mut (41..=50));
    branch("B040", "R-WEST", &mut (51..=55));
    callers.push(Caller::nobody(Group::NoHeaders));
    callers.push(Caller::nobody(Group::OwnVersion));
    callers
}

// === impl Service ===

impl Service {
    /// Both, in the plan's order.
    pub(crate) const ALL: [Self; 2] = [Self::Loan, Self::Ledger];

    /// Its name in the plan.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loan => "loan",
            Self::Ledger => "ledger",
        }
    }

    /// Its host in the plan.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Loan => LOAN_HOST,
            Self::Ledger => LEDGER_HOST,
        }
    }
}

// === impl Group ===

impl Group {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Self; 7] = [
        Self::PilotTellers,
        Self::PilotBranch,
        Self::Excluded,
        Self::East,
        Self::West,
        Self::NoHeaders,
        Self::OwnVersion,
    ];

    /// What a table calls it; at most 26 characters.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::PilotTellers => "pilot tellers, in B012",
            Self::PilotBranch => "the others in B012, R-EAST",
            Self::Excluded => "T0000099, in B012",
            Self::East => "B021 and B022, R-EAST",
            Self::West => "B040, R-WEST",
            Self::NoHeaders => "no headers at all",
            Self::OwnVersion => "sends x-gray-version: v2",
        }
    }
}

// === impl Caller ===

impl Caller {
    fn teller(number: u32, branch: &'static str, region: &'static str) -> Self {
        let teller = format!("T{number:07}");
        let group = match (teller.as_str(), branch, region) {
            (EXCLUDED_TELLER, ..) => Group::Excluded,
            (teller, ..) if PILOT_TELLERS.contains(&teller) => Group::PilotTellers,
            (_, PILOT_BRANCH, _) => Group::PilotBranch,
            (_, _, EAST) => Group::East,
            _ => Group::West,
        };
        Self { group, teller: Some(teller), branch: Some(branch), region: Some(region) }
    }

    fn nobody(group: Group) -> Self {
        Self { group, teller: None, branch: None, region: None }
    }

    /// Its call of a service.
    pub(crate) fn request(&self, service: Service) -> Request {
        let mut request = Request::to(service.host());
        if let Some(teller) = &self.teller {
            request = request.teller(teller);
        }
        if let Some(branch) = self.branch {
            request = request.branch(branch);
        }
        if let Some(region) = self.region {
            request = request.region(region);
        }
        match self.group {
            Group::OwnVersion => request.header("x-gray-version", "v2"),
            _ => request,
        }
    }

    /// Its name in a sentence.
    pub(crate) fn name(&self) -> &str {
        self.teller.as_deref().unwrap_or(self.group.label())
    }
}
