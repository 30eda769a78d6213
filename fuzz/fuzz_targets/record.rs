#![no_main]
#![allow(dead_code, reason = "every target has all bodies and runs one")]

#[path = "../../tests/fuzz/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(
    init: bodies::plant(env!("CARGO_MANIFEST_DIR"), "record", &bodies::record::seeds()),
    |data: &[u8]| bodies::record::check(data)
);
