//! What every bucket does, whatever its kind.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use steadfast::backup::bucket::{Bucket, BucketUrl, Kind, Listed, Listing, Put};

use super::places::{BUCKET, KEY, QUICK, S3, SECRET, credentials, directory, for_each, name};

fn content(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
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
fn file(bytes: usize) -> (Arc<File>, Vec<u8>) {
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
async fn an_object_is_created_once_and_stays() {
    for_each(|bucket| async move {
        let name = name("a/b");
        let put = bucket.put_new(&name, content("first")).await.unwrap();
        assert_eq!(put, Put::Created);
        let put = bucket.put_new(&name, content("second!")).await.unwrap();
        assert_eq!(bytes_of(put), Some(5));
        assert_eq!(bucket.get(&name, 5).await.unwrap(), "first");
    })
    .await;
}

#[tokio::test]
async fn what_is_replaced_or_removed_is_gone() {
    for_each(|bucket| async move {
        let name = name("a/b");
        bucket.put_new(&name, content("first")).await.unwrap();
        bucket.replace(&name, content("second")).await.unwrap();
        assert_eq!(bucket.get(&name, 100).await.unwrap(), "second");
        assert_eq!(bucket.stored(&name).await.unwrap().bytes, 6);
        bucket.remove(&name).await.unwrap();
        bucket.remove(&name).await.unwrap();
        let missing = bucket.get(&name, 100).await.unwrap_err();
        assert_eq!(missing.kind(), Kind::Missing);
        assert!(
            missing
                .to_string()
                .starts_with(&format!("cannot read \"a/b\" in {bucket}: ")),
            "{missing}"
        );
        let put = bucket.put_new(&name, content("third")).await.unwrap();
        assert_eq!(put, Put::Created);
    })
    .await;
}

#[tokio::test]
async fn an_object_is_read_from_any_offset() {
    for_each(|bucket| async move {
        let name = name("a");
        bucket.put_new(&name, content("0123456789")).await.unwrap();
        for from in 0..=10 {
            let mut reading = bucket.read(&name, from).await.unwrap();
            assert_eq!(reading.stored().bytes, 10);
            let mut rest = Vec::new();
            while let Some(bytes) = reading.next().await.unwrap() {
                rest.extend_from_slice(&bytes);
            }
            assert_eq!(rest, b"0123456789"[usize::try_from(from).unwrap()..]);
        }
        let beyond = bucket.read(&name, 11).await.unwrap_err();
        assert_eq!(beyond.kind(), Kind::Changed);
        let long = bucket.get(&name, 9).await.unwrap_err();
        assert_eq!(long.kind(), Kind::TooLarge);
    })
    .await;
}

#[tokio::test]
async fn an_empty_object_is_one() {
    for_each(|bucket| async move {
        bucket.put_new(&name("empty"), Bytes::new()).await.unwrap();
        assert_eq!(bucket.get(&name("empty"), 0).await.unwrap(), "");
    })
    .await;
}

#[tokio::test]
async fn a_listing_is_in_order_and_goes_on_behind_a_name() {
    for_each(|bucket| async move {
        let names = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b"];
        for text in names.iter().rev() {
            bucket.put_new(&name(text), content(text)).await.unwrap();
        }
        assert_eq!(listed(bucket.list(None, None)).await, names);
        let behind = listed(bucket.list(None, Some(&name("a/b")))).await;
        assert_eq!(behind, ["a/c/d", "a0", "b"]);
        let under = listed(bucket.list(Some(&name("a")), None)).await;
        assert_eq!(under, ["a/b", "a/c/d"]);
        let both = bucket.list(Some(&name("a")), Some(&name("a/b")));
        assert_eq!(listed(both).await, ["a/c/d"]);
        assert_eq!(listed(bucket.list(Some(&name("c")), None)).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn files_are_put_whole_however_long_they_are() {
    for_each(|bucket| async move {
        for bytes in [0, 1, 8 << 20, (8 << 20) + 1, (20 << 20) + 7] {
            let name = name(&format!("f/{bytes}"));
            let (file, content) = file(bytes);
            let bytes = u64::try_from(bytes).unwrap();
            let put = bucket.put_new_file(&name, &file, bytes).await.unwrap();
            assert_eq!(put, Put::Created);
            assert!(bucket.get(&name, bytes).await.unwrap() == content);
            let put = bucket.put_new_file(&name, &file, bytes).await.unwrap();
            assert_eq!(bytes_of(put), Some(bytes));
        }
        let left = listed(bucket.list(None, None)).await;
        assert_eq!(left.len(), 5, "nothing else is left behind: {left:?}");
    })
    .await;
}

/// Of the servers, the one in this process is known not to keep this promise: see `verify.rs`.
#[tokio::test]
async fn of_many_who_create_one_object_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    for bucket in [Bucket::in_memory(), directory(dir.path())] {
        let name = name("race");
        let bodies: Vec<Bytes> = (0..16).map(|racer| content(&format!("{racer}"))).collect();
        let puts = bodies
            .iter()
            .map(|body| bucket.put_new(&name, body.clone()));
        let outcomes = join_all(puts).await;
        let winners: Vec<usize> = (0..16)
            .filter(|racer| *outcomes[*racer].as_ref().unwrap() == Put::Created)
            .collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(bucket.get(&name, 2).await.unwrap(), bodies[winners[0]]);
    }
}

#[tokio::test]
async fn a_listing_goes_on_beyond_one_answer() {
    let s3 = S3::start().await;
    let bucket = s3.bucket();
    let names: Vec<String> = (0..1_050).map(|at| format!("many/{at:04}")).collect();
    let puts = names.iter().map(|text| {
        let (bucket, name) = (bucket.clone(), name(text));
        async move { bucket.put_new(&name, content("x")).await.unwrap() }
    });
    let _put: Vec<Put> = futures::stream::iter(puts).buffered(32).collect().await;
    assert_eq!(listed(bucket.list(None, None)).await, names);
    let behind = listed(bucket.list(None, Some(&name("many/0020")))).await;
    assert_eq!(behind, names[21..]);
}

#[tokio::test]
async fn buckets_of_different_prefixes_see_nothing_of_each_other() {
    let s3 = S3::start().await;
    let (one, other) = (s3.bucket(), s3.bucket());
    one.put_new(&name("a"), content("of one")).await.unwrap();
    assert_eq!(listed(other.list(None, None)).await, [""; 0]);
    let missing = other.get(&name("a"), 10).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::Missing);
    let put = other
        .put_new(&name("a"), content("of other"))
        .await
        .unwrap();
    assert_eq!(put, Put::Created);
    assert_eq!(one.get(&name("a"), 10).await.unwrap(), "of one");
}

#[tokio::test]
async fn what_was_written_has_an_etag_that_changes_with_it() {
    let s3 = S3::start().await;
    let bucket = s3.bucket();
    let mut etags = Vec::new();
    for text in ["one", "two", "one"] {
        bucket.replace(&name("a"), content(text)).await.unwrap();
        etags.push(bucket.stored(&name("a")).await.unwrap().etag.unwrap());
    }
    assert_eq!(etags[0], etags[2]);
    assert_ne!(etags[0], etags[1]);
}

#[tokio::test]
async fn wrong_credentials_are_told_and_not_shown() {
    let s3 = S3::start().await;
    if !s3.is_own() {
        return; // The other servers of tests take any.
    }
    let wrong = credentials("wrong-secret");
    let bucket = Bucket::open(&s3.url("p"), &wrong, QUICK).unwrap();
    let error = bucket.put_new(&name("a"), content("x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(
        error.to_string().contains("SignatureDoesNotMatch"),
        "{error}"
    );
    let shown = format!("{error} {error:?} {bucket:?}");
    assert!(
        !shown.contains("wrong-secret") && !shown.contains(SECRET),
        "{shown}"
    );
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_a_mistake_of_the_url() {
    let s3 = S3::start().await;
    let url = s3.url("p").to_string().replace(BUCKET, "nowhere");
    let url: BucketUrl = url.parse().unwrap();
    let bucket = Bucket::open(&url, &credentials(SECRET), QUICK).unwrap();
    let error = bucket.get(&name("a"), 10).await.unwrap_err();
    // Some servers look for the object first.
    let kinds = [Kind::Misconfigured, Kind::Missing];
    assert!(kinds.contains(&error.kind()), "{error}");
    let error = bucket.list(None, None).next().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Misconfigured);
    assert_eq!(
        error.to_string().split(": ").next().unwrap(),
        format!("cannot list \"p\" in {url}")
    );
}

#[tokio::test]
async fn credentials_may_stand_in_the_files_of_aws() {
    let s3 = S3::start().await;
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let text = format!(
        "[default]\naws_access_key_id = x\naws_secret_access_key = y\n\
         [backup]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    );
    std::fs::write(home.path().join(".aws/credentials"), text).unwrap();
    let variables = [
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_PROFILE", "backup"),
    ];
    let environment = variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let bucket = Bucket::open(&s3.url("by-profile"), &environment, QUICK).unwrap();
    bucket.replace(&name("a"), content("x")).await.unwrap();
    assert_eq!(bucket.get(&name("a"), 1).await.unwrap(), "x");
}
