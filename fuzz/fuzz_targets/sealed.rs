#![no_main]
#![allow(dead_code, reason = "every target has all bodies and runs one")]

#[path = "../../tests/fuzz/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(
    init: bodies::plant(env!("CARGO_MANIFEST_DIR"), "sealed", &bodies::sealed::seeds()),
    |data: &[u8]| bodies::sealed::check(data)
);
