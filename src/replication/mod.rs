//! Moving records between the members of a set: the pure cores.
//!
//! ```text
//!          primary of e                                   member
//!   Sender ── Append(e, number, vv, records) ──────────►  Member: fence, promise, contiguity, opening record
//!   Sender, Commit, Contact ◄── Held(e, number, durable, appended) ──┘  at once, and whenever more is durable
//! ```
//! A message may be lost, repeated, late or out of order; each says enough to be judged by itself. [`Append`] without
//! records is the ping; [`Held`] is both its answer and the acknowledgement `Ack(e, durable VV)`.
//!
//! **Invariants.** I2: a record that does not follow its log's chain is never taken. I10: nothing is answered below the
//! promise. I11: only what was answered under e commits in e. I27: a member holds e's opening record only if e's primary
//! held everything the member held.
//!
//! Nothing here reads a clock, waits, or knows what a record's rows mean.

pub mod commit;
pub mod contact;
mod member;
mod message;
mod sender;
#[cfg(test)]
pub(crate) mod testing;
mod wire;

pub use commit::Commit;
pub use contact::{Contact, Round};
pub use member::{Member, Taken};
pub use message::{Append, Fetch, Fetched, Held, Message, PreSeal, Seal, SealAck, Vouched};
pub use sender::{Sender, Shipment};
pub use wire::{decode_members, encode_members};

pub use crate::model::{Fork, Heads, HeldOpening, Logged, Place};
