//! `steadfast backup list`

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json, table};
use super::super::progress::megabytes;
use super::{failed, open, ranges_to_text, time};
use crate::backup::verify::{Verified, ranges, verify};
use crate::base::{LineageId, explained};

const DETAILS: &str = "\
Each restore point says when its newest record was written, how large it is, and how many of those bytes it shares with \
the restore points of its generation: those stay as long as one of them is kept. A history begins anew, as another \
lineage, with each new set and each restore. Below stands which moments of each can be restored, as far as names tell; \
backup verify looks closer.

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

/// A restore point of a lineage.
struct Point {
    lineage: LineageId,
    verified: Verified,
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
        let verified = verify(&repository, *lineage, holdings, holdings.points()).await;
        let of_lineage = verified.map_err(failed)?.into_iter();
        points.extend(of_lineage.map(|verified| Point {
            lineage: *lineage,
            verified,
        }));
    }
    match args.output {
        Output::Json => print_json(&Json::Array(points.iter().map(Point::to_json).collect())),
        Output::Table if points.is_empty() => {
            print(&format!("{} holds no restore point", repository.bucket()))
        }
        Output::Table => print(&to_text(&points)),
    }
}

impl Point {
    fn to_json(&self) -> Json {
        let reaches = self.verified.range().map(|(_, last)| last.micros().0);
        let head = json!({
            "point": self.verified.point.to_string(),
            "lineage": self.lineage.to_string(),
            "reaches_us": reaches,
            "problem": self.verified.problems.first().map(|problem| explained(problem)),
        });
        let more = match &self.verified.manifest {
            None => json!({}),
            Some(manifest) => json!({
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

    fn to_row(&self) -> [String; 7] {
        let name = self.verified.point.to_string();
        let lineage = self.lineage.to_string();
        let Some(manifest) = &self.verified.manifest else {
            let unknown = || "-".to_owned();
            return [
                name,
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                lineage,
            ];
        };
        let kind = if manifest.is_full() {
            "full"
        } else {
            "incremental"
        };
        [
            name,
            time(manifest.snapshot.state.newest),
            kind.to_owned(),
            grouped(u64::try_from(manifest.snapshot.files.len()).unwrap_or(u64::MAX)),
            megabytes(manifest.bytes()),
            manifest.member.to_string(),
            lineage,
        ]
    }
}

fn merged(mut head: Json, more: Json) -> Json {
    if let (Json::Object(head), Json::Object(more)) = (&mut head, more) {
        head.extend(more);
    }
    head
}

fn to_text(points: &[Point]) -> String {
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
        table.add_row(point.to_row());
    }
    let mut text = format!("{table}\n");
    for Point { verified, .. } in points {
        if let Some(problem) = verified.problems.first() {
            text.push_str(&format!("{}: {}\n", verified.point, explained(problem)));
        }
    }
    let mut by_lineage: BTreeMap<LineageId, Vec<&Verified>> = BTreeMap::new();
    for Point { lineage, verified } in points {
        by_lineage.entry(*lineage).or_default().push(verified);
    }
    for (lineage, points) in by_lineage {
        let moments = ranges_to_text(&ranges(points));
        text.push_str(&format!("restorable of {lineage}: {moments}\n"));
    }
    text
}
