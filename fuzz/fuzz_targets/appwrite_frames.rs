#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("appwrite_frames"), |data: &[u8]| fuzz_targets::appwrite_frames(data));
