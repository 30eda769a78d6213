//! What carries out the actions of the core: each at once or handed to a thread that may block, never forgotten.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{info, warn};

use super::{Core, Event, Halt};
use crate::base::task::thread;
use crate::base::{Clock, IncarnationId};
use crate::control::Command;
use crate::engine::{self, Engine};
use crate::net::Wires;
use crate::node::agreement::{Agreement, Ask, Error as AgreementError};
use crate::node::seeding::Seeding;
use crate::replica::{Action, Wanted};
use crate::replication::Logged;

/// About how many bytes of records are given to whoever fetches some, at once.
const FETCH_BYTES: usize = 4 << 20;

/// What the thread that agrees is asked.
enum Errand {
    Ask(Ask),
    Stop,
}

/// What is to be read from the log.
enum Want {
    Records(Wanted),
    Stop,
}

pub(super) struct Hands {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    incarnation: IncarnationId,
    errands: Sender<Errand>,
    wants: Sender<Want>,
    peers: OnceLock<(Wires, Seeding)>,
    is_stopping: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Hands {
    /// Starts the threads that may block.
    pub fn start(
        incarnation: IncarnationId,
        engine: Arc<Engine>,
        agreement: Arc<Agreement>,
        clock: Arc<dyn Clock>,
        events: Sender<Event>,
    ) -> std::io::Result<Hands> {
        let (errands, sent) = channel();
        let (wants, wanted) = channel();
        let heard = events.clone();
        agreement.listen(move |control| {
            let _ended = heard.send(Event::Agreed(control));
        });
        let log = Log {
            engine: Arc::clone(&engine),
            agreement: Arc::clone(&agreement),
        };
        let answers = events.clone();
        let agreeing = thread("agreement", move || agree(&agreement, &sent, &answers))?;
        let found = events.clone();
        let reading = thread("records", move || log.read(&wanted, &found))?;
        let told = Arc::new(AtomicBool::new(false));
        for watched in [true, false] {
            let (events, told) = (events.clone(), Arc::clone(&told));
            // One notice at a time is enough, for whoever takes it looks how far all has got.
            let progress = move || {
                if !told.swap(true, Ordering::AcqRel) {
                    let _ended = events.send(Event::Progress(Arc::clone(&told)));
                }
            };
            if watched {
                engine.wal().durable().watch(progress);
            } else {
                engine.applied().watch(progress);
            }
        }
        Ok(Hands {
            engine,
            clock,
            incarnation,
            errands,
            wants,
            peers: OnceLock::new(),
            is_stopping: AtomicBool::new(false),
            threads: Mutex::new(vec![agreeing, reading]),
        })
    }

    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Sends by these wires, and gives snapshots, from now on.
    pub fn connect(&self, wires: Wires, seeding: Seeding) {
        let _first = self.peers.set((wires, seeding));
    }

    pub fn incarnation(&self) -> IncarnationId {
        self.incarnation
    }

    pub fn wall_millis(&self) -> u64 {
        self.clock.wall_millis()
    }

    /// Ends the threads, after what they have to do.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        let _ended = self.errands.send(Errand::Stop);
        let _ended = self.wants.send(Want::Stop);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _panicked = thread.join();
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// How many records can be appended that need not wait long to be applied.
    pub fn room(&self) -> usize {
        self.engine.room()
    }

    /// Tells the core how far the log is durable and applied, and ends its part if that is all: a primary that can write no
    /// more is not to be heard of any more.
    pub fn report_progress(&self, core: &mut Core, now: Duration) {
        core.replica.synced(now, &self.engine.durable());
        let state = self.engine.state();
        core.replica.applied(now, &state.applied.0, state.newest);
        if let Some(cause) = self.engine.ended() {
            core.halt(cause.into());
        }
    }

    /// Carries out all that the core asks for.
    pub fn carry_out_all(&self, core: &mut Core) {
        loop {
            let actions = core.replica.take_actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                if core.halted.is_some() {
                    return;
                }
                if let Err(cause) = self.carry_out(core, action) {
                    core.halt(cause);
                }
            }
        }
        if let Err(cause) = note_start(core) {
            core.halt(Halt::Identity(Arc::new(cause)));
        }
    }

    fn carry_out(&self, core: &mut Core, action: Action) -> Result<(), Halt> {
        match action {
            Action::Promise(epoch) => {
                let promised = core.identity.promise(epoch);
                promised.map_err(|cause| Halt::Identity(Arc::new(cause)))?;
            }
            Action::Fold(through) => {
                let region = core.replica.control().region;
                self.engine.fold(region, through)?;
            }
            Action::Append(records) => {
                for record in records {
                    self.append(core, record)?;
                }
            }
            Action::Send(to, message) => {
                // Before there are wires it is lost, as anything may be.
                if let Some((wires, _)) = self.peers.get() {
                    wires.send(to, (&message).into());
                }
            }
            Action::Propose(command) => self.ask(Ask::Propose(command)),
            Action::Extend {
                epoch,
                number,
                acked,
            } => self.ask(Ask::Extend {
                epoch,
                number,
                acked,
            }),
            Action::Read(wanted) => {
                let _ended = self.wants.send(Want::Records(wanted));
            }
            Action::Snapshot { to, epoch } => {
                if let Some((_, seeding)) = self.peers.get() {
                    let control = Arc::clone(core.replica.control());
                    seeding.offer(Arc::clone(&self.engine), control, to, epoch);
                }
            }
            Action::Acknowledge { write, copies, .. } => {
                if let Some(waiting) = core.writes.remove(&write) {
                    let _gone = waiting.send(copies);
                }
            }
            Action::Unknown(write) => {
                core.writes.remove(&write);
            }
            Action::ReadRows(read) => {
                let ready = core
                    .reads
                    .get_mut(&read)
                    .and_then(|[ready, _]| ready.take());
                let _gone = ready.map(|ready| ready.send(()));
            }
            Action::Answer(read) => {
                let confirmed = core
                    .reads
                    .remove(&read)
                    .and_then(|[_, confirmed]| confirmed);
                let _gone = confirmed.map(|confirmed| confirmed.send(()));
            }
            Action::Abandon(read) => {
                core.reads.remove(&read);
            }
            Action::Halt(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    fn append(&self, core: &mut Core, record: Logged) -> Result<(), engine::Error> {
        let fate = core.fates.remove(&record.stamp);
        core.end = self.engine.append(record, fate)?;
        Ok(())
    }

    fn ask(&self, ask: Ask) {
        let _ended = self.errands.send(Errand::Ask(ask));
    }
}

/// Once the start is registered, the tokens of others are needed no more.
fn note_start(core: &mut Core) -> Result<(), crate::base::sealed::Error> {
    match core.replica.boot() {
        Some(boot) if core.identity.get().boot < boot => {
            info!(%boot, "this start is registered");
            core.identity.booted(boot, core.token)
        }
        _ => Ok(()),
    }
}

fn agree(agreement: &Agreement, errands: &Receiver<Errand>, events: &Sender<Event>) {
    for errand in errands {
        let Errand::Ask(ask) = errand else {
            return;
        };
        let is_boot = matches!(ask, Ask::Propose(Command::Boot(_)));
        let events = events.clone();
        agreement.ask(ask, move |agreed| {
            let event = match agreed {
                Err(AgreementError::Rejected(why)) if is_boot => Event::Refused(why),
                Err(AgreementError::Lost(cause)) => Event::AgreementLost(cause),
                // What is agreed comes as a state, and what is not, or was overtaken, is asked for again.
                Ok(_) | Err(AgreementError::Rejected(_) | AgreementError::Unsettled(_)) => return,
            };
            let _ended = events.send(event);
        });
    }
}

/// The log, as it is read for peers.
struct Log {
    engine: Arc<Engine>,
    agreement: Arc<Agreement>,
}

impl Log {
    fn read(&self, wants: &Receiver<Want>, events: &Sender<Event>) {
        for want in wants {
            let Want::Records(wanted) = want else {
                return;
            };
            let records = self.records(&wanted).unwrap_or_else(|cause| {
                warn!(%cause, "cannot read the log for a peer");
                Some(Vec::new())
            });
            if events.send(Event::Records(wanted, records)).is_err() {
                return;
            }
        }
    }

    fn records(&self, wanted: &Wanted) -> Result<Option<Vec<Logged>>, engine::Error> {
        match wanted {
            Wanted::Fetch { missing, .. } => self.engine.records(missing, FETCH_BYTES),
            Wanted::Shipment { shipment, .. } => {
                let control = self.agreement.state();
                let durable = self.engine.durable();
                let Some(missing) = control.missing(&durable, &shipment.after) else {
                    return Ok(None);
                };
                self.engine.records(&missing, shipment.max_bytes)
            }
        }
    }
}
