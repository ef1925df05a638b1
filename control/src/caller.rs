//! Who asks the daemon, and how it knows them: by named tokens.
//!
//! The daemon holds no secret, only the SHA-256 of each: who reads its configuration or its memory cannot act with it.

use graylane_order::{Actor, Refused, limits::MAX_REASON_BYTES};
use graylane_rules::is_name;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;

/// Tokens of one daemon. Each request is compared with all of them, which takes microseconds.
pub const MAX_TOKENS: usize = 1_000;

/// Roles of one token. A gate names few, and a person has fewer.
pub const MAX_ROLES: usize = 64;

/// A person or a robot that asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name, as the audit log tells it.
    pub name: String,
    /// Its roles, which gates ask for.
    pub roles: BTreeSet<String>,
}

/// The callers that a configuration knows, each by the hash of its secret.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    caller_by_hash: Vec<(SecretHash, Arc<Caller>)>,
}

/// The SHA-256 of a secret.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

// === impl Caller ===

impl Caller {
    /// Whoever may reach the API of a daemon that has no tokens.
    #[must_use]
    pub fn operator() -> Self {
        Self { name: "operator".into(), roles: BTreeSet::new() }
    }

    /// The caller as one who acts, with the reason that it gives.
    ///
    /// # Errors
    /// When the reason is too long.
    pub fn acts(&self, reason: String) -> Result<Actor, Refused> {
        match reason.len() {
            bytes if bytes > MAX_REASON_BYTES => Err(Refused::Reason { bytes }),
            _ => Ok(Actor { name: self.name.clone(), reason }),
        }
    }
}

// === impl Tokens ===

impl Tokens {
    /// Takes one more. A caller may have several, so that one can be changed while the other still holds.
    ///
    /// # Errors
    /// When there are too many, a name cannot be, or two have one secret; the error is the field below the token, its
    /// value, and what it has to be.
    pub(crate) fn add(&mut self, caller: Caller, hash: SecretHash) -> Result<(), [String; 3]> {
        let invalid =
            |field: &str, value: &str, limit: String| Err([field, value, &limit].map(ToOwned::to_owned));
        let shape = "has to be 1 to 63 letters, digits, '-', '_' or '.'";
        let Caller { name, roles } = &caller;
        if self.caller_by_hash.len() >= MAX_TOKENS {
            return invalid("", name, format!("is one more than the limit of {MAX_TOKENS} tokens"));
        }
        if !is_name(name) {
            return invalid(".name", name, shape.into());
        }
        if *name == Actor::daemon().name {
            return invalid(".name", name, "is the daemon's own name in the audit log; take another".into());
        }
        if roles.len() > MAX_ROLES {
            let limit = format!("roles are over the limit of {MAX_ROLES}");
            return invalid(".roles", &roles.len().to_string(), limit);
        }
        if let Some(role) = roles.iter().find(|role| !is_name(role)) {
            return invalid(".roles", role, shape.into());
        }
        if let Some((_, other)) = self.caller_by_hash.iter().find(|(known, _)| known.is(hash)) {
            let limit = format!("has the secret of {:?}; give everybody one of their own", other.name);
            return invalid(".sha256", name, limit);
        }
        self.caller_by_hash.push((hash, Arc::new(caller)));
        Ok(())
    }

    /// Whether there is none: then everybody who reaches the API is the operator.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.caller_by_hash.is_empty()
    }

    /// Whose secret this is. How long it takes tells nothing of how near a wrong one came.
    #[must_use]
    pub fn caller(&self, secret: &[u8]) -> Option<Arc<Caller>> {
        let hash = SecretHash::of(secret);
        let found = self.caller_by_hash.iter().fold(None, |found, (known, caller)| match known.is(hash) {
            true => Some(caller),
            false => found,
        });
        found.cloned()
    }
}

// === impl SecretHash ===

impl SecretHash {
    /// The hash of a secret.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Some(Self(hash))
    }

    /// In hexadecimal.
    #[must_use]
    pub fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Compares all bytes, wherever the first difference is.
    fn is(self, other: Self) -> bool {
        black_box(self.0.iter().zip(other.0).fold(0, |differs, (one, two)| differs | (one ^ two))) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, roles: &[&str]) -> Caller {
        Caller { name: name.into(), roles: roles.iter().map(|role| (*role).to_owned()).collect() }
    }

    #[test]
    fn a_secret_finds_its_caller_and_no_other() {
        let mut tokens = Tokens::default();
        for name in ["ann", "bob"] {
            tokens.add(caller(name, &[name]), SecretHash::of(name.as_bytes())).unwrap();
        }
        tokens.add(caller("ann", &[]), SecretHash::of(b"ann's next")).unwrap();
        assert_eq!(*tokens.caller(b"bob").unwrap(), caller("bob", &["bob"]));
        assert_eq!(tokens.caller(b"ann's next").unwrap().name, "ann");
        assert!(tokens.caller(b"").is_none() && tokens.caller(b"bob ").is_none());
    }

    #[test]
    fn tokens_that_cannot_be_are_refused_with_the_field() {
        let mut tokens = Tokens::default();
        tokens.add(caller("ann", &[]), SecretHash::of(b"a")).unwrap();
        let mut add = |name: &str, roles: &[&str], secret: &[u8]| {
            tokens.add(caller(name, roles), SecretHash::of(secret)).unwrap_err()
        };
        assert_eq!(add("a b", &[], b"x")[0], ".name");
        assert!(add("graylane", &[], b"x")[2].contains("the daemon's own"));
        assert_eq!(add("bob", &["a b"], b"x")[0], ".roles");
        let twice = add("bob", &[], b"a");
        assert!(twice[0] == ".sha256" && twice[2].contains("\"ann\""), "{twice:?}");
        for number in 1..MAX_TOKENS {
            tokens.add(caller("bot", &[]), SecretHash::of(&number.to_le_bytes())).unwrap();
        }
        assert!(tokens.add(caller("bot", &[]), SecretHash::of(b"x")).unwrap_err()[2].contains("1000"));
    }

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = SecretHash::of(b"secret");
        assert!(SecretHash::parse(&hash.hex()).unwrap().is(hash));
        assert!(SecretHash::parse(&hash.hex().to_uppercase()).unwrap().is(hash));
        for wrong in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            assert!(SecretHash::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_reason_has_its_limit() {
        assert_eq!(Caller::operator().acts("x".repeat(MAX_REASON_BYTES)).unwrap().name, "operator");
        let refused = Caller::operator().acts("x".repeat(MAX_REASON_BYTES + 1)).unwrap_err();
        assert_eq!(refused, Refused::Reason { bytes: MAX_REASON_BYTES + 1 });
    }
}
