//! Who asks: everything below `/api/v1` but its description wants a caller.

use crate::api::problem::Problem;
use crate::api::request::discard;
use crate::caller::{Caller, Tokens};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// The caller whom [`authenticate`] let pass. A route that it does not stand before has none.
pub(crate) struct By(pub(crate) Caller);

/// Lets a request pass with its caller, or answers that it has none.
pub(crate) async fn authenticate(
    State(tokens): State<Arc<Tokens>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match caller(&tokens, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            Ok(next.run(request).await)
        }
        Err(detail) => {
            discard(request).await;
            Err(unauthorized(detail))
        }
    }
}

/// The caller whose token a request carries; the error says what it carries instead.
fn caller(tokens: &Tokens, headers: &HeaderMap) -> Result<Arc<Caller>, &'static str> {
    if tokens.is_empty() {
        return Ok(Arc::new(Caller::operator()));
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err("the request carries no token, or more than one");
    };
    let secret = value.as_bytes().split_at_checked("bearer ".len());
    let secret = secret.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    let secret = secret.ok_or("the request's authorization is no bearer token")?.1.trim_ascii();
    tokens.caller(secret).ok_or("this daemon does not know the token")
}

fn unauthorized(detail: &str) -> Problem {
    let cure = "send `authorization: Bearer SECRET`; the command line takes the secret from GRAYLANE_TOKEN or --token-file";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", format!("{detail}; {cure}"))
}

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Arc<Caller>>();
        caller.map(|caller| Self((**caller).clone())).ok_or_else(|| unauthorized("nobody asked who this is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::SecretHash;

    #[test]
    fn a_request_is_its_callers_when_it_carries_one_known_bearer_token() {
        let mut tokens = Tokens::default();
        tokens
            .add(Caller { name: "ann".into(), roles: ["risk".into()].into() }, SecretHash::of(b"s3"))
            .unwrap();
        let ask = |values: &[&str]| {
            let headers = values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect();
            caller(&tokens, &headers).map(|caller| caller.name.clone())
        };
        for right in ["Bearer s3", "bearer  s3 "] {
            assert_eq!(ask(&[right]).unwrap(), "ann");
        }
        for (wrong, why) in [
            (&[][..], "no token"),
            (&["Bearer s3", "Bearer s3"], "more than one"),
            (&["Basic czM="], "no bearer"),
            (&["Bearer"], "no bearer"),
            (&["Bearer s4"], "does not know"),
            (&["Bearer "], "does not know"),
        ] {
            assert!(ask(wrong).unwrap_err().contains(why), "{wrong:?}");
        }
        let anybody = caller(&Tokens::default(), &HeaderMap::new()).unwrap();
        assert_eq!(*anybody, Caller::operator());
    }
}
