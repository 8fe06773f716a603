#![no_main]

#[path = "../checks/peek.rs"]
mod peek;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| peek::check(bytes));
