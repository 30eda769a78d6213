//! `steadfast backup`

mod create;
mod list;
mod moving;
mod prune;
mod restore;
mod scratch;
mod undo;
mod verify;
mod verify_store;

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::error::CliError;
use crate::backup::bucket::{Bucket, BucketUrl, Environment, Patience};
use crate::backup::inventory::Inventory;
use crate::backup::repository::{self, Repository};
use crate::backup::way;
use crate::base::{Hlc, LineageId, explained};

const EXAMPLES: &str = "\
Where backups are kept:
  s3://BUCKET/PREFIX    a bucket of an S3-style store; ?region=…&endpoint=…&path_style=true|false may follow
  file:///DIRECTORY     a directory, such as one of another machine

Credentials never stand in the URL. They are taken, as the tools of AWS do, from AWS_ACCESS_KEY_ID, \
AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; from a web identity; from the profile AWS_PROFILE in ~/.aws/credentials \
and ~/.aws/config; from the container; or from the role of the machine. AWS_REGION and AWS_ENDPOINT_URL_S3 stand for \
what the URL does not say.

Examples:
  steadfast backup create file:///mnt/backups
  steadfast backup list file:///mnt/backups
  steadfast backup restore file:///mnt/backups --to latest --into /var/lib/steadfast
  steadfast backup verify file:///mnt/backups --deep
  steadfast backup prune file:///mnt/backups --keep-days 30 --keep-points 10
  steadfast backup verify-store s3://backups/prod?region=eu-central-1
  steadfast backup verify-store 's3://backups?endpoint=http://127.0.0.1:9000'
  steadfast backup verify-store file:///mnt/backups";

/// Keep backups in a bucket
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Args),
    List(list::Args),
    Restore(restore::Args),
    Verify(verify::Args),
    Prune(prune::Args),
    VerifyStore(verify_store::Args),
}

/// Runs one of the commands about backups.
///
/// # Errors
/// As the command says.
pub async fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Restore(args) => Box::pin(restore::run(args)).await,
        Command::Verify(args) => Box::pin(verify::run(args)).await,
        Command::Prune(args) => Box::pin(prune::run(args)).await,
        Command::VerifyStore(args) => verify_store::run(args).await,
    }
}

/// Reads the URL of a bucket. Not by the parser of arguments, which repeats what it does not take: it may hold a secret.
fn parse_url(url: &str) -> Result<BucketUrl, CliError> {
    url.parse()
        .map_err(|error| CliError::wrong("BAD_URL", format!("{error}")))
}

/// What is in a bucket that is there.
pub(super) fn open(url: &str) -> Result<Repository, CliError> {
    let url = parse_url(url)?;
    let bucket = Bucket::open(&url, &Environment::of_process(), Patience::default());
    let bucket = bucket.map_err(|error| CliError::wrong("BAD_URL", error.to_string()))?;
    Ok(Repository::new(bucket))
}

/// The history that a command is about.
pub(super) struct Chosen {
    pub lineage: LineageId,
    /// Others that the bucket holds.
    others: Vec<LineageId>,
}

impl Chosen {
    /// The one that is asked for, else that of the latest restore point. It has a restore point.
    pub fn of(
        repository: &Repository,
        inventory: &Inventory,
        asked: Option<LineageId>,
    ) -> Result<Chosen, CliError> {
        let holds_some = |lineage: &LineageId| {
            let holdings = inventory.lineages.get(lineage);
            holdings.is_some_and(|holdings| holdings.points().next().is_some())
        };
        let found = asked.or_else(|| inventory.latest_lineage());
        let lineage = found
            .filter(holds_some)
            .ok_or_else(|| way::Error::NoPoint {
                bucket: repository.bucket().to_string(),
                lineage: asked,
            })?;
        let others = inventory.lineages.keys().copied();
        let others = others.filter(|other| *other != lineage).collect();
        Ok(Chosen { lineage, others })
    }
}

pub(super) fn failed(error: repository::Error) -> CliError {
    CliError::failed("BUCKET", explained(&error))
}

/// A stamp's time as people read it.
pub(super) fn time(at: Hlc) -> String {
    let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.to_string()
}

/// Ranges of moments as people read them.
pub(super) fn ranges_to_text(ranges: &[(Hlc, Hlc)]) -> String {
    let range = |(first, last): &(Hlc, Hlc)| format!("{} to {}", time(*first), time(*last));
    let ranges: Vec<String> = ranges.iter().map(range).collect();
    if ranges.is_empty() {
        return "nothing".to_owned();
    }
    ranges.join(", ")
}

fn ranges_to_json(ranges: &[(Hlc, Hlc)]) -> Json {
    let range = |(first, last): &(Hlc, Hlc)| json!({ "from_us": first.micros().0, "to_us": last.micros().0 });
    ranges.iter().map(range).collect()
}
