//! Pure: what a restore takes: from a restore point on, which records of the archive follow it up to a moment.
//!
//! ```text
//!              the restore point holds          the archive holds                       moment
//!   log a   ├──────────────────────────┤├──── segment ────┤├──── segment ──╎──┤           ╎
//!   log b   ├───┤├──── segment ────┤ end                                   ╎
//!   log c                               ├─ segment ─┤                      ╎   c may have grown since: provisional
//! ```
//! **Invariants** (I25). Of each log a prefix is taken: the records whose stamps do not lie above the moment. A moment is final
//! only if no record below it can come to light any more: it lies at or below the mark of every log that may still grow, the
//! stamp of the last record that is archived of it. Records that are known to be missing are never skipped: the plan names them.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{End, Named, Segment};
use super::manifest::Manifest;
use super::stretch::Stretch;
use crate::base::{AppliedVv, Hlc, LogId, Seq};
use crate::control::LogState;
use crate::storage::State;

/// What is archived.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    /// Records.
    pub segments: BTreeMap<LogId, BTreeSet<Segment>>,
    /// Where logs end.
    pub ends: BTreeMap<LogId, BTreeSet<End>>,
    /// From where on there are records.
    pub stretches: Vec<Stretch>,
}

/// What a restore takes beside the files of a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Records with stamps above it are left out.
    pub until: Hlc,
    /// The logs of which records follow the restore point.
    pub logs: Vec<LogPlan>,
    /// No record stamped at or below this can come to light that the plan does not take.
    pub final_through: Hlc,
    /// The logs that may hold records below the moment that are not archived.
    pub growing: BTreeSet<LogId>,
}

/// What is taken of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlan {
    /// The log.
    pub log: LogId,
    /// The last record that the restore point holds.
    pub after: Seq,
    /// Each begins at the latest behind the one before it, and ends behind it.
    pub segments: Vec<Segment>,
}

/// Why there is no way to a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// The restore point holds later records.
    #[error("the restore point holds records up to {newest}, which is later")]
    TooLate {
        /// The stamp of its newest record.
        newest: Hlc,
    },
    /// Records are missing between others.
    #[error(
        "records {from} to {to} of log {log} are missing in the archive; what was written up to {reachable} can be restored"
    )]
    Missing {
        /// The log.
        log: LogId,
        /// The first missing record.
        from: Seq,
        /// The last one.
        to: Seq,
        /// Up to this stamp the way is free.
        reachable: Hlc,
    },
    /// Nothing was archived for a while.
    #[error(
        "some records written before {since} were never archived; from this restore point what was written up to {reachable} can be restored"
    )]
    Gap {
        /// When archiving went on.
        since: Hlc,
        /// Up to this stamp the way is free.
        reachable: Hlc,
    },
    /// Two histories of one log: one of them was written by a copy of a directory, or a name was tampered with.
    #[error("log {log} has two histories: {one} and {other} cannot both be right")]
    Fork {
        /// The log.
        log: LogId,
        /// An object of the one.
        one: String,
        /// An object of the other.
        other: String,
    },
}

impl Plan {
    /// The way from a restore point to the last record whose stamp is not above `until`.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn new(base: &Manifest, archive: &Archive, until: Hlc) -> Result<Plan, Impossible> {
        let newest = base.snapshot.state.newest;
        if newest > until {
            return Err(Impossible::TooLate { newest });
        }
        let held = &base.snapshot.state.applied.0;
        let mut plan = Plan {
            until,
            logs: Vec::new(),
            final_through: Hlc(u64::MAX),
            growing: BTreeSet::new(),
        };
        let mut missing = None;
        let logs = archive.logs_beyond(base);
        // Behind a log that has ended the next one may have begun unseen, with greater stamps: at the end, and in a gap.
        let known_before = |gap: &Stretch| logs.iter().rfind(|log| log.epoch < gap.epoch);
        let gaps = archive.gaps(base);
        let last_known = gaps.iter().filter_map(|gap| known_before(gap));
        let last_known: BTreeSet<LogId> = last_known.chain(logs.last()).copied().collect();
        for log in &logs {
            // Of a folded log all is held.
            let Some(after) = held.last(*log) else {
                continue;
            };
            archive.check_forks(*log)?;
            let reach = Reach::new(archive, base, *log, after, until);
            let mark = reach.mark;
            let end = archive.end(base, *log);
            if last_known.contains(log) || end.is_none_or(|end| end > reach.last) {
                plan.final_through = plan.final_through.min(mark);
                if mark < until {
                    plan.growing.insert(*log);
                }
            }
            let lacks_end = end.filter(|end| reach.last < *end && mark < until);
            let beyond = reach.beyond.or(lacks_end.map(Seq::next));
            if let Some(beyond) = beyond {
                missing.get_or_insert((*log, reach.last.next(), beyond));
            }
            if !reach.segments.is_empty() {
                plan.logs.push(LogPlan {
                    log: *log,
                    after,
                    segments: reach.segments,
                });
            }
        }
        plan.check(base, archive, missing)?;
        Ok(plan)
    }

    /// The restore point as it is.
    #[must_use]
    pub fn nothing_after(base: &Manifest) -> Plan {
        let newest = base.snapshot.state.newest;
        Plan {
            until: newest,
            logs: Vec::new(),
            final_through: newest,
            growing: BTreeSet::new(),
        }
    }

    /// Can no record come to light any more that belongs to this moment?
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.until <= self.final_through
    }

    /// The segments that are to be fetched.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.logs.iter().flat_map(|log| &log.segments)
    }

    /// Refuses a plan in which records are left out of which it is known that there were some.
    fn check(
        &self,
        base: &Manifest,
        archive: &Archive,
        missing: Option<(LogId, Seq, Seq)>,
    ) -> Result<(), Impossible> {
        let reachable = self.final_through;
        if let Some((log, from, beyond)) = missing {
            let to = Seq(beyond.0.saturating_sub(1));
            return Err(Impossible::Missing {
                log,
                from,
                to,
                reachable,
            });
        }
        match archive.gaps(base).first() {
            Some(stretch) if !self.is_final() => Err(Impossible::Gap {
                since: stretch.since,
                reachable,
            }),
            _ => Ok(()),
        }
    }
}

/// How far the records of one log reach without a gap.
struct Reach {
    segments: Vec<Segment>,
    last: Seq,
    /// All records behind them lie above it.
    mark: Hlc,
    /// The first record beyond a gap.
    beyond: Option<Seq>,
}

impl Reach {
    /// As few segments as reach from `after` to beyond `until`.
    fn new(archive: &Archive, base: &Manifest, log: LogId, after: Seq, until: Hlc) -> Reach {
        let mut reach = Reach {
            segments: Vec::new(),
            last: after,
            mark: archive.least_mark(base, log),
            beyond: None,
        };
        // Of those that begin in time, the one that ends last.
        let mut next: Option<Segment> = None;
        for segment in archive.segments.get(&log).into_iter().flatten() {
            if segment.from > reach.last.next() {
                reach.take(next.take(), until);
            }
            if segment.from > reach.last.next() {
                reach.beyond = Some(segment.from).filter(|_| reach.mark < until);
                return reach;
            }
            if next.is_none_or(|next| next.to < segment.to) {
                next = Some(*segment);
            }
        }
        reach.take(next, until);
        reach
    }

    fn take(&mut self, segment: Option<Segment>, until: Hlc) {
        let goes_on = |segment: &Segment| segment.to > self.last && self.mark < until;
        if let Some(segment) = segment.filter(goes_on) {
            self.last = segment.to;
            self.mark = segment.newest;
            self.segments.push(segment);
        }
    }
}

impl Archive {
    /// The logs of which there may be records beyond what a restore point holds, those of later epochs last.
    fn logs_beyond(&self, base: &Manifest) -> Vec<LogId> {
        let control = &base.control;
        let archived = self.segments.keys().copied();
        let unfinished = self
            .stretches
            .iter()
            .flat_map(|stretch| &stretch.unfinished);
        let held = base.snapshot.state.applied.0.logs().map(|(log, _)| log);
        let known = control.logs.keys().map(|epoch| control.log(*epoch));
        let all: BTreeSet<LogId> = archived
            .chain(unfinished.copied())
            .chain(held)
            .chain(known)
            .collect();
        let mut all: Vec<LogId> = all.into_iter().collect();
        all.sort_by_key(|log| (log.epoch, log.region));
        all
    }

    /// The stretches before which something was never archived that a restore point does not hold.
    pub(super) fn gaps(&self, base: &Manifest) -> Vec<&Stretch> {
        let stretches = self.stretches.iter();
        stretches
            .filter(|stretch| !follows(base, stretch))
            .collect()
    }

    /// The last record of a log that has ended, as far as is known.
    fn end(&self, base: &Manifest, log: LogId) -> Option<Seq> {
        let known = base.control.logs.get(&log.epoch);
        let of_base = match known {
            Some(LogState::Closed { last, .. }) if log.region == base.control.region => Some(*last),
            _ => None,
        };
        let mut archived = self.ends.get(&log).into_iter().flatten();
        of_base.or_else(|| archived.next().map(|end| end.last))
    }

    /// A time that all records of a log that are not held by a restore point lie above, whatever is archived of it.
    fn least_mark(&self, base: &Manifest, log: LogId) -> Hlc {
        let state = &base.snapshot.state;
        let is_of_log =
            |stretch: &&Stretch| stretch.epoch == log.epoch && base.control.region == log.region;
        let begun = self.stretches.iter().find(is_of_log);
        let begun = begun.map(|stretch| stretch.since);
        let is_open = log == base.control.log(base.control.open_epoch());
        let held = newest_of(state, log).filter(|_| is_open);
        begun.max(held).unwrap_or(Hlc::ZERO)
    }

    /// Refuses names that contradict each other: two chains at one record, or records behind an end.
    fn check_forks(&self, log: LogId) -> Result<(), Impossible> {
        let segments = self.segments.get(&log).into_iter().flatten();
        let ends = self.ends.get(&log).into_iter().flatten();
        let mut places = BTreeMap::new();
        let ended = ends
            .clone()
            .map(|end| (end.last, end.chain, Named::End(*end)));
        let reached = segments
            .clone()
            .map(|segment| (segment.to, segment.chain, Named::Segment(*segment)));
        for (at, chain, name) in reached.chain(ended) {
            let (known, first) = places.entry(at).or_insert((chain, name));
            if *known != chain {
                return Err(fork(log, first, &name));
            }
        }
        let last = segments.max_by_key(|segment| segment.to);
        let end = ends.min_by_key(|end| end.last);
        match (last, end) {
            (Some(segment), Some(end)) if segment.to > end.last => {
                Err(fork(log, &Named::Segment(*segment), &Named::End(*end)))
            }
            _ => Ok(()),
        }
    }
}

/// Does a restore point hold what was never archived before a stretch?
fn follows(base: &Manifest, stretch: &Stretch) -> bool {
    let held = &base.snapshot.state.applied.0;
    held.covers(&stretch.base) || base.control.covers(held, &stretch.base)
}

/// The stamp of the newest record of the log that is open, as far as a store in this state holds it: later epochs have greater
/// stamps, so it is the newest record of all. `None` if the store holds no record of that log, or of later ones or other regions.
fn newest_of(state: &State, open: LogId) -> Option<Hlc> {
    let AppliedVv(applied) = &state.applied;
    let holds_some = applied.last(open).is_some_and(|last| last > Seq::NONE);
    let mut logs = applied.logs();
    let is_latest = logs.all(|(held, _)| held.region == open.region && held.epoch <= open.epoch);
    Some(state.newest).filter(|_| holds_some && is_latest)
}

fn fork(log: LogId, one: &Named, other: &Named) -> Impossible {
    Impossible::Fork {
        log,
        one: one.to_string(),
        other: other.to_string(),
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
