//! This program as a child process: nodes and other servers on directories of their own.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use crate::base::clock::timeout;
use crate::proto::v1::MemberRole;

/// A node that is not ready by then never will be.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How much of a node's log an error shows.
const LOG_TAIL: usize = 600;
/// Ports for nodes, and how many are tried.
const PORTS: Range<u16> = 10_000..32_000;
const PORTS_TRIED: usize = 1_000;

/// Where a node lives: its directory, and what it listens on whenever it runs.
#[derive(Debug, Clone)]
pub struct Home {
    directory: PathBuf,
    /// Where clients connect.
    pub client: String,
    /// Where other members connect.
    pub peer: String,
    /// Where probes and scrapers connect.
    pub http: String,
    /// The host by which others are told of it, if that is another.
    pub advertised: Option<Ipv4Addr>,
    /// The command that is given the one of its processes, to start them where it lives; if empty, they are started here.
    pub launcher: Vec<OsString>,
    /// The configuration file, if it has one.
    pub config: Option<PathBuf>,
    /// What its node is to be if it joins a set.
    pub role: MemberRole,
}

/// How a directory gets into a set.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The peer address of a member.
    pub member: String,
    /// The file with the token.
    pub token: PathBuf,
}

impl Home {
    /// A home in `directory`, on free ports of the loopback interface.
    ///
    /// # Errors
    /// If no port is free.
    pub fn new(directory: PathBuf) -> Result<Home, CliError> {
        Ok(Home::at(directory, free_addresses()?))
    }

    /// A home in `directory` that listens for clients, members and probes at these addresses.
    #[must_use]
    pub fn at(directory: PathBuf, addresses: [SocketAddr; 3]) -> Home {
        let [client, peer, http] = addresses.map(|address| address.to_string());
        Home {
            directory,
            client,
            peer,
            http,
            advertised: None,
            launcher: Vec::new(),
            config: None,
            role: MemberRole::Data,
        }
    }

    /// The directory with the data.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with what its nodes logged.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.with_extension("log")
    }
}

/// A host of the loopback interface that this process alone uses, so that no other takes a port of a node that is away. Where the
/// system has but one such host, that one.
#[must_use]
pub fn own_host(last: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high, low, last);
    TcpListener::bind((own, 0)).map_or(Ipv4Addr::LOCALHOST, |_| own)
}

/// Addresses of the loopback interface that nobody listens on. They lie below the ports that the system gives to clients,
/// so that none of those takes one while its node is away.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], CliError> {
    let host = own_host(1);
    let mut listeners = Vec::new();
    for _ in 0..PORTS_TRIED {
        let port = rand::random_range(PORTS);
        // Held until all are found, so that none is found twice.
        listeners.extend(TcpListener::bind((host, port)));
        if listeners.len() == N {
            break;
        }
    }
    let addresses = listeners.iter().map(TcpListener::local_addr);
    let addresses: Result<Vec<_>, _> = addresses.collect();
    let addresses =
        addresses.map_err(|error| failed(format!("cannot tell where a port is: {error}")))?;
    let no_port = || failed("no port of the loopback interface is free".to_owned());
    addresses.try_into().map_err(|_| no_port())
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    child: Child,
    /// Where it lives.
    pub home: Home,
}

impl Node {
    /// Starts a node in its home and waits until it is ready. It joins a set if it is invited and of none yet.
    ///
    /// # Errors
    /// If it does not get ready; says what its log says last.
    pub async fn start(
        binary: &Path,
        home: &Home,
        invitation: Option<&Invitation>,
    ) -> Result<Node, CliError> {
        let mut node = Node::launch(binary, home, invitation)?;
        ready(&mut node.child, &home.log()).await?;
        Ok(node)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// If there is no such program.
    pub fn launch(
        binary: &Path,
        home: &Home,
        invitation: Option<&Invitation>,
    ) -> Result<Node, CliError> {
        let mut arguments = vec![
            OsStr::new("serve"),
            OsStr::new("--data-dir"),
            home.directory.as_os_str(),
        ];
        for (listener, address) in [
            ("--listen", &home.client),
            ("--peer-listen", &home.peer),
            ("--http-listen", &home.http),
        ] {
            arguments.extend([listener, address].map(OsStr::new));
        }
        let advertised = home.advertised.map(|host| host.to_string());
        if let Some(host) = &advertised {
            arguments.extend(["--advertise", host].map(OsStr::new));
        }
        if let Some(config) = &home.config {
            arguments.extend([OsStr::new("--config"), config.as_os_str()]);
        }
        if let Some(Invitation { member, token }) = invitation {
            let token = token.as_os_str();
            arguments.extend([OsStr::new("--join"), OsStr::new(member)]);
            arguments.extend([OsStr::new("--token-file"), token]);
        }
        let child = launch(&home.launcher, binary, &arguments, &home.log())?;
        let home = home.clone();
        Ok(Node { child, home })
    }

    /// Kills it as a crash would: SIGKILL, without a chance to finish anything.
    ///
    /// # Errors
    /// If it is gone already.
    pub async fn kill(&mut self) -> Result<(), CliError> {
        let killed = self.child.kill().await;
        killed.map_err(|error| failed(format!("cannot kill the node: {error}")))
    }

    /// Stops its process where it is: SIGSTOP. It keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If it is gone.
    pub fn pause(&self) -> Result<(), CliError> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on: SIGCONT.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resume(&self) -> Result<(), CliError> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end: SIGTERM.
    ///
    /// # Errors
    /// If it is gone.
    pub fn terminate(&self) -> Result<(), CliError> {
        self.signal(Signal::TERM)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Its process.
    ///
    /// # Errors
    /// If it is gone.
    pub fn process(&self) -> Result<u32, CliError> {
        let ended = || failed("the node has ended".to_owned());
        self.child.id().ok_or_else(ended)
    }

    fn signal(&self, signal: Signal) -> Result<(), CliError> {
        let id = i32::try_from(self.process()?).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| failed("the node has no process id".to_owned()))?;
        kill_process(id, signal)
            .map_err(|error| failed(format!("cannot send the node a signal: {error}")))
    }

    /// Waits until it ends by itself, at most `limit`.
    pub async fn wait(&mut self, limit: Duration) {
        // If it does not end, dropping it kills it.
        let _ended = timeout(limit, self.child.wait()).await;
    }
}

/// Starts a program and waits for the line that says it is ready. Dropping the child kills it.
///
/// # Errors
/// If it does not get ready; says what its `log` says last.
pub async fn start(
    binary: &Path,
    arguments: &[&OsStr],
    log: &Path,
) -> Result<(Child, Json), CliError> {
    let mut child = launch(&[], binary, arguments, log)?;
    let ready = ready(&mut child, log).await?;
    Ok((child, ready))
}

fn launch(
    launcher: &[OsString],
    binary: &Path,
    arguments: &[&OsStr],
    log: &Path,
) -> Result<Child, CliError> {
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log);
    let log = opened.map_err(|error| CliError::file("open", log, &error))?;
    let launcher = launcher.iter().map(OsString::as_os_str);
    let mut words = launcher.chain([binary.as_os_str()]);
    let program = words.next().unwrap_or(binary.as_os_str());
    let spawned = Command::new(program)
        .args(words)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn();
    spawned.map_err(|error| failed(format!("cannot start {}: {error}", program.display())))
}

async fn ready(child: &mut Child, log: &Path) -> Result<Json, CliError> {
    let stdout = child.stdout.take();
    let stdout = stdout.ok_or_else(|| failed("the child process has no output".to_owned()))?;
    let ready = timeout(READY_LIMIT, ready_line(stdout)).await;
    ready.ok().flatten().ok_or_else(|| {
        let tail = tail(log);
        failed(format!(
            "the child process did not get ready; its log ends: {tail}"
        ))
    })
}

/// The line by which a server says that it is ready; `None` if it ends without.
async fn ready_line(stdout: ChildStdout) -> Option<Json> {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let json: Json = serde_json::from_str(&line).unwrap_or_default();
        if json.get("event").is_some_and(|event| event == "ready") {
            return Some(json);
        }
    }
    None
}

/// Where this program is, to start it again.
///
/// # Errors
/// If the system does not tell.
pub fn this_program() -> Result<PathBuf, CliError> {
    std::env::current_exe().map_err(|error| failed(format!("cannot find this program: {error}")))
}

/// Does work with child processes, but no longer than until SIGINT or SIGTERM: they do not outlive it.
///
/// # Errors
/// As the work, or if it is interrupted.
pub async fn interruptible<T>(
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            CliError::failed("NO_SIGNALS", format!("cannot listen for signals: {error}"))
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let interrupted = || Err(CliError::failed("INTERRUPTED", "told to stop half-way"));
    tokio::select! {
        done = work => done,
        _ = terminate.recv() => interrupted(),
        _ = interrupt.recv() => interrupted(),
    }
}

fn failed(message: String) -> CliError {
    CliError::failed("NODE_FAILED", message)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let count = text.chars().count();
    text.chars().skip(count.saturating_sub(LOG_TAIL)).collect()
}

/// A directory for the time of one command; removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty one, named after the command.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(command: &str) -> Result<Scratch, CliError> {
        let path = std::env::temp_dir().join(format!("steadfast-{command}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| CliError::file("make", &path, &error))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves it where it is, for people to look at.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the directory for temporary files harms nobody.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
