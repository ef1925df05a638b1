//! How the gray version of a service does, as somebody outside judges it.

use crate::timeline::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the gray version of a service does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Nobody said.
    #[default]
    Unknown,
    /// It does well.
    Healthy,
    /// It does not. The order does not advance, and does what its plan says of faults.
    Faulty,
}

/// A fault of a gray version, as somebody told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub at: Timestamp,
    /// Who did.
    pub actor: Actor,
    /// The figures that say so, for people.
    pub figures: String,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Faulty => "faulty",
        })
    }
}
