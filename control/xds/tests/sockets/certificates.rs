//! Certificates as files of a server, and the connections of proxies that have some.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use graylane_xds::{Grants, SpiffePattern, Tls, TlsFiles};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::authority::{Authority, Pair};
use crate::stage::Stage;

/// The files of a server, which any test may replace.
pub struct Files {
    directory: TempDir,
}

// === impl Pair ===

impl Pair {
    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }
}

// === impl Files ===

impl Files {
    pub fn new(server: &Pair, clients: &Authority) -> Self {
        let files = Self { directory: TempDir::new().unwrap() };
        files.write("tls.crt", &server.certificate);
        files.write("tls.key", &server.key);
        files.write("ca.crt", &clients.pem);
        files
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Retail is for `spiffe://bank.example/retail/*`, and cards likewise; `both` may be served both.
    pub fn tls(&self) -> Tls {
        let patterns = |tenant: &str| {
            let patterns =
                [format!("spiffe://bank.example/{tenant}/*"), "spiffe://bank.example/both".to_owned()];
            patterns.iter().map(|pattern| SpiffePattern::parse(pattern).unwrap()).collect()
        };
        let grants = ["retail", "cards"].map(|tenant| (tenant.to_owned(), patterns(tenant)));
        let [certificate, key, client_ca] = ["tls.crt", "tls.key", "ca.crt"].map(|name| self.path(name));
        Tls::load(TlsFiles { certificate, key, client_ca }, Grants::new(grants.into())).unwrap()
    }
}

/// A connection to a server that an authority vouches for, by a proxy with a certificate or with none.
pub fn channel(stage: &Stage, servers: &Authority, proxy: Option<&Pair>) -> Channel {
    let tls =
        ClientTlsConfig::new().domain_name("localhost").ca_certificate(Certificate::from_pem(&servers.pem));
    let tls = match proxy {
        Some(proxy) => tls.identity(proxy.identity()),
        None => tls,
    };
    let address = stage.address().replace("http://", "https://");
    Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap().connect_lazy()
}

/// What tonic lets no client choose: the one version of TLS that a proxy speaks.
pub fn client_config(
    version: &'static SupportedProtocolVersion,
    servers: &Authority,
    proxy: &Pair,
) -> ClientConfig {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&servers.pem)).unwrap();
    let key = PrivateKeyDer::from_pem_slice(proxy.key.as_bytes()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(&proxy.certificate)], key)
        .unwrap()
}
