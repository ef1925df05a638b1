//! The floor: what the disk asks for the least that an action could write. It is measured between the actions, so that what
//! the machine does to them it does to it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::control::sheet::{Sheet, What};

const TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("floor");
const KEY: &str = "count";
/// Bytes of the file that is written to, over and over: it does not grow, so that only its data has to reach the disk.
const FILE_BYTES: u64 = 16 << 20;

/// A file and a database of its own, on the file system of the daemon.
pub(crate) struct Floor {
    file: File,
    bytes: Vec<u8>,
    at: u64,
    database: Database,
    count: u64,
}

// === impl Floor ===

impl Floor {
    /// A floor whose bare writes have so many bytes.
    pub(crate) fn new(folder: &Path, bytes: usize) -> Result<Self> {
        let file = File::create_new(folder.join("floor"))?;
        file.write_all_at(&vec![1; FILE_BYTES as usize], 0)?;
        file.sync_all()?;
        let database = Database::create(folder.join("floor.redb"))?;
        let mut floor = Self { file, bytes: vec![2; bytes], at: 0, database, count: 0 };
        // The first commit makes the table.
        floor.commit()?;
        Ok(floor)
    }

    /// Measures both once.
    pub(crate) fn measure(&mut self, sheet: &mut Sheet) -> Result<()> {
        let begun = Instant::now();
        self.write()?;
        sheet.push(What::FloorWrite, begun.elapsed());
        let begun = Instant::now();
        self.commit()?;
        sheet.push(What::FloorCommit, begun.elapsed());
        self.check()
    }

    fn write(&mut self) -> Result<()> {
        if self.at + self.bytes.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.bytes, self.at)?;
        self.at += self.bytes.len() as u64;
        Ok(self.file.sync_data()?)
    }

    fn commit(&mut self) -> Result<()> {
        self.count += 1;
        let mut txn = self.database.begin_write()?;
        txn.set_two_phase_commit(true);
        txn.open_table(TABLE)?.insert(KEY, self.count)?;
        Ok(txn.commit()?)
    }

    fn check(&self) -> Result<()> {
        let found = self.database.begin_read()?.open_table(TABLE)?.get(KEY)?.map(|found| found.value());
        ensure!(found == Some(self.count), "the floor holds {found:?}, not {}", self.count);
        Ok(())
    }
}
