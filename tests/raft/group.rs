//! Members of a group, each on its own threads.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use steadfast::base::clock::{SystemClock, now_monotonic, sleep, timeout};
use steadfast::base::{Clock, IncarnationId, LineageId, Micros, NodeNumber, RegionId};
use steadfast::control::raft::{self, Error, Raft, Starts, Status};
use steadfast::control::{Addresses, Command, ControlState, Effect, Role};
use steadfast::proto::v1::raft_service_server::{RaftService, RaftServiceServer};
use steadfast::proto::v1::{JoinRequest, JoinResponse, RaftMessage};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that is wrong by some milliseconds.
#[derive(Debug)]
struct Skewed(SystemClock, i64);

impl Clock for Skewed {
    fn wall(&self) -> Micros {
        Micros(self.0.wall().0 + self.1 * 1_000)
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

pub struct Member {
    pub dir: TempDir,
    pub incarnation: IncarnationId,
    pub starts: Starts,
    pub skew_millis: i64,
    address: SocketAddr,
    process: Option<Process>,
}

struct Process {
    raft: Arc<Raft>,
    core: Runtime,
    edge: Option<Runtime>,
}

/// A loopback address of a member's own: nobody takes its port while it is down.
fn host() -> IpAddr {
    static MEMBERS: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, MEMBERS.fetch_add(1, Ordering::Relaxed)).into()
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

impl Member {
    pub fn new(at: u128) -> Member {
        let listener = std::net::TcpListener::bind((host(), 0)).unwrap();
        Member {
            dir: tempfile::tempdir().unwrap(),
            incarnation: IncarnationId(at),
            starts: Starts::default(),
            skew_millis: 0,
            address: listener.local_addr().unwrap(),
            process: None,
        }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("raft")
    }

    pub fn addresses(&self) -> Addresses {
        Addresses {
            peer: self.address.to_string(),
            client: String::new(),
        }
    }

    pub fn start(&mut self) {
        let core = runtime();
        let clock = Arc::new(Skewed(SystemClock::new(), self.skew_millis));
        let opened = core.block_on(Raft::open(&self.path(), self.starts.clone(), clock));
        self.process = Some(Process {
            raft: Arc::new(opened.unwrap()),
            core,
            edge: None,
        });
        self.serve();
    }

    pub fn serve(&mut self) {
        let address = self.address;
        let process = self.process.as_mut().unwrap();
        let edge = runtime();
        let service = RaftServiceServer::new(Port(Arc::clone(&process.raft)));
        let listener = edge.block_on(TcpListener::bind(address));
        let incoming = TcpListenerStream::new(listener.unwrap());
        let server = tonic::transport::Server::builder().add_service(service);
        edge.spawn(server.serve_with_incoming(incoming));
        process.edge = Some(edge);
    }

    /// Nobody reaches it any more, but it reaches others.
    pub fn cut_off(&mut self) {
        let edge = self.process.as_mut().unwrap().edge.take();
        edge.unwrap().shutdown_timeout(PATIENCE);
    }

    pub fn kill(&mut self) {
        let Process { raft, core, edge } = self.process.take().unwrap();
        if let Some(edge) = edge {
            edge.shutdown_timeout(PATIENCE);
        }
        core.shutdown_timeout(PATIENCE);
        assert_eq!(Arc::strong_count(&raft), 1, "nobody else uses it");
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub fn raft(&self) -> &Arc<Raft> {
        &self.process.as_ref().unwrap().raft
    }

    pub fn run<F: Future>(&self, work: F) -> F::Output {
        let core = &self.process.as_ref().unwrap().core;
        core.block_on(async { timeout(PATIENCE, work).await.expect("it ends in time") })
    }

    pub fn propose(&self, command: Command) -> Result<Effect, Error> {
        self.run(self.raft().propose(command))
    }

    /// Proposes until it is known what came of it.
    pub fn insist(&self, command: &Command) -> Result<Effect, Error> {
        self.run(insist(self.raft(), command))
    }

    pub fn state(&self) -> Arc<ControlState> {
        self.raft().states().borrow().clone()
    }

    pub fn status(&self) -> Status {
        self.raft().status()
    }

    pub fn number(&self) -> NodeNumber {
        self.raft().number()
    }

    /// Waits until its state is as wanted.
    pub fn learns(&self, wanted: impl FnMut(&Arc<ControlState>) -> bool) -> Arc<ControlState> {
        let mut states = self.raft().states();
        self.run(async { states.wait_for(wanted).await.unwrap().clone() })
    }
}

/// Proposes until it is known what came of it.
pub async fn insist(raft: &Raft, command: &Command) -> Result<Effect, Error> {
    loop {
        match raft.propose(command.clone()).await {
            Err(Error::NoLeader | Error::Unknown { .. }) => {
                sleep(Duration::from_millis(20)).await;
            }
            settled => return settled,
        }
    }
}

pub fn control() -> ControlState {
    ControlState::new(LineageId(7), RegionId(8), IncarnationId(1))
}

pub fn register(incarnation: IncarnationId) -> Command {
    Command::Register {
        incarnation,
        role: Role::Data,
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = now_monotonic();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// The service of one member.
struct Port(Arc<Raft>);

#[tonic::async_trait]
impl RaftService for Port {
    async fn ask(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, tonic::Status> {
        Ok(Response::new(self.0.answer(request.get_ref()).await))
    }

    async fn join(
        &self,
        _request: Request<JoinRequest>,
    ) -> Result<Response<JoinResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("nobody joins here"))
    }
}

/// A group of one, founded from a new lone node's state.
pub fn founder() -> Member {
    let mut first = Member::new(1);
    let control = control();
    let addresses = first.addresses();
    raft::found(&first.path(), first.incarnation, addresses, control).unwrap();
    first.start();
    first.run(first.raft().admitted()).unwrap();
    until("it leads", || first.status().leader == Some(NodeNumber(1)));
    first
}

/// Brings another member in, as a learner.
pub fn bring_in(group: &[Member], at: u128) -> Member {
    let mut member = Member::new(at);
    join(group, &mut member);
    member
}

pub fn join(group: &[Member], member: &mut Member) {
    let first = group.iter().find(|member| member.is_running()).unwrap();
    first.insist(&register(member.incarnation)).unwrap();
    let incarnation = member.incarnation;
    let state = first.learns(|state| state.members.contains_key(&incarnation));
    let number = state.members[&incarnation].number;
    raft::join(&member.path(), number, ControlState::clone(&state)).unwrap();
    member.start();
    let added = first.raft().add_learner(number, member.addresses());
    first.run(added).unwrap();
}

/// So many voters, who know of each other.
pub fn group(size: u128) -> Vec<Member> {
    let mut group = vec![founder()];
    for at in 2..=size {
        let member = bring_in(&group, at);
        group.push(member);
    }
    let voters = group.iter().map(Member::number).collect();
    group[0].run(group[0].raft().set_voters(voters)).unwrap();
    for member in &group {
        let voters = || member.status().voters.len();
        until("all vote", || voters() == group.len());
    }
    group
}

/// The place of the leader in whom all running members agree.
pub fn leader(group: &[Member]) -> usize {
    let mut found = None;
    until("somebody leads", || {
        let running = || group.iter().filter(|member| member.is_running());
        let leaders: BTreeSet<_> = running().map(|member| member.status().leader).collect();
        let leader = leaders.first().copied().flatten();
        found = group.iter().position(|member| {
            member.is_running() && Some(member.number()) == leader && leaders.len() == 1
        });
        found.is_some()
    });
    found.unwrap()
}
