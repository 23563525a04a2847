#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("appwrite"), |data: &[u8]| fuzz_targets::appwrite(data));
