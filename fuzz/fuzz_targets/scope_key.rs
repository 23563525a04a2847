#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("scope_key"), |data: &[u8]| fuzz_targets::scope_key(data));
