//! Rows and what belongs to them in RocksDB, the only module that names it.
//!
//! RocksDB is used as a plain map: its own WAL is off, all column families flush together, and one write batch carries
//! rows, requests and the [`State`] that describes them. What is here after a crash is therefore exactly the state at
//! some earlier point, and the state says which.
//!
//! **Invariants** (I5). The applied version vector, the WAL position, digests and counts travel in the batch of the rows
//! they describe. The storage does not know that a WAL exists; a position in it is only a number to keep.

mod checkpoint;
mod incoming;
mod keys;
mod manifest;
mod options;
mod state;
mod store;
mod survey;
mod walk;

pub use checkpoint::{FileName, NotAFileName, Snapshot, StoreFile};
pub use incoming::{Incoming, Part, Received, Whole};
pub use keys::{RowKey, RowKeys, behind_view, view_of};
pub use options::Options;
pub use state::{State, Sweep};
pub use store::{Changes, Error, InMemory, RequestEntry, RowBytes, ScanStart, Store};
pub use survey::{Contents, split_row_key};
pub use walk::Moment;
