//! Agreed cluster metadata: who the members are, which epoch is open, up to where stamps are granted.
//!
//! [`ControlState`] is the deterministic state machine in which every such decision is made; here a lone node applies
//! its own commands, durably one by one ([`LocalControl`]).
//!
//! **Invariants.** No feature value and no view definition passes through here, and nothing here lies on the path of a
//! read or of a steady write. A command that was answered is durable. The number of an epoch is never used twice.

mod apply;
mod archive;
mod command;
mod history;
mod joining;
mod local;
mod member;
mod quorum;
#[cfg(feature = "server")]
pub mod raft;
mod refound;
mod rejection;
mod restored;
mod schedule;
mod secret;
mod settings;
mod state;
mod window;

pub use archive::{ArchiveClaim, Archived};
pub use command::{BootClaim, Command, Effect};
pub use history::{Cause, EpochNote, Served};
pub use joining::{Intent, JoinToken, TokenHash};
pub use local::{Error, LocalControl};
pub use member::{Addresses, LEVEL, Member, Role};
pub use quorum::{commit_size, nth_greatest, seal_size};
pub use refound::Survivor;
pub use rejection::Rejection;
pub use restored::Restored;
pub use schedule::{BackupNote, Backups, Failed, Made, Ordered};
pub use secret::SetSecret;
pub use settings::{
    BackupChange, BackupSettings, BucketChange, FailoverPolicy, Settings, SettingsChange, TwoNode,
};
pub use state::{Attempt, ControlState, Extended, LogState, OpenConfig};
pub use window::{EXTEND_EVERY, Tick, WINDOW_MILLIS, grant, tick};

pub use crate::base::Missing;
