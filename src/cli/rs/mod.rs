//! `steadfast rs`

mod change;
mod document;
mod examples;
mod history;
mod recover;
mod render;
mod settings;

use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::connection::Connection;
use super::error::CliError;
use super::output::{Output, print, print_json};
use crate::base::clock::sleep;
use crate::base::disk::{Disk, RealDisk};
use crate::proto::v1;

/// Between two looks at a set that is watched.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// See and change the replica set
#[derive(Debug, clap::Args)]
#[command(after_help = examples::ALL)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a directory that of a new set of one
    #[command(after_help = examples::INIT)]
    Init {
        /// The directory, which no node has used.
        #[arg(long, value_name = "D")]
        data_dir: PathBuf,
        /// How the result is printed.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show the set on one screen
    #[command(after_help = examples::STATUS)]
    Status {
        /// Show it again and again, once a second.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Get a token by which a node may join the set
    #[command(after_help = examples::ADD)]
    Add {
        /// What the node is to be.
        #[arg(long, value_enum, default_value_t = Role::Data)]
        role: Role,
        /// For how long the token can be used, up to a day.
        #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = humantime::parse_duration)]
        expires: Duration,
        /// Write the token to this new file, which only you can read, instead of printing it.
        #[arg(long, value_name = "F")]
        token_file: Option<PathBuf>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have a member leave for good
    #[command(after_help = examples::REMOVE)]
    Remove {
        /// The member's number.
        number: u64,
        #[command(flatten)]
        how: change::How,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have a member that joined take the place of another, which leaves for good
    #[command(after_help = examples::REPLACE)]
    Replace {
        /// The number of the member that goes.
        old: u64,
        /// The number of the member that takes its place.
        new: u64,
        #[command(flatten)]
        how: change::How,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make another member the primary
    #[command(after_help = examples::SWITCHOVER)]
    Switchover {
        /// The member that is to be primary; the best one if not given.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Let a member replace a failed primary
    #[command(after_help = examples::FAILOVER)]
    Failover {
        #[command(flatten)]
        word: Word,
        #[command(flatten)]
        connection: Connection,
    },
    /// Give a member up at once that no epoch in force needs
    #[command(after_help = examples::EVICT)]
    Evict {
        /// The member's number.
        #[arg(long, value_name = "N")]
        member: u64,
        /// The open epoch, by `rs status`: if another one has opened meanwhile, nothing happens.
        #[arg(long, value_name = "EPOCH")]
        epoch: u64,
        /// Do not ask; needed where there is no terminal to ask at.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Go on without the data members that are not in contact
    #[command(after_help = examples::SHRINK)]
    Shrink {
        /// The open epoch, by `rs status`: if another one has opened meanwhile, nothing happens.
        #[arg(long, value_name = "EPOCH")]
        epoch: u64,
        /// Do not ask; needed where there is no terminal to ask at.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a set anew from one directory, after most of its members were lost for good
    #[command(after_help = examples::RECOVER)]
    UnsafeRecover {
        /// The directory of a member that is left, which no node uses. It stays as it is.
        #[arg(long, value_name = "D")]
        data_dir: PathBuf,
        /// The directory of the new set, on the same file system, which no node has used.
        #[arg(long, value_name = "D")]
        into: PathBuf,
        /// The epoch that was open, by `rs status` or by this command's refusal.
        #[arg(long, value_name = "EPOCH")]
        epoch: u64,
        /// Do not ask; needed where there is no terminal to ask at.
        #[arg(long)]
        yes: bool,
        /// How the result is printed.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show who was primary when, and why
    #[command(after_help = examples::HISTORY)]
    History {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show the settings of the set, or change some
    #[command(after_help = examples::SET)]
    Set {
        /// What to change; the rest stays.
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

/// What an operator says about a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
#[group(required = true, multiple = false)]
struct Word {
    /// The primary of this open epoch may be replaced, once it is suspected.
    #[arg(long, value_name = "EPOCH")]
    approve: Option<u64>,
    /// The primary of this open epoch is replaced now, whether anybody suspects it or not.
    #[arg(long, value_name = "EPOCH")]
    force: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// Holds rows and counts for quorums.
    Data,
    /// Votes and holds no rows.
    Arbiter,
    /// Holds rows and counts for nothing.
    ReadReplica,
}

/// Runs one of the commands about the set.
///
/// # Errors
/// If the call fails, or what it asks for is refused.
pub async fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Init { data_dir, output } => init(&data_dir, output),
        Command::Status { watch, connection } => status(&connection, watch).await,
        Command::Add {
            role,
            expires,
            token_file,
            connection,
        } => add(&connection, role, expires, token_file.as_deref()).await,
        Command::Remove {
            number,
            how,
            connection,
        } => change::remove(&connection, number, how).await,
        Command::Replace {
            old,
            new,
            how,
            connection,
        } => change::replace(&connection, old, new, how).await,
        Command::Switchover { to, connection } => change::switch_over(&connection, to).await,
        Command::Failover {
            word: Word { approve, force },
            connection,
        } => {
            let client = connection.client().await?;
            let epoch = approve.or(force).unwrap_or_default();
            client.approve_failover(epoch, force.is_some()).await?;
            show(&client.replica_set().await?, connection.output)
        }
        Command::Evict {
            member,
            epoch,
            yes,
            connection,
        } => change::evict(&connection, member, epoch, yes).await,
        Command::Shrink {
            epoch,
            yes,
            connection,
        } => change::shrink(&connection, epoch, yes).await,
        Command::UnsafeRecover {
            data_dir,
            into,
            epoch,
            yes,
            output,
        } => recover::recover(&data_dir, &into, epoch, yes, output),
        Command::History { connection } => history::history(&connection).await,
        Command::Set {
            settings,
            connection,
        } => set(&connection, &settings).await,
    }
}

fn init(dir: &Path, output: Output) -> Result<(), CliError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let identity = crate::node::init(&disk, dir)?;
    let (lineage, incarnation) = (identity.lineage, identity.incarnation);
    match output {
        Output::Json => print_json(&json!({
            "data_dir": dir,
            "lineage": lineage.to_string(),
            "incarnation": incarnation.to_string(),
        })),
        Output::Table => print(&format!(
            "{} is a new replica set of one, {lineage}; start it with\n  steadfast serve --data-dir {}",
            dir.display(),
            dir.display()
        )),
    }
}

async fn status(connection: &Connection, watch: bool) -> Result<(), CliError> {
    let is_screen = watch && connection.output == Output::Table && std::io::stdout().is_terminal();
    loop {
        let set = connection.client().await?.replica_set().await?;
        if is_screen {
            print(&format!("{CLEAR}{}", render::set(&set)))?;
        } else {
            show(&set, connection.output)?;
        }
        if !watch {
            return Ok(());
        }
        sleep(WATCH_EVERY).await;
    }
}

fn show(set: &v1::GetReplicaSetResponse, output: Output) -> Result<(), CliError> {
    match output {
        Output::Json => print_json(&document::of_set(set)),
        Output::Table => print(&render::set(set)),
    }
}

async fn add(
    connection: &Connection,
    role: Role,
    expires: Duration,
    token_file: Option<&Path>,
) -> Result<(), CliError> {
    let client = connection.client().await?;
    let set = client.replica_set().await?;
    // Opened first, so that no token is issued that cannot be kept.
    let file = token_file.map(new_secret_file).transpose()?;
    let role = match role {
        Role::Data => v1::MemberRole::Data,
        Role::Arbiter => v1::MemberRole::Arbiter,
        Role::ReadReplica => v1::MemberRole::ReadReplica,
    };
    let secret = client.issue_join_token(role, expires).await?;
    if let (Some(mut file), Some(path)) = (file, token_file) {
        writeln!(file, "{secret}")
            .map_err(|error| CliError::file("write the join token to", path, &error))?;
    }
    let path = token_file.map_or("F".to_owned(), |path| path.display().to_string());
    let join = render::join_address(&set);
    let serve = format!("steadfast serve --data-dir D --join {join} --token-file {path}");
    if connection.output == Output::Json {
        let secret = token_file.is_none().then_some(secret);
        return print_json(&json!({
            "token": secret,
            "token_file": token_file,
            "role": document::role(role),
            "expires_in_seconds": expires.as_secs(),
            "join": join,
        }));
    }
    if token_file.is_none() {
        print(&secret)?;
        eprintln!("put this token into a file F that only you can read");
    }
    let expires = humantime::format_duration(expires);
    eprintln!(
        "within {expires}, start the new node with its own directory and addresses:\n  {serve}"
    );
    Ok(())
}

/// A new file that only its owner can read.
fn new_secret_file(path: &Path) -> Result<std::fs::File, CliError> {
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|error| CliError::file("create", path, &error))
}

async fn set(connection: &Connection, changes: &[String]) -> Result<(), CliError> {
    let changes = (!changes.is_empty())
        .then(|| settings::parse(changes))
        .transpose()?;
    let client = connection.client().await?;
    let settings = match changes {
        Some(changes) => client.set_settings(changes).await?,
        None => client.replica_set().await?.settings.unwrap_or_default(),
    };
    match connection.output {
        Output::Json => print_json(&document::of_settings(&settings)),
        Output::Table => print(&render::settings(&settings)),
    }
}

#[cfg(test)]
#[path = "rs_test.rs"]
mod tests;
