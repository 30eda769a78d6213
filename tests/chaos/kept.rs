//! What the set keeps of itself in a bucket: a restore of all that is archived has the rows that every member holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use steadfast::backup::bucket::{Bucket, BucketUrl, Environment, Patience};
use steadfast::backup::repository::Repository;
use steadfast::backup::restore::Progress;
use steadfast::backup::verify::verify;
use steadfast::backup::way::{Target, Way};
use steadfast::base::disk::{Disk, RealDisk};
use steadfast::cli::process_set::{ProcessSet, archived};
use steadfast::client::Client;
use steadfast::config::Config;
use steadfast::engine::store_dir;
use steadfast::node::restore;
use steadfast::proto::v1;
use steadfast::storage::Store;

/// So often the set makes a restore point, and so many it keeps.
const EVERY_MS: u64 = 60_000;
const POINTS: u32 = 2;

pub struct Kept {
    url: BucketUrl,
    /// Where it is restored to; removed afterwards.
    into: PathBuf,
}

impl Kept {
    /// Has a set keep itself in a bucket below this directory, from now on.
    pub async fn begin(client: &Client, scratch: &Path) -> anyhow::Result<Kept> {
        let url = BucketUrl::of_directory(&scratch.join("bucket"));
        let url = url.context("the directory has a full path")?;
        let backup = v1::BackupChange {
            bucket: Some(url.to_string()),
            archive_interval_ms: Some(1_000),
            every_ms: Some(EVERY_MS),
            keep_days: Some(0),
            keep_points: Some(POINTS),
            ..v1::BackupChange::default()
        };
        let change = v1::SetSettingsRequest {
            backup: Some(backup),
            ..v1::SetSettingsRequest::default()
        };
        client.set_settings(change).await?;
        let into = scratch.join("restored");
        Ok(Kept { url, into })
    }

    /// Waits until all is archived of a set in which nothing is written, and says what is wrong with what is in the bucket.
    pub async fn check(&self, set: &ProcessSet) -> anyhow::Result<()> {
        set.until(archived).await?;
        let bucket = Bucket::open(&self.url, &Environment::default(), Patience::default())?;
        let repository = Repository::new(bucket);
        let way = Way::find(&repository, None, Target::Latest).await?;
        let lineage = way.manifest.control.lineage;
        let there = repository.holdings(lineage).await?;
        for point in verify(&repository, lineage, &there, there.points()).await? {
            let (name, problems) = (point.point, &point.problems);
            ensure!(point.is_whole(), "{name} is not whole: {problems:?}");
        }
        let config = Config {
            data_dir: self.into.clone(),
            ..Config::default()
        };
        let (disk, progress): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), Progress::default());
        restore(&disk, &config, &repository, &way, &progress).await?;
        let state = Store::open_read_only(&store_dir(&self.into))?.state()?;
        let (restored, held) = (state.digest.to_string(), set.digests().await?);
        ensure!(
            held.iter().all(|digest| *digest == restored),
            "restored are rows of digest {restored}, members hold {held:?}: {:?}",
            way.plan
        );
        Ok(std::fs::remove_dir_all(&self.into)?)
    }
}
