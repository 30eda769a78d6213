//! Pure: the primary of one epoch, from the transfer to its new members until something later is promised.
//!
//! ```text
//!   transferring ── the epoch is open ──► opening ── window granted, all applied: opening record logged ──► serving
//! ```
//! **Invariants.** I7: stamps lie above the floor and below the granted ceiling. I17: without quorum contact nothing is
//! acknowledged at `async`. I18: an acknowledgement counts copies that were acknowledged under this epoch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::pending::{Pending, Queues};
use crate::base::rule::Rule;
use crate::base::{CommitLevel, Epoch, Hlc, IncarnationId, LogId, Seq, VersionVector};
use crate::control::{Attempt, ControlState, EXTEND_EVERY, Tick, commit_size, seal_size, tick};
use crate::replication::{Commit, Contact, Held, Sender};

/// Why a primary does not take a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not the primary, or not yet.
    #[error("not the primary of an open epoch")]
    NotPrimary,
    /// It hands over or changes the members.
    #[error("the primary hands over")]
    HandingOver,
    /// No stamp below the ceiling is left: the next grant must come first.
    #[error("waiting for a stamp window")]
    AtCeiling,
    /// Fewer members are in contact than the level needs.
    #[error("only {present} of {needed} data members are in contact")]
    TooFew {
        /// How many are, this one included.
        present: usize,
        /// How many the level needs.
        needed: usize,
    },
}

/// How a primary came to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takeover {
    /// Since when it takes writes.
    pub at: Duration,
    /// For how long no writes were taken before, if that is known.
    pub unavailable: Option<Duration>,
    /// The latest log before its own of which it recovered something, and up to which record.
    pub recovered: Option<(Epoch, Seq)>,
}

/// How far a reign has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Transferring,
    Opening,
    Serving,
}

/// A planned change that waits for the log to be still.
#[derive(Debug, Clone)]
pub(super) struct HandOver {
    pub to: IncarnationId,
    pub members: BTreeSet<IncarnationId>,
    pub since: Duration,
    pub asked: Option<Duration>,
}

#[derive(Debug, Default)]
struct Window {
    ceiling: Hlc,
    number: u64,
    /// Requests not known to be granted, with when they were made.
    asked: VecDeque<(u64, Duration)>,
    last: Option<Duration>,
    /// When the last request was made that was granted.
    granted: Option<Duration>,
}

/// A primary.
#[derive(Debug)]
pub(super) struct Reign {
    me: IncarnationId,
    /// L.
    silence: Duration,
    /// When it began.
    pub since: Duration,
    pub attempt: Attempt,
    pub stage: Stage,
    /// T, what was recovered before the epoch opened.
    pub recovered: VersionVector,
    pub log: LogId,
    /// The last stamp given, or seen before.
    newest: Hlc,
    window: Window,
    pub senders: BTreeMap<IncarnationId, Sender>,
    heard: BTreeMap<IncarnationId, Duration>,
    pub commit: Commit,
    pub contact: Contact,
    pub pending: Queues,
    /// Tails being fetched, with since when.
    pub fetching: BTreeMap<IncarnationId, Duration>,
    /// Snapshots being sent, with since when.
    pub seeding: BTreeMap<IncarnationId, Duration>,
    pub hand_over: Option<HandOver>,
    /// When it last pinged.
    pub beat: Option<Duration>,
    /// The last durable record of its own log while there are more, and since when that is so.
    standstill: Option<(Option<Seq>, Duration)>,
    /// When it last looked after logs and members.
    pub tended: Option<Duration>,
    /// Since when no writes were taken before it, if that is known.
    pub idle_since: Option<Duration>,
    /// When it began to take them.
    pub served: Option<Duration>,
}

impl Reign {
    pub fn new(
        me: IncarnationId,
        since: Duration,
        attempt: Attempt,
        recovered: VersionVector,
        control: &ControlState,
    ) -> Reign {
        let members = attempt.members.clone();
        let w = commit_size(members.len());
        let needed = |rule: Rule| if rule.holds() { w } else { 1 };
        Reign {
            me,
            silence: control.settings.silence(),
            since,
            stage: Stage::Transferring,
            recovered,
            log: control.log(attempt.epoch),
            newest: Hlc::ZERO,
            window: Window::default(),
            senders: BTreeMap::new(),
            heard: BTreeMap::new(),
            commit: Commit::new(members.iter().copied(), needed(Rule::CommitSize)),
            contact: Contact::new(me, members, needed(Rule::ConfirmSize)),
            pending: Queues::default(),
            fetching: BTreeMap::new(),
            seeding: BTreeMap::new(),
            hand_over: None,
            beat: None,
            standstill: None,
            tended: None,
            idle_since: None,
            served: None,
            attempt,
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.attempt.epoch
    }

    /// How it came to serve.
    pub fn takeover(&self) -> Option<Takeover> {
        let at = self.served?;
        let before = self
            .recovered
            .logs()
            .filter(|(log, _)| log.region == self.log.region && log.epoch < self.log.epoch);
        Some(Takeover {
            at,
            unavailable: self.idle_since.map(|since| at.saturating_sub(since)),
            recovered: before
                .max_by_key(|(log, _)| log.epoch)
                .map(|(log, last)| (log.epoch, last)),
        })
    }

    /// Streams lead to the new members, and once the epoch is open to everybody who holds rows.
    pub fn follow(&mut self, control: &ControlState) {
        self.silence = control.settings.silence();
        let is_open = control.open_epoch() == self.epoch();
        if is_open && self.stage == Stage::Transferring {
            self.stage = Stage::Opening;
        }
        let wanted = |(incarnation, member): &(&IncarnationId, &crate::control::Member)| {
            **incarnation != self.me
                && member.role.holds_rows()
                && (is_open || self.attempt.members.contains(incarnation))
        };
        let wanted: BTreeSet<IncarnationId> = control
            .members
            .iter()
            .filter(wanted)
            .map(|(incarnation, _)| *incarnation)
            .collect();
        self.senders.retain(|member, _| wanted.contains(member));
        for member in wanted {
            self.senders.entry(member).or_default();
        }
        if let Some(extended) = control
            .extended
            .filter(|extended| extended.epoch == self.epoch())
        {
            self.window.ceiling = control.ceiling;
            while let Some((number, asked)) = self.window.asked.front().copied()
                && number <= extended.number
            {
                self.window.asked.pop_front();
                self.window.granted = Some(asked);
            }
        }
    }

    /// Looks how far its own log is: to where it is durable, and appended.
    pub fn watch_log(&mut self, now: Duration, durable: Option<Seq>, appended: Option<Seq>) {
        let since = self.standstill.filter(|(last, _)| *last == durable);
        let since = since.map_or(now, |(_, since)| since);
        self.standstill = (durable != appended).then_some((durable, since));
    }

    /// Has nothing of what was appended become durable for L? Then nobody is to wait for this disk.
    pub fn stands_still(&self, now: Duration) -> bool {
        let since = self.standstill.map(|(_, since)| since);
        since.is_some_and(|since| now.saturating_sub(since) >= self.silence)
    }

    /// Is it time to ask for a higher ceiling? Gives the number of the request then.
    pub fn extend(&mut self, now: Duration) -> Option<u64> {
        let every = if self.window.granted.is_some() {
            EXTEND_EVERY
        } else {
            EXTEND_EVERY / 4
        };
        let is_due = self
            .window
            .last
            .is_none_or(|last| now.saturating_sub(last) >= every);
        if !is_due {
            return None;
        }
        self.window.last = Some(now);
        self.window.number += 1;
        self.window.asked.push_back((self.window.number, now));
        Some(self.window.number)
    }

    /// A member reports under this epoch.
    pub fn report(
        &mut self,
        now: Duration,
        from: IncarnationId,
        control: &ControlState,
        held: Held,
    ) {
        self.heard.insert(from, now);
        self.commit.ack(from, &held.durable);
        self.contact.echo(from, held.round);
        if let Some(sender) = self.senders.get_mut(&from) {
            sender.report(control, held);
        }
    }

    /// Is there quorum contact, so that nobody else can have opened and acknowledged L ago?
    pub fn has_contact(&self, now: Duration) -> bool {
        let by_grant = Some(self.window.granted)
            .filter(|_| seal_size(self.attempt.members.len()) == 1)
            .flatten();
        let last = self.contact.last().max(by_grant);
        !Rule::Contact.holds() || last.is_some_and(|last| now.saturating_sub(last) < self.silence)
    }

    /// May a write of this level be appended now? Refused if it is known that it would not reach its level.
    pub fn admits(&self, now: Duration, level: CommitLevel) -> Result<(), Refused> {
        if self.stage != Stage::Serving {
            return Err(Refused::NotPrimary);
        }
        if self.hand_over.is_some() {
            return Err(Refused::HandingOver);
        }
        let members = self.attempt.members.len();
        let needed = match level {
            CommitLevel::Async => return Ok(()),
            CommitLevel::Quorum => commit_size(members),
            CommitLevel::All => members,
        };
        let is_present = |member: &&IncarnationId| **member == self.me || self.hears(now, **member);
        let present = self.attempt.members.iter().filter(is_present).count();
        // Who was away hears answers to what it had asked before. Only a later round tells that nobody has overtaken it, and
        // what is stamped after that may be acknowledged when it is repeated elsewhere.
        if present >= needed && self.has_contact(now) {
            return Ok(());
        }
        let present = present.min(needed - 1);
        Err(Refused::TooFew { present, needed })
    }

    /// Was the member heard within L?
    pub fn hears(&self, now: Duration, member: IncarnationId) -> bool {
        let heard = self.heard.get(&member);
        heard.is_some_and(|heard| now.saturating_sub(*heard) < self.silence)
    }

    /// The time of the next stamp, above everything applied here (M2, I9).
    pub fn tick(&mut self, wall_millis: u64, applied: Hlc) -> Result<Hlc, Refused> {
        let above = self.newest.max(self.attempt.floor).max(applied);
        let ceiling = if Rule::Ceiling.holds() {
            self.window.ceiling
        } else {
            Hlc(u64::MAX)
        };
        match tick(above, wall_millis, ceiling) {
            Tick::At(hlc) => {
                self.newest = hlc;
                Ok(hlc)
            }
            Tick::AtCeiling => Err(Refused::AtCeiling),
        }
    }

    /// The writes that have reached their level, with how many copies there are.
    pub fn reached(&mut self, now: Duration, durable: &VersionVector) -> Vec<(Pending, usize)> {
        let has_contact = self.has_contact(now);
        let commit = &self.commit;
        let reached = self.pending.reached(|level, stamp| {
            let (log, seq) = (stamp.log(), stamp.seq);
            match level {
                CommitLevel::Async => {
                    let is_synced = durable.contains(log, seq) || !Rule::OwnSync.holds();
                    is_synced && has_contact
                }
                CommitLevel::Quorum => commit.is_committed(log, seq),
                CommitLevel::All => commit.is_everywhere(log, seq),
            }
        });
        let copies = |pending: &Pending| commit.copies(pending.stamp.log(), pending.stamp.seq);
        let counted = reached
            .into_iter()
            .map(|pending| (pending, copies(&pending).max(1)));
        counted.collect()
    }
}

#[cfg(test)]
#[path = "reign_test.rs"]
mod tests;
