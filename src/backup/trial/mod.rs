//! A trial of a bucket: does it do what backups rely on?
//!
//! Stores that resemble S3 differ in what they leave out, and some leave out conditions of requests without a word. So
//! everything we rely on is done once, and what comes of it is looked at. What a store is said to do counts for nothing.
//!
//! **Invariants.** All that is written stands below one new prefix, and is removed at the end, whatever came of the checks;
//! what cannot be removed is named. Nothing else in the bucket is read or changed. Each check makes what it needs, so that
//! none depends on another.

mod finding;
mod steps;

use std::sync::{Mutex, PoisonError};

use futures::StreamExt;
use futures::stream;

use super::bucket::{Bucket, Error, Listed, ObjectName};
use crate::base::clock::now_monotonic;

pub use self::finding::{Check, Finding, Verdict};

/// How many requests are under way at once, of those that could all be.
const AT_ONCE: usize = 32;

/// A bucket that is being tried.
#[derive(Debug)]
pub struct Trial {
    bucket: Bucket,
    prefix: ObjectName,
    /// Guards what may have been made and is not yet removed.
    made: Mutex<Vec<ObjectName>>,
    /// Nothing can be written, so nothing can be tried.
    is_hopeless: bool,
}

/// What comes of the steps of a check.
enum Trouble {
    /// An operation failed.
    Error(Error),
    /// Something that was not done is told to be done.
    Ignored(String),
    /// Something else came out than had to.
    Wrong(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Error(error)
    }
}

/// Something that was made during a trial and could not be removed.
#[derive(Debug)]
pub struct Left {
    /// Its name, or what names begin with that could not be listed.
    pub name: String,
    /// Why it is there still.
    pub error: Option<Error>,
}

impl Trial {
    /// Begins a trial, below a prefix that nobody else uses.
    ///
    /// # Panics
    /// Never: the prefix is a name.
    #[must_use]
    pub fn new(bucket: Bucket) -> Trial {
        let prefix = format!("verify-store-{:016x}", rand::random::<u64>());
        Trial {
            bucket,
            prefix: ObjectName::parse(&prefix).expect("letters, digits and dashes are a name"),
            made: Mutex::default(),
            is_hopeless: false,
        }
    }

    /// Tries one thing. Nothing more is tried once it is clear that nothing can be written and read.
    pub async fn run(&mut self, check: Check) -> Finding {
        let begun = now_monotonic();
        let (verdict, said) = if self.is_hopeless {
            (Verdict::Skipped, String::new())
        } else {
            match self.steps(check).await {
                Ok(said) => (Verdict::Works, said),
                Err(Trouble::Error(error)) => (Verdict::of(&error), error.to_string()),
                Err(Trouble::Ignored(said)) => (Verdict::Ignored, said),
                Err(Trouble::Wrong(said)) => (Verdict::Failed, said),
            }
        };
        let is_bad = verdict != Verdict::Works;
        self.is_hopeless |= is_bad && check == Check::ReadAfterWrite;
        Finding {
            check,
            verdict,
            said,
            took: begun.elapsed(),
        }
    }

    /// Before it is made: an attempt that fails may have made it.
    fn note(&self, name: &ObjectName) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.push(name.clone());
    }

    /// After its making was refused, so that it is certain not to be there.
    fn strike_out(&self, name: &ObjectName) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|noted| noted != name);
    }

    /// Removes all that was made, and looks whether something is left.
    pub async fn clean_up(self) -> Vec<Left> {
        let made = self
            .made
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let bucket = &self.bucket;
        let removed = stream::iter(made).map(|name| async move {
            let error = bucket.remove(&name).await.err()?;
            Some(Left {
                name: name.to_string(),
                error: Some(error),
            })
        });
        let mut left: Vec<Left> = removed
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        // If nothing could be written there is nothing to look for, and asking would only repeat the error.
        if left.is_empty() && !self.is_hopeless {
            left = still_there(bucket, &self.prefix).await;
        }
        left
    }
}

async fn still_there(bucket: &Bucket, prefix: &ObjectName) -> Vec<Left> {
    let mut listing = bucket.list(Some(prefix), None);
    let mut left = Vec::new();
    loop {
        match listing.next().await {
            Ok(None) => return left,
            Ok(Some(Listed::Object { name, .. })) => left.push(Left {
                name: name.to_string(),
                error: None,
            }),
            Ok(Some(Listed::Foreign { key, .. })) => left.push(Left {
                name: key,
                error: None,
            }),
            Err(error) => {
                left.push(Left {
                    name: prefix.to_string(),
                    error: Some(error),
                });
                return left;
            }
        }
    }
}
