#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("event_stream"), |data: &[u8]| fuzz_targets::event_stream(data));
