//! Authorities, and the certificates that they sign. The tests through a real Envoy have this file too.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

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

// === impl Authority ===

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Envoy takes a certificate for one that signed itself when its owner has the name of its authority.
        params.distinguished_name.push(DnType::CommonName, "authority");
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
