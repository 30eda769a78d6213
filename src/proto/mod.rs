//! The generated messages and services, their conversions to and from the model, and the closed list of reasons for
//! which a call can fail.
//!
//! **Invariant.** A message that comes from outside is checked here, once, into types that cannot be wrong; every error
//! names the field.

/// Generated from `proto/steadfast/v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::cast_possible_truncation,
    unused_qualifications,
    reason = "generated code; the documentation is in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("steadfast.v1");

    /// The compiled descriptors of all services, for server reflection.
    pub const DESCRIPTORS: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/steadfast_descriptor.bin"));
}
