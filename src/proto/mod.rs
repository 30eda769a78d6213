//! The generated messages and services, their conversions to and from the model, and the closed list of reasons for
//! which a call can fail.
//!
//! **Invariant.** A message that comes from outside is checked here, once, into types that cannot be wrong; every error
//! names the field.

mod codec;
mod forget;
mod invalid;
mod keys;
mod lookup;
mod names;
mod packed;
mod reason;
mod scan;
mod shape;
#[cfg(test)]
mod testing;
mod values;
mod views;
mod write;

pub use codec::{BoundedCodec, check as check_memory};
pub use forget::entities_to_forget;
pub use invalid::{Invalid, Problem};
pub use keys::keys_to_columns;
pub use lookup::{Lookup, Selection, column_to_proto, lookup_of_get, view_columns};
pub use names::{commit_level_to_proto, find_view, read_level, read_level_to_proto};
pub use packed::{packed, read_packed};
pub use reason::{DOMAIN, PRIMARY, Reason, Retry};
pub use scan::{Scan, page_to_proto, resume_token, scan_of_request};
pub use shape::{LIST_BYTES, LIST_BYTES_EACH, Shape};
pub use values::{items_from_proto, items_to_proto, value_from_proto, value_to_proto};
pub use views::view_to_proto;
pub use write::{Write, write_of_delete, write_of_put};

/// Generated from `proto/steadfast/v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
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
