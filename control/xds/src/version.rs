//! What tells one content of a resource from another.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The version of a resource: its revision, and the hash of its bytes. Equal content has an equal version on every replica and
/// after every restart, so a proxy that reconnects is not sent what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) revision: u64,
    pub(crate) digest: u64,
}

// === impl Version ===

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.revision, self.digest)
    }
}

impl FromStr for Version {
    type Err = ();

    /// Reads what [`fmt::Display`] wrote, with or without a mark behind it. Proxies send it back to us, so anything may stand
    /// there.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = unmarked(text);
        let (revision, digest) = text.split_once('-').ok_or(())?;
        let version = Self {
            revision: revision.parse().map_err(|_| ())?,
            digest: u64::from_str_radix(digest, 16).map_err(|_| ())?,
        };
        if version.to_string() == text { Ok(version) } else { Err(()) }
    }
}

/// A version as text without the mark that [`marked`] puts behind it.
pub(crate) fn unmarked(text: &str) -> &str {
    text.split_once('+').map_or(text, |(text, _)| text)
}

/// A version as text that no text before on the same stream was. After a rejection Envoy has to be sent what it had before, and
/// its version has to be another.
pub(crate) fn marked(text: &str, nonce: &str) -> String {
    format!("{text}+{nonce}")
}

/// The first 64 bits of SHA-256 over the parts. A fixed function, because versions outlive the process.
pub(crate) fn digest(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let bytes = hasher.finalize();
    bytes.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_back_and_nothing_else_is() {
        let version = Version { revision: 12, digest: 0xab };
        assert_eq!(version.to_string().parse(), Ok(version));
        assert_eq!(marked(&version.to_string(), "3").parse(), Ok(version));
        for odd in
            ["", "12", "-", "12-ab", "+12-00000000000000ab", "12-00000000000000AB", "x-00000000000000ab"]
        {
            assert_eq!(odd.parse::<Version>(), Err(()), "{odd}");
        }
    }
}
