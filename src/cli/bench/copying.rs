//! The baseline of backup and restore: the same files, copied and hashed, to and from the same store, and nothing else.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::super::error::CliError;
use crate::backup::bucket::{self, Bucket, Listed, ObjectName};
use crate::base::clock::now_monotonic;

/// As many at once as a backup.
const FILES_AT_ONCE: usize = 4;
const CHUNK_BYTES: usize = 1 << 20;

/// The objects below a name, with their lengths.
///
/// # Errors
/// If the bucket does not list them.
pub async fn listed(
    bucket: &Bucket,
    under: &ObjectName,
) -> Result<Vec<(ObjectName, u64)>, CliError> {
    let mut listing = bucket.list(Some(under), None);
    let mut found = Vec::new();
    while let Some(listed) = listing.next().await.map_err(|error| failed(&error))? {
        if let Listed::Object { name, bytes, .. } = listed {
            found.push((name, bytes));
        }
    }
    Ok(found)
}

/// Fetches objects into files of a directory, hashing them. Returns bytes per second, and the files.
///
/// # Errors
/// If bucket or disk fails.
pub async fn down(
    bucket: &Bucket,
    objects: &[(ObjectName, u64)],
    into: &Path,
) -> Result<(f64, Vec<PathBuf>), CliError> {
    std::fs::create_dir_all(into).map_err(|error| CliError::file("create", into, &error))?;
    let begun = now_monotonic();
    let fetching = (0..).zip(objects).map(|(nth, (name, _))| {
        let path = into.join(format!("{nth}"));
        async move { fetch(bucket, name, &path).await.map(|()| path) }
    });
    let fetched = stream::iter(fetching).buffer_unordered(FILES_AT_ONCE);
    let files = fetched.try_collect().await?;
    let bytes: u64 = objects.iter().map(|(_, bytes)| bytes).sum();
    Ok((bytes as f64 / begun.elapsed().as_secs_f64(), files))
}

async fn fetch(bucket: &Bucket, name: &ObjectName, path: &Path) -> Result<(), CliError> {
    let of_file = |error: std::io::Error| CliError::file("write", path, &error);
    let mut reading = bucket.read(name, 0).await.map_err(|error| failed(&error))?;
    let mut file = File::create(path).map_err(of_file)?;
    let mut hasher = blake3::Hasher::new();
    while let Some(chunk) = reading.next().await.map_err(|error| failed(&error))? {
        let work = move || -> std::io::Result<(File, blake3::Hasher)> {
            hasher.update(&chunk);
            file.write_all(&chunk)?;
            Ok((file, hasher))
        };
        (file, hasher) = blocking(work).await?.map_err(of_file)?;
    }
    blocking(move || file.sync_all()).await?.map_err(of_file)
}

/// Hashes files and puts them below a name. Returns bytes per second.
///
/// # Errors
/// If bucket or disk fails.
pub async fn up(bucket: &Bucket, files: &[PathBuf], under: &str) -> Result<f64, CliError> {
    let begun = now_monotonic();
    let sending = (0..).zip(files).map(|(nth, path)| {
        let name = ObjectName::parse(&format!("{under}/{nth}"));
        async move {
            let name = name.map_err(|error| CliError::failed("BUCKET", error.to_string()))?;
            send(bucket, &name, path).await
        }
    });
    let sent = stream::iter(sending).buffer_unordered(FILES_AT_ONCE);
    let bytes: Vec<u64> = sent.try_collect().await?;
    Ok(bytes.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64())
}

async fn send(bucket: &Bucket, name: &ObjectName, path: &Path) -> Result<u64, CliError> {
    let of_file = |error: std::io::Error| CliError::file("read", path, &error);
    let mut file = File::open(path).map_err(of_file)?;
    let work = move || -> std::io::Result<(blake3::Hash, u64)> {
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut chunk)?;
            let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else {
                return Ok((hasher.finalize(), bytes));
            };
            hasher.update(part);
            bytes += u64::try_from(read).unwrap_or_default();
        }
    };
    let (_, bytes) = blocking(work).await?.map_err(of_file)?;
    let file = Arc::new(File::open(path).map_err(of_file)?);
    let put = bucket.put_new_file(name, &file, bytes).await;
    put.map(|_| bytes).map_err(|error| failed(&error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CliError::failed("STOPPED", error.to_string()))
}

fn failed(error: &bucket::Error) -> CliError {
    CliError::failed("BUCKET", crate::base::explained(error))
}
