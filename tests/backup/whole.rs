//! What is found out about restore points that are not whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use steadfast::backup::bucket::{Bucket, BucketUrl};
use steadfast::backup::layout::{Named, PointId, Segment};
use steadfast::backup::manifest::Manifest;
use steadfast::backup::verify::{Problem, Verified, verify};
use steadfast::base::TaskGroup;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;

use super::places::{BUCKET, KEY, QUICK, S3, SECRET, credentials, directory};
use super::set::{Set, files};

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    Missing,
    CutOff,
    Altered,
    Swapped,
}

/// A set backed up in a directory, with its restore points.
struct Kept {
    home: TempDir,
    set: Set,
    made: Vec<Manifest>,
}

impl Kept {
    async fn new() -> Kept {
        let home = tempfile::tempdir().unwrap();
        let (set, made) = Set::with_history(directory(home.path())).await;
        Kept { home, set, made }
    }

    fn url(&self) -> String {
        let bucket = self.home.path().join("a/bucket");
        BucketUrl::of_directory(&bucket).unwrap().to_string()
    }

    /// The objects of a kind that hold anything.
    fn objects(&self, kind: impl Fn(&Named) -> bool) -> Vec<(Named, PathBuf)> {
        let bucket = self.home.path().join("a/bucket");
        let named = files(&bucket).into_iter().filter_map(|path| {
            let name = path.strip_prefix(&bucket).unwrap().to_str().unwrap();
            let (_, named) = Named::parse(name).unwrap();
            let holds_some = std::fs::metadata(&path).unwrap().len() > 0;
            (holds_some && kind(&named)).then_some((named, path))
        });
        named.collect()
    }

    async fn verified(&self) -> Vec<Verified> {
        let (repository, lineage) = (&self.set.repository, self.set.lineage);
        let there = repository.holdings(lineage).await.unwrap();
        let points: Vec<PointId> = there.points().collect();
        let verified = verify(repository, lineage, &there, points).await.unwrap();
        assert_eq!(verified.len(), self.made.len());
        verified
    }

    /// Those that are not whole.
    async fn bad(&self) -> BTreeSet<PointId> {
        let verified = self.verified().await.into_iter();
        let bad = verified.filter(|point| !point.is_whole());
        bad.map(|point| point.point).collect()
    }

    fn points(&self, are: impl Fn(&Manifest) -> bool) -> BTreeSet<PointId> {
        let made = self.made.iter().filter(|manifest| are(manifest));
        made.map(|manifest| manifest.point).collect()
    }
}

/// Harms one of some objects; the others are of its kind. Returns what undoes it.
fn harm(victim: &Path, others: &[(Named, PathBuf)], harm: Harm) -> impl FnOnce() + use<> {
    let mut random = rand::rng();
    let (sound, path) = (std::fs::read(victim).unwrap(), victim.to_owned());
    match harm {
        Harm::Missing => std::fs::remove_file(victim).unwrap(),
        Harm::CutOff => {
            let length = random.random_range(0..sound.len());
            std::fs::write(victim, &sound[..length]).unwrap();
        }
        Harm::Altered => {
            let mut altered = sound.clone();
            altered[random.random_range(0..sound.len())] ^= 1 << random.random_range(0..8);
            std::fs::write(victim, altered).unwrap();
        }
        Harm::Swapped => {
            let others: Vec<Vec<u8>> = others
                .iter()
                .map(|(_, path)| std::fs::read(path).unwrap())
                .filter(|other| *other != sound)
                .collect();
            std::fs::write(victim, others.choose(&mut random).unwrap()).unwrap();
        }
    }
    move || std::fs::write(path, sound).unwrap()
}

fn is_file(named: &Named) -> bool {
    matches!(named, Named::StoreFile(_))
}

fn segment(named: &Named) -> Option<Segment> {
    if let Named::Segment(segment) = named {
        return Some(*segment);
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_or_cut_off_is_told_for_every_restore_point_that_needs_it() {
    let kept = Kept::new().await;
    assert_eq!(kept.bad().await, [].into());
    let all = kept.objects(is_file);
    for how in [Harm::Missing, Harm::CutOff].repeat(4) {
        let (named, path) = all.choose(&mut rand::rng()).unwrap();
        let Named::StoreFile(victim) = named else {
            panic!("{named}");
        };
        let needs = |manifest: &Manifest| {
            let mut files = manifest.snapshot.files.iter();
            files.any(|file| manifest.object(file) == *victim)
        };
        let undo = harm(path, &all, how);
        assert_eq!(kept.bad().await, kept.points(needs), "{how:?} {named}");
        undo();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_not_what_was_written_is_told() {
    let kept = Kept::new().await;
    let all = kept.objects(|named| matches!(named, Named::Point(_)));
    for how in [Harm::CutOff, Harm::Altered, Harm::Swapped].repeat(3) {
        let (named, path) = all.choose(&mut rand::rng()).unwrap();
        let victim = |manifest: &Manifest| Named::Point(manifest.point) == *named;
        let undo = harm(path, &all, how);
        let bad = kept.bad().await;
        // Another form of a digit of the checksum says the same.
        let is_same = bad.is_empty() && how == Harm::Altered;
        assert!(is_same || bad == kept.points(victim), "{how:?} {named}");
        undo();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_missing_between_others_are_told_where_they_are_needed() {
    let kept = Kept::new().await;
    let all = kept.objects(|named| segment(named).is_some());
    let segments: Vec<(Segment, &PathBuf)> = all
        .iter()
        .filter_map(|(named, path)| segment(named).map(|segment| (segment, path)))
        .collect();
    let last = segments.iter().map(|(segment, _)| segment.to).max();
    for (segment, path) in &segments {
        let holds = |manifest: &Manifest| {
            let held = &manifest.snapshot.state.applied.0;
            !held.contains(segment.log, segment.to)
        };
        // That the last one is missing nobody can know.
        let expected = match Some(segment.to) == last {
            true => BTreeSet::new(),
            false => kept.points(holds),
        };
        let undo = harm(path, &[], Harm::Missing);
        assert_eq!(kept.bad().await, expected, "{segment}");
        undo();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_told() {
    let kept = Kept::new().await;
    let latest = kept.made.last().unwrap();
    let stretches = kept.objects(|named| matches!(named, Named::Stretch(_)));
    let _never_undone = harm(&stretches[0].1, &[], Harm::CutOff);
    assert_eq!(kept.bad().await, kept.points(|_| true));
    let all = kept.objects(is_file);
    let of_latest = all.iter().filter(|(named, _)| {
        let mut files = latest.snapshot.files.iter();
        files.any(|file| Named::StoreFile(latest.object(file)) == *named)
    });
    let victims: Vec<_> = of_latest.collect();
    for (_, path) in &victims {
        let _never_undone = harm(path, &[], Harm::Missing);
    }
    let verified = kept.verified().await;
    let problems = &verified.last().unwrap().problems;
    assert_eq!(problems.len(), victims.len() + 1);
    let archive = |problem: &&Problem| matches!(problem, Problem::Archive(_));
    assert_eq!(problems.iter().filter(archive).count(), 1);
}

/// The command, with credentials for the server of tests.
fn command(url: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command
        .args(["backup", "verify", "--output", "json", url])
        .args(more)
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Exit code, what it prints as JSON, and what it says.
fn heard(output: &Output) -> (Option<i32>, Json, String) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), json, said)
}

async fn deep(kept: &Kept, scratch: &Path, more: &[&str]) -> (Option<i32>, Json, String) {
    let scratch = scratch.to_str().unwrap();
    let arguments = [&["--deep", "--into", scratch], more].concat();
    let output = command(&kept.url(), &arguments).output().await.unwrap();
    let left: Vec<_> = std::fs::read_dir(scratch).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    heard(&output)
}

fn restored(json: &Json) -> Vec<bool> {
    let points = json["points"].as_array().unwrap().iter();
    points.map(|point| point["restored"] == true).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_is_restored_with_all_that_follows_and_leaves_nothing() {
    let kept = Kept::new().await;
    let scratch = tempfile::tempdir().unwrap();
    let (code, json, said) = deep(&kept, scratch.path(), &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(restored(&json), [false, false, false, true]);
    // Five were written after it.
    assert_eq!(json["points"][3]["records"], 5);
    assert_eq!(
        (&json["bad"], json["restorable"][0]["to_us"].as_i64()),
        (&0.into(), json["points"][3]["reaches_us"].as_i64())
    );
    let one = kept.made[1].point.to_string();
    let (code, json, said) = deep(&kept, scratch.path(), &[&one]).await;
    assert_eq!((code, restored(&json)), (Some(0), vec![true]), "{said}");
    let (code, json, said) = deep(&kept, scratch.path(), &["--all"]).await;
    assert_eq!((code, restored(&json)), (Some(0), vec![true; 4]), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_or_swapped_is_found_by_restoring() {
    let kept = Kept::new().await;
    let scratch = tempfile::tempdir().unwrap();
    let first = &kept.made[0].snapshot.state.applied.0;
    let is_needed = |named: &Named| {
        segment(named).is_some_and(|segment| !first.contains(segment.log, segment.to))
    };
    for objects in [kept.objects(is_file), kept.objects(is_needed)] {
        for how in [Harm::Altered, Harm::Swapped, Harm::CutOff] {
            let (named, path) = objects.choose(&mut rand::rng()).unwrap();
            let undo = harm(path, &objects, how);
            let (code, json, said) = deep(&kept, scratch.path(), &["--all"]).await;
            assert_eq!(code, Some(1), "{how:?} {named}: {said}");
            let bad = json["bad"].as_u64().unwrap();
            assert!(bad > 0, "{how:?} {named}: {json}");
            let url = kept.url();
            let expected = format!("BAD_BACKUP: {bad} of 4 restore points in {url} are bad");
            assert!(said.ends_with(&format!("{expected}\n")), "{said}");
            undo();
        }
    }
    let (code, json, said) = deep(&kept, scratch.path(), &["--all"]).await;
    assert_eq!((code, &json["bad"]), (Some(0), &0.into()), "{said}");
}

#[tokio::test]
async fn a_restore_point_that_is_not_there_is_no_bad_one() {
    let home = tempfile::tempdir().unwrap();
    let set = Set::new(directory(home.path())).await;
    let url = BucketUrl::of_directory(&home.path().join("a/bucket")).unwrap();
    let url = url.to_string();
    let (code, _, said) = heard(&command(&url, &[]).output().await.unwrap());
    assert!(code == Some(2) && said.starts_with("NO_WAY: "), "{said}");
    let mut set = set;
    let made = set.back_up(false).await;
    let other = PointId {
        random: made.point.random ^ 1,
        ..made.point
    };
    let (code, _, said) = heard(&command(&url, &[&other.to_string()]).output().await.unwrap());
    assert_eq!(code, Some(2));
    let expected = format!(
        "NO_SUCH_POINT: lineage {} holds no restore point {other}\n",
        set.lineage
    );
    assert_eq!(said, expected);
}

/// Passes everything on, until somebody asks for a file: that is never answered.
async fn pass_on_but_files(listener: TcpListener, to: String, asked: watch::Sender<bool>) {
    let tasks = TaskGroup::new();
    while let Ok((client, _)) = listener.accept().await {
        let (to, asked) = (to.clone(), asked.clone());
        tasks.spawn_finite("connection that is passed on", async move {
            let server = TcpStream::connect(to).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let answers = async {
                let _ended = copy(&mut from_server, &mut to_client).await;
            };
            let requests = async {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                    let text = String::from_utf8_lossy(&bytes[..length]);
                    let line = text.lines().next().unwrap_or_default();
                    if line.starts_with("GET ") && line.contains("/files/") {
                        asked.send_replace(true);
                        std::future::pending::<()>().await;
                    }
                    to_server.write_all(&bytes[..length]).await.unwrap();
                }
            };
            tokio::join!(answers, requests);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_restored_is_removed_when_it_is_interrupted() {
    let s3 = S3::start().await;
    let prefix = format!("interrupted/{:016x}", rand::random::<u64>());
    let bucket = Bucket::open(&s3.url(&prefix), &credentials(SECRET), QUICK).unwrap();
    let mut set = Set::new(bucket).await;
    set.write(20).await;
    set.back_up(false).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (asked, mut is_asked) = watch::channel(false);
    let to = s3.endpoint.strip_prefix("http://").unwrap().to_owned();
    let tasks = TaskGroup::new();
    tasks.spawn_finite("server", pass_on_but_files(listener, to, asked));
    let scratch = tempfile::tempdir().unwrap();
    let into = scratch.path().to_str().unwrap();
    let url = format!("s3://{BUCKET}/{prefix}?endpoint={endpoint}");
    let child = command(&url, &["--deep", "--into", into]).spawn().unwrap();
    is_asked.wait_for(|is_asked| *is_asked).await.unwrap();
    let there: Vec<_> = std::fs::read_dir(into).unwrap().collect();
    assert_eq!(there.len(), 1, "it has begun");
    let id = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let (code, _, said) = heard(&child.wait_with_output().await.unwrap());
    assert_eq!(code, Some(1));
    assert_eq!(said, "INTERRUPTED: not everything was restored\n");
    let left: Vec<_> = std::fs::read_dir(into).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
