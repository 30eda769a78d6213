//! What a member backs up, and what is made of that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::Rng as _;
use rand::seq::IteratorRandom as _;
use steadfast::backup::bucket::{Bucket, BucketUrl, Environment, Patience};
use steadfast::backup::manifest::Manifest;
use steadfast::backup::repository::Repository;
use steadfast::backup::restore::Progress as Restoring;
use steadfast::backup::take::Progress;
use steadfast::backup::way::{self, Target, Way};
use steadfast::base::disk::{Disk, RealDisk};
use steadfast::base::{CommitLevel, ReadLevel};
use steadfast::config::Config;
use steadfast::control::Role;
use steadfast::node::{BackupError, BackupOrder, Identity, RestoreError, restore};
use tempfile::TempDir;

use crate::support::{Member, set_of_three, until};

pub fn url(dir: &Path) -> BucketUrl {
    BucketUrl::of_directory(&dir.join("bucket")).unwrap()
}

pub fn repository(dir: &Path) -> Repository {
    let bucket = Bucket::create(&url(dir), &Environment::default(), Patience::default());
    Repository::new(bucket.unwrap())
}

pub async fn back_up(
    member: &Member,
    dir: &Path,
    full: bool,
) -> Result<(Manifest, u64), BackupError> {
    let (bucket, progress) = (url(dir), Arc::new(Progress::default()));
    let made = member
        .node
        .back_up(&BackupOrder { bucket, full }, &progress)
        .await?;
    let (total, done) = (&progress.total, &progress.done);
    assert_eq!(total.load(Ordering::Relaxed), done.load(Ordering::Relaxed));
    Ok((made, progress.sent.load(Ordering::Relaxed)))
}

pub async fn restore_into(dir: &Path, to: Target, into: &Path) -> Result<Identity, RestoreError> {
    let repository = repository(dir);
    let way = Way::find(&repository, None, to).await.unwrap();
    let config = Config {
        data_dir: into.to_owned(),
        ..Config::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    restore(&disk, &config, &repository, &way, &Restoring::default()).await
}

/// A place for a new set.
pub fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    (dir, data)
}

async fn holds(member: &Member, rows: &BTreeMap<i64, i64>, level: ReadLevel) {
    for (id, value) in rows {
        let read = member.get(*id, level).await.unwrap();
        assert_eq!(read, Some(*value), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_comes_back_from_the_loss_of_every_member() {
    let [first, second, third] = set_of_three().await;
    let bucket = tempfile::tempdir().unwrap();
    let mut random = rand::rng();
    let rows: BTreeMap<i64, i64> = (0..200).map(|id| (id, random.random())).collect();
    first
        .put_all(rows.clone(), CommitLevel::Quorum)
        .await
        .unwrap();
    let lineage = first.status().lineage;
    // It waits for what is not here yet.
    let applied = first.status().members[&first.status().by].applied.clone();
    until("the third has it", || {
        let status = third.status();
        status.members[&status.by].applied == applied
    })
    .await;
    let (made, sent) = back_up(&third, bucket.path(), false).await.unwrap();
    assert!(made.is_full() && sent == made.bytes());
    assert_eq!(made.member, third.status().by);
    for member in [third, second, first] {
        drop(member.stop().await);
    }

    let (home, data) = place();
    let identity = restore_into(bucket.path(), Target::Latest, &data)
        .await
        .unwrap();
    assert_ne!(identity.lineage.to_string(), lineage);
    let new = Member::start_in(home, None).await.unwrap();
    until("it serves", || new.serves()).await;
    assert_eq!(new.status().lineage, identity.lineage.to_string());
    assert!(new.status().epoch > made.control.attempt_epoch());
    holds(&new, &rows, ReadLevel::Primary).await;
    new.put(1_000, 5, CommitLevel::Quorum).await.unwrap();
    // Others join it empty, and get the rows by a snapshot.
    let joined = new.join(Role::Data).await;
    until("two count", || new.counting().len() == 2).await;
    new.put(1_001, 6, CommitLevel::All).await.unwrap();
    holds(&joined, &rows, ReadLevel::Quorum).await;
    assert_eq!(joined.get(1_000, ReadLevel::Quorum).await.unwrap(), Some(5));
    for member in [joined, new] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_restore_point_holds_what_there_was_and_sends_what_is_new() {
    let first = Member::first().await;
    let bucket = tempfile::tempdir().unwrap();
    let mut random = rand::rng();
    let (mut rows, mut points) = (BTreeMap::new(), Vec::new());
    for round in 0..4 {
        let ids = (0..500).choose_multiple(&mut random, 100).into_iter();
        let more: BTreeMap<i64, i64> = ids.map(|id| (id, random.random())).collect();
        rows.extend(more.clone());
        first.put_all(more, CommitLevel::Quorum).await.unwrap();
        let (made, sent) = back_up(&first, bucket.path(), round == 2).await.unwrap();
        assert_eq!(made.is_full(), round == 0 || round == 2);
        assert_eq!(
            sent < made.bytes(),
            round == 1 || round == 3,
            "what is there is not sent again"
        );
        points.push((made, rows.clone()));
    }
    let generations: Vec<_> = points.iter().map(|(made, _)| made.generation).collect();
    assert_eq!(generations[0], generations[1]);
    assert_eq!(generations[2], generations[3]);
    assert_ne!(generations[1], generations[2]);
    assert_eq!(points[3].0.parent, Some(points[2].0.point));
    first.stop().await;
    for (made, rows) in points {
        let (home, data) = place();
        let to = Target::Point(made.point);
        restore_into(bucket.path(), to, &data).await.unwrap();
        let new = Member::start_in(home, None).await.unwrap();
        until("it serves", || new.serves()).await;
        for id in 0..500 {
            let read = new.get(id, ReadLevel::Local).await.unwrap();
            assert_eq!(read, rows.get(&id).copied(), "{id}");
        }
        new.stop().await;
    }
}

/// The files of stores in a bucket.
fn stored(bucket: &Path) -> Vec<PathBuf> {
    fn add(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    add(&bucket.join("bucket"), &mut found);
    found.retain(|path| path.components().any(|part| part.as_os_str() == "files"));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_cut_off_altered_or_swapped_is_not_restored() {
    let first = Member::first().await;
    let bucket = tempfile::tempdir().unwrap();
    let rows = (0..300).map(|id| (id, id * 7));
    first.put_all(rows, CommitLevel::Quorum).await.unwrap();
    let (made, _) = back_up(&first, bucket.path(), false).await.unwrap();
    first.stop().await;
    let mut files = stored(bucket.path());
    assert_eq!(files.len(), made.snapshot.files.len());
    // Of one that is empty nothing can be altered.
    files.retain(|path| std::fs::metadata(path).unwrap().len() > 0);
    let mut random = rand::rng();
    let (home, data) = place();
    for round in 0..12 {
        let path = files.iter().choose(&mut random).unwrap();
        let sound = std::fs::read(path).unwrap();
        match round % 4 {
            0 => std::fs::remove_file(path).unwrap(),
            1 => std::fs::write(path, &sound[..random.random_range(0..sound.len())]).unwrap(),
            2 => {
                let mut changed = sound.clone();
                changed[random.random_range(0..sound.len())] ^= 1 << random.random_range(0..8);
                std::fs::write(path, changed).unwrap();
            }
            _ => {
                let other = files.iter().filter(|other| *other != path);
                std::fs::copy(other.choose(&mut random).unwrap(), path).unwrap();
            }
        }
        // Nothing that arrived before is used.
        let partial = data.with_extension("partial");
        if partial.exists() {
            std::fs::remove_dir_all(&partial).unwrap();
        }
        let refused = restore_into(bucket.path(), Target::Latest, &data).await;
        assert!(
            matches!(refused, Err(RestoreError::Backup(_))),
            "{refused:?}"
        );
        assert!(!data.exists(), "nothing half-done has the name");
        std::fs::write(path, sound).unwrap();
    }
    // What has arrived is used, but for a beginning that turns out to be another file's.
    let table = made.snapshot.files.iter().max_by_key(|file| file.bytes);
    let table = table.unwrap();
    let there = data.with_extension("partial").join("store");
    std::fs::write(there.join(table.name.as_str()), b"something else").unwrap();
    restore_into(bucket.path(), Target::Latest, &data)
        .await
        .unwrap();
    let no_directory = home.path().join("file");
    std::fs::write(&no_directory, b"").unwrap();
    let refused = restore_into(bucket.path(), Target::Latest, &no_directory).await;
    assert!(
        matches!(refused, Err(RestoreError::Start(_))),
        "{refused:?}"
    );
    let again = restore_into(bucket.path(), Target::Latest, &data).await;
    assert!(
        matches!(again, Err(RestoreError::NotEmpty { .. })),
        "{again:?}"
    );
    let new = Member::start_in(home, None).await.unwrap();
    until("it serves", || new.serves()).await;
    assert_eq!(new.get(299, ReadLevel::Primary).await.unwrap(), Some(2093));
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_rows_or_is_busy_makes_no_backup() {
    let [first, second, third] = set_of_three().await;
    let bucket = tempfile::tempdir().unwrap();
    let arbiter = first.join(Role::Arbiter).await;
    let refused = back_up(&arbiter, bucket.path(), false).await.unwrap_err();
    assert!(matches!(refused, BackupError::NoRows), "{refused}");
    let (one, other) = tokio::join!(
        back_up(&second, bucket.path(), false),
        back_up(&second, bucket.path(), false)
    );
    assert_ne!(one.is_err(), other.is_err(), "one of them is under way");
    for member in [arbiter, third, second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_before_every_restore_point_is_refused_with_the_earliest() {
    let first = Member::first().await;
    let bucket = tempfile::tempdir().unwrap();
    let repository = repository(bucket.path());
    let empty = Way::find(&repository, None, Target::Latest).await;
    assert!(
        matches!(empty, Err(way::Error::NoPoint { .. })),
        "{empty:?}"
    );
    first.put(1, 1, CommitLevel::Quorum).await.unwrap();
    let (made, _) = back_up(&first, bucket.path(), false).await.unwrap();
    let newest = made.snapshot.state.newest.millis();
    let early = Way::find(&repository, None, Target::Time(newest - 1)).await;
    assert!(
        matches!(early, Err(way::Error::TooEarly { earliest: Target::Time(at), .. }) if at == newest),
        "{early:?}"
    );
    let way = Way::find(&repository, None, Target::Time(newest))
        .await
        .unwrap();
    assert_eq!(way.manifest, made);
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_cannot_end_well_fetches_nothing() {
    let first = Member::first().await;
    first.put(1, 7, CommitLevel::Quorum).await.unwrap();
    let bucket = tempfile::tempdir().unwrap();
    back_up(&first, bucket.path(), false).await.unwrap();
    first.stop().await;
    let repository = repository(bucket.path());
    let way = Way::find(&repository, None, Target::Latest).await.unwrap();
    let (home, data) = place();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let begin = async |low_watermark_bytes: u64, way: &Way| {
        let mut config = Config {
            data_dir: data.clone(),
            ..Config::default()
        };
        config.disk.low_watermark_bytes = low_watermark_bytes;
        let progress = Restoring::default();
        restore(&disk, &config, &repository, way, &progress)
            .await
            .unwrap_err()
    };
    let full = begin(u64::MAX, &way).await;
    assert!(
        matches!(full, RestoreError::NoSpace { needed, available: 0, .. } if needed == way.manifest.bytes()),
        "{full}"
    );
    let mut later = way.clone();
    later.manifest.control.level = u32::MAX;
    let refused = begin(0, &later).await;
    assert!(
        matches!(refused, RestoreError::NewerLevel { level: u32::MAX }),
        "{refused}"
    );
    let fetched = data.with_extension("partial").join("store");
    assert!(!data.exists() && !fetched.exists());
    // What was begun is no hindrance.
    restore_into(bucket.path(), Target::Latest, &data)
        .await
        .unwrap();
    let new = Member::start_in(home, None).await.unwrap();
    until("it serves", || new.serves()).await;
    assert_eq!(new.get(1, ReadLevel::Local).await.unwrap(), Some(7));
    new.stop().await;
}
