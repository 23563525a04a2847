#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz_targets::write_seeds("supabase_frames"), |data: &[u8]| fuzz_targets::supabase_frames(data));
