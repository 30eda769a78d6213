//! Pure: what a replica does as the primary of its epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{Action, Wanted, WriteId};
use super::pending::Pending;
use super::reign::{Refused, Reign, Stage};
use super::{Fault, Replica};
use crate::base::rule::Rule;
use crate::base::{CommitLevel, Epoch, Hlc, IncarnationId, Seq, Stamp, VersionVector};
use crate::control::{Command, LogState, commit_size};
use crate::epoch::Change;
use crate::epoch::timing::{ASK_AGAIN, HAND_OVER, HEARTBEAT};
use crate::model::digest::Digest;
use crate::model::record::{Body, Opening, Record, RequestId};
use crate::replication::{Append, Held, Logged, Message, Sender};

/// The stamp of the next record of an epoch's log, but for its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The epoch.
    pub epoch: Epoch,
    /// The time.
    pub hlc: Hlc,
}

/// What a member has reported to its primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it had promised.
    pub promise: Epoch,
    /// What was durable there.
    pub durable: VersionVector,
    /// What could be read there.
    pub applied: VersionVector,
    /// Was it heard within L?
    pub is_heard: bool,
}

/// How often a member is sent a snapshot that it does not seem to get.
const SEED_AGAIN: Duration = Duration::from_secs(5);

impl Replica {
    /// May a write of this level be appended?
    ///
    /// # Errors
    /// Why not; nothing has been written then.
    pub fn admits(&self, now: Duration, level: CommitLevel) -> Result<(), Refused> {
        let reign = self.reign.as_ref().ok_or(Refused::NotPrimary)?;
        reign.admits(now, level)
    }

    /// The time of the next record's stamp, to be given to [`append`](Self::append).
    ///
    /// # Errors
    /// If this replica does not serve, or has no stamps left below its ceiling.
    pub fn stamp(&mut self, wall_millis: u64) -> Result<Turn, Refused> {
        let newest = self.newest;
        let reign = self
            .reign
            .as_mut()
            .filter(|reign| reign.stage == Stage::Serving)
            .ok_or(Refused::NotPrimary)?;
        let hlc = reign.tick(wall_millis, newest)?;
        let epoch = reign.epoch();
        Ok(Turn { epoch, hlc })
    }

    /// Has a write that was appended before told, once it has reached a level: the repetition of one that is not
    /// acknowledged yet.
    ///
    /// # Errors
    /// If this replica is not primary.
    pub fn await_level(
        &mut self,
        now: Duration,
        stamp: Stamp,
        level: CommitLevel,
        write: WriteId,
    ) -> Result<(), Refused> {
        let reign = self.reign.as_mut().ok_or(Refused::NotPrimary)?;
        reign.pending.push(level, Pending { write, stamp });
        self.go_on(now);
        Ok(())
    }

    /// Appends a record to the epoch's log. With a write's name and level, what becomes of it is told once.
    ///
    /// # Errors
    /// If the epoch for which the stamp was given is over.
    pub fn append(
        &mut self,
        now: Duration,
        turn: Turn,
        request: Option<RequestId>,
        body: Body,
        write: Option<(WriteId, CommitLevel)>,
    ) -> Result<Stamp, Refused> {
        let reign = self.reign.as_ref();
        let log = reign
            .filter(|reign| reign.epoch() == turn.epoch)
            .ok_or(Refused::NotPrimary)?
            .log;
        let appended = self.member.appended();
        let stamp = Stamp {
            hlc: turn.hlc,
            region: log.region,
            epoch: log.epoch,
            seq: appended.vector().last(log).unwrap_or(Seq::NONE).next(),
        };
        let record = Record {
            stamp,
            chain_before: appended.chain(log).unwrap_or(Digest::EMPTY),
            request,
            body,
        };
        let logged = Logged::new(record);
        self.member.append(&logged);
        self.actions.push(Action::Append(vec![logged]));
        if let (Some((write, level)), Some(reign)) = (write, &mut self.reign) {
            reign.pending.push(level, Pending { write, stamp });
        }
        self.go_on(now);
        Ok(stamp)
    }

    /// What other members have applied, as far as they have reported it to this one, their primary.
    #[must_use]
    pub fn applied_elsewhere(&self) -> BTreeMap<IncarnationId, VersionVector> {
        let senders = self.reign.iter().flat_map(|reign| &reign.senders);
        let applied = |(member, sender): (&IncarnationId, &Sender)| {
            Some((*member, sender.reported()?.applied.clone()))
        };
        senders.filter_map(applied).collect()
    }

    /// What other members have reported to this one, their primary.
    #[must_use]
    pub fn reports(&self, now: Duration) -> BTreeMap<IncarnationId, Report> {
        let Some(reign) = &self.reign else {
            return BTreeMap::new();
        };
        let report = |(member, sender): (&IncarnationId, &Sender)| {
            let held = sender.reported()?;
            let report = Report {
                promise: held.epoch,
                durable: held.durable.clone(),
                applied: held.applied.clone(),
                is_heard: reign.hears(now, *member),
            };
            Some((*member, report))
        };
        reign.senders.iter().filter_map(report).collect()
    }

    /// Nobody waits for this write any more.
    pub fn forget(&mut self, write: WriteId) {
        if let Some(reign) = &mut self.reign {
            reign.pending.forget(write);
        }
    }

    pub(super) fn hear_held(&mut self, now: Duration, from: IncarnationId, held: Held) {
        let Some(reign) = &mut self.reign else {
            return;
        };
        if Rule::AckEpoch.holds() && held.epoch != reign.epoch() {
            return;
        }
        if let Err(fork) = self.member.appended().compare(&held.appended) {
            return self.halt(Fault::Fork(fork));
        }
        let durable = held.durable.clone();
        reign.report(now, from, &self.control, held);
        self.fetch_tail(now, from, &durable);
    }

    /// What a member holds beyond the primary is the tail of an earlier reign: fetched, merged here, then streamed.
    fn fetch_tail(&mut self, now: Duration, from: IncarnationId, durable: &VersionVector) {
        if !Rule::MergeTail.holds() {
            return;
        }
        let Some(reign) = &mut self.reign else {
            return;
        };
        let asked = reign.fetching.get(&from);
        if asked.is_some_and(|asked| now.saturating_sub(*asked) < ASK_AGAIN) {
            return;
        }
        let held = self.member.appended().vector();
        let missing = self.control.missing(durable, held).unwrap_or_default();
        if !missing.is_empty() {
            reign.fetching.insert(from, now);
            self.fetch(from, missing);
        }
    }

    /// What is done from time to time.
    pub(super) fn lead(&mut self, now: Duration) {
        let Some(reign) = &mut self.reign else {
            return;
        };
        let durable = self.member.durable().last(reign.log);
        let appended = self.member.appended().vector().last(reign.log);
        reign.watch_log(now, durable, appended);
        let is_due = |last: Option<Duration>, every| {
            last.is_none_or(|last| now.saturating_sub(last) >= every)
        };
        let tends = is_due(reign.tended, HEARTBEAT);
        if is_due(reign.beat, HEARTBEAT) {
            self.ping(now);
        }
        if tends {
            self.tend(now);
        }
        self.extend(now);
    }

    /// Not with the pings: reads make those come at any time.
    fn tend(&mut self, now: Duration) {
        if let Some(reign) = &mut self.reign {
            reign.tended = Some(now);
        }
        self.close_complete_logs();
        self.adapt_two_nodes(now);
    }

    fn extend(&mut self, now: Duration) {
        let me = self.me;
        let Some(reign) = &mut self.reign else {
            return;
        };
        if reign.stands_still(now) {
            return;
        }
        let Some(number) = reign.extend(now) else {
            return;
        };
        let reported = reign
            .senders
            .iter()
            .filter_map(|(member, sender)| Some((*member, sender.reported()?.durable.clone())));
        let mut acked: Vec<_> = reported.collect();
        acked.push((me, self.member.durable().clone()));
        let epoch = reign.epoch();
        self.actions.push(Action::Extend {
            epoch,
            number,
            acked,
        });
    }

    /// Begins a round of pings, unless its disk stands still: then it is not to be heard of.
    pub(super) fn ping(&mut self, now: Duration) {
        let Some(reign) = &mut self.reign else {
            return;
        };
        if reign.stands_still(now) {
            return;
        }
        // Once it has promised another epoch, it does not count for this one any more.
        if reign.epoch() != self.member.promise() && Rule::StopOld.holds() {
            return;
        }
        reign.beat = Some(now);
        let round = reign.contact.begin(now);
        let epoch = reign.epoch();
        for (member, sender) in &mut reign.senders {
            let ping = Append {
                epoch,
                number: sender.number(),
                round,
                vector: self.member.durable().clone(),
                records: vec![],
            };
            let ping = Message::Append(ping);
            self.actions.push(Action::Send(*member, ping));
        }
    }

    /// Whatever of its reign can go on now.
    pub(super) fn go_on_reigning(&mut self, now: Duration) {
        let Some(reign) = &mut self.reign else {
            return;
        };
        if reign.epoch() == self.member.promise() || !Rule::AckEpoch.holds() {
            reign.commit.ack(self.me, self.member.durable());
        }
        self.open_log(now);
        self.ship_all(now);
        self.acknowledge(now);
        self.go_on_handing_over(now);
    }

    fn acknowledge(&mut self, now: Duration) {
        let Some(reign) = &mut self.reign else {
            return;
        };
        for (pending, copies) in reign.reached(now, self.member.durable()) {
            self.actions.push(Action::Acknowledge {
                write: pending.write,
                stamp: pending.stamp,
                copies,
            });
        }
    }

    /// Logs the opening record, once the epoch is open, a window is granted and all that is held is applied.
    fn open_log(&mut self, now: Duration) {
        let Some(reign) = &mut self.reign else {
            return;
        };
        let may = match reign.stage {
            Stage::Transferring => !Rule::OpenFirst.holds(),
            Stage::Opening => true,
            Stage::Serving => false,
        };
        let is_applied = self
            .control
            .covers(&self.applied, self.member.appended().vector());
        if !may || !is_applied {
            return;
        }
        // Members take the clock from the records: the floor is above every stamp given before.
        let Ok(hlc) = reign.tick(0, self.newest) else {
            return;
        };
        let opening = Opening {
            floor: reign.attempt.floor,
            members: reign.attempt.members.iter().copied().collect(),
            recovered: reign.recovered.clone(),
        };
        reign.stage = Stage::Serving;
        reign.served = Some(now);
        let epoch = reign.epoch();
        let opened = self.append(now, Turn { epoch, hlc }, None, Body::Opening(opening), None);
        debug_assert!(opened.is_ok(), "a reign appends");
    }

    /// Sends each member what it lacks, as far as there is room on the way.
    fn ship_all(&mut self, now: Duration) {
        let Some(reign) = &mut self.reign else {
            return;
        };
        let epoch = reign.epoch();
        let durable = self.member.durable();
        for (member, sender) in &mut reign.senders {
            if sender.needs_snapshot() {
                let last = reign.seeding.get(member);
                if last.is_none_or(|last| now.saturating_sub(*last) >= SEED_AGAIN) {
                    reign.seeding.insert(*member, now);
                    let to = *member;
                    self.actions.push(Action::Snapshot { to, epoch });
                }
                continue;
            }
            // A member that holds more than the primary is not led on before that is merged (I27).
            let has_tail = sender
                .appended()
                .is_some_and(|held| !self.control.covers(durable, held.vector()));
            if has_tail && Rule::OpenCovers.holds() {
                continue;
            }
            if let Some(shipment) = sender.next(&self.control, durable) {
                self.actions.push(Action::Read(Wanted::Shipment {
                    to: *member,
                    epoch,
                    shipment,
                }));
            }
        }
    }

    pub(super) fn ship(&mut self, to: IncarnationId, epoch: Epoch, records: Option<Vec<Logged>>) {
        let Some(reign) = self.reign.as_mut().filter(|reign| reign.epoch() == epoch) else {
            return;
        };
        let round = reign.contact.latest();
        let Some(sender) = reign.senders.get_mut(&to) else {
            return;
        };
        let Some(number) = sender.read(records.as_deref()) else {
            return;
        };
        let append = Append {
            epoch,
            number,
            round,
            vector: self.member.durable().clone(),
            records: records.unwrap_or_default(),
        };
        self.send(to, Message::Append(append));
    }

    /// Closes the logs of earlier reigns that are complete: their writer has reported all of it, and W members hold it.
    fn close_complete_logs(&mut self) {
        let Some(reign) = self.reign.as_ref().filter(|r| r.stage == Stage::Serving) else {
            return;
        };
        let needed = commit_size(reign.attempt.members.len());
        let active = self
            .control
            .logs
            .iter()
            .filter(|(epoch, log)| **log == LogState::Active && **epoch < reign.epoch());
        for (epoch, _) in active {
            let log = self.control.log(*epoch);
            let Some(last) = self.member.durable().last(log) else {
                continue;
            };
            if self.member.appended().vector().last(log) != Some(last) {
                continue;
            }
            let is_complete = self.is_complete(reign, *epoch, last);
            let copies = reign.commit.copies(log, last);
            if (is_complete || !Rule::CloseComplete.holds()) && copies >= needed {
                self.actions.push(Action::Propose(Command::Close {
                    by: reign.epoch(),
                    epoch: *epoch,
                    last,
                    digest: self.member.appended().chain(log).unwrap_or_default().0,
                }));
            }
        }
    }

    /// Is this all there ever was of an earlier reign's log? Its writer has said so; if that was given up, everybody who
    /// is left has.
    fn is_complete(&self, reign: &Reign, epoch: Epoch, last: Seq) -> bool {
        let log = self.control.log(epoch);
        let says_so = |sender: &Sender| {
            sender.reported().is_some_and(|held| {
                held.epoch == reign.epoch() && held.appended.vector().last(log) <= Some(last)
            })
        };
        match self.control.writers.get(&epoch) {
            Some(writer) if *writer == self.me => true,
            Some(writer) if self.control.members.contains_key(writer) => {
                let ends_here = |sender: &Sender| {
                    let durable = sender.reported().map(|held| held.durable.last(log));
                    durable == Some(Some(last))
                };
                let writer = reign.senders.get(writer);
                writer.is_some_and(|writer| says_so(writer) && ends_here(writer))
            }
            Some(_) | None => reign.senders.values().all(says_so),
        }
    }

    /// Hands over as soon as everything appended is acknowledged by the one who takes over.
    fn go_on_handing_over(&mut self, now: Duration) {
        let Some(reign) = &mut self.reign else {
            return;
        };
        let epoch = reign.epoch();
        let Some(plan) = &mut reign.hand_over else {
            return;
        };
        if self.control.attempt_epoch() > epoch || self.change.is_some() {
            return;
        }
        if now.saturating_sub(plan.since) >= HAND_OVER {
            reign.hand_over = None;
            return;
        }
        let vector = self.member.appended().vector().clone();
        let held = if plan.to == self.me {
            Some(self.member.durable())
        } else {
            let sender = reign.senders.get(&plan.to);
            sender.and_then(|sender| Some(&sender.reported()?.durable))
        };
        let is_still =
            reign.pending.is_empty() && held.is_some_and(|held| self.control.covers(held, &vector));
        let is_due = plan
            .asked
            .is_none_or(|asked| now.saturating_sub(asked) >= ASK_AGAIN);
        if !is_still || !is_due {
            return;
        }
        plan.asked = Some(now);
        let (to, members) = (plan.to, plan.members.clone());
        if to == self.me {
            self.set_out(now, |me, boot, number, sight| {
                Change::planned(me, boot, members, me, number, sight)
            });
        } else {
            let message = Message::HandOver {
                epoch,
                members,
                vector,
            };
            self.send(to, message);
        }
    }
}
