//! TLS on both sides: who gets in, what each is served, and how certificates change while streams are open.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use graylane_xds::Publication;
use graylane_xds::limits::{CERTIFICATES_LOOK, EXPIRED_LEAD, HANDSHAKE_TIMEOUT, Limits, PREFACE_TIMEOUT};
use rcgen::SanType;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::authority::{AN_HOUR, Authority, Pair};
use crate::certificates::{Files, channel, client_config};
use crate::clients::{Answer, Proxy, SotwClient};
use crate::hostile::HTTP2_BEGIN;
use crate::stage::{RESOURCE, Stage, soon};
use crate::{report, report_stream_on};

const RETAIL: &str = "spiffe://bank.example/retail/loan";
const CARDS: &str = "spiffe://bank.example/cards/limits";
const BOTH: &str = "spiffe://bank.example/both";
const CARDS_RESOURCE: &str = "graylane.v1.cards";

const REPLACED: &str = "xds_certificate_reloads_total{result=\"replaced\"}";
const FAILED: &str = "xds_certificate_reloads_total{result=\"failed\"}";

/// A server with two tenants, and all that is needed to get in.
struct Secured {
    stage: Stage,
    files: Files,
    authority: Authority,
}

// === impl Secured ===

impl Secured {
    async fn start() -> Self {
        let authority = Authority::new();
        let files = Files::new(&authority.server(), &authority);
        let stage = Stage::start_with(Some(files.tls()), Limits::DEFAULT).await;
        let secured = Self { stage, files, authority };
        secured.publish(1);
        secured
    }

    fn publish(&self, revision: u64) {
        let publication = |tenant: &str| Publication {
            tenant: tenant.to_owned(),
            revision,
            rules: Bytes::from(format!("rules {revision}")),
            content_hash: revision,
            is_firm: false,
        };
        let publications = ["retail", "cards"].map(publication);
        self.stage.xds.publish(self.stage.xds.prepare(&publications).unwrap());
    }

    async fn ask(&self, pair: &Pair, node: &str, names: &[&str]) -> Result<SotwClient, tonic::Status> {
        SotwClient::ask(channel(&self.stage, &self.authority, Some(pair)), node, names).await
    }

    async fn proxy(&self, id: &str, node: &str, names: &[&str]) -> SotwClient {
        self.ask(&self.authority.proxy(id), node, names).await.unwrap()
    }

    fn address(&self) -> String {
        self.stage.address().replace("http://", "")
    }

    /// A handshake of a proxy that has no other version of TLS, and offers these protocols.
    async fn handshake(
        &self,
        version: &'static SupportedProtocolVersion,
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut config = client_config(version, &self.authority, &self.authority.proxy(RETAIL));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address()).await?;
        soon(TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream)).await
    }
}

/// A connection that goes on where a handshake was.
async fn channel_through(mut secured: TlsStream<TcpStream>) -> Channel {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await?;
        copy_bidirectional(&mut client, &mut secured).await
    });
    Endpoint::from_shared(address).unwrap().connect_lazy()
}

/// Waits until the server closes a connection, however it does.
async fn closed(mut connection: impl AsyncRead + Unpin) -> Instant {
    let _ = soon(connection.read_to_end(&mut Vec::new())).await;
    Instant::now()
}

/// Takes a resource and says so.
async fn take(proxy: &mut SotwClient, revision: u64) {
    let message = proxy.next().await;
    assert_eq!(message.revision(), revision);
    proxy.answer(&message, Answer::Ack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_certificate_of_the_authority_gets_no_stream_and_the_others_go_on() {
    let secured = Secured::start().await;
    let mut good = secured.proxy(RETAIL, "good", &[RESOURCE]).await;
    take(&mut good, 1).await;

    let nobody = channel(&secured.stage, &secured.authority, None);
    assert!(SotwClient::ask(nobody, "nobody", &[RESOURCE]).await.is_err(), "no certificate");
    let stranger = Authority::new().proxy(RETAIL);
    assert!(secured.ask(&stranger, "stranger", &[RESOURCE]).await.is_err(), "another authority");
    let dns = secured.authority.sign(&[SanType::DnsName("loan.bank.example".try_into().unwrap())], AN_HOUR);
    assert!(secured.ask(&dns, "dns", &[RESOURCE]).await.is_err(), "no SPIFFE id");
    let ids = [RETAIL, CARDS].map(|id| SanType::URI(id.try_into().unwrap()));
    let two = secured.authority.sign(&ids, AN_HOUR);
    assert!(secured.ask(&two, "two", &[RESOURCE]).await.is_err(), "two SPIFFE ids");
    assert!(SotwClient::ask(secured.stage.channel(), "plain", &[RESOURCE]).await.is_err(), "no TLS");

    // It counts what it has closed, so a client may be faster.
    secured.stage.until_figure("xds_refused_connections_total{reason=\"no-identity\"}", 2.0).await;
    secured.publish(2);
    take(&mut good, 2).await;
    let nodes = secured.stage.xds.proxies();
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    assert_eq!(nodes[0].identity.as_ref().map(|id| id.as_str()), Some(RETAIL));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_another_tenant_is_never_answered_and_harms_no_other_name() {
    let secured = Secured::start().await;
    let mut foreign = secured.proxy(CARDS, "foreign", &[RESOURCE]).await;
    let mut mixed = secured.proxy(RETAIL, "mixed", &[CARDS_RESOURCE, RESOURCE]).await;
    let mut both = secured.proxy(BOTH, "both", &[CARDS_RESOURCE, RESOURCE]).await;
    for revision in [1, 2] {
        take(&mut mixed, revision).await;
        for _ in 0..2 {
            // The version of several names says no revision.
            let message = both.next().await;
            both.answer(&message, Answer::Ack).await;
        }
        if revision == 1 {
            secured.publish(2);
        }
    }
    for (proxy, who) in [(&mut foreign, "foreign"), (&mut mixed, "mixed")] {
        let more = tokio::time::timeout(Duration::from_millis(300), proxy.next()).await;
        assert!(more.is_err(), "{who} got rules of another tenant");
    }
    let listed = secured.stage.xds.proxies().into_iter();
    let listed: Vec<_> =
        listed.map(|proxy| format!("{} {} {:?}", proxy.node, proxy.tenant, proxy.acknowledged)).collect();
    assert_eq!(listed, ["both cards Some(2)", "both retail Some(2)", "mixed retail Some(2)"]);
    secured.stage.check_figures(&[("xds_denied_names_total", 2.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_a_proxy_of_another_identity() {
    let secured = Secured::start().await;
    let mut proxy = secured.proxy(RETAIL, "envoy-1", &[RESOURCE]).await;
    take(&mut proxy, 1).await;
    secured.stage.until(|status| status.acknowledged == Some(1)).await;

    let forger = secured.authority.proxy(CARDS);
    let as_forger = channel(&secured.stage, &secured.authority, Some(&forger));
    let (reports, _served) = report_stream_on(as_forger);
    reports.send(report("envoy-1", &[("graylane_revision", 1.0)])).await.unwrap();
    // Also one who may be served the same tenant.
    let mut other = secured.proxy(BOTH, "envoy-1", &[RESOURCE]).await;
    let status = other.status().await;
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    assert!(status.message().contains("envoy-1"), "{status}");
    let status = secured.stage.until(|status| status.connected).await;
    assert_eq!((status.applied, status.identity.unwrap().as_str()), (None, RETAIL));

    let own = secured.authority.proxy(RETAIL);
    let (reports, _served) = report_stream_on(channel(&secured.stage, &secured.authority, Some(&own)));
    reports.send(report("envoy-1", &[("graylane_revision", 1.0)])).await.unwrap();
    secured.stage.until(|status| status.applied == Some(1)).await;
    // When it is gone, its name is free, and what it did says nothing of the next one.
    drop(proxy);
    secured.stage.until(|status| !status.connected).await;
    let _next = secured.proxy(BOTH, "envoy-1", &[RESOURCE]).await;
    let status = secured.stage.until(|status| status.connected).await;
    assert_eq!((status.acknowledged, status.applied), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_taken_for_the_tenants_of_the_certificate_alone() {
    let secured = Secured::start().await;
    let mut proxy = secured.proxy(RETAIL, "envoy-1", &[RESOURCE, CARDS_RESOURCE]).await;
    take(&mut proxy, 1).await;
    // Its own tenant's, though it asked for both; and nothing from one who only says that it is this proxy, with rights or without.
    for id in [CARDS, BOTH, RETAIL] {
        let pair = secured.authority.proxy(id);
        let (reports, served) = report_stream_on(channel(&secured.stage, &secured.authority, Some(&pair)));
        reports.send(report("envoy-1", &[])).await.unwrap();
        drop(reports);
        soon(served).await.unwrap().unwrap();
    }
    assert_eq!(secured.stage.heard(), [("envoy-1".to_owned(), vec!["retail".to_owned()])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_while_a_stream_is_open() {
    let secured = Secured::start().await;
    let mut proxy = secured.proxy(RETAIL, "old", &[RESOURCE]).await;
    take(&mut proxy, 1).await;

    // Another authority for both sides, and a pair that it signed.
    let next = Authority::new();
    let server = next.server();
    secured.files.write("tls.crt", &server.certificate);
    secured.files.write("tls.key", &server.key);
    secured.files.write("ca.crt", &next.pem);
    secured.stage.until_figure(REPLACED, 1.0).await;

    let newcomer = channel(&secured.stage, &next, Some(&next.proxy(RETAIL)));
    let mut newcomer = SotwClient::ask(newcomer, "new", &[RESOURCE]).await.unwrap();
    take(&mut newcomer, 1).await;
    assert!(secured.ask(&secured.authority.proxy(RETAIL), "late", &[RESOURCE]).await.is_err());
    let mixed = channel(&secured.stage, &next, Some(&secured.authority.proxy(RETAIL)));
    assert!(SotwClient::ask(mixed, "late", &[RESOURCE]).await.is_err(), "the old authority still counts");
    secured.publish(2);
    take(&mut proxy, 2).await;
    take(&mut newcomer, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_does_not_fit_leaves_the_old_one_and_is_told_once() {
    let secured = Secured::start().await;
    let server = secured.authority.server();
    secured.files.write("tls.crt", &server.certificate);
    secured.stage.until_figure(FAILED, 1.0).await;
    let mut proxy = secured.proxy(RETAIL, "meanwhile", &[RESOURCE]).await;
    take(&mut proxy, 1).await;
    // It is looked at again in the meantime, and nothing more is told.
    tokio::time::sleep(CERTIFICATES_LOOK + Duration::from_secs(1)).await;
    secured.stage.check_figures(&[(FAILED, 1.0)]);
    secured.files.write("tls.key", &server.key);
    secured.stage.until_figure(REPLACED, 1.0).await;
    let mut proxy = secured.proxy(RETAIL, "after", &[RESOURCE]).await;
    take(&mut proxy, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_certificate_and_so_does_the_connection() {
    let secured = Secured::start().await;
    let life = Duration::from_secs(4);
    let ends = Instant::now() + life;
    let short = secured.authority.proxy_for(RETAIL, life);
    let connection = channel(&secured.stage, &secured.authority, Some(&short));
    let mut proxy = SotwClient::ask(connection.clone(), "short", &[RESOURCE]).await.unwrap();
    let mut other = secured.proxy(RETAIL, "other", &[RESOURCE]).await;
    take(&mut proxy, 1).await;
    take(&mut other, 1).await;

    let status = proxy.status().await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    // A certificate says whole seconds.
    assert!(Instant::now() + Duration::from_millis(1100) > ends && Instant::now() < ends + EXPIRED_LEAD);
    let again = match SotwClient::ask(connection.clone(), "short", &[RESOURCE]).await {
        Ok(mut again) => again.status().await,
        Err(status) => status,
    };
    assert_eq!(again.code(), Code::Unauthenticated, "on the same connection: {again}");
    tokio::time::sleep(EXPIRED_LEAD + Duration::from_millis(500)).await;
    let closed = SotwClient::ask(connection, "short", &[RESOURCE]).await.map(drop).unwrap_err();
    assert_ne!(closed.code(), Code::Unauthenticated, "the connection is still open: {closed}");
    secured.stage.check_figures(&[("xds_refused_streams_total{reason=\"expired\"}", 2.0)]);
    secured.publish(2);
    take(&mut other, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_come_holds_up_nobody_and_is_closed() {
    let secured = Secured::start().await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(secured.address()).await.unwrap());
    }
    let began = Instant::now();
    let mut proxy = secured.proxy(RETAIL, "quick", &[RESOURCE]).await;
    take(&mut proxy, 1).await;
    assert!(began.elapsed() < HANDSHAKE_TIMEOUT / 2, "it waited {:?}", began.elapsed());
    for silent in silent {
        soon(silent.readable()).await.unwrap();
        assert_eq!(silent.try_read(&mut [0; 64]).unwrap(), 0, "it is closed");
    }
    secured.stage.until_figure("xds_refused_connections_total{reason=\"slow-handshake\"}", 50.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_no_newer_tls_than_1_2_is_served_as_one_with_1_3() {
    let secured = Secured::start().await;
    for (version, node) in [(&TLS12, "old"), (&TLS13, "new")] {
        let stream = secured.handshake(version, &["h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let mut proxy = SotwClient::ask(channel_through(stream).await, node, &[RESOURCE]).await.unwrap();
        take(&mut proxy, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_offers_protocols_and_not_http_2_is_refused_in_the_handshake() {
    let secured = Secured::start().await;
    for version in [&TLS12, &TLS13] {
        let refusal = secured.handshake(version, &["http/1.1", "h3"]).await.unwrap_err();
        assert!(refusal.to_string().contains("NoApplicationProtocol"), "{refusal}");
        let stream = secured.handshake(version, &["http/1.1", "h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    }
    secured.stage.until_figure("xds_refused_connections_total{reason=\"handshake\"}", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_begin_is_closed_and_one_that_begins_stays() {
    let secured = Secured::start().await;
    let plain = Stage::start().await;
    let connect = || TcpStream::connect(plain.address().trim_start_matches("http://"));
    let began = Instant::now();
    let (silent, mut half, mut whole) =
        (connect().await.unwrap(), connect().await.unwrap(), connect().await.unwrap());
    half.write_all(&HTTP2_BEGIN[..12]).await.unwrap();
    whole.write_all(HTTP2_BEGIN).await.unwrap();
    let silent_behind_tls = secured.handshake(&TLS13, &["h2"]).await.unwrap();

    let late = PREFACE_TIMEOUT + Duration::from_secs(3);
    let stays = async { tokio::time::timeout(late, closed(whole)).await.is_err() };
    let (silent, half, silent_behind_tls, stays) =
        tokio::join!(closed(silent), closed(half), closed(silent_behind_tls), stays);
    for (closed, who) in [(silent, "silent"), (half, "half"), (silent_behind_tls, "behind TLS")] {
        let after = closed - began;
        assert!((PREFACE_TIMEOUT..late).contains(&after), "{who} is closed after {after:?}");
    }
    assert!(stays, "one that began is closed");
}
