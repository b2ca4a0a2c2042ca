#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stele_fuzz::frames::check(data));
