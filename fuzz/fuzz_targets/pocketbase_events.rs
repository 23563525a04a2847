#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("pocketbase_events"), |data: &[u8]| fuzz_targets::pocketbase_events(data));
