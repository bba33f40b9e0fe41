#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| migrate::round::fuzz::compact_decode(bytes));
