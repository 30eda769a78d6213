//! Why a member takes no further part.

use std::sync::Arc;

use crate::base::{explained, sealed};
use crate::control::{self, Rejection};
use crate::engine;
use crate::node::Error;
use crate::replica::Fault;

/// Why a member takes no further part. Its rows can still be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Halt {
    /// The set does not let this directory start.
    #[error(transparent)]
    Refused(#[from] Rejection),
    /// Its log is not what the set's is, or it was given up.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Its log or store failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// What it promises cannot be made durable.
    #[error(transparent)]
    Identity(Arc<sealed::Error>),
    /// What is agreed cannot be made durable.
    #[error(transparent)]
    Agreement(Arc<control::Error>),
    /// A thread panicked while it was at work for the member.
    #[error("a thread of this node panicked: a bug in steadfast, its log says where")]
    Panicked,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

impl From<Halt> for Error {
    fn from(halt: Halt) -> Error {
        if matches!(halt, Halt::Stopped) {
            return Error::Stopping;
        }
        Error::NotWritable {
            cause: explained(&halt),
        }
    }
}
