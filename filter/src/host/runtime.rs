//! What the standard library would bring: an allocator, and an end for code that panics.

use super::{Alone, log};
use crate::abi::Severity;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use dlmalloc::GlobalDlmalloc;

/// Bytes of the last words of a module. No memory is asked for at that point.
const MAX_PANIC_BYTES: usize = 256;

/// The allocator that the standard library has for wasm, with a meter.
struct Metered;

#[global_allocator]
static ALLOCATOR: Metered = Metered;

/// Bytes that were ever allocated.
static ALLOCATED: Alone<Cell<u64>> = Alone(Cell::new(0));

/// A text that is cut where its bytes end.
struct LastWords {
    text: [u8; MAX_PANIC_BYTES],
    used: usize,
}

/// Bytes that the module ever allocated. No proxy calls this; a test does, because a request must not allocate.
#[unsafe(no_mangle)]
extern "C" fn graylane_allocated_bytes() -> u64 {
    ALLOCATED.0.get()
}

/// Nothing here panics. If something did after all, its place would be in the log.
#[panic_handler]
fn on_panic(panic: &PanicInfo<'_>) -> ! {
    let mut words = LastWords { text: [0; MAX_PANIC_BYTES], used: 0 };
    let _ = write!(words, "{panic}");
    let text = words.text.get(..words.used).unwrap_or_default();
    log(Severity::Critical, core::str::from_utf8(text).unwrap_or("panicked"));
    core::arch::wasm32::unreachable()
}

// === impl Metered ===

// SAFETY: each call is handed on unchanged, to an allocator that keeps the contract, by a caller that has to keep it; the
// meter allocates nothing and cannot unwind.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        meter(layout.size());
        // SAFETY: as above.
        unsafe { GlobalDlmalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from the same allocator, because all places do.
        unsafe { GlobalDlmalloc.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        meter(layout.size());
        // SAFETY: as above.
        unsafe { GlobalDlmalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        meter(bytes);
        // SAFETY: as for `dealloc`.
        unsafe { GlobalDlmalloc.realloc(at, layout, bytes) }
    }
}

fn meter(bytes: usize) {
    ALLOCATED.0.set(ALLOCATED.0.get().wrapping_add(bytes as u64));
}

// === impl LastWords ===

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.text.get_mut(self.used).ok_or(fmt::Error)? = byte;
            self.used += 1;
        }
        Ok(())
    }
}
