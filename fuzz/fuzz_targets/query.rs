#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("query"), |data: &[u8]| fuzz_targets::query(data));
