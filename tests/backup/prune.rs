//! What is pruned, and that what is kept stays whole.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng as _;
use serde_json::{Value as Json, json};
use steadfast::backup::bucket::{Bucket, BucketUrl};
use steadfast::backup::inventory::Holdings;
use steadfast::backup::layout::{Named, PointId};
use steadfast::backup::manifest::Manifest;
use steadfast::backup::prune::{Error, Pruning};
use steadfast::backup::repository::Repository;
use steadfast::backup::retention::Keep;
use steadfast::backup::verify::verify;
use steadfast::base::LineageId;

use super::places::{directory, for_each, name};
use super::set::{Set, files};

fn latest(points: u32) -> Keep {
    Keep {
        days: None,
        points: NonZeroU32::new(points),
    }
}

fn points(of: &[Manifest]) -> BTreeSet<PointId> {
    of.iter().map(|manifest| manifest.point).collect()
}

async fn holdings(repository: &Repository, lineage: LineageId) -> Holdings {
    repository.holdings(lineage).await.unwrap()
}

/// Those that are kept are these, and nothing is wrong with them.
async fn whole(set: &Set, expected: &[Manifest]) {
    let there = holdings(&set.repository, set.lineage).await;
    let kept: BTreeSet<PointId> = there.points().collect();
    assert_eq!(kept, points(expected));
    let verified = verify(&set.repository, set.lineage, &there, kept).await;
    for point in verified.unwrap() {
        assert!(point.is_whole(), "{point:?}");
    }
}

async fn carry_out(set: &Set, pruning: &Pruning) {
    let removed = AtomicU64::new(0);
    pruning.carry_out(&set.repository, &removed).await.unwrap();
    let all = u64::try_from(pruning.removal.len()).unwrap();
    assert_eq!(removed.load(Ordering::Relaxed), all);
}

async fn plan(set: &Set, keep: Keep, hours: i64) -> Pruning {
    let now = set.in_hours(hours).await;
    let planned = Pruning::plan(&set.repository, set.lineage, keep, now).await;
    planned.unwrap()
}

fn named(pruning: &Pruning) -> BTreeSet<String> {
    let removal = pruning.removal.iter();
    removal
        .map(|object| object.named.in_lineage(pruning.lineage))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_is_marked_first_and_goes_a_day_later() {
    for_each(|bucket| async {
        let (set, made) = Set::with_history(bucket).await;
        let before = set.names().await;
        let first = plan(&set, latest(1), 0).await;
        assert_eq!(set.names().await, before, "a plan changes nothing");
        assert_eq!(first.choice.dropped, points(&made[..3]));
        assert_eq!(first.removal, []);
        carry_out(&set, &first).await;
        whole(&set, &made[3..]).await;
        assert!(before.is_subset(&set.names().await));
        assert_eq!(plan(&set, latest(1), 23).await.removal, []);

        let second = plan(&set, latest(1), 25).await;
        assert_eq!(second.choice.over, points(&made[..3]));
        let there = set.names().await;
        carry_out(&set, &second).await;
        let left: BTreeSet<String> = there.difference(&named(&second)).cloned().collect();
        assert_eq!(set.names().await, left);
        whole(&set, &made[3..]).await;
        // Of the first generation nothing is left, of the second one the manifest of its first restore point.
        let there = holdings(&set.repository, set.lineage).await;
        assert_eq!(there.files.keys().collect::<Vec<_>>(), [&made[2].point]);
        let manifests: Vec<_> = there.manifests.keys().collect();
        assert_eq!(manifests, [&made[2].point, &made[3].point]);
        assert!(there.unfinished(0).is_none());
        let last = plan(&set, latest(1), 25).await;
        assert_eq!((last.removal, last.choice.dropped), (vec![], [].into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_leads_from_each_restore_point_that_is_kept_as_far_as_before() {
    let (set, made) = Set::with_history(Bucket::in_memory()).await;
    let before = holdings(&set.repository, set.lineage).await;
    carry_out(&set, &plan(&set, latest(2), 0).await).await;
    carry_out(&set, &plan(&set, latest(2), 25).await).await;
    let after = holdings(&set.repository, set.lineage).await;
    let held = &made[2].snapshot.state.applied.0;
    let segments = before.segment_bytes.keys();
    let needed = segments.filter(|segment| !held.contains(segment.log, segment.to));
    assert!(after.segment_bytes.keys().eq(needed), "{after:?}");
    assert!(after.segment_bytes.len() < before.segment_bytes.len());
    whole(&set, &made[2..]).await;
}

/// The same directory elsewhere.
fn copied(from: &Path, to: &Path) {
    for file in files(from) {
        let place = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(&file, place).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_is_killed_is_ended_by_the_next_one() {
    let home = tempfile::tempdir().unwrap();
    let (mut set, made) = Set::with_history(directory(home.path())).await;
    carry_out(&set, &plan(&set, latest(1), 0).await).await;
    let all = plan(&set, latest(1), 25).await;
    let there = set.names().await;
    let done: BTreeSet<String> = there.difference(&named(&all)).cloned().collect();
    assert!(all.removal.len() > 5, "{:?}", all.removal);
    for killed_at in 0..=all.removal.len() {
        let copy = tempfile::tempdir().unwrap();
        copied(home.path(), copy.path());
        set.repository = Repository::new(directory(copy.path()));
        for object in &all.removal[..killed_at] {
            let removing = set.repository.remove(set.lineage, object.named);
            removing.await.unwrap();
        }
        whole(&set, &made[3..]).await;
        let there = holdings(&set.repository, set.lineage).await;
        assert_eq!(there.unfinished(0), None, "{killed_at}");
        carry_out(&set, &plan(&set, latest(1), 25).await).await;
        assert_eq!(set.names().await, done, "{killed_at}");
        whole(&set, &made[3..]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_point_that_is_made_meanwhile_of_what_goes_is_dropped() {
    let (set, made) = Set::with_history(Bucket::in_memory()).await;
    carry_out(&set, &plan(&set, latest(1), 0).await).await;
    let pruning = plan(&set, latest(1), 25).await;
    let mut late = made[rand::rng().random_range(0..2)].clone();
    late.point.begun_millis += 1;
    set.repository.put_manifest(&late).await.unwrap();
    let carried_out = pruning.carry_out(&set.repository, &AtomicU64::new(0)).await;
    assert!(
        matches!(&carried_out, Err(Error::Overtaken { point, .. }) if *point == late.point),
        "{carried_out:?}"
    );
    whole(&set, &made[3..]).await;
    // One that needs nothing of that goes on.
    let pruning = plan(&set, latest(1), 25).await;
    let mut late = made[3].clone();
    late.point.begun_millis += 1;
    set.repository.put_manifest(&late).await.unwrap();
    carry_out(&set, &pruning).await;
    whole(&set, &[made[3].clone(), late]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_as_long_as_a_manifest_cannot_be_read_that_says_what_is_needed() {
    let (set, made) = Set::with_history(Bucket::in_memory()).await;
    let spoil = |point: PointId| {
        let name = name(&Named::Point(point).in_lineage(set.lineage));
        let bucket = set.repository.bucket();
        async move { bucket.replace(&name, "steadfast".into()).await.unwrap() }
    };
    carry_out(&set, &plan(&set, latest(3), 0).await).await;
    assert_ne!(plan(&set, latest(3), 25).await.removal, []);
    spoil(made[1].point).await;
    let now = set.in_hours(25).await;
    let refused = Pruning::plan(&set.repository, set.lineage, latest(3), now).await;
    let Err(Error::Unreadable(named)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(named.len(), 1);
    assert!(named[0].contains(&made[1].point.to_string()), "{named:?}");
    // Once it is dropped it is waited for, no longer.
    let dropping = plan(&set, latest(2), 25).await;
    assert_eq!((dropping.removal.len(), dropping.held_up.len()), (0, 1));
    carry_out(&set, &dropping).await;
    let done = plan(&set, latest(2), 25).await;
    assert!(done.held_up.is_empty() && !done.removal.is_empty());
    carry_out(&set, &done).await;
    whole(&set, &made[2..]).await;
}

fn steadfast(arguments: &[&str]) -> (Option<i32>, Json, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    let output = command.arg("backup").args(arguments).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), json, said)
}

/// As if all that is in a directory had been written so many hours earlier.
fn age(dir: &Path, hours: u64) {
    let by = Duration::from_secs(hours * 3_600);
    for path in files(dir) {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - by).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_does_what_it_says_it_would() {
    let home = tempfile::tempdir().unwrap();
    let bucket = directory(home.path());
    let (set, made) = Set::with_history(bucket.clone()).await;
    let other = Set::new(bucket.clone()).await;
    let foreign = name("notes.txt");
    bucket.put_new(&foreign, "ours".into()).await.unwrap();
    let url = BucketUrl::of_directory(&home.path().join("a/bucket")).unwrap();
    let url = url.to_string();
    let prune = |more: &[&str]| {
        let arguments = ["prune", &url, "--keep-points", "2", "--output", "json"];
        let (code, json, said) = steadfast(&[&arguments[..], more].concat());
        assert_eq!(code, Some(0), "{said}");
        json
    };
    for round in 0..3 {
        let before = set.names().await;
        let mut would = prune(&["--dry-run"]);
        assert_eq!(set.names().await, before);
        let is = prune(&[]);
        assert_eq!(would["dry_run"], json!(true));
        would["dry_run"] = json!(false);
        assert_eq!(would, is);
        assert_eq!(is["kept"].as_array().unwrap().len(), 2);
        assert_eq!(is["foreign_objects"], 1);
        assert_eq!(is["other_lineages"], json!([other.lineage.to_string()]));
        let counts = [&is["dropped"], &is["waiting"]].map(|of| of.as_array().unwrap().len());
        let (expected, removes) = [([2, 0], false), ([0, 0], true), ([0, 0], false)][round];
        assert_eq!(counts, expected, "{is}");
        assert_eq!(is["removed_objects"].as_u64() > Some(0), removes, "{is}");
        let after = set.names().await;
        let marks = if round == 0 { 2 } else { 0 };
        let removed = usize::try_from(is["removed_objects"].as_u64().unwrap()).unwrap();
        assert_eq!(after.len() + removed, before.len() + marks);
        let lineage = set.lineage.to_string();
        let left = after.iter().filter(|name| name.starts_with(&lineage));
        assert_eq!(
            is["left_objects"].as_u64().unwrap(),
            u64::try_from(left.count()).unwrap()
        );
        age(home.path(), 30);
    }
    whole(&set, &made[2..]).await;
    assert!(bucket.stored(&foreign).await.is_ok());
}

#[tokio::test]
async fn a_prune_is_told_what_to_keep_and_of_what() {
    let home = tempfile::tempdir().unwrap();
    let bucket = directory(home.path());
    let url = BucketUrl::of_directory(&home.path().join("a/bucket")).unwrap();
    let url = url.to_string();
    let (code, _, said) = steadfast(&["prune", &url]);
    assert_eq!(code, Some(2));
    assert!(said.starts_with("USAGE: "), "{said}");
    let (code, _, said) = steadfast(&["prune", &url, "--keep-points", "0"]);
    assert_eq!(code, Some(2), "{said}");
    let (code, _, said) = steadfast(&["prune", &url, "--keep-days", "7"]);
    assert_eq!(code, Some(2));
    assert!(said.starts_with("NO_WAY: "), "{said}");
    // A history of which nothing was backed up is left alone.
    let set = Set::new(bucket).await;
    let before = set.names().await;
    let lineage = set.lineage.to_string();
    let (code, _, said) = steadfast(&["prune", &url, "--keep-days", "7", "--lineage", &lineage]);
    assert_eq!((code, set.names().await), (Some(2), before), "{said}");
}
