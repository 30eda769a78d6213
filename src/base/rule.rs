//! The rules of the replication protocol, and of clients that repeat what they ask for, each of which a test can leave out.
//!
//! A simulator that finds nothing proves nothing: it must notice every rule that is missing. Where the code holds a rule
//! it asks [`Rule::holds`]. That is always so, in a release build by definition; where debug assertions are compiled in,
//! [`without`] runs some work on its thread as if the rule had been forgotten.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// A rule, named as in `docs/RELIABILITY.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// R1: a member refuses what comes from an epoch below its promise.
    Fence,
    /// R1: a node that has promised a later epoch writes nothing more under its own.
    StopOld,
    /// R2: a promise is durable before anything is answered under it.
    PromiseSync,
    /// R3: only what is durable is acknowledged and reported.
    AckDurable,
    /// R3: a write is acknowledged at `async` only after its own sync.
    OwnSync,
    /// I4: a start is registered only for the directory that was started last.
    BootToken,
    /// I4: a start is registered only for a directory that holds what it is known to have held.
    BootCovers,
    /// I4: a start promises the latest attempt.
    BootPromise,
    /// R4: until its start is registered a member answers nothing.
    MuteUntilBoot,
    /// R6: the members of the last opened configuration are sealed.
    SealBasis,
    /// R6: as many of them as meet every commit set.
    SealSize,
    /// R6: the candidate fetches what they hold before it opens.
    CatchUp,
    /// R8: changed members hold what was recovered before the epoch opens.
    Transfer,
    /// R9: only an acknowledgement given under the epoch counts towards commit in it.
    AckEpoch,
    /// W members commit, not one.
    CommitSize,
    /// I17: a primary without quorum contact acknowledges nothing at `async`.
    Contact,
    /// R10: a primary read is confirmed by W members.
    ConfirmSize,
    /// R10: by a round of pings that began after it arrived.
    ConfirmAfter,
    /// R11: a primary read first applies what had been appended when it arrived.
    ReadIndex,
    /// R12: a primary read waits for the commit of the newest row held.
    WaitNewest,
    /// R13: an epoch's log opens with the opening record, after the epoch has opened.
    OpenFirst,
    /// R13: a member takes the opening record only if the primary holds all that it holds.
    OpenCovers,
    /// R15: a returning member's tail is merged, not cut off.
    MergeTail,
    /// Q1: a member answers a quorum read only while its promise is the epoch whose opening record it holds.
    ReadOpening,
    /// Q2: only data members count in a quorum read.
    ReadMembers,
    /// Q2: W of them, all of one epoch.
    ReadSize,
    /// Q3: they name the same row.
    ReadAgree,
    /// W1: stamps stay below the granted ceiling.
    Ceiling,
    /// W2: no ceiling is granted to an epoch that has been overtaken.
    Freeze,
    /// W3: an epoch's stamps start above every ceiling granted before.
    Floor,
    /// I14: a log is closed only where its writer has reported all of it.
    CloseComplete,
    /// I13: only the latest epoch's primary closes logs.
    CloseLatest,
    /// I5: no log lets go of a record before it is on W data members.
    KeepTail,
    /// A snapshot is taken only if it covers what the member holds.
    SnapshotCovers,
    /// I5: what may be on too few members comes with a snapshot as records, too.
    SnapshotTail,
    /// A client sends what may have been carried out again only under its request id.
    RepeatNamed,
    /// Once the outcome of an attempt is unknown, a client tells no later failure in its place.
    StaysUnknown,
}

#[cfg(debug_assertions)]
thread_local! {
    static LEFT_OUT: Cell<Option<Rule>> = const { Cell::new(None) };
}

impl Rule {
    /// All of them.
    pub const ALL: &[Rule] = &[
        Rule::Fence,
        Rule::StopOld,
        Rule::PromiseSync,
        Rule::AckDurable,
        Rule::OwnSync,
        Rule::BootToken,
        Rule::BootCovers,
        Rule::BootPromise,
        Rule::MuteUntilBoot,
        Rule::SealBasis,
        Rule::SealSize,
        Rule::CatchUp,
        Rule::Transfer,
        Rule::AckEpoch,
        Rule::CommitSize,
        Rule::Contact,
        Rule::ConfirmSize,
        Rule::ConfirmAfter,
        Rule::ReadIndex,
        Rule::WaitNewest,
        Rule::OpenFirst,
        Rule::OpenCovers,
        Rule::MergeTail,
        Rule::ReadOpening,
        Rule::ReadMembers,
        Rule::ReadSize,
        Rule::ReadAgree,
        Rule::Ceiling,
        Rule::Freeze,
        Rule::Floor,
        Rule::CloseComplete,
        Rule::CloseLatest,
        Rule::KeepTail,
        Rule::SnapshotCovers,
        Rule::SnapshotTail,
        Rule::RepeatNamed,
        Rule::StaysUnknown,
    ];

    /// Is the rule in force?
    #[inline]
    #[must_use]
    pub fn holds(self) -> bool {
        #[cfg(debug_assertions)]
        return LEFT_OUT.get() != Some(self);
        #[cfg(not(debug_assertions))]
        true
    }
}

/// Does some work on this thread as if there were no such rule.
#[cfg(debug_assertions)]
pub fn without<T>(rule: Rule, work: impl FnOnce() -> T) -> T {
    /// Puts the rule back, whatever becomes of the work.
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            LEFT_OUT.set(None);
        }
    }
    LEFT_OUT.set(Some(rule));
    let _restore = Restore;
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_left_out_only_during_the_work() {
        assert!(Rule::Fence.holds());
        without(Rule::Fence, || {
            assert!(!Rule::Fence.holds());
            assert!(Rule::Floor.holds());
        });
        assert!(Rule::Fence.holds());
    }
}
