//! The people of the bank who release.

use fastrand::Rng;
use std::collections::BTreeSet;

/// A person with roles.
#[derive(Debug, PartialEq, Eq)]
pub struct Operator {
    pub name: &'static str,
    pub roles: &'static [&'static str],
}

/// The roles that gates ask for, and that stopped lines exempt.
pub const ROLES: [&str; 3] = ["manager", "auditor", "duty"];

/// Who there is. The first one does most of the work, and approves nothing.
pub const OPERATORS: [Operator; 8] = [
    Operator { name: "lin", roles: &[] },
    Operator { name: "wang", roles: &["manager"] },
    Operator { name: "zhao", roles: &["manager", "auditor"] },
    Operator { name: "qian", roles: &["auditor"] },
    Operator { name: "sun", roles: &["manager"] },
    Operator { name: "li", roles: &["auditor", "duty"] },
    Operator { name: "chen", roles: &["duty"] },
    Operator { name: "feng", roles: &["manager", "duty"] },
];

// === impl Operator ===

impl Operator {
    /// Mostly the one who does most of the work.
    pub fn random(rng: &mut Rng) -> &'static Self {
        let at = if rng.u8(..4) < 3 { 0 } else { rng.usize(..OPERATORS.len()) };
        &OPERATORS[at]
    }

    /// Anybody, mostly with one of these roles, if there are any.
    pub fn with_some(roles: &[&str], rng: &mut Rng) -> &'static Self {
        let fits = |operator: &&Self| operator.roles.iter().any(|role| roles.contains(role));
        let fitting: Vec<&Self> = OPERATORS.iter().filter(fits).collect();
        match fitting.len() {
            count if count > 0 && rng.u8(..8) > 0 => fitting[rng.usize(..count)],
            _ => &OPERATORS[rng.usize(..OPERATORS.len())],
        }
    }

    /// The roles as the daemon takes them.
    pub fn roles(&self) -> BTreeSet<String> {
        self.roles.iter().map(|role| (*role).to_owned()).collect()
    }
}
