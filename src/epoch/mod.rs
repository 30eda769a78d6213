//! From one epoch to the next: who suspects, who agrees, and CHANGE, the one way to a new configuration.
//!
//! ```text
//!            suspects, or is handed over to             R members agree
//!  (rest) ─────────────────────────────────► asking ───────────────────► beginning
//!    ▲                                          │                            │ the attempt is agreed
//!    │ overtaken, no answer, no way: gives up   ▼                            ▼
//!    ├───────────────────────────────────────────────────────────────── sealing ◄───┐ a holder died
//!    │                                                                       │ R sealed
//!    │                                                                       ▼      │
//!    │                                                                  catching up ┘
//!    │                                                                       │ holds what they hold
//!    │                                                                       ▼
//!    │                                              transferring (only if members change)
//!    │                                                                       │ W of the new members hold it
//!    │                        the epoch is open: the reign begins            ▼
//!    └──────────────────────────────────────────────────────────────────  opening
//! ```
//! **Invariants.** I13: only the latest attempt opens, having sealed R of the last opened configuration. I14: changed
//! members hold what was recovered before it opens.

mod backoff;
mod change;
mod detector;
pub mod timing;

pub use backoff::Backoff;
pub use change::{Brought, Change, Instruction, Seals, Sight, Stage, Why};
pub use detector::Detector;
