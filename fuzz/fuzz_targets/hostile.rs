#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| migrate::wire::fuzz::hostile(bytes));
