//! Every host call. No other file speaks to the proxy.
//!
//! The calls are declared here once more, because those of the SDK panic on a status that they do not expect, and on a
//! header's name that is no UTF-8: a proxy that grants fewer capabilities would then fail requests.
#![expect(unsafe_code, reason = "host calls are foreign functions; each use says why it holds")]

use std::ptr::null_mut;

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

/// The statuses that are told apart. All others are a [`Refused`].
const OK: u32 = 0;
const NOT_FOUND: u32 = 1;

/// The numbers of what is asked for, as the ABI fixes them.
const REQUEST_HEADERS: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;

/// The proxy did not do what it was asked for, and gave this status as the reason.
#[derive(Clone, Copy, Debug)]
pub struct Refused(pub u32);

/// How bad a log line is. The proxy drops what its own level is over.
#[derive(Clone, Copy)]
pub enum Severity {
    /// All is well.
    Info = 2,
    /// Somebody has to look at it.
    Warn = 3,
    /// The module is about to trap.
    Critical = 5,
}

/// What a metric does.
#[derive(Clone, Copy)]
pub enum MetricKind {
    /// It only grows.
    Counter = 0,
    /// It is set.
    Gauge = 1,
}

/// Writes a line to the proxy's log. A proxy that refuses it has its reasons, and nobody could be told.
pub fn log(severity: Severity, line: &str) {
    // SAFETY: the proxy reads `line.len()` bytes from `line` during the call.
    unsafe { proxy_log(severity as u32, line.as_ptr(), line.len()) };
}

/// The plugin's configuration, which has so many bytes.
pub fn configuration(bytes: usize) -> Result<Vec<u8>, Refused> {
    // SAFETY: `take` gives two valid places.
    let configuration =
        take(|data, size| unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, bytes, data, size) })?;
    Ok(configuration.unwrap_or_default())
}

/// The name of the plugin: the same for each of its configurations.
pub fn plugin_name() -> Result<Vec<u8>, Refused> {
    let path = "plugin_name";
    // SAFETY: the proxy reads `path` during the call; `take` gives two valid places.
    let name = take(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })?;
    Ok(name.unwrap_or_default())
}

/// All request headers, in the format of [`header_map`](crate::header_map).
pub fn request_headers() -> Result<Vec<u8>, Refused> {
    // SAFETY: `take` gives two valid places.
    let map = take(|data, size| unsafe { proxy_get_header_map_pairs(REQUEST_HEADERS, data, size) })?;
    Ok(map.unwrap_or_default())
}

/// Whether the request has a header of this name.
pub fn has_request_header(name: &str) -> Result<bool, Refused> {
    // SAFETY: the proxy reads `name` during the call; `take` gives two valid places.
    let value = take(|data, size| unsafe {
        proxy_get_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len(), data, size)
    })?;
    Ok(value.is_some())
}

/// Gives the request one header of this name with this value, in the place of all that it has.
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
pub fn increment(id: u32) -> Result<(), Refused> {
    // SAFETY: both arguments are plain numbers; the proxy checks the id.
    check(unsafe { proxy_increment_metric(id, 1) })
}

/// Sets a gauge.
pub fn record(id: u32, value: u64) -> Result<(), Refused> {
    // SAFETY: both arguments are plain numbers; the proxy checks the id.
    check(unsafe { proxy_record_metric(id, value) })
}

fn check(status: u32) -> Result<(), Refused> {
    if status == OK { Ok(()) } else { Err(Refused(status)) }
}

/// Takes over the bytes that a call returns in memory of ours. None when there is no such thing.
fn take(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Option<Vec<u8>>, Refused> {
    let (mut data, mut size) = (null_mut(), 0);
    match call(&raw mut data, &raw mut size) {
        NOT_FOUND => Ok(None),
        OK if data.is_null() => Ok(Some(Vec::new())),
        // SAFETY: the proxy got `data` from the module's `malloc`, the SDK's `proxy_on_memory_allocate`, which leaks a
        // boxed slice of exactly `size` bytes from the allocator that `Vec` uses; it filled all of them, and hands them
        // over with this call, so that nobody else holds them.
        OK => Ok(Some(unsafe { Vec::from_raw_parts(data, size, size) })),
        status => Err(Refused(status)),
    }
}
