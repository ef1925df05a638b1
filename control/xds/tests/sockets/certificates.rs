//! Authorities, and the certificates that they sign, as files.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use graylane_xds::{Grants, SpiffePattern, Tls, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::stage::Stage;

/// How long a certificate lives unless a test says otherwise.
pub const AN_HOUR: Duration = Duration::from_secs(3600);

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate with its key.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The files of a server, which any test may replace.
pub struct Files {
    directory: TempDir,
}

// === impl Authority ===

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for the server.
    pub fn server(&self) -> Pair {
        self.sign(&[SanType::DnsName("localhost".try_into().unwrap())], AN_HOUR)
    }

    /// A certificate for a proxy of this identity.
    pub fn proxy(&self, id: &str) -> Pair {
        self.proxy_for(id, AN_HOUR)
    }

    pub fn proxy_for(&self, id: &str, life: Duration) -> Pair {
        self.sign(&[SanType::URI(id.try_into().unwrap())], life)
    }

    pub fn sign(&self, names: &[SanType], life: Duration) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.not_before = (SystemTime::now() - AN_HOUR).into();
        params.not_after = (SystemTime::now() + life).into();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
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
