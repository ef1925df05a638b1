//! What the proxy calls. It calls only what is exported, and each call into the module costs it about as much as
//! the decision, so nothing is exported that is not needed: no context is made, ended or logged here, because no
//! request has a state of its own.

use super::MEMORY;
use crate::abi::CONTINUE;
use crate::{request, vm};
use core::ptr::null_mut;

/// Its name tells the proxy which ABI the module speaks. It is never called.
///
/// With this version the proxy chooses the route anew by itself when a request header changes.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// The proxy asks for a place for an answer, from inside the host call that it answers. With null it gives up, and the
/// call says so.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(bytes: usize) -> *mut u8 {
    MEMORY.0.try_borrow_mut().map_or(null_mut(), |mut memory| memory.allocate(bytes))
}

/// A plugin has a new configuration of so many bytes.
///
/// Never answers false: the proxy would refuse the listener's next update too, until better rules come. What is
/// wrong with a configuration is told by metrics and one log line.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root_context: u32, bytes: usize) -> u32 {
    vm::configure(bytes);
    1
}

/// The headers of a request are there.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_context: u32, _headers: u32, _is_end_of_stream: u32) -> u32 {
    request::decide();
    CONTINUE
}
