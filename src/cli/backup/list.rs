//! `steadfast backup list`

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json, table};
use super::super::progress::megabytes;
use super::{failed, open, time};
use crate::backup::inventory::Holdings;
use crate::backup::manifest::Manifest;
use crate::backup::repository::Repository;
use crate::base::LineageId;

const DETAILS: &str = "\
Each restore point says when its newest record was written, how large it is, and how many of those bytes it shares with \
the restore points of its generation: those stay as long as one of them is kept. A history begins anew, as another \
lineage, with each new set and each restore.

Examples:
  steadfast backup list s3://backups/prod?region=eu-central-1
  steadfast backup list file:///mnt/backups --output json";

/// List the restore points in a bucket
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX or file:///DIRECTORY.
    url: String,
    /// How to print the result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// A restore point, with what is wrong with its manifest if that cannot be read.
struct Point {
    lineage: LineageId,
    name: String,
    manifest: Result<Manifest, String>,
}

/// Lists what there is.
///
/// # Errors
/// If the bucket cannot be listed.
pub async fn run(args: Args) -> Result<(), CliError> {
    let repository = open(&args.url)?;
    let inventory = repository.inventory().await.map_err(failed)?;
    let mut points = Vec::new();
    for (lineage, holdings) in &inventory.lineages {
        points.extend(read(&repository, *lineage, holdings).await);
    }
    match args.output {
        Output::Json => print_json(&Json::Array(points.iter().map(Point::to_json).collect())),
        Output::Table if points.is_empty() => {
            print(&format!("{} holds no restore point", repository.bucket()))
        }
        Output::Table => print(&to_table(&points)),
    }
}

async fn read(repository: &Repository, lineage: LineageId, holdings: &Holdings) -> Vec<Point> {
    let mut points = Vec::new();
    for point in holdings.points() {
        let manifest = repository.manifest(lineage, point).await;
        points.push(Point {
            lineage,
            name: point.to_string(),
            manifest: manifest.map_err(|cause| crate::base::explained(&cause)),
        });
    }
    points
}

impl Point {
    fn to_json(&self) -> Json {
        let head = json!({ "point": self.name, "lineage": self.lineage.to_string() });
        let more = match &self.manifest {
            Err(problem) => json!({ "problem": problem }),
            Ok(manifest) => json!({
                "generation": manifest.generation.to_string(),
                "parent": manifest.parent.map(|parent| parent.to_string()),
                "member": manifest.member.0,
                "epoch": manifest.control.open_epoch().0,
                "newest": time(manifest.snapshot.state.newest),
                "newest_us": manifest.snapshot.state.newest.micros().0,
                "held": manifest.snapshot.state.applied.0.to_string(),
                "files": manifest.snapshot.files.len(),
                "bytes": manifest.bytes(),
                "program": manifest.program,
            }),
        };
        merged(head, more)
    }
}

fn merged(mut head: Json, more: Json) -> Json {
    if let (Json::Object(head), Json::Object(more)) = (&mut head, more) {
        head.extend(more);
    }
    head
}

fn to_table(points: &[Point]) -> String {
    let headings = [
        "point",
        "newest record",
        "kind",
        "files",
        "MB",
        "member",
        "lineage",
    ];
    let mut table = table(headings);
    for point in points {
        let lineage = point.lineage.to_string();
        let row = match &point.manifest {
            Err(problem) => vec![
                point.name.clone(),
                problem.clone(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                lineage,
            ],
            Ok(manifest) => vec![
                point.name.clone(),
                time(manifest.snapshot.state.newest),
                if manifest.is_full() {
                    "full"
                } else {
                    "incremental"
                }
                .to_owned(),
                grouped(u64::try_from(manifest.snapshot.files.len()).unwrap_or(u64::MAX)),
                megabytes(manifest.bytes()),
                manifest.member.to_string(),
                lineage,
            ],
        };
        table.add_row(row);
    }
    table.to_string()
}
