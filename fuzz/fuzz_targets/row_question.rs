#![no_main]
#![allow(dead_code, reason = "every target has all bodies and runs one")]

#[path = "../../tests/fuzz/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(
    init: bodies::plant(env!("CARGO_MANIFEST_DIR"), "row_question", &bodies::row_question::seeds()),
    |data: &[u8]| bodies::row_question::check(data)
);
