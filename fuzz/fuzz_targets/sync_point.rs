#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("sync_point"), |data: &[u8]| fuzz_targets::sync_point(data));
