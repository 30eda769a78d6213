#![no_main]

#[path = "../../tests/fuzz/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(
    init: bodies::plant(env!("CARGO_MANIFEST_DIR"), "peer_message", &bodies::peer_message::seeds()),
    |data: &[u8]| bodies::peer_message::check(data)
);
