//! A disk that can lose power, fail and fill up.
//!
//! Writes are certain only once they were synced. At a power cut each 512-byte sector that was written since is there or
//! not, as the seed says; which ones does not depend on the order in which the store wrote them.

use fastrand::Rng;
use redb::StorageBackend;
use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};

/// Bytes of a page, the unit in which the disk keeps its content. Pages are shared between the states of a disk.
const PAGE: usize = 4_096;

/// Bytes that a power cut leaves whole or does not touch.
const SECTOR: usize = 512;

type Page = Arc<[u8; PAGE]>;

/// What is going to happen to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes during the sync that comes after so many others.
    PowerCut { after_syncs: u32 },
    /// That sync fails once; the disk forgets what it could not write, as some systems do, and goes on.
    SyncFails { after_syncs: u32 },
    /// No new page can be written from now on, until there is room again.
    Full,
}

/// A handle; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What is there after a power cut, whatever happens.
    durable: Image,
    /// What is read.
    current: Image,
    /// Pages that the next sync makes durable.
    dirty: BTreeSet<usize>,
    rng: Rng,
    fault: Option<Fault>,
    has_power: bool,
}

#[derive(Clone, Debug, Default)]
struct Image {
    /// None where nothing was ever written: zeros that take no room.
    pages: Vec<Option<Page>>,
    len: u64,
}

// === impl Disk ===

impl Disk {
    /// A new, empty disk.
    pub fn new(seed: u64) -> Self {
        Self::with(Image::default(), seed)
    }

    fn with(image: Image, seed: u64) -> Self {
        let (durable, current) = (image.clone(), image);
        let rng = Rng::with_seed(seed);
        let state = State { durable, current, dirty: BTreeSet::new(), rng, fault: None, has_power: true };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Another disk with what is certain on this one.
    pub fn fork(&self) -> Self {
        self.with_state(|state| Self::with(state.durable.clone(), 0))
    }

    /// Arms a fault, or disarms the one that is.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.with_state(|state| state.fault = fault);
    }

    /// Whether the power is still there.
    pub fn has_power(&self) -> bool {
        self.with_state(|state| state.has_power)
    }

    /// Takes the power away, and gives the disk as it is when the power comes back.
    pub fn cut(&self) -> Self {
        self.with_state(|state| {
            state.has_power = false;
            let image = state.torn();
            Self::with(image, state.rng.u64(..))
        })
    }

    fn with_state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        self.with_state(|state| state.powered().map(|state| state.current.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.with_state(|state| state.powered()?.current.read(offset, out))
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.with_state(|state| {
            let state = state.powered()?;
            if state.fault == Some(Fault::Full) && len > state.current.len {
                return Err(Error::from(ErrorKind::StorageFull));
            }
            state.current.set_len(len);
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.with_state(|state| state.powered()?.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.with_state(|state| state.powered()?.write(offset, data))
    }
}

// === impl State ===

impl State {
    fn powered(&mut self) -> Result<&mut Self, Error> {
        if self.has_power { Ok(self) } else { Err(Error::other("the power is gone")) }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let touched = Image::pages_of(offset, data.len());
        if self.fault == Some(Fault::Full) && touched.clone().any(|page| self.current.page(page).is_none()) {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        self.dirty.extend(touched);
        self.current.write(offset, data)
    }

    fn sync(&mut self) -> Result<(), Error> {
        match &mut self.fault {
            Some(Fault::PowerCut { after_syncs: 0 }) => {
                self.has_power = false;
                return Err(Error::other("the power went"));
            }
            Some(Fault::SyncFails { after_syncs: 0 }) => {
                self.durable = self.torn();
                self.dirty.clear();
                self.fault = None;
                return Err(Error::from_raw_os_error(EIO));
            }
            Some(Fault::PowerCut { after_syncs } | Fault::SyncFails { after_syncs }) => *after_syncs -= 1,
            Some(Fault::Full) | None => {}
        }
        self.durable.set_len(self.current.len);
        for page in std::mem::take(&mut self.dirty) {
            self.durable.set_page(page, self.current.page(page).cloned());
        }
        Ok(())
    }

    /// What is there when nothing more is synced: of what was written since the last time, some sectors.
    fn torn(&mut self) -> Image {
        let mut image = self.durable.clone();
        if self.rng.bool() {
            image.set_len(self.current.len);
        }
        // None, all, or each by itself.
        let chance = [0.0, 1.0, self.rng.f64()][self.rng.usize(..3)];
        let count = image.pages.len();
        for page in self.dirty.iter().filter(|page| **page < count) {
            let mut torn = image.page(*page).map_or([0; PAGE], |page| **page);
            let Some(written) = self.current.page(*page) else { continue };
            for (old, new) in torn.chunks_exact_mut(SECTOR).zip(written.chunks_exact(SECTOR)) {
                if self.rng.f64() < chance {
                    old.copy_from_slice(new);
                }
            }
            image.set_page(*page, Some(Arc::new(torn)));
        }
        image
    }
}

/// The number by which Unix calls an input or output error.
const EIO: i32 = 5;

// === impl Image ===

impl Image {
    fn pages_of(offset: u64, len: usize) -> std::ops::Range<usize> {
        let offset = usize::try_from(offset).unwrap();
        offset / PAGE..(offset + len).div_ceil(PAGE)
    }

    fn page(&self, number: usize) -> Option<&Page> {
        self.pages.get(number)?.as_ref()
    }

    fn set_page(&mut self, number: usize, page: Option<Page>) {
        if let Some(place) = self.pages.get_mut(number) {
            *place = page;
        }
    }

    fn set_len(&mut self, len: u64) {
        let whole = usize::try_from(len).unwrap().div_ceil(PAGE);
        self.pages.resize(whole, None);
        // What was cut off reads as zeros when the file grows again.
        let rest = usize::try_from(len).unwrap() % PAGE;
        if let Some(Some(last)) = self.pages.last_mut().filter(|_| rest > 0 && len < self.len) {
            Arc::make_mut(last)[rest..].fill(0);
        }
        self.len = len;
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        if offset + out.len() as u64 > self.len {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        let mut at = usize::try_from(offset).unwrap();
        let mut rest = out;
        while !rest.is_empty() {
            let (page, start) = (at / PAGE, at % PAGE);
            let (now, later) = rest.split_at_mut(rest.len().min(PAGE - start));
            match self.page(page) {
                Some(page) => now.copy_from_slice(&page[start..start + now.len()]),
                None => now.fill(0),
            }
            at += now.len();
            rest = later;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        if offset + data.len() as u64 > self.len {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        let mut at = usize::try_from(offset).unwrap();
        let mut rest = data;
        while !rest.is_empty() {
            let (page, start) = (at / PAGE, at % PAGE);
            let (now, later) = rest.split_at(rest.len().min(PAGE - start));
            let page = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[start..start + now.len()].copy_from_slice(now);
            at += now.len();
            rest = later;
        }
        Ok(())
    }
}
