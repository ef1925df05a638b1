//! Calls of HTTP endpoints of others, over real sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod receiver;

use graylane::remote::{Call, CallLimits, Endpoint, Remote, RemoteError, parse_url};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use receiver::{Conduct, Receiver};
use std::path::Path;
use std::time::{Duration, Instant};
use ureq::http::Method;

const LIMITS: CallLimits =
    CallLimits { connect: Duration::from_secs(5), call: Duration::from_secs(5), answer_bytes: 1_000 };

fn endpoint(scheme: &str, address: &str, ca: Option<&Path>) -> Endpoint {
    let url = parse_url(&format!("{scheme}://{address}/base?key=s3cret")).unwrap();
    Endpoint { url, ca: ca.map(Into::into), token: None }
}

fn remote(receiver: &Receiver) -> Remote {
    Remote::new(endpoint("http", &receiver.address, None), LIMITS).unwrap()
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that an authority vouches for.
fn vouched_for(authority: &CertifiedIssuer<'static, KeyPair>) -> Receiver {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Receiver::with_tls(&certificate.pem(), &key.serialize_pem())
}

#[test]
fn a_call_carries_what_it_was_given_and_a_token_as_it_is_in_its_file_then() {
    let receiver = Receiver::plain();
    receiver.conduct(Conduct::Refuse(503, "retry-after: 7\r\n".into(), "busy".into()));
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let mut endpoint = endpoint("http", &receiver.address, None);
    endpoint.token = Some(token.clone());
    let remote = Remote::new(endpoint, LIMITS).unwrap();
    let headers = [("content-type", "text/plain".to_owned())];
    let call =
        Call { method: Method::POST, path: "/more", query: "a=1", headers: &headers, body: b"what happened" };
    for secret in ["first", "second"] {
        std::fs::write(&token, secret).unwrap();
        let answer = remote.call(&call).unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_slice()), (503, b"busy".as_slice()));
        assert_eq!(answer.headers()["retry-after"], "7");
        let heard = receiver.heard().pop().unwrap();
        assert_eq!((heard.method.as_str(), heard.target.as_str()), ("POST", "/base/more?key=s3cret&a=1"));
        assert_eq!(heard.headers["authorization"], format!("Bearer {secret}"));
        assert_eq!((heard.headers["content-type"].as_str(), heard.body), ("text/plain", call.body.to_vec()));
    }
    std::fs::remove_file(&token).unwrap();
    assert!(matches!(remote.call(&call), Err(RemoteError::Token(_))));
}

#[test]
fn a_redirect_is_an_answer_and_is_not_followed() {
    let (receiver, elsewhere) = (Receiver::plain(), Receiver::plain());
    let location = format!("location: http://{}/\r\n", elsewhere.address);
    receiver.conduct(Conduct::Refuse(307, location, String::new()));
    assert_eq!(remote(&receiver).call(&Call::default()).unwrap().status(), 307);
    assert!(elsewhere.heard().is_empty());
}

#[test]
fn a_call_has_limits_of_time_and_of_bytes_and_errors_show_no_secret() {
    let receiver = Receiver::plain();
    let limits = CallLimits { call: Duration::from_millis(300), ..LIMITS };
    let remote = Remote::new(endpoint("http", &receiver.address, None), limits).unwrap();
    receiver.conduct(Conduct::Take("x".repeat(1_000)));
    assert_eq!(remote.call(&Call::default()).unwrap().body().len(), 1_000);
    let error = |conduct| {
        receiver.conduct(conduct);
        let error = remote.call(&Call::default()).unwrap_err();
        assert!(!format!("{error} {error:?} {remote:?}").contains("s3cret"), "{error:?} of {remote:?}");
        error.to_string()
    };
    let host = format!("http://{}", receiver.address);
    assert_eq!(error(Conduct::Take("x".repeat(1_001))), format!("{host} answered with over 1000 bytes"));
    let asked = Instant::now();
    assert!(error(Conduct::Hang(Duration::from_secs(10))).starts_with(&format!("no answer from {host}: ")));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(error(Conduct::Close).starts_with("no answer"));
}

#[test]
fn only_whom_the_authority_of_that_moment_vouches_for_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let (old, new) = (authority(), authority());
    let receiver = vouched_for(&new);
    let address = receiver.address.replace("127.0.0.1", "localhost");
    std::fs::write(&ca, old.pem()).unwrap();
    let remote = Remote::new(endpoint("https", &address, Some(&ca)), LIMITS).unwrap();
    let refused = remote.call(&Call::default()).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    std::fs::write(&ca, new.pem() + &old.pem()).unwrap();
    assert_eq!(remote.call(&Call::default()).unwrap().status(), 200);
    assert_eq!(receiver.heard().len(), 1);

    let elsewhere = Remote::new(endpoint("https", &receiver.address, Some(&ca)), LIMITS).unwrap();
    assert!(elsewhere.call(&Call::default()).unwrap_err().to_string().contains("certificate"));
}

#[test]
fn a_file_that_has_no_authorities_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let refused =
        || Remote::new(endpoint("https", "localhost:1", Some(&ca)), LIMITS).unwrap_err().to_string();
    assert!(refused().starts_with("cannot read the authorities in "));
    let unreadable = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for wrong in ["", "no certificate", unreadable] {
        std::fs::write(&ca, wrong).unwrap();
        assert!(refused().contains("give certificates in PEM"), "{wrong}");
    }
}
