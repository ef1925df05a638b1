//! Every size has a limit.

/// Entries of an order's timeline. The oldest give way, except the first, which says how the order started.
pub const MAX_TIMELINE: usize = 1_000;

/// Bytes of a reason that a person gives for an action.
pub const MAX_REASON_BYTES: usize = 1_024;

/// Bytes of the figures of a judgement.
pub const MAX_FIGURES_BYTES: usize = 1_024;
