//! The revision of the last commit, beside the file, so that a store that went back by a commit is found out.
//!
//! One bit of the file says which of two roots is the newer one, and no checksum covers it. The mark is written after each
//! commit and never synced: it may be behind the file after a power cut, but it is never ahead of what was on the disk.

use crate::{Rev, StoreError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The file inside the data directory.
const FILE: &str = "graylane.mark";

/// A mark of one store.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    path: PathBuf,
}

// === impl Mark ===

impl Mark {
    /// The mark in a directory; it is made when there is none.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        Ok(Self { file, path })
    }

    /// Checks that the store, whose file is `store`, has at least the revision that was noted down.
    pub(crate) fn check(&self, store: &Path, found: Rev) -> Result<(), StoreError> {
        let mut bytes = [0; LEN];
        let noted = self.file.read_exact_at(&mut bytes, 0).ok().and_then(|()| read(&bytes));
        match noted {
            Some(noted) if noted > found => Err(StoreError::Damaged {
                path: store.into(),
                what: format!(
                    "it is at revision {found}, but {noted} was acknowledged (if it is an older copy, put there on purpose, \
                     remove {})",
                    self.path.display()
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Notes a revision down that is on the disk.
    pub(crate) fn set(&self, revision: Rev) {
        let text = format!("{revision:020} {revision:020}\n");
        if let Err(error) = self.file.write_all_at(text.as_bytes(), 0) {
            // It only stays behind.
            tracing::debug!(%error, "the mark cannot be written");
        }
    }
}

/// Bytes of a mark: the number twice, so that one that is damaged itself says nothing.
const LEN: usize = 42;

fn read(bytes: &[u8]) -> Option<Rev> {
    let mut numbers = std::str::from_utf8(bytes).ok()?.split_ascii_whitespace().map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(one), Ok(two)) if one == two => Some(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_behind_its_mark_is_damaged_and_a_mark_that_cannot_be_read_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mark = Mark::open(dir.path()).unwrap();
        let store = Path::new("graylane.redb");
        assert!(mark.check(store, 0).is_ok());
        mark.set(7);
        let mark = Mark::open(dir.path()).unwrap();
        assert!(mark.check(store, 7).is_ok() && mark.check(store, 8).is_ok());
        let text = mark.check(store, 6).unwrap_err().to_string();
        assert!(text.contains("it is at revision 6, but 7 was acknowledged"), "{text}");
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        assert_eq!(bytes.len(), LEN);
        for at in 0..LEN - 1 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(dir.path().join(FILE), damaged).unwrap();
            assert!(mark.check(store, 6).is_ok(), "{at}");
        }
    }
}
