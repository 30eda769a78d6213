//! `steadfast backup restore`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json};
use super::super::progress::megabytes;
use super::moving::Moving;
use super::{open, time};
use crate::backup::restore::Progress;
use crate::backup::way::{self, Target, Way};
use crate::base::clock::sleep;
use crate::base::disk::{Disk, RealDisk};
use crate::base::{Hlc, LineageId, explained};
use crate::config::Config;
use crate::node::{self, Identity, RestoreError};

/// How often it is shown how far it has come.
const SHOW_EVERY: Duration = Duration::from_millis(200);

const DETAILS: &str = "\
Makes a directory that `steadfast serve` starts as a set of one; other nodes join it empty (`steadfast rs add`). It is a \
new history: it has a lineage and a region of its own, so nodes, session tokens and archives of the old set are refused. \
Settings come along, but for priorities of members.

--to takes
  latest                     all that there is
  2026-11-22T04:12:03Z       what had been written by then, by the stamps of the writers
  20261122T041203.123Z-…     a restore point, as `backup list` names it

Everything that is fetched is checked: files by length and digest, rows by the digest in the manifest, records by the \
chain of their log. DIR must not be there; what is being made is in DIR.partial, and the same command goes on with it if it \
was interrupted.

With --plan nothing is fetched: it prints what would be, which moment it reaches, and what is missing.

Examples:
  steadfast backup restore s3://backups/prod --to latest --into /var/lib/steadfast
  steadfast backup restore file:///mnt/backups --to 2026-11-22T04:12:03Z --into /tmp/staging --plan";

/// Make a new set of what is in a bucket
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX or file:///DIRECTORY.
    url: String,
    /// What to restore: latest, a time or a restore point.
    #[arg(long, value_name = "WHAT")]
    to: Target,
    /// The directory of the new set.
    #[arg(long, value_name = "DIR", required_unless_present = "plan")]
    into: Option<PathBuf>,
    /// Of which history, if the bucket holds several; if not given, that of the latest restore point.
    #[arg(long, value_name = "LINEAGE")]
    lineage: Option<LineageId>,
    /// Only print what would be fetched.
    #[arg(long)]
    plan: bool,
    /// How to print the result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// Restores, or says what that takes.
///
/// # Errors
/// If there is no way to what is asked for, or it cannot be fetched.
pub async fn run(args: Args) -> Result<(), CliError> {
    let repository = open(&args.url)?;
    let way = Way::find(&repository, args.lineage, args.to).await?;
    let (false, Some(into)) = (args.plan, args.into) else {
        return match args.output {
            Output::Json => print_json(&plan_to_json(&way)),
            Output::Table => print(&plan_to_text(&way)),
        };
    };
    if args.output == Output::Table {
        eprintln!("{}", plan_to_text(&way));
    }
    let config = Config {
        data_dir: into.clone(),
        ..Config::default()
    };
    let progress = Progress::default();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let identity = {
        let restoring = node::restore(&disk, &config, &repository, &way, &progress);
        shown(restoring, &progress).await?
    };
    report(&way, &identity, &into, &progress, args.output)
}

/// Waits for the end of a restore, and shows how far it has come.
pub(super) async fn shown(
    restoring: impl Future<Output = Result<Identity, RestoreError>>,
    progress: &Progress,
) -> Result<Identity, RestoreError> {
    let mut restoring = Box::pin(restoring);
    let mut moving = Moving::new("fetched");
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let restored = loop {
        tokio::select! {
            restored = &mut restoring => break restored,
            () = sleep(SHOW_EVERY) => {
                let records = match read(&progress.objects) {
                    0 => String::new(),
                    objects => format!(
                        ", applied {} of {} objects: {} records",
                        grouped(read(&progress.applied)),
                        grouped(objects),
                        grouped(read(&progress.records)),
                    ),
                };
                moving.update(read(&progress.done), read(&progress.total), &records);
            }
        }
    };
    moving.finish();
    restored
}

fn plan_to_text(way: &Way) -> String {
    let manifest = &way.manifest;
    let (files, objects) = (manifest.snapshot.files.len(), way.plan.segments().count());
    let mut text = format!(
        "restore point {} of lineage {}: {files} files, {} MB, records up to {}",
        manifest.point,
        manifest.control.lineage,
        megabytes(manifest.bytes()),
        time(manifest.snapshot.state.newest),
    );
    if objects > 0 {
        let archived = megabytes(way.archived_bytes);
        text.push_str(&format!(
            "\narchived records: {objects} objects, {archived} MB"
        ));
    }
    text.push_str(&format!("\nreaches {}", reached(way)));
    text
}

/// The moment that is reached, and whether that is all there will ever be of it.
fn reached(way: &Way) -> String {
    let plan = &way.plan;
    let newest = plan.segments().map(|segment| segment.newest).max();
    let last = newest.unwrap_or(way.manifest.snapshot.state.newest);
    let moment = time(last.min(plan.until));
    if plan.is_final() || plan.until == Hlc(u64::MAX) {
        return moment;
    }
    let growing = plan.growing.iter();
    let growing: Vec<String> = growing.map(|log| format!("epoch {}", log.epoch)).collect();
    format!(
        "{moment}; {} is provisional: of {} records may have been written after {} that are not archived",
        time(plan.until),
        growing.join(" and "),
        time(plan.final_through),
    )
}

fn plan_to_json(way: &Way) -> Json {
    let (manifest, plan) = (&way.manifest, &way.plan);
    let growing = plan.growing.iter().map(ToString::to_string);
    json!({
        "point": manifest.point.to_string(),
        "lineage": manifest.control.lineage.to_string(),
        "files": manifest.snapshot.files.len(),
        "bytes": manifest.bytes(),
        "newest_us": manifest.snapshot.state.newest.micros().0,
        "objects": plan.segments().count(),
        "archived_bytes": way.archived_bytes,
        "until_us": plan.until.micros().0,
        "final": plan.is_final(),
        "final_through_us": plan.final_through.micros().0,
        "growing": growing.collect::<Vec<_>>(),
    })
}

fn report(
    way: &Way,
    identity: &Identity,
    into: &std::path::Path,
    progress: &Progress,
    output: Output,
) -> Result<(), CliError> {
    let records = progress.records.load(Ordering::Relaxed);
    if output == Output::Json {
        return print_json(&json!({
            "data_dir": into,
            "lineage": identity.lineage.to_string(),
            "point": way.manifest.point.to_string(),
            "records": records,
            "bytes": way.bytes(),
        }));
    }
    let dir = into.display();
    print(&format!(
        "{dir} is a new replica set of one, {}, with {} archived records applied; start it with\n  steadfast serve --data-dir {dir}",
        identity.lineage,
        grouped(records),
    ))
}

impl From<way::Error> for CliError {
    fn from(error: way::Error) -> CliError {
        match error {
            way::Error::Repository(cause) => super::failed(cause),
            error @ (way::Error::NoPoint { .. }
            | way::Error::TooEarly { .. }
            | way::Error::Impossible { .. }) => CliError::wrong("NO_WAY", explained(&error)),
        }
    }
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> CliError {
        match error {
            RestoreError::Start(cause) => cause.into(),
            error @ (RestoreError::NotEmpty { .. } | RestoreError::OtherRestore { .. }) => {
                CliError::wrong("HAS_DATA", explained(&error))
            }
            error @ RestoreError::NoSpace { .. } => CliError::failed("NO_SPACE", explained(&error)),
            error @ RestoreError::NewerLevel { .. } => {
                CliError::failed("NEWER_FORMAT", explained(&error))
            }
            error @ RestoreError::Backup(_) => {
                CliError::failed("RESTORE_FAILED", explained(&error))
            }
        }
    }
}
