//! A plugin configuration, in any of its forms: reading it must not panic, and what is wrong with it must be told.
#![no_main]

use graylane_filter::configuration::read;
use graylane_rules::Rules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match read(bytes.to_vec()) {
    Ok(Some(rules)) => {
        let again = Rules::load(rules.bytes().to_vec()).expect("what was read loads");
        assert_eq!(again.content_hash(), rules.content_hash());
    }
    Ok(None) => assert!(bytes.trim_ascii().is_empty()),
    Err(error) => assert!(!error.to_string().is_empty()),
});
