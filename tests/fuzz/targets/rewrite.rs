#![no_main]

#[path = "../checks/rewrite.rs"]
mod rewrite;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewrite::check(bytes));
