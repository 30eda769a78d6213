//! Where a node's set agrees: on the node's own disk while it is alone, through Raft from the day on that another may join.
//!
//! **Invariant.** What Raft begins with is what the lone node last made durable, and its indices go on from there. Once the
//! Raft store is there, the lone node's file is not looked at any more.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::base::clock::{now_monotonic, sleep};
use crate::base::{Clock, Epoch, IncarnationId, TaskGroup, VersionVector};
use crate::control::raft::{self, Raft, Starts};
use crate::control::{
    self, Addresses, Command, ControlState, Effect, LocalControl, Rejection, grant,
};

/// How long somebody is waited for who leads the agreement, and how often it is looked.
const LEADER_WITHIN: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(20);

type Listener = Box<dyn Fn(Arc<ControlState>) + Send + Sync>;

/// Why a command is not agreed, or not known to be. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It is refused, for good.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It may be asked for again later.
    #[error(transparent)]
    Unsettled(raft::Error),
    /// Nothing can be agreed on any more.
    #[error(transparent)]
    Lost(Arc<control::Error>),
}

impl From<raft::Error> for Error {
    fn from(error: raft::Error) -> Error {
        match error {
            raft::Error::Rejected(why) => Error::Rejected(why),
            error @ (raft::Error::NoLeader
            | raft::Error::Unknown { .. }
            | raft::Error::Members { .. }
            | raft::Error::Stopped) => Error::Unsettled(error),
        }
    }
}

impl From<control::Error> for Error {
    fn from(error: control::Error) -> Error {
        match error {
            control::Error::Rejected(why) => Error::Rejected(why),
            error @ (control::Error::File(_)
            | control::Error::Damaged { .. }
            | control::Error::Stopped { .. }) => Error::Lost(Arc::new(error)),
        }
    }
}

/// Why there is no agreement of several.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FoundError {
    /// The Raft store cannot be made.
    #[error(transparent)]
    Store(Arc<raft::StoreError>),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// Raft does not start.
    #[error(transparent)]
    Start(Arc<raft::StartError>),
}

impl From<raft::StoreError> for FoundError {
    fn from(error: raft::StoreError) -> FoundError {
        FoundError::Store(Arc::new(error))
    }
}

enum Way {
    Alone(Box<LocalControl>),
    Raft(Arc<Raft>),
    Ended,
}

/// What is to be agreed.
#[derive(Debug)]
pub(super) enum Ask {
    Propose(Command),
    Extend {
        epoch: Epoch,
        number: u64,
        acked: Vec<(IncarnationId, VersionVector)>,
    },
}

/// What a set agrees on, and the way to agree on more.
pub(super) struct Agreement {
    way: Mutex<Way>,
    /// Where Raft runs; without one the node stays alone.
    runtime: Option<Handle>,
    clock: Arc<dyn Clock>,
    state: Arc<ArcSwap<ControlState>>,
    listener: Arc<OnceLock<Listener>>,
    tasks: TaskGroup,
}

impl std::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("Agreement")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

impl Agreement {
    /// The agreement of a lone node with itself.
    pub fn of_one(local: LocalControl, clock: Arc<dyn Clock>, tasks: TaskGroup) -> Agreement {
        let state = Arc::new(local.state().clone());
        Agreement::new(Way::Alone(Box::new(local)), state, clock, tasks)
    }

    /// The agreement of a set, of which this node is a member.
    pub fn of_many(raft: Arc<Raft>, clock: Arc<dyn Clock>, tasks: TaskGroup) -> Agreement {
        let state = raft.states().borrow().clone();
        let agreement = Agreement::new(Way::Raft(Arc::clone(&raft)), state, clock, tasks);
        agreement.follow(&raft);
        agreement
    }

    fn new(
        way: Way,
        state: Arc<ControlState>,
        clock: Arc<dyn Clock>,
        tasks: TaskGroup,
    ) -> Agreement {
        Agreement {
            way: Mutex::new(way),
            runtime: Handle::try_current().ok(),
            clock,
            state: Arc::new(ArcSwap::new(state)),
            listener: Arc::default(),
            tasks,
        }
    }

    /// What is agreed.
    pub fn state(&self) -> Arc<ControlState> {
        self.state.load_full()
    }

    /// Tells each new state from now on; the first listener stays the only one.
    pub fn listen(&self, listener: impl Fn(Arc<ControlState>) + Send + Sync + 'static) {
        let _present = self.listener.set(Box::new(listener));
    }

    /// This node's part in Raft, if the set is, or was, one of several.
    pub fn raft(&self) -> Option<Arc<Raft>> {
        match &*self.way.lock().unwrap_or_else(PoisonError::into_inner) {
            Way::Alone(_) | Way::Ended => None,
            Way::Raft(raft) => Some(Arc::clone(raft)),
        }
    }

    /// Has a command agreed. Blocks, for long if the set has no leader; not to be called by a task.
    ///
    /// # Errors
    /// Why it is not agreed.
    pub fn propose(&self, command: Command) -> Result<Effect, Error> {
        self.decide(Ask::Propose(command))
    }

    /// Has a command agreed, waiting as a task does. While nobody leads, nothing happens, so it is asked for again.
    ///
    /// # Errors
    /// Why it is not agreed.
    pub async fn agree(&self, command: Command) -> Result<Effect, Error> {
        let begun = now_monotonic();
        loop {
            let agreed = self.asked(command.clone()).await;
            let is_leaderless = matches!(agreed, Err(Error::Unsettled(raft::Error::NoLeader)));
            if !is_leaderless || begun.elapsed() >= LEADER_WITHIN {
                return agreed;
            }
            sleep(ASK_AGAIN).await;
        }
    }

    async fn asked(&self, command: Command) -> Result<Effect, Error> {
        let (tell, told) = oneshot::channel();
        self.ask(Ask::Propose(command), move |agreed| {
            let _gone = tell.send(agreed);
        });
        let stopped = || Err(Error::Unsettled(raft::Error::Stopped));
        told.await.unwrap_or_else(|_| stopped())
    }

    /// Has something agreed, and tells what became of it: at once if the node is alone, else in the background.
    pub fn ask(&self, ask: Ask, told: impl FnOnce(Result<Effect, Error>) + Send + 'static) {
        let (Some(raft), Some(runtime)) = (self.raft(), &self.runtime) else {
            return told(self.decide(ask));
        };
        let _entered = runtime.enter();
        self.tasks.spawn_finite("ask", async move {
            told(ask_raft(&raft, ask).await);
        });
    }

    fn decide(&self, ask: Ask) -> Result<Effect, Error> {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let local = match (&mut *way, &self.runtime) {
            (Way::Alone(local), _) => local,
            (Way::Raft(raft), Some(runtime)) => {
                let raft = Arc::clone(raft);
                drop(way);
                return runtime.block_on(ask_raft(&raft, ask));
            }
            (Way::Raft(_), None) | (Way::Ended, _) => {
                return Err(Error::Unsettled(raft::Error::Stopped));
            }
        };
        let command = match ask {
            Ask::Propose(command) => command,
            Ask::Extend {
                epoch,
                number,
                acked,
            } => Command::Extend {
                epoch,
                number,
                ceiling: grant(self.clock.wall_millis(), local.state().ceiling),
                acked,
            },
        };
        let effect = local.propose(command)?;
        publish(&self.state, &self.listener, Arc::new(local.state().clone()));
        Ok(effect)
    }

    /// Has recorded what members hold at the end of a reign. Blocks likewise.
    ///
    /// # Errors
    /// Why it is not recorded.
    pub fn record_held(
        &self,
        epoch: Epoch,
        held: Vec<(IncarnationId, VersionVector)>,
    ) -> Result<Effect, Error> {
        let last = self.state().extended.map_or(0, |extended| extended.number);
        self.decide(Ask::Extend {
            epoch,
            number: last + 1,
            acked: held,
        })
    }

    /// Lets others take part: from now on the set agrees through Raft. Does nothing if it does so already. Blocks.
    ///
    /// # Errors
    /// If the Raft store cannot be made or started; the node stays alone then.
    pub fn open_to_others(&self, place: &RaftPlace) -> Result<Arc<Raft>, FoundError> {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let local = match &*way {
            Way::Raft(raft) => return Ok(Arc::clone(raft)),
            Way::Alone(local) => local,
            Way::Ended => return Err(FoundError::Stopping),
        };
        raft::found(
            &place.path,
            place.incarnation,
            place.addresses.clone(),
            local.state().clone(),
        )
        .map_err(|error| FoundError::Store(Arc::new(error)))?;
        let raft = place.open(&self.clock)?;
        *way = Way::Raft(Arc::clone(&raft));
        drop(way);
        self.follow(&raft);
        Ok(raft)
    }

    /// Ends this node's part; nothing is agreed here any more. What is returned ends once its directory may be opened again,
    /// when the last user is done.
    pub async fn end(&self) -> impl Future<Output = ()> + Send + use<> {
        let way = {
            let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *way, Way::Ended)
        };
        let gone = match way {
            Way::Raft(raft) => {
                raft.stop().await;
                Some(raft.gone())
            }
            Way::Alone(_) | Way::Ended => None,
        };
        async move {
            if let Some(gone) = gone {
                gone.await;
            }
        }
    }

    fn follow(&self, raft: &Arc<Raft>) {
        let mut states = raft.states();
        let (shown, listener) = (Arc::clone(&self.state), Arc::clone(&self.listener));
        let stopped = self.tasks.cancelled();
        let (raft, ended) = (Arc::downgrade(raft), self.tasks.cancelled());
        self.tasks.spawn("raft", async move {
            let failure = async {
                match raft.upgrade() {
                    Some(raft) => raft.failure().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ended.cancelled() => Ok(()),
                cause = failure => Err(cause),
            }
        });
        self.tasks.spawn("agreed", async move {
            loop {
                let state = Arc::clone(&states.borrow_and_update());
                publish(&shown, &listener, state);
                tokio::select! {
                    () = stopped.cancelled() => return Ok::<(), String>(()),
                    changed = states.changed() => if changed.is_err() {
                        stopped.cancelled().await;
                    }
                }
            }
        });
    }
}

fn publish(shown: &ArcSwap<ControlState>, listener: &OnceLock<Listener>, state: Arc<ControlState>) {
    shown.store(Arc::clone(&state));
    if let Some(listener) = listener.get() {
        listener(state);
    }
}

async fn ask_raft(raft: &Raft, ask: Ask) -> Result<Effect, Error> {
    let asked = match ask {
        Ask::Propose(command) => raft.propose(command).await,
        Ask::Extend {
            epoch,
            number,
            acked,
        } => raft.extend(epoch, number, acked).await,
    };
    Ok(asked?)
}

/// Where this node's Raft store is, and what Raft must know of the node.
#[derive(Debug, Clone)]
pub(super) struct RaftPlace {
    pub path: PathBuf,
    pub incarnation: IncarnationId,
    pub addresses: Addresses,
    /// What the directory knows of its own starts.
    pub starts: Starts,
}

impl RaftPlace {
    /// The name of the store in a data directory.
    pub const NAME: &'static str = "raft";

    /// Was a group founded or joined in this data directory?
    pub fn is_there(dir: &Path) -> bool {
        dir.join(RaftPlace::NAME).is_dir()
    }

    /// Starts Raft, in the runtime of the thread that calls, which is no task's. Whether this member may vote is found out in
    /// the background.
    ///
    /// # Errors
    /// If the store is damaged or newer.
    pub fn open(&self, clock: &Arc<dyn Clock>) -> Result<Arc<Raft>, FoundError> {
        let opened = Raft::open(&self.path, self.starts.clone(), Arc::clone(clock));
        let raft = Handle::current()
            .block_on(opened)
            .map_err(|error| FoundError::Start(Arc::new(error)))?;
        Ok(Arc::new(raft))
    }
}
