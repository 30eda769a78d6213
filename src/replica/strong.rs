//! Pure: reads that claim to be current, from their arrival to their answer.
//!
//! ```text
//!  primary read:  round of pings confirmed (R10), all appended at its arrival applied (R11) ── ReadRows ──►
//!                 the newest row of each key committed in the epoch (R12) ── Answer
//!  quorum read, at a member:  all durable at its arrival applied ── ReadRows ──► vouch, then answer (Q1)
//!  probe:         round of pings confirmed ── what was appended at its arrival
//! ```

use std::time::Duration;

use super::Replica;
use super::action::{Action, ReadId};
use super::reign::{Refused, Stage};
use crate::base::rule::Rule;
use crate::base::{IncarnationId, LogId, Seq, VersionVector};
use crate::epoch::timing::HEARTBEAT;
use crate::read::ProbeNumber;
use crate::replication::{Message, Round, Vouched};

/// Reads under way.
#[derive(Debug, Default)]
pub(super) struct Strong {
    waiting: Vec<Waiting>,
    /// Rows read at the primary, waiting for their commit.
    chosen: Vec<(ReadId, Vec<(LogId, Seq)>)>,
}

#[derive(Debug)]
struct Waiting {
    purpose: Purpose,
    /// The round of pings that must be confirmed first; only for what the primary answers.
    round: Option<Round>,
    /// What must be applied first.
    applied: VersionVector,
}

#[derive(Debug, Clone)]
enum Purpose {
    Primary(ReadId),
    Vouch(ReadId),
    Probe { from: IncarnationId, number: u64 },
}

impl Strong {
    pub fn abandon_primary(&mut self, actions: &mut Vec<Action>) {
        let ours = |waiting: &Waiting| waiting.round.is_some();
        for waiting in self.waiting.extract_if(.., |waiting| ours(waiting)) {
            if let Purpose::Primary(read) = waiting.purpose {
                actions.push(Action::Abandon(read));
            }
        }
        let chosen = self.chosen.drain(..).map(|(read, _)| Action::Abandon(read));
        actions.extend(chosen);
    }

    pub fn abandon_all(&mut self, actions: &mut Vec<Action>) {
        self.abandon_primary(actions);
        for waiting in self.waiting.drain(..) {
            if let Purpose::Vouch(read) = waiting.purpose {
                actions.push(Action::Abandon(read));
            }
        }
    }
}

impl Replica {
    /// A primary read arrives.
    ///
    /// # Errors
    /// If this replica is not the primary.
    pub fn read_primary(&mut self, now: Duration, read: ReadId) -> Result<(), Refused> {
        self.confirm(now, Purpose::Primary(read))
    }

    fn confirm(&mut self, now: Duration, purpose: Purpose) -> Result<(), Refused> {
        let reign = self
            .reign
            .as_mut()
            .filter(|reign| reign.stage == Stage::Serving)
            .ok_or(Refused::NotPrimary)?;
        let is_idle = reign.contact.confirmed() == reign.contact.latest();
        let round = if Rule::ConfirmAfter.holds() {
            reign.contact.latest().next()
        } else {
            reign.contact.confirmed()
        };
        let applied = if Rule::ReadIndex.holds() {
            self.member.appended().vector().clone()
        } else {
            VersionVector::new()
        };
        self.strong.waiting.push(Waiting {
            purpose,
            round: Some(round),
            applied,
        });
        // One round serves all that wait for it; those that come meanwhile share the next.
        if is_idle {
            self.ping(now);
        }
        self.go_on(now);
        Ok(())
    }

    /// A quorum read asks this member for its rows.
    pub fn read_for_quorum(&mut self, now: Duration, read: ReadId) {
        self.strong.waiting.push(Waiting {
            purpose: Purpose::Vouch(read),
            round: None,
            applied: self.member.durable().clone(),
        });
        self.go_on(now);
    }

    /// How old this replica's rows can be: everything acknowledged at quorum longer ago is applied here. `None`: nothing
    /// is known.
    #[must_use]
    pub fn staleness(&self, now: Duration) -> Option<Duration> {
        self.staleness.staleness(now)
    }

    /// Everything acknowledged at quorum before this moment is applied here.
    #[must_use]
    pub fn fresh_at(&self) -> Option<Duration> {
        self.staleness.fresh_at()
    }

    /// Asks the primary how far it has got, from time to time; the primary asks itself.
    pub(super) fn probe(&mut self, now: Duration) {
        let is_due = self
            .probed
            .is_none_or(|last| now.saturating_sub(last) >= HEARTBEAT);
        let leader = if self.serves().is_some() {
            Some(self.me)
        } else {
            self.leader.map(|leader| leader.who)
        };
        let Some(leader) = leader.filter(|_| is_due) else {
            return;
        };
        self.probed = Some(now);
        let number = self.staleness.probe(now).0;
        if leader == self.me {
            self.hear_probe(now, self.me, number);
        } else {
            self.send(leader, Message::Probe { number });
        }
    }

    pub(super) fn hear_probed(&mut self, number: u64, appended: VersionVector) {
        self.staleness.on_answer(ProbeNumber(number), appended);
        self.staleness.on_applied(&self.control, &self.applied);
    }

    pub(super) fn hear_probe(&mut self, now: Duration, from: IncarnationId, number: u64) {
        // Whoever is not primary stays silent: the asker finds out who is by itself.
        let _not_primary = self.confirm(now, Purpose::Probe { from, number });
    }

    /// The rows of a primary read have been read; these are the records they come from. Answered once all are committed.
    pub fn rows(&mut self, now: Duration, read: ReadId, records: Vec<(LogId, Seq)>) {
        if self.reign.is_none() {
            self.actions.push(Action::Abandon(read));
            return;
        }
        self.strong.chosen.push((read, records));
        self.go_on(now);
    }

    /// In whose name the rows read just now for a quorum read may be given (Q1). `None`: not at all.
    #[must_use]
    pub fn vouch(&self) -> Option<Vouched> {
        if !self.takes_part() {
            return None;
        }
        self.member.vouch(&self.applied)
    }

    /// Nobody waits for this read any more.
    pub fn drop_read(&mut self, read: ReadId) {
        self.strong.chosen.retain(|(chosen, _)| *chosen != read);
        self.strong.waiting.retain(|waiting| match waiting.purpose {
            Purpose::Primary(waits) | Purpose::Vouch(waits) => waits != read,
            Purpose::Probe { .. } => true,
        });
    }

    pub(super) fn go_on_reading(&mut self) {
        let confirmed = self.reign.as_ref().map(|reign| reign.contact.confirmed());
        let is_ready = |waiting: &mut Waiting| {
            waiting.round.is_none_or(|round| confirmed >= Some(round))
                && self.control.covers(&self.applied, &waiting.applied)
        };
        let ready: Vec<Waiting> = self.strong.waiting.extract_if(.., is_ready).collect();
        for waiting in ready {
            match waiting.purpose {
                Purpose::Primary(read) | Purpose::Vouch(read) => {
                    self.actions.push(Action::ReadRows(read));
                }
                Purpose::Probe { from, number } if from == self.me => {
                    self.hear_probed(number, waiting.applied);
                }
                Purpose::Probe { from, number } => {
                    let appended = waiting.applied;
                    self.send(from, Message::Probed { number, appended });
                }
            }
        }
        let Some(reign) = &self.reign else {
            return;
        };
        let is_committed = |(log, seq): &(LogId, Seq)| reign.commit.is_committed(*log, *seq);
        let done = |(_, records): &mut (ReadId, Vec<(LogId, Seq)>)| {
            !Rule::WaitNewest.holds() || records.iter().all(is_committed)
        };
        for (read, _) in self.strong.chosen.extract_if(.., done) {
            self.actions.push(Action::Answer(read));
        }
    }
}
