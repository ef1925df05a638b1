//! What comes with a request that changes something: who asks, why, on what terms, and a body.

use crate::api::caller::By;
use crate::api::problem::Problem;
use crate::api::request::{BODY_TIMEOUT, Carried, IfMatch, bad_field, read_in};
use crate::caller::Caller;
use crate::daemon::{ActionError, Done, Once, Terms};
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use graylane_order::Actor;
use sha2::{Digest as _, Sha256};

/// Why, for an action whose body has no room for it.
const REASON: HeaderName = HeaderName::from_static("graylane-reason");

/// By which a request is known that is sent again.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Tells that the answer is to a request that came before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Bytes of an idempotency key. A UUID has 36.
const MAX_KEY_BYTES: usize = 255;

/// A request that changes something.
pub(crate) struct Action<T> {
    /// Who asks.
    pub(crate) caller: Caller,
    /// What has to hold.
    pub(crate) terms: Terms,
    /// What the body says.
    pub(crate) body: T,
    reason: String,
}

// === impl Action ===

impl<T> Action<T> {
    /// The same with what `read` makes of the body.
    pub(crate) fn map<U>(self, read: impl FnOnce(T) -> U) -> Action<U> {
        let Self { caller, reason, terms, body } = self;
        Action { caller, reason, terms, body: read(body) }
    }

    /// The same, of what has no versions.
    pub(crate) fn unversioned(self) -> Result<Self, Problem> {
        match self.terms.if_match {
            Some(_) => Err(bad_field("If-Match", "this has no versions; leave the header out")),
            None => Ok(self),
        }
    }

    /// Who acts and for the reason in the header, on what terms, and the body.
    pub(crate) fn split(self) -> Result<(Actor, Terms, T), Problem> {
        self.split_with(|_| String::new())
    }

    /// The same; the reason that `body` says goes before the one in the header.
    pub(crate) fn split_with(
        mut self,
        in_body: impl FnOnce(&mut T) -> String,
    ) -> Result<(Actor, Terms, T), Problem> {
        let reason = Some(in_body(&mut self.body)).filter(|reason| !reason.is_empty()).unwrap_or(self.reason);
        let actor = self.caller.acts(reason).map_err(ActionError::from)?;
        Ok((actor, self.terms, self.body))
    }
}

impl<T: Carried, S: Send + Sync> FromRequest<S> for Action<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let By(caller) = By::from_request_parts(&mut parts, state).await?;
        let IfMatch(if_match) = IfMatch::from_request_parts(&mut parts, state).await?;
        let reason = reason(&parts.headers)?;
        let key = key(&parts.headers)?;
        T::check(&parts.headers)?;
        let mut text = match T::MAX_BYTES {
            0 => String::new(),
            limit => read_in(BODY_TIMEOUT, Request::new(body), limit).await?,
        };
        let mut once = None;
        if let Some(key) = key {
            // A list is long, and nothing else should wait while it is hashed.
            let hashed = tokio::task::spawn_blocking(move || (fingerprint(&parts, &text), text)).await;
            let (request, whole) =
                hashed.map_err(|_| bad_field("body", "it could not be hashed; send it again"))?;
            once = Some(Once::new(&caller.name, &key, &request));
            text = whole;
        }
        let terms = Terms { if_match, once, roles: caller.roles.clone() };
        Ok(Self { caller, terms, body: T::read(text)?, reason })
    }
}

/// The hash of all that makes one request another.
fn fingerprint(parts: &Parts, body: &str) -> [u8; 32] {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let header = |name: &str| parts.headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in
        [parts.method.as_str().as_bytes(), path.as_bytes(), header("if-match"), header(REASON.as_str())]
    {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(body);
    hash.finalize().into()
}

/// The answer to an action.
pub(crate) fn answer(done: Done<impl IntoResponse>) -> Response {
    let mut response = done.value.into_response();
    if done.is_repeat {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The reason in the header: UTF-8, of which any byte may be percent-encoded, and a percent sign has to be.
fn reason(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(REASON) else { return Ok(String::new()) };
    let decoded = decode(value.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
    let message = "it is no percent-encoded UTF-8; write a percent sign as %25, and other characters as they are or encoded";
    decoded.map(|reason| reason.trim().to_owned()).ok_or_else(|| bad_field(REASON.as_str(), message))
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = text.iter().copied();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push(match byte {
            b'%' => (digit()? << 4 | digit()?) as u8,
            byte => byte,
        });
    }
    Some(decoded)
}

/// The key of a request that may be sent again, in quotes or without.
fn key(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.as_bytes().trim_ascii();
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    let fits =
        (1..=MAX_KEY_BYTES).contains(&bare.len()) && bare.iter().all(|byte| (b' '..=b'~').contains(byte));
    if !fits || values.next().is_some() {
        let message = format!(
            "it has to occur once, with 1 to {MAX_KEY_BYTES} printable ASCII characters, like a UUID"
        );
        return Err(bad_field(KEY.as_str(), message));
    }
    Ok(Some(bare.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let value = |value: &&[u8]| (name.clone(), HeaderValue::from_bytes(value).unwrap());
        values.iter().map(value).collect()
    }

    #[test]
    fn a_reason_is_read_in_any_script_encoded_or_not() {
        let read = |value: &str| reason(&headers(&REASON, &[value.as_bytes()])).ok();
        assert_eq!(read("month end").unwrap(), "month end");
        assert_eq!(read("月末").unwrap(), "月末");
        assert_eq!(read("%E6%9C%88%e6%9c%ab%20100%25").unwrap(), "月末 100%");
        for wrong in ["100%", "50% done", "%", "%4", "%FF", "%zz"] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        assert_eq!(reason(&HeaderMap::new()).unwrap(), "");
    }

    #[test]
    fn a_key_is_read_with_or_without_its_quotes() {
        let read = |values: &[&[u8]]| key(&headers(&KEY, values)).ok();
        assert_eq!(read(&[b"8e03978e-40d5"]), read(&[b"\"8e03978e-40d5\""]));
        assert_eq!(read(&[]), Some(None));
        let long = [b'k'; MAX_KEY_BYTES + 1];
        for wrong in [&[b"".as_slice()][..], &[b"\"\""], &[&long], &[b"a", b"a"], &["键".as_bytes()]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert!(read(&[&long[1..]]).is_some());
    }
}
