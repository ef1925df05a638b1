//! The line to the proxy: every host call is here, and what the proxy calls is in `host/callbacks.rs`. No other file
//! speaks to it, and no other code of the module is unsafe.
//!
//! The calls are declared here once more, because those of the SDK panic on a status that they do not expect, and on a
//! header's name that is no UTF-8: a proxy that grants fewer capabilities would then fail requests.
#![expect(unsafe_code, reason = "host calls are foreign functions; each use says why it holds")]

mod callbacks;
mod runtime;

use crate::abi::{
    INVALID_MEMORY_ACCESS, MetricKind, NOT_FOUND, OK, PLUGIN_CONFIGURATION, REQUEST_HEADERS, Severity,
};
use crate::memory::Memory;
use alloc::vec::Vec;
use core::cell::{Ref, RefCell};
use core::ptr::null_mut;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, bytes: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        bytes: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_property(path: *const u8, bytes: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        bytes: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_bytes: usize,
        value: *const u8,
        value_bytes: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, bytes: usize) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, bytes: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

/// Where the proxy puts its answers.
static MEMORY: Alone<RefCell<Memory>> = Alone(RefCell::new(Memory::new()));

/// A value of the module's only thread.
pub struct Alone<T>(pub T);

/// The proxy did not do what it was asked for, and gave this status as the reason.
#[derive(Clone, Copy, Debug)]
pub struct Refused(pub u32);

#[cfg(target_feature = "atomics")]
compile_error!("with atomics the module could have threads, and its statics are for one");

// SAFETY: without atomics a wasm module has one thread, so nothing is ever shared between two.
unsafe impl<T> Sync for Alone<T> {}

/// Writes a line to the proxy's log. A proxy that refuses it has its reasons, and nobody could be told.
pub fn log(severity: Severity, line: &str) {
    // SAFETY: the proxy reads `line.len()` bytes from `line` during the call.
    unsafe { proxy_log(severity as u32, line.as_ptr(), line.len()) };
}

/// The plugin's configuration, which has so many bytes.
pub fn configuration(bytes: usize) -> Result<Vec<u8>, Refused> {
    begin(Memory::begin_own)?;
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the proxy writes to the two places during the call, and to none but those that `MEMORY` hands it.
    let status =
        unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, bytes, &raw mut data, &raw mut size) };
    let taken = MEMORY.0.try_borrow_mut().ok().and_then(|mut memory| memory.take(data, size));
    check(status)?;
    taken.ok_or(Refused(INVALID_MEMORY_ACCESS))
}

/// The name of the plugin: the same for each of its configurations. It is gone when the next answer is asked for.
pub fn plugin_name() -> Result<Ref<'static, [u8]>, Refused> {
    let path = "plugin_name";
    // SAFETY: the proxy reads `path` during the call; `ask` gives two valid places.
    let name = ask(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })?;
    name.ok_or(Refused(NOT_FOUND))
}

/// All request headers, in the format of [`header_map`](crate::header_map), until the next answer is asked for.
#[inline]
pub fn request_headers() -> Result<Ref<'static, [u8]>, Refused> {
    // SAFETY: `ask` gives two valid places.
    let map = ask(|data, size| unsafe { proxy_get_header_map_pairs(REQUEST_HEADERS, data, size) })?;
    map.ok_or(Refused(NOT_FOUND))
}

/// Whether the request has a header of this name.
pub fn has_request_header(name: &str) -> Result<bool, Refused> {
    // SAFETY: the proxy reads `name` during the call; `ask` gives two valid places.
    let value = ask(|data, size| unsafe {
        proxy_get_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len(), data, size)
    })?;
    Ok(value.is_some())
}

/// Gives the request one header of this name with this value, in the place of all that it has.
#[inline]
pub fn set_request_header(name: &str, value: &str) -> Result<(), Refused> {
    // SAFETY: the proxy reads `name` and `value` during the call.
    check(unsafe {
        proxy_replace_header_map_value(
            REQUEST_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes all headers of this name from the request.
pub fn remove_request_header(name: &str) -> Result<(), Refused> {
    // SAFETY: the proxy reads `name` during the call.
    check(unsafe { proxy_remove_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len()) })
}

/// The id of a metric, which starts to exist if it did not.
pub fn define_metric(kind: MetricKind, name: &str) -> Result<u32, Refused> {
    let mut id = 0;
    // SAFETY: the proxy reads `name` and writes `id` during the call.
    check(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Adds one to a counter.
#[inline]
pub fn increment(id: u32) -> Result<(), Refused> {
    // SAFETY: both arguments are plain numbers; the proxy checks the id.
    check(unsafe { proxy_increment_metric(id, 1) })
}

/// Sets a gauge.
pub fn record(id: u32, value: u64) -> Result<(), Refused> {
    // SAFETY: both arguments are plain numbers; the proxy checks the id.
    check(unsafe { proxy_record_metric(id, value) })
}

#[inline]
fn check(status: u32) -> Result<(), Refused> {
    if status == OK { Ok(()) } else { Err(Refused(status)) }
}

/// Begins a call that brings bytes. Refused while those of the call before are still held.
#[inline]
fn begin(begin: impl FnOnce(&mut Memory)) -> Result<(), Refused> {
    MEMORY.0.try_borrow_mut().map(|mut memory| begin(&mut memory)).map_err(|_| Refused(INVALID_MEMORY_ACCESS))
}

/// Makes a call that brings bytes. None when there is no such thing.
#[inline]
fn ask(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Option<Ref<'static, [u8]>>, Refused> {
    begin(Memory::begin)?;
    let (mut data, mut size) = (null_mut(), 0);
    let status = call(&raw mut data, &raw mut size);
    if status != OK {
        return if status == NOT_FOUND { Ok(None) } else { Err(Refused(status)) };
    }
    let Ok(memory) = MEMORY.0.try_borrow() else { return Err(Refused(INVALID_MEMORY_ACCESS)) };
    // A proxy asks for no place for an answer without bytes.
    Ref::filter_map(memory, |memory| if size == 0 { Some(&[][..]) } else { memory.answer(data, size) })
        .map(Some)
        .map_err(|_| Refused(INVALID_MEMORY_ACCESS))
}
