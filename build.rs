//! Compiles the protocol buffers, without needing a protoc on the machine.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 8] = [
        "steadfast/v1/values.proto",
        "steadfast/v1/feature_service.proto",
        "steadfast/v1/view_service.proto",
        "steadfast/v1/admin_service.proto",
        "steadfast/v1/replication_service.proto",
        "steadfast/v1/raft_service.proto",
        "steadfast/v1/snapshot_service.proto",
        "steadfast/v1/row_service.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let encoded = prost::Message::encode_to_vec(&descriptors);
    std::fs::write(out.join("steadfast_descriptor.bin"), encoded)?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::proto::BoundedCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
