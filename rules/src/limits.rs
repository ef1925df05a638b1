//! Every size has a limit. The encoder refuses what is over, and the loader checks again.

/// Dimensions of a rule set. Eight fit a fixed array on the stack of a decision.
pub const MAX_DIMENSIONS: usize = 8;

/// Bytes of a header value after trimming, and so of an id. A longer value counts as absent.
pub const MAX_VALUE_BYTES: usize = 256;

/// Bytes of the name of a tenant, service, version, plan, stage or dimension: one DNS label.
pub const MAX_NAME_BYTES: usize = 63;

/// Bytes of a host, without its port: the longest DNS name.
pub const MAX_HOST_BYTES: usize = 253;

/// Bytes of a header's name.
pub const MAX_HEADER_BYTES: usize = 64;

/// Services of one rule set. Each costs a few hundred bytes in every proxy.
pub const MAX_SERVICES: usize = 4_096;

/// Hosts of one rule set, over all services.
pub const MAX_HOSTS: usize = 16_384;

/// Stages of one plan.
pub const MAX_STAGES: usize = 64;

/// Groups of one level of one table: each stage may exclude, let in, and let in a percentage.
pub const MAX_GROUPS: usize = 3 * MAX_STAGES;

/// Tables and id sets of one rule set; both are shared, so this is far more than services need.
pub const MAX_SECTIONS: usize = 65_536;

/// Bytes of an encoded rule set, its header among them. A proxy keeps one copy for each worker and one for its main thread.
pub const MAX_RULES_BYTES: usize = 16 << 20;

/// Ids of one set. Runs of neighbours cost next to nothing in bytes, but people have to be able to list them.
pub const MAX_SET_IDS: usize = 4_000_000;

/// Parts of one id set: one for each length of ids, and a few more for texts before digits.
pub const MAX_SET_PARTS: usize = 512;
