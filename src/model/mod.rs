//! What a feature is and which version of it wins: views, values, entity keys, versions, rows, records, and how stored
//! bytes become an answer. All pure.
//!
//! **Invariants.**
//! - I6: merge is total, commutative, associative, idempotent and reads nothing but its arguments.
//! - Equal rows have equal bytes: every encoding is canonical, so digests over bytes are digests over rows.
//! - Nothing here does IO, reads a clock or knows a name of the wire format.

pub mod batch;
pub mod catalogue;
pub mod cells;
pub mod comparison;
pub mod content;
pub mod definition;
pub mod describe;
pub mod digest;
pub mod floor;
pub mod heads;
pub mod json;
pub mod key;
pub mod limits;
pub mod logged;
pub mod opening;
pub mod purge;
pub mod record;
pub mod resolve;
pub mod row;
#[cfg(test)]
pub(crate) mod testing;
pub mod value;
pub mod version;
pub mod view;
pub mod view_file;

pub use batch::{Batch, Change, RowChange, ViewRows};
pub use catalogue::Catalogue;
pub use digest::Digest;
pub use heads::{Fork, Heads, Place};
pub use key::{EntityKey, KeyType, KeyValue};
pub use logged::Logged;
pub use opening::HeldOpening;
pub use purge::{Purge, ViewPurge};
pub use record::{Body, Record, RequestId};
pub use row::Row;
pub use value::{Items, Scalar, Value, ValueType};
pub use version::{Order, Version};
pub use view::{Feature, FeatureId, JoinKey, MergeMode, View, ViewId, ViewSpec};
