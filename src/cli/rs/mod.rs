//! `steadfast rs`

mod change;
mod document;
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

const EXAMPLES: &str = "\
Examples:
  steadfast rs status
  steadfast rs add --token-file token      # then, on the new machine: steadfast serve --join … --token-file token
  steadfast rs switchover --to 2
  steadfast rs remove 3 --yes
  steadfast rs replace 3 4 --yes
  steadfast rs set silence=2s priority.1=10

Members are named by their numbers, which are given once and never to another; `rs status` shows them. Changes of \
members are agreed first and then carried out by whoever is primary, so they go on when this command ends.";

const INIT_EXAMPLES: &str = "\
`steadfast serve` does the same where the directory is empty; this says so if it is not.

Example:
  steadfast rs init --data-dir /var/lib/steadfast";

const STATUS_EXAMPLES: &str = "\
States: primary; member, which takes part in its role; joining, which holds rows or votes but does not \
count yet. Silent is added if the node that answers is not in contact with it: a primary must be heard, of others a \
connection is enough. Lag is known to the primary alone, in records. Any member says whether another would take over if the \
primary was lost now, as far as it sees.

Examples:
  steadfast rs status
  steadfast rs status --watch --endpoint node1:7400,node2:7400
  steadfast rs status --output json";

const ADD_EXAMPLES: &str = "\
The token lets one directory in, once, until it expires. It is shown once and kept nowhere.

Examples:
  steadfast rs add --token-file token
  steadfast rs add --role arbiter --expires 1h";

const REMOVE_EXAMPLES: &str = "\
Example:
  steadfast rs remove 3 --yes";

const REPLACE_EXAMPLES: &str = "\
The new member has joined before, see `rs add`.

Example:
  steadfast rs replace 3 4 --yes";

const SWITCHOVER_EXAMPLES: &str = "\
Writes pause for as long as the next epoch takes to open; nothing acknowledged is lost.

Examples:
  steadfast rs switchover
  steadfast rs switchover --to 2";

const FAILOVER_EXAMPLES: &str = "\
Both are to be asked of the member that shall take over. Where the policy is manual, a failed primary is replaced only when an \
operator approves; where it is hybrid, also without that if the other data members and the primary's new process are all in \
reach, so that nothing acknowledged can be missing. What the lost primary alone acknowledged, at async, is missing until it \
returns. Force is for a primary that is heard and yet of no use: no member is asked whether it suspects it. The epoch is that of \
`rs status`: if another one has opened meanwhile, nothing happens.

Examples:
  steadfast rs failover --approve 7 --endpoint node2:7400
  steadfast rs failover --force 7 --endpoint node2:7400";

const EVICT_EXAMPLES: &str = "\
For a member that will never come back, where `rs remove` cannot go on because nobody is primary. A data member of an epoch \
in force is refused: `rs remove` changes it out first, `rs shrink` lets a pair go on without it. The directory can never come back. What it alone held is lost; the command says what that may be.

Example:
  steadfast rs evict --member 3 --epoch 7";

const SHRINK_EXAMPLES: &str = "\
For two data members of which one is gone: quorum writes are refused then, and the survivor that is primary may go on as the \
only data member. Acknowledgements say then that there is one copy. The other counts again by itself once it is back \
and has caught up. `rs set two-node=shrink` does this without asking. If the survivor is not primary, it must have become that first.

Example:
  steadfast rs shrink --epoch 7";

const RECOVER_EXAMPLES: &str = "\
Only if so many members are lost for good that the others can agree on nothing: what those alone held is lost with them. Of several \
directories that are left take the one that holds most: the command says what is held before it asks, and what cannot be \
proven to be there. The new set has a lineage of its own, so it refuses members of the old one; other nodes join it anew, \
with empty directories. The epoch is asked for so that nobody takes the wrong directory.

Example:
  steadfast rs unsafe-recover --data-dir /var/lib/steadfast --into /var/lib/steadfast-new --epoch 7";

const HISTORY_EXAMPLES: &str = "\
The last 100 epochs that opened. Because: first, none was open before; restart, the primary's process started again; \
silence, it was silent; process gone, it was seen to have ended; unopened, an attempt did not come to its end, or the \
primary found another promised; forced, by an operator; planned, a switchover or a change of members. No writes for: from the last \
sign of the primary, or from the request of a planned change, until writes were taken again. Recovered: EPOCH/RECORD, \
where the log of the epoch before ended for the new primary; more of it came later if its last record is greater.

Examples:
  steadfast rs history
  steadfast rs history --output json";

const SET_EXAMPLES: &str = "\
Keys:
  silence=DURATION                       after so long without a sign of the primary a member suspects it
  failover=automatic|hybrid|manual       who decides that a failed primary is replaced
  two-node=refuse|shrink                 what a set of two data members does when one is gone
  commit-floor=async|quorum|all          writes are acknowledged at this level at least
  commit-default=async|quorum|all        the level of writes that ask for none
  priority.N=0…255                       how much member N is preferred as primary

Examples:
  steadfast rs set
  steadfast rs set silence=2s failover=hybrid
  steadfast rs set priority.1=10 priority.3=0";

/// See and change the replica set
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a directory that of a new set of one
    #[command(after_help = INIT_EXAMPLES)]
    Init {
        /// The directory, which no node has used.
        #[arg(long, value_name = "D")]
        data_dir: PathBuf,
        /// How the result is printed.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show the set on one screen
    #[command(after_help = STATUS_EXAMPLES)]
    Status {
        /// Show it again and again, once a second.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Get a token by which a node may join the set
    #[command(after_help = ADD_EXAMPLES)]
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
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// The member's number.
        number: u64,
        #[command(flatten)]
        how: change::How,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have a member that joined take the place of another, which leaves for good
    #[command(after_help = REPLACE_EXAMPLES)]
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
    #[command(after_help = SWITCHOVER_EXAMPLES)]
    Switchover {
        /// The member that is to be primary; the best one if not given.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Let a member replace a failed primary
    #[command(after_help = FAILOVER_EXAMPLES)]
    Failover {
        #[command(flatten)]
        word: Word,
        #[command(flatten)]
        connection: Connection,
    },
    /// Give a member up at once that no epoch in force needs
    #[command(after_help = EVICT_EXAMPLES)]
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
    #[command(after_help = SHRINK_EXAMPLES)]
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
    #[command(after_help = RECOVER_EXAMPLES)]
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
    #[command(after_help = HISTORY_EXAMPLES)]
    History {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show the settings of the set, or change some
    #[command(after_help = SET_EXAMPLES)]
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
