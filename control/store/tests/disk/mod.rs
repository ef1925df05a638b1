//! A disk that remembers everything that was done to it, and fails on purpose.

#![allow(dead_code, reason = "each test file uses its part")]

use fastrand::Rng;
use redb::StorageBackend;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};

/// Bytes that a power cut leaves whole or does not touch.
const SECTOR: usize = 512;

/// The number by which Unix calls an input or output error.
const EIO: i32 = 5;

/// Something that was done to the disk.
#[derive(Clone, Debug)]
pub enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

/// What is there after a power cut of what was done since the last sync.
#[derive(Clone, Copy, Debug)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Each sector by itself, as this seed says.
    Torn(u64),
}

/// How the disk fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// So many more operations, then one that fails, and then it works again.
    Fails { after: usize },
    /// Of the operations that make durable, so many more; then one fails, and then it works again.
    SyncFails { after: usize },
    /// So many more bytes of the file, then no room.
    Full { len: usize },
}

/// A handle; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What was there at first.
    origin: Vec<u8>,
    now: Vec<u8>,
    ops: Vec<Op>,
    fault: Fault,
}

// === impl Disk ===

impl Disk {
    pub fn new(bytes: Vec<u8>) -> Self {
        let state = State { origin: bytes.clone(), now: bytes, ops: Vec::new(), fault: Fault::None };
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().now.clone()
    }

    /// How much was done to it so far.
    pub fn ops(&self) -> usize {
        self.0.lock().unwrap().ops.len()
    }

    pub fn set_fault(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    /// Another disk: this one, if the power had gone after so many operations.
    pub fn cut_after(&self, ops: usize, unsynced: Unsynced) -> Self {
        let state = self.0.lock().unwrap();
        let ops = &state.ops[..ops];
        let synced = ops.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |at| at + 1);
        let mut image = state.origin.clone();
        ops[..synced].iter().for_each(|op| op.apply(&mut image, &mut |_| true));
        let mut rng = Rng::with_seed(if let Unsynced::Torn(seed) = unsynced { seed } else { 0 });
        let mut keep = |_| match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Torn(_) => rng.bool(),
        };
        ops[synced..].iter().for_each(|op| op.apply(&mut image, &mut keep));
        Self::new(image)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let state = self.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let found = state.now.get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.0.lock().unwrap().do_it(Op::SetLen(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.0.lock().unwrap().do_it(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.0.lock().unwrap().do_it(Op::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}

// === impl State ===

impl State {
    fn do_it(&mut self, op: Op) -> Result<(), Error> {
        match &mut self.fault {
            Fault::Fails { after: 0 } => return self.fail(),
            Fault::SyncFails { after: 0 } if matches!(op, Op::Sync) => return self.fail(),
            Fault::Fails { after } => *after -= 1,
            Fault::SyncFails { after } if matches!(op, Op::Sync) => *after -= 1,
            Fault::Full { len } if matches!(op, Op::SetLen(wanted) if wanted > *len) => {
                return Err(Error::from(ErrorKind::StorageFull));
            }
            _ => {}
        }
        op.apply(&mut self.now, &mut |_| true);
        self.ops.push(op);
        Ok(())
    }

    fn fail(&mut self) -> Result<(), Error> {
        self.fault = Fault::None;
        Err(Error::from_raw_os_error(EIO))
    }
}

// === impl Op ===

impl Op {
    /// Does it to a disk, as far as `keep` says: asked for each sector of a write, and once for a length.
    fn apply(&self, image: &mut Vec<u8>, keep: &mut impl FnMut(usize) -> bool) {
        match self {
            Self::Sync => {}
            Self::SetLen(len) if keep(0) => image.resize(*len, 0),
            Self::SetLen(_) => {}
            Self::Write(offset, data) => {
                for (at, sector) in data.chunks(SECTOR).enumerate() {
                    let start = offset + at * SECTOR;
                    // What lies behind an end that was lost is lost, too.
                    let place = image.get_mut(start..start + sector.len()).filter(|_| keep(at));
                    if let Some(place) = place {
                        place.copy_from_slice(sector);
                    }
                }
            }
        }
    }
}
