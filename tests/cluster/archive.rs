//! What a set archives, and what comes back of it.

use std::collections::BTreeMap;
use std::path::Path;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use steadfast::backup::layout::{Chain, Named, Segment};
use steadfast::backup::manifest::Manifest;
use steadfast::backup::plan::Impossible;
use steadfast::backup::way::{self, Target, Way};
use steadfast::base::disk::{Disk, RealDisk};
use steadfast::base::{CommitLevel, Hlc, ReadLevel, Stamp};
use steadfast::control::{BackupChange, BucketChange, SettingsChange};
use steadfast::node::{ArchiveStatus, SetChange};

use crate::backup::{back_up, place, repository, restore_into, url};
use crate::support::{Member, set_of_three, until};

/// Has the set of these members archive into a bucket in this directory; all of them know then.
pub async fn archive_into(members: &[&Member], dir: &Path) {
    let change = SettingsChange {
        backup: BackupChange {
            bucket: Some(BucketChange::Into(url(dir).to_string())),
            archive_interval_ms: Some(1_000),
            ..BackupChange::default()
        },
        ..SettingsChange::default()
    };
    members[0].node.change_settings(change).await.unwrap();
    until("all know of it", || {
        members
            .iter()
            .all(|member| member.status().archive.is_some())
    })
    .await;
}

pub fn archive(member: &Member) -> ArchiveStatus {
    member.status().archive.unwrap()
}

/// All that this member holds is archived.
pub async fn archived(member: &Member) {
    until("all is archived", || {
        let status = archive(member);
        let own = member.status();
        let durable = own.members[&own.by].durable.clone();
        status.trouble.is_none() && status.through.is_some() && status.through == durable
    })
    .await;
}

/// Writes a value of 1, and others behind it until its millisecond is over: whether it is final says only what follows it.
async fn written_alone(member: &Member, value: i64) -> Stamp {
    let stamp = member
        .put(1, value, CommitLevel::Quorum)
        .await
        .unwrap()
        .stamp;
    loop {
        let next = member
            .put(2, value, CommitLevel::Quorum)
            .await
            .unwrap()
            .stamp;
        if next.hlc.millis() > stamp.hlc.millis() {
            return stamp;
        }
    }
}

/// What was acknowledged, by its stamp.
pub type Written = BTreeMap<Stamp, (i64, i64)>;

/// What there was at the end of a millisecond.
fn at(written: &Written, millis: u64) -> BTreeMap<i64, i64> {
    let early = written
        .iter()
        .filter(|(stamp, _)| stamp.hlc.millis() <= millis);
    early.map(|(_, row)| *row).collect()
}

/// Asks a member for a change that makes another one primary.
pub async fn change_primary(asked: &Member, next: &Member, change: SetChange) {
    let epoch = asked.status().epoch;
    asked.node.change_set(change).await.unwrap();
    until("another serves", || {
        next.serves() && next.status().epoch > epoch
    })
    .await;
}

/// All members hold all there is.
pub async fn equal(primary: &Member) {
    until("no member lacks anything", || {
        let members = primary.status().members;
        let mut lags = members.values().map(|member| member.lag_records);
        lags.all(|lag| lag.is_none_or(|lag| lag == 0))
    })
    .await;
}

/// Restores a moment and looks at all rows.
pub async fn check(dir: &Path, written: &Written, millis: u64) {
    let way = Way::find(&repository(dir), None, Target::Time(millis)).await;
    let plan = way.unwrap().plan;
    assert!(plan.is_final(), "all is archived: {plan:?}");
    let (home, data) = place();
    restore_into(dir, Target::Time(millis), &data)
        .await
        .unwrap();
    let new = Member::start_in(home, None).await.unwrap();
    until("it serves", || new.serves()).await;
    let expected = at(written, millis);
    for id in 0..20 {
        let read = new.get(id, ReadLevel::Local).await.unwrap();
        assert_eq!(read, expected.get(&id).copied(), "{id} at {millis}");
    }
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_moment_comes_back_as_it_was_through_changes_of_primary() {
    let members = set_of_three().await;
    let dir = tempfile::tempdir().unwrap();
    archive_into(&members.each_ref(), dir.path()).await;
    until("there is a restore point", || point(&members[0]).is_some()).await;
    let mut written = Written::new();
    let mut random = rand::rng();
    for round in 0..6 {
        let primary = members.iter().find(|member| member.serves()).unwrap();
        for _ in 0..random.random_range(20..80) {
            let (id, value) = (random.random_range(0..20), random.random());
            let level = [CommitLevel::Async, CommitLevel::Quorum];
            let level = *level.choose(&mut random).unwrap();
            let made = primary.put(id, value, level).await.unwrap();
            written.insert(made.stamp, (id, value));
        }
        if random.random() {
            archived(primary).await;
        }
        let next = &members[(round + 1) % 3];
        let epoch = primary.status().epoch;
        // By force, what was acknowledged by one member alone is merged later.
        let change = if random.random() {
            SetChange::Force(epoch)
        } else {
            SetChange::SwitchOver(Some(next.status().by))
        };
        let asked = if matches!(change, SetChange::Force(_)) {
            next
        } else {
            primary
        };
        change_primary(asked, next, change).await;
        if round == 3 {
            back_up(primary, dir.path(), false).await.unwrap();
        }
    }
    let primary = members.iter().find(|member| member.serves()).unwrap();
    let last = primary.put(0, 0, CommitLevel::All).await.unwrap().stamp;
    written.insert(last, (0, 0));
    equal(primary).await;
    archived(primary).await;
    for member in members {
        member.stop().await;
    }
    let first = written.keys().next().unwrap().hlc.millis();
    let moments: Vec<u64> = (0..50)
        .map(|_| random.random_range(first..last.hlc.millis()))
        .collect();
    for pair in moments.chunks(2) {
        let checks = pair
            .iter()
            .map(|millis| check(dir.path(), &written, *millis));
        futures::future::join_all(checks).await;
    }
}

/// The last restore point that the set knows of.
pub fn point(member: &Member) -> Option<String> {
    archive(member).last.map(|(made, _)| made.point)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_lets_go_of_while_the_bucket_is_away_is_a_gap_behind_which_a_restore_point_is_made()
 {
    let first = Member::first().await;
    let dir = tempfile::tempdir().unwrap();
    archive_into(&[&first], dir.path()).await;
    until("there is a restore point", || point(&first).is_some()).await;
    let early = point(&first);
    let seen = written_alone(&first, 1).await;
    archived(&first).await;
    // Something else stands in the bucket's place.
    let (bucket, away) = (dir.path().join("bucket"), dir.path().join("away"));
    RealDisk.rename(&bucket, &away).unwrap();
    std::fs::write(&bucket, b"").unwrap();
    let lost = written_alone(&first, 2).await;
    until("it is told", || archive(&first).trouble.is_some()).await;
    assert!(
        archive(&first)
            .unarchived_for
            .is_some_and(|age| !age.is_zero())
    );
    let end = || first.number("/positions/durable_lsn");
    let begun = end();
    for value in 3.. {
        let rows = (100..2_000).map(|id| (id, value));
        first.put_all(rows, CommitLevel::Quorum).await.unwrap();
        // So much is kept of the log.
        if end() > begun + first.number("/wal/bytes") {
            break;
        }
        assert!(value < 10_000, "the log is never let go of");
    }
    // What is gone from the log is still known not to be archived.
    let failures = || first.counted("steadfast_archive_failures_total");
    let failed = failures();
    until("it is tried twice more", || failures() > failed + 1.0).await;
    let age = archive(&first).unarchived_for.unwrap();
    assert!(!age.is_zero(), "{age:?}");
    std::fs::remove_file(&bucket).unwrap();
    // A file of the early one that no later one has.
    let lineage = first.status().lineage.parse().unwrap();
    let of_early = Named::Point(early.as_ref().unwrap().parse().unwrap()).in_lineage(lineage);
    let of_early = std::fs::read(away.join(of_early)).unwrap();
    let manifest = early.as_ref().unwrap().parse().unwrap();
    let manifest = Manifest::open(lineage, manifest, &of_early).unwrap();
    let mut files = manifest.snapshot.files.iter();
    let of_then = files
        .find(|file| file.name.as_str().starts_with("MANIFEST"))
        .unwrap();
    let gone = Named::StoreFile(manifest.object(of_then)).in_lineage(lineage);
    std::fs::remove_file(away.join(&gone)).unwrap();
    RealDisk.rename(&away, &bucket).unwrap();
    until("it goes on, and a restore point is made", || {
        archive(&first).trouble.is_none() && point(&first) != early
    })
    .await;
    assert!(first.counted("steadfast_archive_gaps_total") > 0.0);
    until("it is told that one is not whole", || {
        archive(&first).problem.is_some()
    })
    .await;
    let problem = archive(&first).problem.unwrap();
    assert!(
        problem.contains(&gone) && problem.contains("missing"),
        "{problem}"
    );
    let late = written_alone(&first, 3).await;
    archived(&first).await;

    let find = async |at: Stamp| {
        let target = Target::Time(at.hlc.millis());
        Way::find(&repository(dir.path()), None, target).await
    };
    assert!(find(seen).await.unwrap().plan.is_final());
    let refused = find(lost).await;
    assert!(
        matches!(
            refused,
            Err(way::Error::Impossible {
                why: Impossible::Gap { .. } | Impossible::Missing { .. },
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(find(late).await.unwrap().plan.is_final());
    first.stop().await;
    let (home, data) = place();
    restore_into(dir.path(), Target::Latest, &data)
        .await
        .unwrap();
    let new = Member::start_in(home, None).await.unwrap();
    until("it serves", || new.serves()).await;
    assert_eq!(new.get(1, ReadLevel::Local).await.unwrap(), Some(3));
    let settings = new.status().settings.backup;
    assert_eq!(
        settings.bucket, None,
        "a copy does not write where the set does"
    );
    assert_eq!(settings.archive_interval_ms, 1_000);
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_has_a_member_that_is_not_the_primary_make_its_restore_points() {
    let [first, second, third] = set_of_three().await;
    let dir = tempfile::tempdir().unwrap();
    archive_into(&[&second, &first, &third], dir.path()).await;
    until("all know of one", || {
        [&first, &second, &third]
            .iter()
            .all(|member| point(member).is_some())
    })
    .await;
    let (made, _) = archive(&third).last.unwrap();
    assert_ne!(made.member, first.status().by);
    assert!(made.full);
    // And looks whether they are whole.
    until("they are found whole", || {
        archive(&first).whole_ago.is_some()
    })
    .await;
    assert_eq!(archive(&first).problem, None);
    // One that is made by hand counts.
    let (other, _) = back_up(&first, dir.path(), false).await.unwrap();
    assert_eq!(point(&first), Some(other.point.to_string()));
    assert!(first.counted("steadfast_backup_verified_timestamp_seconds") > 1e9);
    let metrics = [
        ("steadfast_backup_failed", 0.0),
        ("steadfast_archive_troubled", 0.0),
    ];
    for (name, expected) in metrics {
        assert_eq!(first.counted(name), expected, "{name}");
    }
    for member in [third, second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_made_is_told() {
    let first = Member::first().await;
    let dir = tempfile::tempdir().unwrap();
    // Archiving needs these two alone, a restore point these files.
    archive_into(&[&first], dir.path()).await;
    let lineage = first.status().lineage;
    let taken = dir.path().join("bucket").join(lineage).join("files");
    std::fs::create_dir_all(taken.parent().unwrap()).unwrap();
    std::fs::write(taken, b"").unwrap();
    until("it is told", || archive(&first).failed.is_some()).await;
    assert_eq!(first.counted("steadfast_backup_failed"), 1.0);
    let (failed, _) = archive(&first).failed.unwrap();
    assert_eq!(failed.member, first.status().by);
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_another_history_in_the_bucket_are_told_and_nothing_is_put_beside_them() {
    let first = Member::first().await;
    let dir = tempfile::tempdir().unwrap();
    let status = first.status();
    let lineage = status.lineage.parse().unwrap();
    let by = first.put(1, 1, CommitLevel::Quorum).await.unwrap().stamp;
    until("the agreement knows", || {
        let own = &first.status().members[&status.by];
        own.durable == own.applied
    })
    .await;
    // Somebody who has a copy of the directory archives the same log.
    let foreign = Segment {
        log: by.log(),
        from: by.seq.next(),
        to: by.seq.next(),
        newest: Hlc(by.hlc.0 + 1),
        chain: Chain(rand::random()),
    };
    let name = url(dir.path()).to_string();
    let bucket = Path::new(name.strip_prefix("file://").unwrap());
    let object = bucket.join(Named::Segment(foreign).in_lineage(lineage));
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::write(&object, b"theirs").unwrap();
    archive_into(&[&first], dir.path()).await;
    until("it is begun", || archive(&first).through.is_some()).await;
    for value in 2..9 {
        first.put(1, value, CommitLevel::Quorum).await.unwrap();
    }
    until("it is told", || archive(&first).trouble.is_some()).await;
    let trouble = archive(&first).trouble.unwrap();
    assert!(trouble.contains("another history"), "{trouble}");
    let there = std::fs::read_dir(object.parent().unwrap()).unwrap();
    assert_eq!(there.count(), 1);
    // Away with it, all is well again.
    std::fs::remove_file(&object).unwrap();
    archived(&first).await;
    first.stop().await;
}
