//! Certificates of the daemon and of proxies, as files where `envoy-configs` and `control/examples` have them.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../../control/xds/tests/sockets/authority.rs"]
mod authority;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use graylane_wasm_tests::{EnvoyConfig, places};
use tempfile::TempDir;

pub use authority::Authority;
use authority::Pair;

/// The folder of certificates in the files that users copy.
const TLS_IN_FILES: &str = "/etc/graylane/tls";
/// The folder of the files that lead Envoy to certificates.
const SDS_IN_FILES: &str = "/etc/graylane/sds";

/// What lies below `/etc/graylane` on the host of a proxy or of the daemon: certificates, and how Envoy finds them.
pub struct Files {
    folder: TempDir,
}

// === impl Files ===

impl Files {
    pub fn new(own: &Pair, trusted: &Authority) -> Self {
        let files = Self { folder: TempDir::new().unwrap() };
        let [tls, sds] = [files.tls(), files.sds()];
        fs::create_dir(&tls).unwrap();
        fs::create_dir(&sds).unwrap();
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(format!("..data/{name}"), tls.join(name)).unwrap();
        }
        files.replace(own, trusted);
        for entry in fs::read_dir(places::envoy_configs().join("sds")).unwrap() {
            let path = entry.unwrap().path();
            let text = files.here(&fs::read_to_string(&path).unwrap());
            fs::write(sds.join(path.file_name().unwrap()), text).unwrap();
        }
        files
    }

    /// Replaces all of them at once, as Kubernetes does: a link to their folder is moved over the one before.
    pub fn replace(&self, own: &Pair, trusted: &Authority) {
        let version = TempDir::with_prefix_in("..", self.tls()).unwrap().keep();
        fs::write(version.join("tls.crt"), &own.certificate).unwrap();
        fs::write(version.join("tls.key"), &own.key).unwrap();
        fs::write(version.join("ca.crt"), &trusted.pem).unwrap();
        let [next, data] = ["..next", "..data"].map(|name| self.tls().join(name));
        symlink(version.file_name().unwrap(), &next).unwrap();
        fs::rename(next, data).unwrap();
    }

    /// A text of a configuration with these files in it.
    pub fn here(&self, text: &str) -> String {
        let text = text.replace(TLS_IN_FILES, self.tls().to_str().unwrap());
        text.replace(SDS_IN_FILES, self.sds().to_str().unwrap())
    }

    /// An Envoy with these files.
    pub fn lead(&self, config: EnvoyConfig) -> EnvoyConfig {
        config.folder(TLS_IN_FILES, self.tls()).folder(SDS_IN_FILES, self.sds())
    }

    fn tls(&self) -> PathBuf {
        self.folder.path().join("tls")
    }

    fn sds(&self) -> PathBuf {
        self.folder.path().join("sds")
    }
}
