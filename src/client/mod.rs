//! The client library: calls a node over gRPC and answers with typed errors.
//!
//! **Invariants.** Every call carries a deadline. A write whose fate is not known says so ([`Kind::UnknownOutcome`]) and
//! is sent a second time only under the request id it had. It knows the wire's messages and the model, nothing of a node's
//! inside, and compiles without the server (`default-features = false`).
//!
//! What is decided is decided in [`course`], [`routes`] and [`retry`], which are pure; connections do as they say.
//!
//! ```no_run
//! # async fn example() -> Result<(), steadfast::client::Error> {
//! use steadfast::client::Client;
//! use steadfast::proto::v1::GetFeaturesRequest;
//!
//! let client = Client::connect("steadfast://node1,node2/?level=local&deadline=200ms").await?;
//! let answer = client.get(GetFeaturesRequest::default()).await?;
//! # Ok(())
//! # }
//! ```

mod answer;
mod call;
mod convert;
pub mod course;
mod error;
mod hedge;
mod ingest;
mod lines;
mod reach;
pub mod retry;
pub mod routes;
mod streams;
mod survey;
mod target;

pub use answer::{Cell, Column, WrongAnswer};
pub use call::Client;
pub use convert::{
    BadView, commit_level_name, commit_level_to_wire, key_columns, key_to_wire, keys_from_wire,
    read_level_name, read_level_to_wire, value_to_wire, view_from_wire,
};
pub use error::{Effect, Error, Kind};
pub use ingest::Acks;
pub use streams::{BackupStages, Pages, Stages};
pub use target::{BadTarget, Options, Target};
