//! `steadfast inspect manifest`

use std::path::Path;

use serde_json::{Value as Json, json};

use super::super::backup::{Chosen, failed, open, time};
use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json, table};
use super::super::progress::megabytes;
use super::directory::damaged;
use crate::backup::layout::{Named, PointId};
use crate::backup::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::base::LineageId;

/// What to print of a backup.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A bucket's URL with a restore point behind it, as in file:///mnt/backups/20261122T041203.123Z-1f2e3d4c; or a file that is
    /// called as in a bucket, LINEAGE/points/POINT.
    #[arg(value_name = "URL/POINT|FILE")]
    place: String,
    /// Of which history, if the bucket holds several; if not given, that of the latest restore point.
    #[arg(long, value_name = "LINEAGE")]
    lineage: Option<LineageId>,
    /// How to print the result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// Prints the manifest of a restore point.
///
/// # Errors
/// If it is not there, or not what was written.
pub async fn run(args: &Args) -> Result<(), CliError> {
    let manifest = match in_bucket(&args.place) {
        Some((url, point)) => fetched(&url, point, args.lineage).await?,
        None => read(Path::new(&args.place))?,
    };
    match args.output {
        Output::Json => print_json(&to_json(&manifest)),
        Output::Table => print(&to_text(&manifest)),
    }
}

/// The URL of a bucket, and the restore point that stands behind its path.
fn in_bucket(place: &str) -> Option<(String, PointId)> {
    let (path, query) = match place.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (place, String::new()),
    };
    let (bucket, point) = path.rsplit_once('/')?;
    let is_url = bucket.contains("://");
    Some((format!("{bucket}{query}"), point.parse().ok()?)).filter(|_| is_url)
}

async fn fetched(
    url: &str,
    point: PointId,
    lineage: Option<LineageId>,
) -> Result<Manifest, CliError> {
    let repository = open(url)?;
    let lineage = match lineage {
        Some(lineage) => lineage,
        None => {
            let inventory = repository.inventory().await.map_err(failed)?;
            Chosen::of(&repository, &inventory, None)?.lineage
        }
    };
    repository.manifest(lineage, point).await.map_err(failed)
}

/// Reads a file whose path says, as in a bucket, of what it is the manifest.
fn read(path: &Path) -> Result<Manifest, CliError> {
    let absolute = std::fs::canonicalize(path);
    let absolute = absolute.map_err(|error| CliError::file("open", path, &error))?;
    let parts = absolute.iter().rev().take(3);
    let parts: Vec<&str> = parts.filter_map(|part| part.to_str()).collect();
    let name = parts.into_iter().rev().collect::<Vec<_>>().join("/");
    let Some((lineage, Named::Point(point))) = Named::parse(&name) else {
        let said = "is not called as a manifest is in a bucket, LINEAGE/points/POINT";
        let message = format!("{} {said}", path.display());
        return Err(CliError::wrong("NO_MANIFEST", message));
    };
    let size = std::fs::metadata(path).map_err(|error| CliError::file("look at", path, &error))?;
    if size.len() > MAX_MANIFEST_BYTES {
        let message = format!("{} is too long for a manifest", path.display());
        return Err(CliError::wrong("NO_MANIFEST", message));
    }
    let bytes = std::fs::read(path).map_err(|error| CliError::file("read", path, &error))?;
    Manifest::open(lineage, point, &bytes).map_err(|error| damaged(&error))
}

fn to_json(manifest: &Manifest) -> Json {
    let (state, control) = (&manifest.snapshot.state, &manifest.control);
    let files = manifest.snapshot.files.iter().map(|file| {
        let object = Named::StoreFile(manifest.object(file)).in_lineage(control.lineage);
        json!({
            "name": file.name.as_str(),
            "bytes": file.bytes,
            "digest": file.digest.to_string(),
            "object": object,
        })
    });
    json!({
        "point": manifest.point.to_string(),
        "lineage": control.lineage.to_string(),
        "generation": manifest.generation.to_string(),
        "parent": manifest.parent.map(|parent| parent.to_string()),
        "program": manifest.program,
        "member": manifest.member.0,
        "region": control.region.to_string(),
        "epoch": control.open_epoch().0,
        "level": control.level,
        "newest": time(state.newest),
        "newest_us": state.newest.micros().0,
        "horizon_us": state.purge_horizon().micros().0,
        "held": state.applied.0.to_string(),
        "digest": state.digest.to_string(),
        "bytes": manifest.bytes(),
        "files": files.collect::<Vec<_>>(),
    })
}

fn to_text(manifest: &Manifest) -> String {
    let (state, control) = (&manifest.snapshot.state, &manifest.control);
    let kind = match manifest.parent {
        None => "full".to_owned(),
        Some(parent) => format!("incremental, after {parent}"),
    };
    let lines = [
        ("restore point", manifest.point.to_string()),
        ("lineage", control.lineage.to_string()),
        ("kind", kind),
        ("files sent for", manifest.generation.to_string()),
        ("store of member", manifest.member.to_string()),
        ("written by version", manifest.program.clone()),
        ("feature level", control.level.to_string()),
        ("open epoch", control.open_epoch().to_string()),
        ("newest record", time(state.newest)),
        ("purged up to", time(state.purge_horizon())),
        ("held", state.applied.0.to_string()),
        ("digest of the rows", state.digest.to_string()),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<18}  {value}\n"));
    let mut table = table(["file", "bytes", "digest"]);
    for file in &manifest.snapshot.files {
        let bytes = grouped(file.bytes);
        table.add_row([file.name.as_str(), &bytes, &file.digest.to_string()]);
    }
    let (count, bytes) = (manifest.snapshot.files.len(), megabytes(manifest.bytes()));
    format!("{}{table}\n{count} files, {bytes} MB", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_point_stands_behind_the_path_of_a_url() {
        let name = "20261122T041203.123Z-1f2e3d4c";
        let point: PointId = name.parse().unwrap();
        for (place, url) in [
            (format!("file:///mnt/backups/{name}"), "file:///mnt/backups"),
            (
                format!("s3://backups/{name}?region=r&endpoint=http://h:1/a"),
                "s3://backups?region=r&endpoint=http://h:1/a",
            ),
        ] {
            assert_eq!(in_bucket(&place), Some((url.to_owned(), point)));
        }
        let files = [format!("a0/points/{name}"), "s3://backups/other".to_owned()];
        assert_eq!(files.map(|place| in_bucket(&place)), [None, None]);
    }
}
