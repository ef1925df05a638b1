//! `graylane token`, and where the command line has its own token from.

use crate::caller::SecretHash;
use crate::cli::output::print;
use crate::cli::{CliError, Output};
use crate::secret::read_secret;
use anyhow::Context as _;
use clap::Args;
use graylane_rules::is_name;
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use ureq::http::HeaderValue;

/// The environment variable that may hold the secret itself.
const SECRET_VARIABLE: &str = "GRAYLANE_TOKEN";

/// Random bytes of a secret that this program makes.
const SECRET_BYTES: usize = 32;

/// What a secret of this program starts with, so that scanners for leaked secrets find it.
const SECRET_PREFIX: &str = "glt_";

#[derive(Args)]
pub(crate) struct Token {
    /// The name of the person or robot, as the audit log will tell it
    name: String,
    /// A role that gates may ask for; may be given more than once
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The file with the secret; made with a new one, for its owner's eyes only, when it is missing
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
}

/// Where the secret is that proves who asks.
pub(crate) struct Credentials {
    file: Option<PathBuf>,
}

// === impl Token ===

impl Token {
    pub(crate) fn run(self, output: Output) -> Result<(), CliError> {
        let Self { name, roles, file } = self;
        if let Some(wrong) = [&name].into_iter().chain(&roles).find(|name| !is_name(name)) {
            let shape = "use 1 to 63 letters, digits, '-', '_' or '.'";
            return Err(CliError::refused(format!("{wrong:?} cannot name a caller or a role; {shape}")));
        }
        if !file.exists() {
            make_secret(&file).map_err(|error| CliError::refused(format!("{error:#}")))?;
        }
        let secret = read_secret(&file).map_err(|error| CliError::refused(error.to_string()))?;
        let sha256 = SecretHash::of(secret.as_bytes()).hex();
        match output {
            Output::Json => print(&json!({ "name": name, "roles": roles, "sha256": sha256 })),
            // In quotes, or YAML would take some names and hashes for numbers.
            Output::Text => print(&format_args!(
                "tokens:\n  - name: {name:?}\n    roles: {roles:?}\n    sha256: {sha256:?}"
            )),
        }
    }
}

// === impl Credentials ===

impl Credentials {
    /// The secret in this file, or else the one of the environment, if there is one.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// The value of `authorization`, if there is a secret. A file is read each time, because it may be changed while
    /// somebody watches an order for days.
    ///
    /// # Errors
    /// When there is a secret and it cannot be used; the text says why, and not what it is.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let secret = match (&self.file, std::env::var(SECRET_VARIABLE)) {
            (Some(file), _) => read_secret(file).map_err(|error| error.to_string())?,
            (None, Ok(secret)) if !secret.trim().is_empty() => secret.trim().to_owned(),
            (None, _) => return Ok(None),
        };
        let value = HeaderValue::try_from(format!("Bearer {secret}"));
        let mut value = value.map_err(|_| "the token has characters that no header may carry".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Makes a file with a new secret that only its owner may read.
fn make_secret(path: &Path) -> anyhow::Result<()> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).context("cannot get random bytes")?;
    let mut secret = SECRET_PREFIX.to_owned();
    for byte in bytes {
        write!(secret, "{byte:02x}")?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let write = |mut file: File| -> io::Result<()> {
        writeln!(file, "{secret}")?;
        file.sync_all()
    };
    file.and_then(write).with_context(|| format!("cannot write the token to {}", path.display()))
}
