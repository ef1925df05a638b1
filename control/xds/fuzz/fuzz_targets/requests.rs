//! Bytes as requests and reports of a proxy: reading them must not panic, and what is kept of them is limited.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| graylane_xds::fuzzing::fuzz_requests(bytes));
