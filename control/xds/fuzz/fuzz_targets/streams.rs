//! What happens on a few streams, whatever it is: every promise of the delivery is looked at as it goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| graylane_xds::fuzzing::fuzz_streams(bytes));
