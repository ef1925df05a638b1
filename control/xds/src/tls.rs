//! TLS on both sides, from files that may be replaced at any time.
//!
//! tonic's own configuration of TLS is read once. Here each handshake takes what was read last. No session is resumed: every
//! handshake shows a certificate, which the authority of that moment signed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::time::Instant;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;

use crate::caller::Caller;
use crate::limits::{CERTIFICATES_LOOK, MAX_PEM_BYTES};
use crate::spiffe::{Grants, SpiffeError, SpiffeId};
use crate::telemetry::Telemetry;

/// What HTTP/2 is called in a handshake.
const ALPN: &[u8] = b"h2";

/// The files of the server's TLS, all of them PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and behind it those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities, one of which has to have signed the certificate of a client.
    pub client_ca: PathBuf,
}

/// TLS as it is now, and who may be served what.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    grants: Arc<Grants>,
    loaded: ArcSwap<Loaded>,
}

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is much longer than any of its kind.
    #[error("{} is over the limit of {MAX_PEM_BYTES} bytes; give a file with certificates alone", .0.display())]
    TooLong(PathBuf),
    /// A file has not what it should.
    #[error("{} has no {what} in PEM: {problem}", path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The key is of another certificate, or neither can be used.
    #[error("{} and {} do not fit: {problem}", files.certificate.display(), files.key.display())]
    Unfit {
        /// The files.
        files: Box<TlsFiles>,
        /// What is wrong.
        problem: rustls::Error,
    },
}

/// Why the certificate of a client says nothing, though its authority is ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("client showed no certificate")]
    None,
    #[error("client's certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("client's certificate has {0} URIs as its names, and a SPIFFE certificate has one")]
    Uris(usize),
    #[error("client's certificate names {uri:?}, which {problem}")]
    NotSpiffe { uri: String, problem: SpiffeError },
}

/// What was read of the files, byte for byte.
#[derive(Debug, PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

#[derive(Debug)]
struct Loaded {
    pem: Pem,
    config: Arc<ServerConfig>,
    /// When the server's certificate ends, in seconds since 1970.
    ends: i64,
}

// === impl Tls ===

impl Tls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read, has not what it should, or the key is of another certificate.
    pub fn load(files: TlsFiles, grants: Grants) -> Result<Self, TlsError> {
        let loaded = Loaded::build(Pem::read(&files)?, &files)?;
        Ok(Self { files, grants: Arc::new(grants), loaded: ArcSwap::from_pointee(loaded) })
    }

    /// What the next handshake uses.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.loaded.load().config.clone()
    }

    /// When the server's certificate ends, in seconds since 1970.
    pub(crate) fn ends(&self) -> i64 {
        self.loaded.load().ends
    }

    /// Who a chain names, the authority of which was checked.
    pub(crate) fn caller(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Caller, ClientError> {
        let leaf = chain.and_then(<[_]>::first).ok_or(ClientError::None)?;
        let certificate = parse(leaf).map_err(ClientError::Unreadable)?;
        let id = spiffe_id(&certificate)?;
        let left = certificate.validity().not_after.timestamp().saturating_sub(seconds_since_1970());
        let left = Duration::from_secs(u64::try_from(left).unwrap_or_default());
        Ok(Caller::new(id, Instant::now() + left, self.grants.clone()))
    }

    /// Looks at the files again and again, and never ends. Content is compared and not time: Kubernetes replaces a link to the
    /// directory with all of them.
    pub(crate) async fn follow(self: Arc<Self>, telemetry: Arc<Telemetry>) {
        let mut said = None;
        loop {
            tokio::time::sleep(CERTIFICATES_LOOK).await;
            let tls = self.clone();
            let Ok(looked) = tokio::task::spawn_blocking(move || tls.look()).await else { continue };
            match looked {
                Ok(false) => said = None,
                Ok(true) => {
                    said = None;
                    telemetry.certificate(self.ends());
                    telemetry.reloaded(true);
                    tracing::info!(ends = self.ends(), "certificates replaced; new handshakes use them");
                }
                Err(error) => {
                    let error = error.to_string();
                    if said.as_ref() != Some(&error) {
                        tracing::error!(%error, "certificates cannot be replaced; the ones before are used on");
                        telemetry.reloaded(false);
                        said = Some(error);
                    }
                }
            }
        }
    }

    /// Takes what is in the files now, if it is other than before. Blocks.
    fn look(&self) -> Result<bool, TlsError> {
        let pem = Pem::read(&self.files)?;
        if pem == self.loaded.load().pem {
            return Ok(false);
        }
        self.loaded.store(Arc::new(Loaded::build(pem, &self.files)?));
        Ok(true)
    }
}

// === impl Pem ===

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: read(&files.client_ca)?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut content = Vec::new();
    let mut read = || File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut content);
    read().map_err(|source| TlsError::Read { path: path.into(), source })?;
    match content.len() as u64 > MAX_PEM_BYTES {
        true => Err(TlsError::TooLong(path.into())),
        false => Ok(content),
    }
}

// === impl Loaded ===

impl Loaded {
    fn build(pem: Pem, files: &TlsFiles) -> Result<Self, TlsError> {
        let content = |path: &Path, what, problem: &dyn ToString| TlsError::Content {
            path: path.into(),
            what,
            problem: problem.to_string(),
        };
        let chain = certificates(&files.certificate, &pem.certificate)?;
        let leaf = chain.first().ok_or_else(|| content(&files.certificate, "certificate", &"it is empty"))?;
        let leaf = parse(leaf).map_err(|problem| content(&files.certificate, "certificate", &problem))?;
        let ends = leaf.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_slice(&pem.key)
            .map_err(|problem| content(&files.key, "private key", &problem))?;

        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.client_ca, &pem.client_ca)? {
            roots
                .add(authority)
                .map_err(|problem| content(&files.client_ca, "certificate of an authority", &problem))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|problem| content(&files.client_ca, "certificate of an authority", &problem))?;
        let unfit = |problem| TlsError::Unfit { files: Box::new(files.clone()), problem };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unfit)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key)
            .map_err(unfit)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { pem, config: Arc::new(config), ends })
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|problem| TlsError::Content {
        path: path.into(),
        what: "certificate",
        problem: problem.to_string(),
    })
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|problem| problem.to_string())?;
    Ok(certificate)
}

/// The only URI of a certificate.
fn spiffe_id(certificate: &X509Certificate<'_>) -> Result<SpiffeId, ClientError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|problem| ClientError::Unreadable(problem.to_string()))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let uris: Vec<&str> = names
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let [uri] = uris[..] else { return Err(ClientError::Uris(uris.len())) };
    SpiffeId::parse(uri).map_err(|problem| ClientError::NotSpiffe { uri: uri.to_owned(), problem })
}

fn seconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
