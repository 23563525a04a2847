#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("pocketbase_feed"), |data: &[u8]| fuzz_targets::pocketbase_feed(data));
