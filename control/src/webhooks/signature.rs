//! How receivers know who speaks.
//!
//! Plain webhooks are signed as Standard Webhooks 1.0.0 asks for (`spec/standard-webhooks.md` in
//! `github.com/standard-webhooks/standard-webhooks`), DingTalk's and Feishu's robots as each of them wants it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::ops::RangeInclusive;
use thiserror::Error;

/// What a secret of Standard Webhooks starts with.
const PREFIX: &str = "whsec_";

/// Bytes of such a secret, as the specification says.
const KEY_BYTES: RangeInclusive<usize> = 24..=64;

/// Keys that are in use at the same time: the new and the old one while they are changed.
const MAX_KEYS: usize = 2;

/// Why a secret is none. It never says what the secret is.
#[derive(Debug, Error)]
pub enum SignatureError {
    /// The secret has another form.
    #[error(
        "the secret is not `{PREFIX}` and 24 to 64 bytes in base64; make one with: echo {PREFIX}$(head -c 32 /dev/urandom | base64)"
    )]
    Form,
    /// There are too many.
    #[error(
        "there are over {MAX_KEYS} secrets in the file; keep the new one and the one before it, a line each"
    )]
    TooMany,
    /// It is no key.
    #[error("the secret is no key of HMAC")]
    Key,
}

/// The keys of a plain webhook.
#[derive(Debug)]
pub(super) struct Keys(Vec<Vec<u8>>);

// === impl Keys ===

impl Keys {
    /// Reads the secrets of a file, a line each: with two, receivers may know either, so that they can be told the new one first.
    pub(super) fn parse(secrets: &str) -> Result<Self, SignatureError> {
        let keys = secrets.split_whitespace().map(key).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err(SignatureError::Form),
            1..=MAX_KEYS => Ok(Self(keys)),
            _ => Err(SignatureError::TooMany),
        }
    }

    /// The value of `webhook-signature`: one signature for each key.
    pub(super) fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> Result<String, SignatureError> {
        let content = [format!("{id}.{seconds}.").as_bytes(), body].concat();
        let signature = |key: &Vec<u8>| Ok(format!("v1,{}", hmac(key, &content)?));
        Ok(self.0.iter().map(signature).collect::<Result<Vec<_>, _>>()?.join(" "))
    }
}

fn key(secret: &str) -> Result<Vec<u8>, SignatureError> {
    let bytes = secret.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
    bytes.filter(|bytes| KEY_BYTES.contains(&bytes.len())).ok_or(SignatureError::Form)
}

/// The `sign` of a DingTalk robot: of the time in milliseconds and the secret, by the secret.
pub(super) fn dingtalk(secret: &str, milliseconds: i64) -> Result<String, SignatureError> {
    hmac(secret.as_bytes(), format!("{milliseconds}\n{secret}").as_bytes())
}

/// The `sign` of a Feishu robot: of nothing, by the time in seconds and the secret.
pub(super) fn feishu(secret: &str, seconds: i64) -> Result<String, SignatureError> {
    hmac(format!("{seconds}\n{secret}").as_bytes(), b"")
}

/// HMAC-SHA256 in base64.
fn hmac(key: &[u8], content: &[u8]) -> Result<String, SignatureError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| SignatureError::Key)?;
    mac.update(content);
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_signature_is_that_of_the_reference_libraries() {
        let sign = |secrets: &str| {
            let keys = Keys::parse(secrets).unwrap();
            keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}").unwrap()
        };
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(SECRET), signature);
        let both = sign(&format!("whsec_{}\n{SECRET}\n", STANDARD.encode([7; 32])));
        assert_eq!(both.split(' ').collect::<Vec<_>>()[1], signature);
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_not_shown() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        assert!(Keys::parse(&of(24)).is_ok() && Keys::parse(&of(64)).is_ok());
        let plain = &SECRET[PREFIX.len()..];
        for wrong in ["", plain, "whsec_", "whsec_!!!!", &of(23), &of(65)] {
            let refused = Keys::parse(wrong).unwrap_err().to_string();
            assert!(refused.contains("24 to 64 bytes") && !refused.contains(plain), "{wrong}: {refused}");
        }
        assert!(matches!(Keys::parse(&[SECRET; 3].join("\n")), Err(SignatureError::TooMany)));
    }

    /// Both were computed by the Python code in the robots' own manuals.
    #[test]
    fn robots_get_the_signatures_of_their_manuals() {
        assert_eq!(
            dingtalk("this is secret", 1_577_262_236_757).unwrap(),
            "hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM="
        );
        assert_eq!(
            feishu("this is secret", 1_577_262_236).unwrap(),
            "RAfCltg8rVdmpPK5kCz1M40hrj/YzGYnkc/3vXwYNts="
        );
    }
}
