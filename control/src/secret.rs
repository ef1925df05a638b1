//! Secrets in files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of a file with a secret.
const MAX_SECRET_BYTES: u64 = 4_096;

/// Why there is no secret in a file. It never says what is in there.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is longer than any secret.
    #[error("{} has over {MAX_SECRET_BYTES} bytes, which is no secret", .0.display())]
    TooLong(PathBuf),
    /// There is nothing in the file.
    #[error("{} is empty; put the secret there", .0.display())]
    Empty(PathBuf),
}

/// Reads a secret, whatever ends its line. It is read whenever it is used, so that it can be replaced at any time.
///
/// # Errors
/// When the file cannot be read, is empty, or longer than any secret.
pub(crate) fn read_secret(path: &Path) -> Result<String, SecretError> {
    let mut secret = String::new();
    let mut read = || File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_string(&mut secret);
    let count = read().map_err(|source| SecretError::Read { path: path.into(), source })?;
    match secret.trim() {
        _ if count as u64 > MAX_SECRET_BYTES => Err(SecretError::TooLong(path.into())),
        "" => Err(SecretError::Empty(path.into())),
        secret => Ok(secret.to_owned()),
    }
}
