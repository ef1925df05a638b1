//! How the gray version of a service does, as somebody outside judges it.

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

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Faulty => "faulty",
        })
    }
}
