use std::io::Write;
use std::path::PathBuf;

use super::*;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn content(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Opens the directory, which is not there yet.
fn in_directory(dir: &tempfile::TempDir) -> Bucket {
    let url = BucketUrl::of_directory(&dir.path().join("a/bucket")).unwrap();
    Bucket::create(&url, &Environment::default(), Patience::default()).unwrap()
}

/// The same for a bucket in memory and one in a directory.
async fn for_each<F: Future<Output = ()>>(check: impl Fn(Bucket) -> F) {
    check(Bucket::in_memory()).await;
    let dir = tempfile::tempdir().unwrap();
    check(in_directory(&dir)).await;
}

fn bytes_of(put: Put) -> Option<u64> {
    match put {
        Put::Created => None,
        Put::AlreadyThere(stored) => Some(stored.bytes),
    }
}

/// Names, or keys that are none with a mark.
async fn listed(mut listing: Listing) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(entry) = listing.next().await.unwrap() {
        names.push(match entry {
            Listed::Object { name, .. } => name.to_string(),
            Listed::Foreign { key, .. } => format!("! {key}"),
        });
    }
    names
}

/// A file of so many bytes, none of which looks like its neighbours.
fn file(bytes: usize) -> (Arc<std::fs::File>, Vec<u8>) {
    let content: Vec<u8> = (0..bytes)
        .map(|at| {
            at.to_le_bytes()[..3]
                .iter()
                .fold(0, |one, other| one ^ other)
        })
        .collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    (Arc::new(file), content)
}

#[tokio::test]
async fn an_upload_in_parts_replaces_nothing() {
    for_each(|bucket| async move {
        let name = name("f");
        bucket.put_new(&name, content("first")).await.unwrap();
        let (file, _) = file((8 << 20) + 1);
        let put = bucket
            .upload_unseen(&name, &file, (8 << 20) + 1)
            .await
            .unwrap();
        assert_eq!(bytes_of(put), Some(5));
        assert_eq!(bucket.get(&name, 5).await.unwrap(), "first");
        assert_eq!(listed(bucket.list(None, None)).await, ["f"]);
    })
    .await;
}

#[tokio::test]
async fn a_file_of_another_length_is_not_put() {
    let bucket = Bucket::in_memory();
    let (file, _) = file(10);
    for bytes in [9, 11] {
        let put = bucket.put_new_file(&name("f"), &file, bytes).await;
        let error = put.unwrap_err();
        assert_eq!(error.kind(), Kind::BadSource);
        assert!(error.to_string().contains("has 10 bytes, not"), "{error}");
    }
}

#[tokio::test]
async fn what_is_foreign_in_a_directory_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = in_directory(&dir);
    bucket.put_new(&name("a/b"), content("x")).await.unwrap();
    let root = dir.path().join("a/bucket");
    for foreign in ["a/with space", "a/b+1234", "a/b#1"] {
        std::fs::write(root.join(foreign), "foreign").unwrap();
    }
    std::fs::create_dir(root.join("empty")).unwrap();
    // An upload that the library below has not finished is not even listed.
    let found = listed(bucket.list(None, None)).await;
    assert_eq!(found, ["a/b", "! a/b+1234", "! a/with space"]);
}

#[tokio::test]
async fn a_directory_is_only_made_where_it_is_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let url = BucketUrl::of_directory(&path).unwrap();
    let opened = Bucket::open(&url, &Environment::default(), Patience::default());
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), Kind::Misconfigured);
    assert_eq!(
        error.to_string(),
        format!("cannot open {url}: there is no such directory, or it cannot be entered")
    );
    assert!(!path.exists());
    std::fs::write(&path, "a file").unwrap();
    let made = Bucket::create(&url, &Environment::default(), Patience::default());
    assert!(
        made.unwrap_err()
            .to_string()
            .starts_with("cannot make file:///")
    );
}

#[tokio::test]
async fn directories_that_become_empty_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = in_directory(&dir);
    bucket.put_new(&name("a/b/c"), content("x")).await.unwrap();
    bucket.remove(&name("a/b/c")).await.unwrap();
    let left: Vec<PathBuf> = std::fs::read_dir(dir.path().join("a/bucket"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn file_systems_are_understood() {
    use std::io::ErrorKind as Io;
    for (said, kind) in [
        (Io::StorageFull, Kind::Full),
        (Io::QuotaExceeded, Kind::Full),
        (Io::ReadOnlyFilesystem, Kind::ReadOnly),
        (Io::PermissionDenied, Kind::Denied),
        (Io::StaleNetworkFileHandle, Kind::Unavailable),
        (Io::OutOfMemory, Kind::Failed),
    ] {
        let error = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(std::io::Error::from(said)),
        };
        let trouble = Trouble::from(error);
        assert_eq!(trouble.kind, kind, "{said:?}");
        assert_eq!(trouble.said, std::io::Error::from(said).to_string());
    }
}
