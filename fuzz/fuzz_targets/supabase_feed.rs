#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("supabase_feed"), |data: &[u8]| fuzz_targets::supabase_feed(data));
