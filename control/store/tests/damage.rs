//! What a store says when somebody or something changed its file.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod model;

use graylane_store::{
    FILE, RedbStore, Salvage, Store, StoreError, StoreReader as _, Transaction, each_entry,
};
use model::Model;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory in memory, where there is such a thing: files are synced here tens of thousands of times.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Bytes of the file's header: which bytes of it matter depends on all others.
const HEADER: usize = 320;

/// A small store with a little of everything, in its directory, and what it holds.
struct Small {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
    content: Model,
}

impl Small {
    /// One that its owner closed, or one that was left behind by an owner who was killed.
    fn new(is_closed: bool) -> Self {
        let dir = directory();
        let store = RedbStore::open(dir.path()).unwrap();
        for number in 1..=4_u64 {
            let transaction = Transaction {
                puts: vec![(format!("order/{number}"), vec![number as u8; 200])],
                appends: vec![(number, format!("record {number}").into_bytes())],
                blobs: vec![(format!("hash{number}"), vec![b'x'; 500])],
                ..Transaction::default()
            };
            store.commit(&transaction).unwrap();
        }
        let content = Model::of(&store);
        let (at, mark) = (dir.path().join(FILE), dir.path().join("graylane.mark"));
        if is_closed {
            drop(store);
            return Self { bytes: fs::read(at).unwrap(), content, dir };
        }
        // A copy is what a killed owner leaves: of this one the lock is still held.
        let copy = directory();
        fs::copy(mark, copy.path().join("graylane.mark")).unwrap();
        Self { bytes: fs::read(at).unwrap(), content, dir: copy }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(FILE)
    }

    /// Checks that a changed file opens with all that was committed, or is refused with what to do, and whether it opens.
    fn opens(&self, bytes: &[u8], what: &str) -> bool {
        fs::write(self.path(), bytes).unwrap();
        match RedbStore::open(self.dir.path()) {
            Ok(store) => {
                assert_eq!(Model::of(&store), self.content, "{what}");
                true
            }
            Err(error) => {
                refuses(&error, &self.path(), what);
                false
            }
        }
    }
}

fn refuses(error: &StoreError, path: &Path, what: &str) {
    let text = error.to_string();
    assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {text}");
    assert!(
        text.starts_with(&path.display().to_string()) && text.contains("graylane store import"),
        "{text}"
    );
}

/// F04.
#[test]
fn a_flipped_bit_anywhere_is_refused_or_makes_no_difference() {
    for is_closed in [true, false] {
        let small = Small::new(is_closed);
        let (mut bytes, mut refused) = (small.bytes.clone(), 0);
        for at in 0..bytes.len() {
            // Every bit of the header, and one of each byte of the pages; of those with nothing in them some, and of a file
            // that was left behind, whose pages are checked the same, too.
            let is_header = at < HEADER;
            let step = if bytes[at] == 0 {
                61
            } else if is_closed {
                1
            } else {
                13
            };
            if !is_header && at % step != 0 {
                continue;
            }
            for bit in if is_header { 0..8 } else { at % 8..at % 8 + 1 } {
                bytes[at] ^= 1 << bit;
                let what = format!("bit {bit} of byte {at}, closed: {is_closed}");
                refused += u32::from(!small.opens(&bytes, &what));
                bytes[at] ^= 1 << bit;
            }
        }
        assert!(refused > 1_000, "{refused}");
        assert!(small.opens(&bytes, "nothing"), "what nobody changed opens");
    }
}

/// F04.
#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    for is_closed in [true, false] {
        let small = Small::new(is_closed);
        let lengths = (0..small.bytes.len()).step_by(509).chain(small.bytes.len() - 3..small.bytes.len());
        for len in lengths {
            let is_open = small.opens(&small.bytes[..len], &format!("{len} bytes, closed: {is_closed}"));
            assert!(!is_open, "{len} bytes of {}", small.bytes.len());
        }
    }
}

/// F04.
#[test]
fn a_file_that_is_behind_what_was_acknowledged_is_refused_until_somebody_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let commit = |value: &str| {
        let puts = vec![("a".to_owned(), value.into())];
        RedbStore::open(dir.path()).unwrap().commit(&Transaction { puts, ..Transaction::default() }).unwrap()
    };
    commit("1");
    let old = fs::read(dir.path().join(FILE)).unwrap();
    commit("2");
    fs::write(dir.path().join(FILE), old).unwrap();
    let error = RedbStore::open(dir.path()).err().unwrap();
    refuses(&error, &dir.path().join(FILE), "an older copy");
    assert!(error.to_string().contains("it is at revision 1, but 2 was acknowledged"), "{error}");
    fs::remove_file(dir.path().join("graylane.mark")).unwrap();
    assert_eq!(RedbStore::open(dir.path()).unwrap().get("a").unwrap().unwrap().bytes, b"1");
}

/// F04.
#[test]
fn what_was_left_of_a_store_that_was_not_made_to_its_end_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("graylane.redb.new"), b"half a header").unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    assert_eq!(store.list("").unwrap().revision, 0);
    assert!(!dir.path().join("graylane.redb.new").exists());
    assert!(matches!(RedbStore::open(dir.path()), Err(StoreError::InUse { .. })));
}

/// F04. Reading what is left may end in a refusal or a panic, which is caught, but it ends, and it changes nothing.
#[test]
fn reading_what_is_left_of_a_damaged_store_ends() {
    let small = Small::new(false);
    let (mut bytes, mut read, mut differ) = (small.bytes.clone(), 0, 0);
    for at in (0..bytes.len()).filter(|at| small.bytes[*at] != 0).step_by(5) {
        bytes[at] ^= 1 << (at % 8);
        fs::write(small.path(), &bytes).unwrap();
        let dir = small.dir.path().to_path_buf();
        let found = std::panic::catch_unwind(move || {
            let mut entries = 0;
            let salvage = Salvage::open(&dir)?;
            each_entry(&salvage, |_| {
                entries += 1;
                Ok::<_, StoreError>(())
            })?;
            Ok::<_, StoreError>(entries)
        });
        assert_eq!(fs::read(small.path()).unwrap(), bytes);
        bytes[at] = small.bytes[at];
        match found {
            Ok(Ok(12)) => read += 1,
            _ => differ += 1,
        }
    }
    assert!(read > 1_000 && differ > 10, "{read} were read whole, {differ} not");
}
