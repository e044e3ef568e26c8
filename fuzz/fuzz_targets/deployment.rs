#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| amicus_fuzzing::run("deployment", bytes));
