//! Pure: what is tried on a bucket, what can come of it, and what that means for backups.

use std::time::Duration;

use super::super::bucket::{Error, Kind};

/// Something that we do with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// An object is created and read at once.
    ReadAfterWrite,
    /// Objects are listed, in order, as soon as they are there.
    ListAfterWrite,
    /// An object is read from an offset.
    RangedRead,
    /// A large object is sent in parts.
    Multipart,
    /// An object is put in the place of another.
    Replace,
    /// An object is removed, listed no more, and its name can be taken again.
    Remove,
    /// Creating an object that is there changes nothing and is told so.
    CreateOnly,
    /// Of many who create one object at once, one succeeds.
    Race,
    /// The same for an object that is sent in parts.
    CreateOnlyMultipart,
    /// The store's clock goes as ours does.
    Clock,
    /// More objects are listed than a store names in one answer.
    LongListing,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The store does what we do.
    Works,
    /// The store says that it did, but did not.
    Ignored,
    /// The store says that it cannot, or that we may not.
    Refused,
    /// It came to an error, or to something wrong.
    Failed,
    /// It was not tried.
    Skipped,
}

/// A check, with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was tried.
    pub check: Check,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, or why it failed; empty if there is nothing to add.
    pub said: String,
    /// How long it took.
    pub took: Duration,
}

impl Check {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Check; 11] = [
        Check::ReadAfterWrite,
        Check::ListAfterWrite,
        Check::RangedRead,
        Check::Multipart,
        Check::Replace,
        Check::Remove,
        Check::CreateOnly,
        Check::Race,
        Check::CreateOnlyMultipart,
        Check::Clock,
        Check::LongListing,
    ];

    /// As programs and people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Check::ReadAfterWrite => "read-after-write",
            Check::ListAfterWrite => "list-after-write",
            Check::RangedRead => "ranged-read",
            Check::Multipart => "multipart",
            Check::Replace => "replace",
            Check::Remove => "remove",
            Check::CreateOnly => "create-only",
            Check::Race => "create-only-race",
            Check::CreateOnlyMultipart => "create-only-multipart",
            Check::Clock => "clock",
            Check::LongListing => "long-listing",
        }
    }

    /// Can backups not be kept where this does not work?
    #[must_use]
    pub fn is_needed(self) -> bool {
        match self {
            Check::ReadAfterWrite
            | Check::ListAfterWrite
            | Check::RangedRead
            | Check::Multipart
            | Check::LongListing => true,
            Check::Replace
            | Check::Remove
            | Check::CreateOnly
            | Check::Race
            | Check::CreateOnlyMultipart
            | Check::Clock => false,
        }
    }

    /// What it means for backups that this works.
    fn promise(self) -> &'static str {
        match self {
            Check::ReadAfterWrite => "a backup can be read as soon as it is complete",
            Check::ListAfterWrite => "a restore sees every backup and every segment",
            Check::RangedRead => "a restore that breaks off goes on where it was",
            Check::Multipart => "large files can be kept",
            Check::Replace => "what changes can be kept under one name",
            Check::Remove => "prune removes what no backup needs",
            Check::CreateOnly => "no backup or segment is ever overwritten by a later one",
            Check::Race => "of two archivers by mistake, one is told that it is the second",
            Check::CreateOnlyMultipart => "no large file is ever overwritten by a later one",
            Check::Clock => "ages of objects are what the store says",
            Check::LongListing => "buckets with very many objects are listed whole",
        }
    }

    /// What it means for backups that this does not work.
    fn loss(self) -> &'static str {
        match self {
            Check::ReadAfterWrite => "nothing can be kept here",
            Check::ListAfterWrite => "a restore could miss backups and segments: keep none here",
            Check::RangedRead => "restores could not go on after a broken connection",
            Check::Multipart => "files beyond 8 MiB cannot be kept here",
            Check::Replace => "nothing so far: objects are created, not replaced",
            Check::Remove => "prune cannot remove what is no longer needed; all else works",
            Check::CreateOnly | Check::Race => {
                "two archivers by mistake could overwrite each other's segments; every object is verified by digest at \
                 restore, and a fork is told, not prevented"
            }
            Check::CreateOnlyMultipart => {
                "a large file could be overwritten by a later one of its name; these are named by their content, and \
                 verified by digest at restore"
            }
            Check::Clock => {
                "the ages of objects are off by that much; set the clock of this machine"
            }
            Check::LongListing => "a restore could miss backups and segments: keep none here",
        }
    }
}

impl Verdict {
    /// As programs and people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Works => "works",
            Verdict::Ignored => "silently ignored",
            Verdict::Refused => "refused",
            Verdict::Failed => "failed",
            Verdict::Skipped => "not tried",
        }
    }

    /// What an error comes to.
    #[must_use]
    pub fn of(error: &Error) -> Verdict {
        match error.kind() {
            Kind::Denied | Kind::Unsupported | Kind::ReadOnly => Verdict::Refused,
            Kind::Missing
            | Kind::AlreadyThere
            | Kind::Conflict
            | Kind::Throttled
            | Kind::Unavailable
            | Kind::Interrupted
            | Kind::Full
            | Kind::Misconfigured
            | Kind::Changed
            | Kind::TooLarge
            | Kind::BadAnswer
            | Kind::BadSource
            | Kind::Failed => Verdict::Failed,
        }
    }
}

impl Finding {
    /// Can backups not be kept in this bucket, because of this?
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        // A store that refuses create-only puts refuses every put of ours.
        let refuses_puts = self.check == Check::CreateOnly && self.verdict == Verdict::Refused;
        let is_bad = !matches!(self.verdict, Verdict::Works | Verdict::Skipped);
        refuses_puts || is_bad && self.check.is_needed()
    }

    /// Does something not work that we can do without?
    #[must_use]
    pub fn is_warning(&self) -> bool {
        let is_fine = matches!(self.verdict, Verdict::Works | Verdict::Skipped);
        !is_fine && !self.is_fatal()
    }

    /// What it means for backups.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        let is_about_conditions = matches!(
            self.check,
            Check::CreateOnly | Check::Race | Check::CreateOnlyMultipart
        );
        match self.verdict {
            Verdict::Works => self.check.promise(),
            Verdict::Failed if is_about_conditions => "not known, because the attempt failed",
            Verdict::Ignored | Verdict::Refused | Verdict::Failed => self.check.loss(),
            Verdict::Skipped => "not known",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: Check, verdict: Verdict) -> Finding {
        Finding {
            check,
            verdict,
            said: String::new(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn create_only_puts_that_are_ignored_are_a_warning() {
        for check in [Check::CreateOnly, Check::Race, Check::CreateOnlyMultipart] {
            let finding = finding(check, Verdict::Ignored);
            assert!(finding.is_warning() && !finding.is_fatal());
            assert!(finding.meaning().contains("verified by digest at"));
        }
    }

    #[test]
    fn what_we_cannot_do_without_is_fatal() {
        for check in Check::ALL {
            for verdict in [Verdict::Ignored, Verdict::Refused, Verdict::Failed] {
                let finding = finding(check, verdict);
                assert_ne!(finding.is_fatal(), finding.is_warning());
                if check.is_needed() {
                    assert!(finding.is_fatal());
                }
            }
        }
        assert!(finding(Check::CreateOnly, Verdict::Refused).is_fatal());
    }

    #[test]
    fn what_works_or_was_not_tried_is_neither() {
        for check in Check::ALL {
            for verdict in [Verdict::Works, Verdict::Skipped] {
                let finding = finding(check, verdict);
                assert!(!finding.is_fatal() && !finding.is_warning());
            }
        }
    }

    #[test]
    fn names_are_told_apart() {
        let mut names = Check::ALL.map(Check::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Check::ALL.len());
    }
}
