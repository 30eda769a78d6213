//! `steadfast backup verify`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json, readable, table};
use super::super::progress::megabytes;
use super::restore::shown;
use super::scratch::Scratch;
use super::{Chosen, failed, open, ranges_to_json, ranges_to_text, time};
use crate::backup::inventory::Holdings;
use crate::backup::layout::PointId;
use crate::backup::repository::Repository;
use crate::backup::restore::{Error as BackupError, Progress};
use crate::backup::verify::{Verified, ranges, verify};
use crate::backup::way::Way;
use crate::base::clock::now_monotonic;
use crate::base::disk::{Disk, RealDisk};
use crate::base::{Hlc, LineageId, explained};
use crate::config::Config;
use crate::node::{self, RestoreError, StartError};

const DETAILS: &str = "\
Of every restore point that is kept, or of those that are named: its manifest can be read, each file that it names is there \
in the right length, and of the archived records that follow it none is missing up to the latest. Nothing else is fetched. \
All that is wrong is told, not only the first.

With --deep restore points are restored as well, with all archived records that follow, into a new directory that is \
removed again: every file is compared with its digest, every row is added up, every record is followed. That takes the time, \
and for that time the space, of a restore. It is done with the latest restore point, with those that are named, or with --all.

Exit codes:
  0  all of them are whole
  1  some are not, or it could not be found out
  2  the URL or a name is wrong, or there is no restore point

Examples:
  steadfast backup verify s3://backups/prod
  steadfast backup verify s3://backups/prod --deep --into /mnt/scratch
  steadfast backup verify file:///mnt/backups 20261122T041203.123Z-1f2e3d4c --deep";

/// Find out whether restore points are whole
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX or file:///DIRECTORY.
    url: String,
    /// Only these restore points.
    #[arg(value_name = "POINT")]
    points: Vec<PointId>,
    /// Of which history, if the bucket holds several; if not given, that of the latest restore point.
    #[arg(long, value_name = "LINEAGE")]
    lineage: Option<LineageId>,
    /// Restore as well what is looked at: the latest restore point, or those that are named.
    #[arg(long)]
    deep: bool,
    /// Restore all of them, one after the other.
    #[arg(long, requires = "deep", conflicts_with = "points")]
    all: bool,
    /// Where to restore into a directory that is removed again; if not given, where the system keeps temporary files.
    #[arg(long, value_name = "SCRATCH_DIR", requires = "deep")]
    into: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// A restore point, and what came of looking at it.
struct Point {
    verified: Verified,
    /// Archived records that were applied, if it was restored.
    restored: Option<u64>,
    problems: Vec<String>,
}

/// What came of it.
struct Report {
    bucket: String,
    lineage: LineageId,
    others: Vec<LineageId>,
    points: Vec<Point>,
    took: Duration,
}

/// Looks at restore points and prints what is wrong.
///
/// # Errors
/// `BAD_BACKUP` if one is not whole; others if that cannot be found out.
pub async fn run(args: Args) -> Result<(), CliError> {
    let begun = now_monotonic();
    let repository = open(&args.url)?;
    let mut inventory = repository.inventory().await.map_err(failed)?;
    let Chosen { lineage, others } = Chosen::of(&repository, &inventory, args.lineage)?;
    let holdings = inventory.lineages.remove(&lineage).unwrap_or_default();
    let named = named(&holdings, lineage, &args.points)?;
    let verified = verify(&repository, lineage, &holdings, named).await;
    let points = verified.map_err(failed)?.into_iter().map(Point::new);
    let mut points: Vec<Point> = points.collect();
    if args.deep {
        let is_each = args.all || !args.points.is_empty();
        let deep = points.iter_mut().rev();
        let deep: Vec<&mut Point> = deep.take(if is_each { usize::MAX } else { 1 }).collect();
        restore_each(&args, &repository, &holdings, deep).await?;
    }
    let report = Report {
        bucket: repository.bucket().to_string(),
        lineage,
        others,
        points,
        took: begun.elapsed(),
    };
    match args.output {
        Output::Json => print_json(&report.to_json())?,
        Output::Table => print(&report.to_text())?,
    }
    report.verdict()
}

/// Those that are named, or all, in their order.
fn named(
    holdings: &Holdings,
    lineage: LineageId,
    named: &[PointId],
) -> Result<Vec<PointId>, CliError> {
    let kept: Vec<PointId> = holdings.points().collect();
    if let Some(other) = named.iter().find(|point| !kept.contains(point)) {
        let message = format!("lineage {lineage} holds no restore point {other}");
        return Err(CliError::wrong("NO_SUCH_POINT", message));
    }
    let is_named = |point: &PointId| named.is_empty() || named.contains(point);
    Ok(kept.into_iter().filter(is_named).collect())
}

/// Restores those of which all is there, one after the other. What is made of them is removed, whatever comes of it.
async fn restore_each(
    args: &Args,
    repository: &Repository,
    holdings: &Holdings,
    points: Vec<&mut Point>,
) -> Result<(), CliError> {
    let scratch = Scratch::create(args.into.as_deref(), "verify")?;
    let all = async {
        for point in points {
            if let Some(way) = point.whole_way(holdings) {
                let into = scratch.path().join(point.verified.point.to_string());
                point.note(restore(repository, &way, into).await)?;
            }
        }
        Ok(())
    };
    let outcome = tokio::select! {
        // Listened for before anything is made.
        biased;
        _interrupted = tokio::signal::ctrl_c() => {
            Err(CliError::failed("INTERRUPTED", "not everything was restored"))
        }
        outcome = all => outcome,
    };
    scratch.remove_after(outcome).await
}

/// Restores into a directory, which is removed unless that fails. Returns how many archived records were applied.
async fn restore(repository: &Repository, way: &Way, into: PathBuf) -> Result<u64, RestoreError> {
    let config = Config {
        data_dir: into.clone(),
        ..Config::default()
    };
    let (disk, progress): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), Progress::default());
    let restoring = node::restore(&disk, &config, repository, way, &progress);
    shown(restoring, &progress).await?;
    // The next one may need the space. If it cannot be removed that is told at the end.
    let _removed = std::fs::remove_dir_all(into);
    Ok(progress.records.load(Ordering::Relaxed))
}

impl Point {
    fn new(verified: Verified) -> Point {
        let problems = verified.problems.iter();
        Point {
            problems: problems.map(|problem| explained(problem)).collect(),
            restored: None,
            verified,
        }
    }

    /// The way to all that follows it, if nothing is wrong so far.
    fn whole_way(&self, holdings: &Holdings) -> Option<Way> {
        let is_whole = self.verified.is_whole();
        is_whole.then(|| self.verified.way(holdings)).flatten()
    }

    /// Takes note of how restoring it ended, unless that says nothing of it.
    fn note(&mut self, restored: Result<u64, RestoreError>) -> Result<(), CliError> {
        match restored {
            Ok(records) => self.restored = Some(records),
            Err(cause) if is_of_the_backup(&cause) => self.problems.push(explained(&cause)),
            Err(cause) => return Err(cause.into()),
        }
        Ok(())
    }
}

/// Is what failed the restore point's fault, rather than this machine's or that of the way to the bucket?
fn is_of_the_backup(error: &RestoreError) -> bool {
    match error {
        RestoreError::Backup(BackupError::GivenUp)
        | RestoreError::NoSpace { .. }
        | RestoreError::NotEmpty { .. }
        | RestoreError::OtherRestore { .. }
        | RestoreError::Start(StartError::Directory { .. } | StartError::Lock(_)) => false,
        RestoreError::Backup(BackupError::Repository(cause)) => cause.is_of_the_object(),
        RestoreError::Backup(_) | RestoreError::NewerLevel { .. } | RestoreError::Start(_) => true,
    }
}

impl Report {
    fn bad(&self) -> usize {
        let bad = self
            .points
            .iter()
            .filter(|point| !point.problems.is_empty());
        bad.count()
    }

    fn verdict(&self) -> Result<(), CliError> {
        let (bad, all) = (self.bad(), self.points.len());
        if bad == 0 {
            return Ok(());
        }
        let message = format!("{bad} of {all} restore points in {} are bad", self.bucket);
        Err(CliError::failed("BAD_BACKUP", message))
    }

    /// From when to when restore points lead that are whole.
    fn ranges(&self) -> Vec<(Hlc, Hlc)> {
        let whole = self.points.iter().filter(|point| point.problems.is_empty());
        ranges(whole.map(|point| &point.verified))
    }

    fn to_json(&self) -> Json {
        let point = |point: &Point| {
            let range = point.verified.range();
            let manifest = point.verified.manifest.as_ref();
            json!({
                "point": point.verified.point.to_string(),
                "whole": point.problems.is_empty(),
                "problems": point.problems,
                "newest_us": manifest.map(|manifest| manifest.snapshot.state.newest.micros().0),
                "reaches_us": range.map(|(_, last)| last.micros().0),
                "files": manifest.map(|manifest| manifest.snapshot.files.len()),
                "bytes": manifest.map(crate::backup::manifest::Manifest::bytes),
                "restored": point.restored.is_some(),
                "records": point.restored,
            })
        };
        json!({
            "bucket": self.bucket,
            "lineage": self.lineage.to_string(),
            "points": self.points.iter().map(point).collect::<Vec<_>>(),
            "bad": self.bad(),
            "restorable": ranges_to_json(&self.ranges()),
            "other_lineages": self.others.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "seconds": self.took.as_secs_f64(),
        })
    }

    fn to_text(&self) -> String {
        let mut table = table(["point", "newest record", "reaches", "files", "MB", "found"]);
        for point in &self.points {
            let manifest = point.verified.manifest.as_ref();
            let newest = manifest.map(|manifest| time(manifest.snapshot.state.newest));
            let reaches = point.verified.range().map(|(_, last)| time(last));
            let files = manifest.map(|manifest| manifest.snapshot.files.len().to_string());
            let bytes = manifest.map(|manifest| megabytes(manifest.bytes()));
            let found = match (point.problems.len(), point.restored) {
                (0, None) => "whole".to_owned(),
                (0, Some(records)) => format!("restored, {} records", grouped(records)),
                (1, _) => "1 problem".to_owned(),
                (problems, _) => format!("{problems} problems"),
            };
            let dash = || "-".to_owned();
            let cells = [newest, reaches, files, bytes].map(|cell| cell.unwrap_or_else(dash));
            let name = point.verified.point.to_string();
            table.add_row([name].into_iter().chain(cells).chain([found]));
        }
        let mut text = format!("{table}\n");
        let mut line = |more: String| text.push_str(&format!("{more}\n"));
        for point in &self.points {
            for problem in &point.problems {
                line(format!("{}: {problem}", point.verified.point));
            }
        }
        line(format!("restorable: {}", ranges_to_text(&self.ranges())));
        for other in &self.others {
            line(format!(
                "not looked at: lineage {other}, unless --lineage names it"
            ));
        }
        let (lineage, took) = (self.lineage, readable(self.took));
        line(format!("looked at lineage {lineage} in {took}"));
        text
    }
}
