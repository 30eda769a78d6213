//! This node's member of the set: the replica core, the thread that brings it what happens, and the hands that carry out
//! what it asks for.
//!
//! ```text
//!   peers, agreement, log, time ── Event ──► member thread ─┐
//!                                                           ├─► Replica (one mutex) ── Action ──► Hands: log, peers,
//!   writes ──────────────────────────────── writer thread ──┘                                    agreement, waiters
//! ```
//! **Invariants.** Actions are carried out in their order before the mutex is released: what follows a promise follows its
//! being durable (I10), and records reach the log in the order in which the core appended them. After a failed action the
//! core is asked nothing more (I20).

mod backlog;
mod chronicle;
mod halt;
mod hands;
mod standing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::error;

use super::agreement::Agreement;
use super::identity::IdentityFile;
use super::request::Error;
use super::seeding::Seeding;
use crate::base::task::thread;
use crate::base::{
    BootToken, Clock, CommitLevel, Epoch, IncarnationId, LogId, Lsn, Seq, Stamp, VersionVector,
    Watermark,
};
use crate::control::{self, ControlState, Rejection};
use crate::engine::{Engine, Fate};
use crate::model::{Body, RequestId};
use crate::net::{Inbound, Wires};
use crate::proto::Invalid;
use crate::replica::{Found, ReadId, Refused, Replica, Report, Turn, Unfit, Wanted, WriteId};
use crate::replication::{Logged, Message, Vouched};
use backlog::Backlog;
use chronicle::Chronicle;
pub(super) use halt::Halt;
use hands::Hands;
pub(super) use standing::Standing;

/// How often the core is told the time.
const TICK: Duration = Duration::from_millis(20);
/// Events taken in one go.
const EVENTS: usize = 64;

/// What happens to the core.
#[derive(Debug)]
pub(super) enum Event {
    /// A member says something.
    Heard(IncarnationId, Message),
    /// A member's process was seen to be gone.
    Gone(IncarnationId),
    /// More is durable or applied in the log; further notices wait until this one is taken.
    Progress(Arc<AtomicBool>),
    /// The agreed state has changed.
    Agreed(Arc<ControlState>),
    /// This start, or this directory, is refused by what is agreed.
    Refused(Rejection),
    /// Nothing can be agreed on any more.
    AgreementLost(Arc<control::Error>),
    /// Records that were asked for.
    Records(Wanted, Option<Vec<Logged>>),
    /// A primary read arrives.
    ReadPrimary(oneshot::Sender<Result<StrongRead, Refused>>),
    /// A quorum read asks for this member's rows.
    ReadForQuorum(oneshot::Sender<StrongRead>),
    /// In whose name may the rows be given that were read just now for a quorum read?
    Vouch(oneshot::Sender<Option<Vouched>>),
    /// The rows of a primary read were read; they come from these records.
    RowsRead(ReadId, Vec<(LogId, Seq)>),
    /// Nobody waits for this write any more.
    Forget(WriteId),
    /// Nobody waits for this read any more.
    DropRead(ReadId),
}

/// A primary read, or this member's part of a quorum read, under way.
#[derive(Debug)]
pub(super) struct StrongRead {
    id: ReadId,
    /// Told when the rows may be read; closed if the read cannot be answered here any more.
    ready: oneshot::Receiver<()>,
    /// Told when the rows of a primary read may be answered; likewise.
    confirmed: oneshot::Receiver<()>,
    events: Sender<Event>,
}

impl StrongRead {
    /// Waits until the rows may be read. `None`: they are not answered here any more.
    pub async fn ready(&mut self) -> Option<()> {
        (&mut self.ready).await.ok()
    }

    /// Waits until the rows of a primary read, which come from these records, may be answered. `None`: this node is not the
    /// primary any more.
    pub async fn confirmed(&mut self, records: Vec<(LogId, Seq)>) -> Option<()> {
        let _ended = self.events.send(Event::RowsRead(self.id, records));
        (&mut self.confirmed).await.ok()
    }
}

impl Drop for StrongRead {
    fn drop(&mut self) {
        // After the member's end nothing is remembered.
        let _ended = self.events.send(Event::DropRead(self.id));
    }
}

/// A write that waits for its level.
#[derive(Debug)]
pub(super) struct Awaited {
    write: WriteId,
    /// Told with the number of durable copies; closed if its fate is unknown.
    reached: oneshot::Receiver<usize>,
    events: Sender<Event>,
}

impl Awaited {
    /// Waits until the level is reached; then says on how many data members the write is. `None`: that is not known.
    pub async fn reached(&mut self) -> Option<usize> {
        (&mut self.reached).await.ok()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        // After the member's end nothing is remembered.
        let _ended = self.events.send(Event::Forget(self.write));
    }
}

/// Where a record that was appended here stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub stamp: Stamp,
    pub end: Lsn,
}

/// What a primary appends.
#[derive(Debug)]
pub(super) struct Entry {
    pub turn: Turn,
    pub request: Option<RequestId>,
    pub body: Body,
    /// Hears what the record did.
    pub fate: Option<Fate>,
    /// What is appended only if nothing else was since: the log's end at that time.
    pub behind: Option<Lsn>,
}

/// Why an entry is not appended. Nothing was written then.
#[derive(Debug)]
pub(super) enum NotAppended {
    /// Something else was appended since its decision was made.
    Moved(Box<Entry>),
    /// This node is not the primary any more, or cannot write.
    Refused(Error),
}

struct Core {
    replica: Replica,
    chronicle: Chronicle,
    identity: IdentityFile,
    /// Of this start.
    token: BootToken,
    /// Where the last record appended ends.
    end: Lsn,
    fates: HashMap<Stamp, Fate>,
    writes: HashMap<WriteId, oneshot::Sender<usize>>,
    reads: HashMap<ReadId, [Option<oneshot::Sender<()>>; 2]>,
    /// Names given to writes and reads.
    named: u64,
    /// Where whoever waits for one says that nobody does any more.
    events: Sender<Event>,
    backlog: Backlog,
    /// Why it takes no further part.
    halted: Option<Halt>,
    /// Why nothing more can be agreed: writing ends with the window, and what needs no agreement goes on.
    lost: Option<Halt>,
}

/// The member.
pub(super) struct Member {
    core: Mutex<Core>,
    hands: Hands,
    standing: watch::Sender<Arc<Standing>>,
    /// The index of the agreed state that has reached the core; ends with the cause when the member does.
    agreed: Watermark<u64, Halt>,
    events: Sender<Event>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let standing = self.standing();
        f.debug_struct("Member")
            .field("standing", &standing)
            .finish_non_exhaustive()
    }
}

/// What a member is made of.
pub(super) struct Parts {
    pub found: Found,
    pub identity: IdentityFile,
    pub engine: Arc<Engine>,
    pub agreement: Arc<Agreement>,
    pub clock: Arc<dyn Clock>,
    pub seed: u64,
}

impl Member {
    /// Starts the member's thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(parts: Parts) -> std::io::Result<Arc<Member>> {
        let Parts {
            found,
            identity,
            engine,
            agreement,
            clock,
            seed,
        } = parts;
        let (events, happening) = channel();
        let control = agreement.state();
        let token = found.claim.token;
        let replica = Replica::new(found, Arc::clone(&control), clock.monotonic(), seed);
        let standing = Standing::of(&replica, None);
        // All that the WAL holds is applied; what follows in it by now is no record.
        let end = engine.state().lsn;
        let hands = Hands::start(
            replica.incarnation(),
            engine,
            agreement,
            clock,
            events.clone(),
        )?;
        let member = Arc::new(Member {
            core: Mutex::new(Core {
                chronicle: Chronicle::new(&replica),
                replica,
                identity,
                token,
                end,
                fates: HashMap::new(),
                writes: HashMap::new(),
                reads: HashMap::new(),
                named: 0,
                events: events.clone(),
                backlog: Backlog::default(),
                halted: None,
                lost: None,
            }),
            hands,
            standing: watch::channel(Arc::new(standing)).0,
            agreed: Watermark::new(control.index),
            events,
            thread: Mutex::new(None),
        });
        let works = Arc::clone(&member);
        let handle = thread("member", move || works.run(&happening))?;
        *member.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(member)
    }

    fn run(&self, happening: &Receiver<Event>) {
        let _end = EndOfMember(self.agreed.clone());
        loop {
            let first = match happening.recv_timeout(TICK) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let more = happening.try_iter().take(EVENTS);
            self.act(|core, hands, now| {
                for event in first.into_iter().chain(more) {
                    core.happen(event, hands, now);
                    hands.carry_out_all(core);
                    // After each, for the stages of a failover may follow one another at once.
                    core.chronicle.note(&core.replica);
                }
                core.hear_waiting(hands, now);
                core.replica.tick(now);
            });
            if self.lock().halted.is_some() && self.hands.is_stopping() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|poisoned| {
            let mut core = poisoned.into_inner();
            // What it asked for last may be half done.
            core.halt(Halt::Panicked);
            core
        })
    }

    /// Does something with the core, then all that the core asks for because of it.
    fn act<T>(&self, work: impl FnOnce(&mut Core, &Hands, Duration) -> T) -> T {
        let mut core = self.lock();
        let now = self.hands.now();
        let done = work(&mut core, &self.hands, now);
        self.hands.carry_out_all(&mut core);
        let Core {
            replica, chronicle, ..
        } = &mut *core;
        chronicle.note(replica);
        self.show(&core);
        core.abandon();
        done
    }

    /// Shows others where the core stands now.
    fn show(&self, core: &Core) {
        let halted = core.halted.as_ref().or(core.lost.as_ref());
        let now = Standing::of(&core.replica, halted.cloned());
        if **self.standing.borrow() != now {
            self.standing.send_replace(Arc::new(now));
        }
        match halted {
            Some(halt) => self.agreed.close(halt.clone()),
            None => self.agreed.advance(core.replica.control().index),
        }
    }

    /// Where the core stood last.
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.borrow())
    }

    /// Where the core stands, as it changes.
    pub fn standings(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    /// How far the agreed state has reached the core; ends with the cause when the member does.
    pub fn agreed(&self) -> &Watermark<u64, Halt> {
        &self.agreed
    }

    /// Where the last record appended ends in the log.
    pub fn end(&self) -> Lsn {
        self.lock().end
    }

    /// May a write of this level be appended now?
    ///
    /// # Errors
    /// Why not; nothing has been written then.
    pub fn admits(&self, level: CommitLevel) -> Result<(), Refused> {
        let now = self.hands.now();
        self.lock().replica.admits(now, level)
    }

    /// The next stamp but for its place in the log. Waits for a grant only at the ceiling.
    ///
    /// # Errors
    /// If this node does not serve writes, or nothing is agreed any more.
    pub fn turn(&self) -> Result<Turn, Error> {
        loop {
            let index = self.agreed.get();
            let wall = self.hands.wall_millis();
            match self.lock().replica.stamp(wall) {
                Ok(turn) => return Ok(turn),
                Err(Refused::AtCeiling) => {}
                Err(refused) => return Err(self.refusal(refused)),
            }
            let granted = self.agreed.reached_blocking(index + 1);
            granted.map_err(Error::from)?;
        }
    }

    /// What a refusal of the core means to whoever asked.
    pub fn refusal(&self, refused: Refused) -> Error {
        let standing = self.standing();
        match &standing.halted {
            Some(halt) => halt.clone().into(),
            None => Error::refused(refused, standing.primary()),
        }
    }

    /// Appends a record as the primary. With a level, what becomes of it can be awaited.
    ///
    /// # Errors
    /// Why it is not appended.
    pub fn append(
        &self,
        entry: Entry,
        level: Option<CommitLevel>,
    ) -> Result<(Place, Option<Awaited>), NotAppended> {
        self.act(|core, hands, now| {
            if let Some(halt) = &core.halted {
                return Err(NotAppended::Refused(halt.clone().into()));
            }
            if entry.behind.is_some_and(|behind| behind != core.end) {
                return Err(NotAppended::Moved(Box::new(entry)));
            }
            let awaited = level.map(|level| (core.awaited(), level));
            let named = awaited
                .as_ref()
                .map(|(awaited, level)| (awaited.write, *level));
            let Entry {
                turn,
                request,
                body,
                fate,
                ..
            } = entry;
            let appended = core.replica.append(now, turn, request, body, named);
            let stamp = appended.map_err(|refused| NotAppended::Refused(self.refusal(refused)))?;
            core.fates.extend(fate.map(|fate| (stamp, fate)));
            let before = core.end;
            hands.carry_out_all(core);
            let end = core.end;
            if let Some(halt) = core.halted.as_ref().filter(|_| end == before) {
                return Err(NotAppended::Refused(halt.clone().into()));
            }
            Ok((Place { stamp, end }, awaited.map(|(awaited, _)| awaited)))
        })
    }

    /// Waits for a level of a record that was appended before.
    ///
    /// # Errors
    /// If this node is not the primary.
    pub fn await_level(&self, stamp: Stamp, level: CommitLevel) -> Result<Awaited, Error> {
        self.act(|core, _, now| {
            let awaited = core.awaited();
            let awaits = core.replica.await_level(now, stamp, level, awaited.write);
            awaits.map_err(|refused| self.refusal(refused))?;
            Ok(awaited)
        })
    }

    /// Begins a primary read.
    ///
    /// # Errors
    /// If this node is not the primary.
    pub async fn read_primary(&self) -> Result<StrongRead, Error> {
        let begun = self.ask(Event::ReadPrimary).await?;
        begun.map_err(|refused| self.refusal(refused))
    }

    /// Begins this member's part of a quorum read.
    ///
    /// # Errors
    /// If the member has ended.
    pub async fn read_for_quorum(&self) -> Result<StrongRead, Error> {
        self.ask(Event::ReadForQuorum).await
    }

    /// In whose name the rows may be given that were read just now for a quorum read. `None`: not at all.
    pub async fn vouch(&self) -> Option<Vouched> {
        self.ask(Event::Vouch).await.ok().flatten()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Event) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let ended = || Error::Stopping;
        self.events.send(question(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }

    /// Where what peers say is taken in; an error says what in it cannot be read.
    pub fn inbox(
        &self,
    ) -> impl Fn(IncarnationId, Inbound) -> Result<(), Invalid> + Send + Sync + 'static {
        let events = self.events.clone();
        move |from, inbound| {
            let event = match inbound {
                Inbound::Message(message) => Event::Heard(from, Message::try_from(message)?),
                Inbound::Gone => Event::Gone(from),
                Inbound::Connected => return Ok(()),
            };
            // After the member's end nobody listens any more.
            let _ended = events.send(event);
            Ok(())
        }
    }

    /// Sends by these wires, and gives snapshots, from now on.
    pub fn connect(&self, wires: Wires, seeding: Seeding) {
        self.hands.connect(wires, seeding);
    }

    /// Ends its part if it is to go on with a store that holds these records, offered in the name of an epoch; says whether
    /// it does.
    pub fn give_way(&self, epoch: Epoch, offered: &VersionVector) -> bool {
        self.act(|core, _, _| {
            let accepts = core.halted.is_none() && core.replica.accepts_snapshot(epoch, offered);
            if accepts {
                core.halt(Halt::Stopped);
            }
            accepts
        })
    }

    /// What other members have applied, as far as they have reported it to this one, their primary.
    pub fn applied_elsewhere(&self) -> BTreeMap<IncarnationId, VersionVector> {
        self.lock().replica.applied_elsewhere()
    }

    /// What other members have reported to this one, their primary.
    pub fn reports(&self) -> BTreeMap<IncarnationId, Report> {
        let now = self.hands.now();
        self.lock().replica.reports(now)
    }

    /// Whose directory this is.
    pub fn incarnation(&self) -> IncarnationId {
        self.hands.incarnation()
    }

    /// Hands over to another member, with these data members from then on.
    ///
    /// # Errors
    /// If this node does not serve, or is handing over already.
    pub fn hand_over(
        &self,
        to: IncarnationId,
        members: BTreeSet<IncarnationId>,
    ) -> Result<(), Error> {
        let begun = self.act(|core, _, now| core.replica.hand_over(now, to, members));
        begun.map_err(|refused| self.refusal(refused))
    }

    /// Lets an operator approve that the primary of this open epoch be replaced.
    pub fn approve(&self, open: Epoch) {
        self.act(|core, _, _| core.replica.approve(open));
    }

    /// Has this member replace the primary of this open epoch.
    ///
    /// # Errors
    /// If it cannot.
    pub fn force(&self, open: Epoch) -> Result<(), Unfit> {
        self.act(|core, _, now| core.replica.force(now, open))
    }

    /// Whoever waits for something to be agreed waits no longer: the node stops.
    pub fn grant_no_more(&self) {
        self.agreed.close(Halt::Stopped);
    }

    /// Ends the thread. Nothing is asked of the core after this.
    pub fn stop(&self) {
        self.act(|core, _, _| core.halt(Halt::Stopped));
        self.hands.stop();
        let handle = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let _ended = handle.map(JoinHandle::join);
    }
}

/// Whatever ends the member, a panic included, is seen: nothing more can be stamped.
struct EndOfMember(Watermark<u64, Halt>);

impl Drop for EndOfMember {
    fn drop(&mut self) {
        self.0.close(Halt::Stopped);
    }
}

impl Core {
    fn name(&mut self) -> u64 {
        self.named += 1;
        self.named
    }

    fn awaited(&mut self) -> Awaited {
        let write = WriteId(self.name());
        let (tell, reached) = oneshot::channel();
        self.writes.insert(write, tell);
        let events = self.events.clone();
        Awaited {
            write,
            reached,
            events,
        }
    }

    fn halt(&mut self, why: Halt) {
        if self.halted.is_none() {
            if !matches!(why, Halt::Stopped) {
                error!(cause = %why, "this member takes no further part");
            }
            self.halted = Some(why);
        }
    }

    /// Whoever waits learns that the answer is not known, once it is shown why.
    fn abandon(&mut self) {
        if self.halted.is_some() {
            self.writes.clear();
            self.reads.clear();
        }
    }

    fn happen(&mut self, event: Event, hands: &Hands, now: Duration) {
        if self.halted.is_some() {
            if let Event::ReadPrimary(reply) = event {
                let _gone = reply.send(Err(Refused::NotPrimary));
            }
            return;
        }
        match event {
            Event::Heard(from, Message::Append(append)) => {
                let now_heard = self.backlog.push(from, append, hands.room());
                self.replica.hear(now, from, Message::Append(now_heard));
            }
            Event::Heard(from, message) => self.replica.hear(now, from, message),
            Event::Gone(member) => self.replica.see_gone(member),
            Event::Progress(told) => {
                told.store(false, Ordering::Release);
                hands.report_progress(self, now);
            }
            Event::Agreed(control) => self.replica.agree(now, control),
            Event::Refused(why) => self.halt(why.into()),
            Event::AgreementLost(cause) => {
                error!(%cause, "nothing more can be agreed: writing ends");
                self.lost.get_or_insert(Halt::Agreement(cause));
            }
            Event::Records(wanted, records) => self.replica.records(now, wanted, records),
            Event::ReadPrimary(reply) => {
                // Whoever asked may have given up.
                let _gone = reply.send(self.read_primary(now));
            }
            Event::ReadForQuorum(reply) => {
                let read = self.strong_read();
                self.replica.read_for_quorum(now, read.id);
                let _gone = reply.send(read);
            }
            Event::Vouch(reply) => {
                let _gone = reply.send(self.replica.vouch());
            }
            Event::RowsRead(read, records) => self.replica.rows(now, read, records),
            Event::Forget(write) => {
                if self.writes.remove(&write).is_some() {
                    self.replica.forget(write);
                }
            }
            Event::DropRead(read) => {
                if self.reads.remove(&read).is_some() {
                    self.replica.drop_read(read);
                }
            }
        }
    }

    /// Hears the records for which there is room by now.
    fn hear_waiting(&mut self, hands: &Hands, now: Duration) {
        while self.halted.is_none()
            && let Some((from, append)) = self.backlog.next(hands.room())
        {
            self.replica.hear(now, from, Message::Append(append));
            hands.carry_out_all(self);
        }
    }

    fn read_primary(&mut self, now: Duration) -> Result<StrongRead, Refused> {
        let read = self.strong_read();
        self.replica.read_primary(now, read.id)?;
        Ok(read)
    }

    fn strong_read(&mut self) -> StrongRead {
        let id = ReadId(self.name());
        let (tell_ready, ready) = oneshot::channel();
        let (tell_confirmed, confirmed) = oneshot::channel();
        self.reads
            .insert(id, [Some(tell_ready), Some(tell_confirmed)]);
        let events = self.events.clone();
        StrongRead {
            id,
            ready,
            confirmed,
            events,
        }
    }
}
