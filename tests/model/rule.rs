//! The rules of the protocol, each of which a run can leave out.

/// A rule, named as in `docs/RELIABILITY.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// R1: a member refuses every message of an epoch below its promise.
    Fence,
    /// R1: a node that has promised a later epoch writes nothing more under its own.
    StopOld,
    /// R2: a promise is durable before anything is answered under it.
    PromiseSync,
    /// R2: what a SealAck says is held is read after the promise is durable.
    PromiseFirst,
    /// R3: a member acknowledges and reports only what is durable.
    AckDurable,
    /// R3: a write is acknowledged at async only after its writer's own sync.
    OwnSync,
    /// R3: one WAL, synced and applied in order.
    WalOrder,
    /// R3: a record follows the one before it in its log.
    Contiguous,
    /// R4: a lost disk is a new incarnation.
    Identity,
    /// R5: a restarted primary's epoch is over.
    NewEpoch,
    /// R6: the members of the last opened configuration are sealed, not the new ones.
    SealBasis,
    /// R6: as many of them as meet every commit set.
    SealSize,
    /// R6: where a holder dies, its SealAck is dropped and another one awaited.
    SealAgain,
    /// R6: the candidate fetches all they hold before it opens.
    CatchUp,
    /// R7: only the latest attempt opens.
    LatestOpens,
    /// R8: changed members hold what was recovered before the epoch opens.
    Transfer,
    /// R9: only an acknowledgement given under the epoch commits in it.
    AckEpoch,
    /// R9: W members commit, not one fewer.
    CommitSize,
    /// R10: a primary read is confirmed by W members.
    ConfirmSize,
    /// R10: with pings sent after it arrived.
    ConfirmAfter,
    /// R11: a primary read first applies what had been appended when it arrived.
    ReadIndex,
    /// R12: a primary read answers once the row it took is committed.
    WaitNewest,
    /// R12: it takes the newest row, never an older committed one.
    NoSkip,
    /// R13: an epoch's opening record is written after the epoch has opened.
    OpenFirst,
    /// R13: a member takes it only if the primary holds all that the member holds.
    OpenCovers,
    /// R13: what the member has appended but not synced included.
    OpenCoversUnsynced,
    /// R13: nothing else of the epoch's log is taken before it.
    OpenLeads,
    /// R14: records move only by the primary's streams and the fetches of CHANGE.
    Star,
    /// R15: a returning member's tail is merged, not cut off.
    MergeTail,
    /// Q1: a member answers a quorum read only while its promise is that epoch.
    ReadEpoch,
    /// Q1: and while it holds that epoch's opening record; to know that it is open is not enough.
    ReadOpening,
    /// Q2: only data members of the epoch count.
    ReadMembers,
    /// Q2: W of them.
    ReadSize,
    /// Q3: they name the same row.
    ReadAgree,
    /// Q3: a member vouches for its row, not for all it holds.
    ReadRow,
    /// W1: stamps stay below the granted ceiling.
    Ceiling,
    /// W2: nothing is granted to an epoch that has been overtaken.
    Freeze,
    /// W3: an epoch's stamps start above every ceiling granted before.
    Floor,
    /// I17: without quorum contact nothing is acknowledged at async.
    Contact,
    /// Planned CHANGE: the old primary's SealAck is awaited while it lives.
    PlannedSeal,
    /// Close: what the log is closed at is committed in the epoch that closes it.
    CloseCommitted,
    /// Close: its writer has reported all of it, or has been evicted.
    CloseComplete,
    /// Close: refused for an epoch that has been overtaken.
    CloseLatest,
    /// Close: what lies beyond a final is neither sealed, fetched nor merged.
    FinalBinds,
    /// Evict: refused for members of the open configuration.
    EvictOpen,
    /// Evict: refused for those an attempt is based on or names.
    EvictAttempt,
    /// Begin: refused if it names an evicted incarnation.
    BeginEvicted,
    /// I4: a start is registered only for the directory that was started last.
    BootToken,
    /// I4: a start is registered only for a directory that holds what it is known to have held.
    BootCovers,
    /// I4: a registered start promises the latest attempt.
    BootPromise,
    /// R4: a member answers nothing until its start is registered.
    MuteUntilBoot,
    /// Snapshot: taken only if it covers all the member holds.
    SnapshotCovers,
    /// Snapshot: acknowledged only when it is durable.
    SnapshotDurable,
}

/// The rules in force.
#[derive(Clone, Copy)]
pub struct Rules(u64);

impl Rules {
    pub const ALL: Rules = Rules(!0);

    pub fn without(rule: Rule) -> Rules {
        Rules(!(1 << rule as u64))
    }

    pub fn hold(self, rule: Rule) -> bool {
        self.0 >> rule as u64 & 1 == 1
    }

    pub fn are_complete(self) -> bool {
        self.0 == !0
    }
}
