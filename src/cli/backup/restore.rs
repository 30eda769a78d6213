//! `steadfast backup restore`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::connection::Connection;
use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json};
use super::super::progress::megabytes;
use super::moving::Moving;
use super::{open, time, undo};
use crate::backup::repository::Repository;
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

With --as-new-writes one view of a live set, that of --endpoint, says again what it said at that moment; no set is made. An undo \
is a write: rows that differ are put, rows that were not there are deleted, and equal ones are left alone. First count with \
--dry-run. The moment is restored below --scratch for as long as it takes, and removed again.
- The set may be another one than that of the backup. If it has no such view, it is created as it was defined then. If it lacks a \
feature of then, or has one, or the join keys, of another type, nothing is written. Features that are new since then keep their \
values where there are rows.
- What counts is what readers get. What has expired by now, by the definition of the live view, counts as not there.
- Event times: in views of order \"arrival\" rows keep theirs. In others a put takes its own or that of what it replaces, whichever is \
later, so data that are newer than what is replaced still win; where that is not enough, as over a deletion, it takes the time of the write.
- All that was written since the moment is undone, good writes too. What others write while the command runs is left as it \
is, and counted; in views of order \"arrival\" a write in the milliseconds between the last look at a row and its put is lost.
- The same command goes on if it was interrupted, and has nothing to do if all is done; so name a time or a point, for \
latest moves. A moment of the set's own that is not archived whole is refused.

Examples:
  steadfast backup restore s3://backups/prod --to latest --into /var/lib/steadfast
  steadfast backup restore file:///mnt/backups --to 2026-11-22T04:12:03Z --into /tmp/staging --plan
  steadfast backup restore file:///mnt/backups --to 2026-11-22T04:12:03Z --as-new-writes --view route_stats --dry-run
  steadfast backup restore file:///mnt/backups --to latest --as-new-writes --view route_stats --endpoint staging:7400";

/// Make a new set of what is in a bucket, or write a view of it into a live set
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX or file:///DIRECTORY.
    url: String,
    /// What to restore: latest, a time or a restore point.
    #[arg(long, value_name = "WHAT")]
    to: Target,
    /// The directory of the new set.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["plan", "as_new_writes"])]
    into: Option<PathBuf>,
    /// Of which history, if the bucket holds several; if not given, that of the latest restore point.
    #[arg(long, value_name = "LINEAGE")]
    lineage: Option<LineageId>,
    /// Only print what would be fetched.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    undo: undo::UndoArgs,
    #[command(flatten)]
    connection: Connection,
}

/// Restores, or says what that takes.
///
/// # Errors
/// If there is no way to what is asked for, or it cannot be fetched.
pub async fn run(args: Args) -> Result<(), CliError> {
    let repository = open(&args.url)?;
    let way = Way::find(&repository, args.lineage, args.to).await?;
    let output = args.connection.output;
    if output == Output::Table && !args.plan {
        eprintln!("{}", plan_to_text(&way));
    }
    if let (false, Some(view)) = (args.plan, args.undo.view()) {
        return Box::pin(undo::run(
            &repository,
            &way,
            view,
            &args.undo,
            &args.connection,
        ))
        .await;
    }
    let (false, Some(into)) = (args.plan, args.into) else {
        return match output {
            Output::Json => print_json(&plan_to_json(&way)),
            Output::Table => print(&plan_to_text(&way)),
        };
    };
    let (identity, records) = restore(&repository, &way, &into).await?;
    report(&way, &identity, &into, records, output)
}

/// Makes a directory that of a new set, and shows how far it has come. Says who that is, and how many archived records were applied.
///
/// # Errors
/// Why there is none.
pub(super) async fn restore(
    repository: &Repository,
    way: &Way,
    into: &Path,
) -> Result<(Identity, u64), CliError> {
    let config = Config {
        data_dir: into.to_owned(),
        ..Config::default()
    };
    let progress = Progress::default();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let restoring = node::restore(&disk, &config, repository, way, &progress);
    let identity = shown(restoring, &progress).await?;
    Ok((identity, progress.records.load(Ordering::Relaxed)))
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
    into: &Path,
    records: u64,
    output: Output,
) -> Result<(), CliError> {
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
