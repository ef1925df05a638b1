//! Room on the disk that is kept back, so that a rollback finds some when nothing else does.
//!
//! The file doubles when it grows. Behind its end as much is allocated as the next growth takes, and it grows for an ordinary
//! commit only when the room for the growth after that can be had, too. So whenever the disk is full, one more growth is
//! there, and only rollbacks may use it.

use redb::StorageBackend;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most that the file grows at once, and what that takes besides the content.
const MAX_GROWTH: u64 = (4 << 30) + (1 << 20);

/// The room of one file.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: File,
    room: Mutex<Room>,
}

#[derive(Debug)]
struct Room {
    /// Up to which byte of the file the disk has given room.
    held: u64,
    /// Up to which byte an ordinary commit wanted room that was not there.
    refused: Option<u64>,
    /// Whether what is kept back may be used.
    may_use: bool,
    /// Whether the file system gives no room in advance. Then a full disk is found out when it is written to.
    is_unsupported: bool,
}

// === impl Reserve ===

impl Reserve {
    /// The reserve of a file, of which nothing is kept back yet.
    pub(crate) fn new(file: File) -> Self {
        let room = Room { held: 0, refused: None, may_use: false, is_unsupported: false };
        Self { file, room: Mutex::new(room) }
    }

    /// Allows the next commit to use what is kept back, or forbids it.
    pub(crate) fn set_may_use(&self, may_use: bool) {
        self.room().may_use = may_use;
    }

    /// Makes sure that as much is kept back as there has to be, or gives how many bytes are missing.
    pub(crate) fn fill(&self) -> Result<(), u64> {
        let mut room = self.room();
        let len = self.file.metadata().map_or(0, |file| file.len());
        let wanted = goal(len).max(room.refused.unwrap_or(0));
        match self.hold(&mut room, wanted) {
            Ok(()) => {
                room.refused = None;
                Ok(())
            }
            Err(_) => Err(wanted.saturating_sub(room.held)),
        }
    }

    /// Makes the file of `backend`, which is this one, longer or shorter.
    pub(crate) fn set_len(&self, backend: &dyn StorageBackend, len: u64) -> io::Result<()> {
        let mut room = self.room();
        if len < backend.len()? {
            // This gives back what was held behind the end.
            backend.set_len(len)?;
            room.held = room.held.min(len);
        } else if room.may_use {
            self.hold(&mut room, len)?;
            backend.set_len(len)?;
        } else {
            let held = self.hold(&mut room, goal(len));
            room.refused = held.is_err().then_some(goal(len));
            held?;
            return backend.set_len(len);
        }
        // As far as it goes: an ordinary commit looks again.
        let _ = self.hold(&mut room, goal(len));
        Ok(())
    }

    /// Takes room on the disk up to a byte of the file, without making it longer.
    fn hold(&self, room: &mut Room, until: u64) -> io::Result<()> {
        if room.is_unsupported || room.held >= until {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, room.held, until - room.held) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                tracing::warn!("the file system keeps no room back, so a full disk may refuse rollbacks too");
                room.is_unsupported = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(()) => {
                room.held = until;
                Ok(())
            }
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to which byte a file of this length has to have room: it doubles, up to a limit.
fn goal(len: u64) -> u64 {
    len + len.min(MAX_GROWTH)
}
