//! `steadfast serve`

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::info;
use tracing_subscriber::EnvFilter;

use super::error::CliError;
use super::output::print;
use super::signals::Signals;
use crate::base::clock::{SystemClock, timeout};
use crate::base::disk::RealDisk;
use crate::base::task::threads;
use crate::base::{TaskGroup, explained};
use crate::config::{self, Config, SetOptions};
use crate::control::raft;
use crate::node::{Joining, Node, StartError};
use crate::server::{self, Server};

const EXAMPLES: &str = "\
Examples:
  steadfast serve --data-dir /var/lib/steadfast
  steadfast serve --data-dir /tmp/try --listen 127.0.0.1:0 --http-listen 127.0.0.1:0
  steadfast serve --data-dir /var/lib/steadfast --join node1:7401 --token-file token
  STEADFAST_ENGINE__ROW_CACHE_BYTES=1073741824 steadfast serve --config steadfast.toml
  STEADFAST_SERVER__FORWARD=false steadfast serve --data-dir /var/lib/steadfast

A member that is asked what only the primary answers forwards that to it, unless server.forward is false.

Once ready, one line of JSON on standard output says where the node listens:
  {\"event\":\"ready\",\"client\":\"127.0.0.1:7400\",\"peer\":\"127.0.0.1:7401\",\"http\":\"127.0.0.1:7480\"}
Everything else goes to standard error; STEADFAST_LOG chooses what, such as debug or steadfast::wal=trace.
SIGTERM and SIGINT drain the node and stop it cleanly.";

/// How long requests under way may take once the node is told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// How long the node's own tasks may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Run a node
///
/// A data directory that does not exist yet becomes a new replica set of one, or, with --join, a member of another
/// one's set. Settings come from the configuration file, then the environment (STEADFAST_A__B=value sets key b of
/// table a), then the flags.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the node keeps its data [default: steadfast-data]
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// Configuration file, TOML
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Address for clients, gRPC; port 0 takes a free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "A")]
    listen: Option<SocketAddr>,
    /// Address for peers, gRPC [default: 127.0.0.1:7401]
    #[arg(long, value_name = "A")]
    peer_listen: Option<SocketAddr>,
    /// Address for health, metrics and status, HTTP [default: 127.0.0.1:7480]
    #[arg(long, value_name = "A")]
    http_listen: Option<SocketAddr>,
    /// Join the set of the member with this peer address; needs --token-file. Only the first start takes notice
    #[arg(long, value_name = "HOST:PORT")]
    join: Option<String>,
    /// File with the token of `steadfast rs add` that lets this directory join
    #[arg(long, value_name = "F")]
    token_file: Option<PathBuf>,
    /// Host that others are told to reach this node at [default: the addresses it listens on]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Where the node stands, such as a zone of a cloud: clients that name the same zone ask it before others
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Permit addresses beyond loopback: whoever reaches them can read and write, for there is no TLS yet
    #[arg(long)]
    insecure: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs a node until it is told to stop, or fails.
///
/// # Errors
/// If it cannot start, or its log, store or disk fails so that the process must end.
pub async fn run(args: Args) -> Result<(), CliError> {
    start_logging(args.log_format)?;
    let config = configure(&args)?;
    log_memory(&config);
    let joining = joining(&config.set)?;
    let advertise = config.set.advertise.clone();
    let mut signals = Signals::new()?;
    let bound = Server::bind(&config).await?;
    let addresses = bound.addresses();
    let node = Node::new(config, Arc::new(RealDisk), Arc::new(SystemClock::new()));
    let tasks = TaskGroup::new();
    let server = bound.serve(node.clone(), &tasks).await?;

    let reached = addresses.reached(advertise.as_deref());
    tokio::select! {
        opened = node.open(reached, joining) => opened?,
        name = signals.next() => {
            // Nothing has been acknowledged yet, and a start that is cut off is as good as a crash.
            info!(signal = name, "told to stop while starting");
            return Ok(());
        }
    }
    let (client, peer, http) = (addresses.client, addresses.peer, addresses.http);
    let ready = json!({"event": "ready", "client": client, "peer": peer, "http": http});
    print(&ready.to_string())?;

    let failure = tokio::select! {
        name = signals.next() => {
            info!(signal = name, "told to stop");
            None
        }
        reason = node.live() => Some(reason),
        reason = tasks.failure() => Some(reason),
    };
    if let Some(reason) = failure {
        // A disk that stalls may hold up the stop, too; what was acknowledged is in the log in any case.
        let _stopped = timeout(STOP_LIMIT, node.stop(STOP_LIMIT)).await;
        return Err(CliError::failed("NODE_FAILED", reason));
    }
    server.drain(DRAIN_LIMIT).await;
    let stopped = node.stop(STOP_LIMIT).await;
    tasks.stop(STOP_LIMIT).await;
    stopped.map_err(|cause| CliError::failed("NODE_FAILED", explained(&cause)))
}

fn start_logging(format: LogFormat) -> Result<(), CliError> {
    let wanted =
        std::env::var("STEADFAST_LOG").unwrap_or_else(|_| format!("info,{}", raft::LOG_FILTER));
    let filter = EnvFilter::try_new(&wanted)
        .map_err(|error| CliError::usage(format!("STEADFAST_LOG={wanted}: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // It would be told on standard error, too, and panic there.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn log_memory(config: &Config) {
    let bound = config.memory_bound(threads());
    let parts = bound.parts().map(|(part, bytes)| format!("{part}={bytes}"));
    let (total, parts) = (bound.total(), parts.join(" "));
    info!(total, "memory is bounded to so many bytes: {parts}");
}

fn configure(args: &Args) -> Result<Config, CliError> {
    let mut config = Config::load(args.config.as_deref(), std::env::vars())?;
    config.insecure |= args.insecure;
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    let flags = [args.listen, args.peer_listen, args.http_listen];
    let listen = &mut config.listen;
    for (flag, address) in
        flags
            .into_iter()
            .zip([&mut listen.client, &mut listen.peer, &mut listen.http])
    {
        *address = flag.unwrap_or(*address);
    }
    let set = &mut config.set;
    set.join = args.join.clone().or_else(|| set.join.take());
    set.token_file = args.token_file.clone().or_else(|| set.token_file.take());
    set.advertise = args.advertise.clone().or_else(|| set.advertise.take());
    set.zone = args.zone.clone().or_else(|| set.zone.take());
    config.validate()?;
    Ok(config)
}

/// How the directory joins a set, if it is to.
fn joining(set: &SetOptions) -> Result<Option<Joining>, CliError> {
    let (Some(address), Some(path)) = (&set.join, &set.token_file) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| CliError::file("read the join token", path, &error))?;
    let secret = text.trim().to_owned();
    if secret.is_empty() {
        let message = format!("the file of the join token, {}, is empty", path.display());
        return Err(CliError::wrong("FILE", message));
    }
    Ok(Some(Joining {
        address: address.clone(),
        secret,
    }))
}

impl From<config::Error> for CliError {
    fn from(error: config::Error) -> CliError {
        CliError::wrong("BAD_CONFIG", explained(&error))
    }
}

impl From<server::Error> for CliError {
    fn from(error: server::Error) -> CliError {
        CliError::failed("CANNOT_LISTEN", explained(&error))
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> CliError {
        CliError::failed(error.reason(), explained(&error))
    }
}
