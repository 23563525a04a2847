#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("http_dates"), |data: &[u8]| fuzz_targets::http_dates(data));
