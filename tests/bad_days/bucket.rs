//! Sets that archive into a bucket which fails them, while their members are killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use steadfast::backup::bucket::{Bucket, BucketUrl, Patience};
use steadfast::backup::repository::Repository;
use steadfast::backup::restore::Progress;
use steadfast::backup::way::{Target, Way};
use steadfast::base::clock::{SystemClock, now_monotonic};
use steadfast::base::disk::{Disk, RealDisk};
use steadfast::base::{Clock as _, Stamp};
use steadfast::cli::process_set::{ProcessSet, archived};
use steadfast::client::Client;
use steadfast::config::Config;
use steadfast::node::restore;
use steadfast::proto::v1;
use tokio_util::sync::CancellationToken;

use crate::day::{BINARY, Day};
use crate::kills::a_while;
use crate::places::{KEY, S3, SECRET, Weather, credentials};
use crate::traffic::{held, put};

/// So many rows are written again and again.
const ROWS: u64 = 20;
/// Longer than it is tried again before it is told.
const TOLD_WITHIN: Duration = Duration::from_secs(120);

/// Three members that archive into a bucket of this server.
async fn begin(s3: &S3) -> (Day, BucketUrl) {
    let id = format!("AWS_ACCESS_KEY_ID={KEY}");
    let secret = format!("AWS_SECRET_ACCESS_KEY={SECRET}");
    let day = Day::begin_by(&["env", &id, &secret]).await;
    let url = s3.url("set");
    archive_into(&day.set, &url).await;
    (day, url)
}

/// Has a set keep itself in a bucket, and waits until it does.
pub async fn archive_into(set: &ProcessSet, url: &BucketUrl) {
    let backup = v1::BackupChange {
        bucket: Some(url.to_string()),
        archive_interval_ms: Some(1_000),
        ..v1::BackupChange::default()
    };
    let change = v1::SetSettingsRequest {
        backup: Some(backup),
        ..v1::SetSettingsRequest::default()
    };
    let primary = set.whole().await.unwrap();
    let client = set.client(primary.at).unwrap();
    client.set_settings(change).await.unwrap();
    set.until(archived).await.unwrap();
}

/// Every acknowledged write, by its stamp.
#[derive(Default)]
struct Written {
    rows: BTreeMap<Stamp, (u64, u64)>,
    last: u64,
}

impl Written {
    /// Writes a random row.
    async fn write(&mut self, client: &Client, level: v1::CommitLevel) {
        self.last += 1;
        let key = rand::random_range(0..ROWS);
        let time = SystemClock::new().wall().0;
        let answer = client.put(put(key, self.last, time, level)).await.unwrap();
        let stamp = answer.stamp.parse().unwrap();
        self.rows.insert(stamp, (key, self.last));
    }

    /// The same, one after the other, until it is told to stop. Clients bring every write through.
    async fn write_until(&mut self, stop: CancellationToken, endpoints: &[String]) {
        let client = Client::to(endpoints).await.unwrap();
        while !stop.is_cancelled() {
            self.write(&client, v1::CommitLevel::Quorum).await;
        }
    }

    fn at(&self, millis: u64) -> BTreeMap<u64, u64> {
        let early = self.rows.iter();
        let early = early.filter(|(stamp, _)| stamp.hlc.millis() <= millis);
        early.map(|(_, row)| *row).collect()
    }

    /// The same with the next write: a primary that was killed may have made it, before another one did when the client asked again.
    fn during(&self, millis: u64) -> BTreeMap<u64, u64> {
        let mut later = self.rows.iter();
        let next = later.find(|(stamp, _)| stamp.hlc.millis() > millis);
        let mut rows = self.at(millis);
        rows.extend(next.map(|(_, row)| *row));
        rows
    }

    /// Restores a moment and looks at all rows.
    async fn check(&self, url: &BucketUrl, millis: u64) {
        let bucket = Bucket::open(url, &credentials(SECRET), Patience::default());
        let repository = Repository::new(bucket.unwrap());
        let way = Way::find(&repository, None, Target::Time(millis)).await;
        let way = way.unwrap();
        assert!(way.plan.is_final(), "all is archived: {:?}", way.plan);
        let scratch = tempfile::tempdir().unwrap();
        let mut set = ProcessSet::new(Path::new(BINARY), None);
        let home = set.home(scratch.path(), 1).await.unwrap();
        let config = Config {
            data_dir: home.directory().to_owned(),
            ..Config::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let progress = Progress::default();
        let restored = restore(&disk, &config, &repository, &way, &progress).await;
        restored.unwrap();
        set.add(home).await.unwrap();
        let keys: Vec<u64> = (0..ROWS).collect();
        let rows = held(set.client(0).unwrap(), &keys).await.unwrap();
        let (before, during) = (self.at(millis), self.during(millis));
        assert!(
            rows == before || rows == during,
            "{rows:?} at {millis}, neither {before:?} nor {during:?}"
        );
    }
}

async fn hurt(set: &mut ProcessSet, s3: &S3) {
    for round in 0..5 {
        let storms = [
            Weather::Storm,
            Weather::Storm,
            Weather::Silent,
            Weather::Refuses(503, "SlowDown"),
        ];
        s3.weather
            .send_replace(*storms.choose(&mut rand::rng()).unwrap());
        let primary = set.whole().await.unwrap();
        a_while().await;
        set.kill(primary.at).await.unwrap();
        a_while().await;
        s3.weather.send_replace(Weather::Storm);
        set.restart(primary.at).await.unwrap();
        set.whole().await.unwrap();
        if round % 2 == 0 {
            s3.weather.send_replace(Weather::Fair);
            a_while().await;
        }
    }
    s3.weather.send_replace(Weather::Fair);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_comes_back_though_archivers_are_killed_in_storms() {
    let s3 = S3::start().await;
    assert!(s3.is_own(), "another one has no weather");
    let (mut day, url) = begin(&s3).await;
    let (mut written, stop, endpoints) = (
        Written::default(),
        CancellationToken::new(),
        day.set.endpoints(),
    );
    let writing = written.write_until(stop.clone(), &endpoints);
    let hurting = async {
        let _stop = stop.drop_guard();
        hurt(&mut day.set, &s3).await;
    };
    tokio::join!(writing, hurting);
    let primary = day.set.equal().await.unwrap();
    let client = day.set.client(primary.at).unwrap();
    written.write(client, v1::CommitLevel::All).await;
    day.set.until(archived).await.unwrap();
    let of_rows = written.rows.keys().map(|stamp| stamp.hlc.millis());
    let moments: Vec<u64> = of_rows.collect();
    let (last, before) = moments.split_last().unwrap();
    let before: Vec<u64> = before.iter().filter(|at| *at < last).copied().collect();
    for millis in before.choose_multiple(&mut rand::rng(), 8) {
        written.check(&url, *millis).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bucket_refuses_is_told_and_archived_once_it_does_not() {
    let s3 = S3::start().await;
    assert!(s3.is_own(), "another one has no weather");
    let (day, url) = begin(&s3).await;
    let mut written = Written::default();
    let primary = day.set.whole().await.unwrap();
    let client = day.set.client(primary.at).unwrap();
    let transient = [(500, "InternalError"), (503, "SlowDown")];
    let transient = *transient.choose(&mut rand::rng()).unwrap();
    for (status, code) in [(403, "AccessDenied"), (507, "XMinioStorageFull"), transient] {
        s3.weather.send_replace(Weather::Refuses(status, code));
        let told = async |client: &Client| {
            let archive = client.replica_set().await.unwrap().archive.unwrap();
            let trouble = archive.trouble.unwrap_or_default();
            trouble.contains(code) && archive.unarchived_ms > Some(0)
        };
        let begun = now_monotonic();
        while !told(client).await {
            assert!(begun.elapsed() < TOLD_WITHIN, "{code} is not told");
            written.write(client, v1::CommitLevel::Quorum).await;
        }
        s3.weather.send_replace(Weather::Fair);
        day.set.until(archived).await.unwrap();
    }
    written.write(client, v1::CommitLevel::All).await;
    day.set.until(archived).await.unwrap();
    let newest = written.rows.keys().next_back().unwrap().hlc.millis();
    written.check(&url, newest - 1).await;
}
