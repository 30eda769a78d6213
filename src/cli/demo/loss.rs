//! A bad write, then the loss of every member with its directory; and a moment before both comes back out of a bucket.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::try_join;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use super::super::child::{Home, Scratch};
use super::super::error::CliError;
use super::super::load::Load;
use super::super::output::{grouped, print, readable};
use super::super::process_set::{ProcessSet, archived};
use super::super::progress::megabytes;
use super::moment::Moment;
use super::story::Story;
use crate::backup::bucket::BucketUrl;
use crate::base::clock::{now_monotonic, sleep};
use crate::base::{CommitLevel, Stamp};

/// How long is written between the restore point and the moment.
const LOAD_FOR: Duration = Duration::from_secs(1);
/// Other writers than those of the loads before.
const WRITERS: std::ops::Range<i32> = 14..18;
/// Those that go on after the moment.
const LATER: std::ops::Range<i32> = 18..20;

/// One that was looked up before lands.
const FLIGHT: &str = "put aircraft_stats --json '{\"tailnum\":\"N14228\",\"flights_total\":16,\"cancelled_total\":0,\
                      \"mean_arr_delay_last10\":1.3,\"air_time_total\":2739.0,\"last_arr_delay\":-4.0,\"last_carrier\":\"UA\",\
                      \"last_origin\":\"PDX\",\"last_dest\":\"EWR\",\"last_on_time\":true}'";
const NONSENSE: &str = "put aircraft_stats --json '{\"tailnum\":\"N14228\",\"flights_total\":-1,\"last_origin\":\"?\"}' \
                        --json '{\"tailnum\":\"N730MQ\",\"flights_total\":-1,\"last_origin\":\"?\"}'";
const LOOKUP: &str = "get aircraft_stats --key tailnum=N14228 --key tailnum=N730MQ --feature flights_total \
                      --feature mean_arr_delay_last10 --feature last_origin --feature last_dest";

/// How a moment came back.
#[derive(Debug)]
pub struct Restored {
    /// Which one.
    pub moment: Moment,
    /// Archived records that were applied to the restore point.
    pub records: u64,
    /// How long after the loss the first lookup was answered.
    pub answered: Duration,
}

/// What is done to a set, and with what it leaves in a bucket.
#[derive(Debug)]
pub struct Loss<'a> {
    binary: &'a Path,
    scratch: &'a Path,
    bucket: BucketUrl,
}

impl<'a> Loss<'a> {
    /// With a bucket of the demonstration's own.
    ///
    /// # Errors
    /// If the directory for temporary files has no full path.
    pub fn new(binary: &'a Path, scratch: &'a Scratch) -> Result<Loss<'a>, CliError> {
        let directory = scratch.path().join("bucket");
        let bucket = BucketUrl::of_directory(&directory).ok_or_else(|| {
            let message = format!("{} is not a full path", directory.display());
            CliError::wrong("FILE", message)
        })?;
        Ok(Loss {
            binary,
            scratch: scratch.path(),
            bucket,
        })
    }

    /// Has the set archive and make a restore point, writes on, and takes note of a moment that the archive leads to.
    ///
    /// # Errors
    /// If the set does not archive.
    pub async fn archive(&self, set: &ProcessSet, story: &Story) -> Result<Moment, CliError> {
        let bucket = &self.bucket;
        story
            .show(&format!(
                "rs set backup-bucket={bucket} archive-interval=1s"
            ))
            .await?;
        set.until(archived).await?;
        story.show(&format!("backup list {bucket}")).await?;
        let written = write(set).await?;
        print(&format!(
            "   {} writes later a flight lands:\n",
            grouped(written)
        ))?;
        let moment = Moment::of(story.put(FLIGHT).await?, set).await?;
        story.show(LOOKUP).await?;
        print(&format!(
            "   That is what there is at {}; all rows have the digest {}",
            moment.time(),
            moment.digest
        ))?;
        let begun = now_monotonic();
        let written = write_beyond(&moment, set).await?;
        set.until(archived).await?;
        print(&format!(
            "   {} writes and {} later `rs status` tells that the archive is past it",
            grouped(written),
            readable(begun.elapsed())
        ))?;
        Ok(moment)
    }

    /// Overwrites features, and once that is archived, too, kills every member and removes its directory. Says when.
    ///
    /// # Errors
    /// If that does not come to pass.
    pub async fn lose(
        &self,
        mut set: ProcessSet,
        story: &Story,
        moment: &Moment,
    ) -> Result<Instant, CliError> {
        story.put(NONSENSE).await?;
        set.until(archived).await?;
        let primary = set.equal().await?;
        if moment.is_back(set.client(primary.at)?).await? {
            let message = "the bad write has changed nothing";
            return Err(CliError::failed("STEP_FAILED", message));
        }
        story.show(LOOKUP).await?;
        let begun = now_monotonic();
        let mut homes = Vec::new();
        while !set.endpoints().is_empty() {
            homes.push(set.dismiss(0).await?);
        }
        for home in homes {
            let directory = home.directory();
            std::fs::remove_dir_all(directory)
                .map_err(|error| CliError::file("remove", directory, &error))?;
            print(&format!("   killed and removed: {}", directory.display()))?;
        }
        Ok(begun)
    }

    /// Makes a set of so many members of what is in the bucket, as it was at a moment.
    ///
    /// # Errors
    /// If it does not come back as it was.
    pub async fn restore(
        &self,
        size: u8,
        story: &mut Story,
        moment: Moment,
        lost: Instant,
    ) -> Result<(ProcessSet, Restored), CliError> {
        let home = Home::new(self.scratch.join("restored"))?;
        let records = self.fetch(story, &moment, home.directory()).await?;
        print(&format!(
            "   $ steadfast serve --data-dir {}",
            home.directory().display()
        ))?;
        let mut set = ProcessSet::new(self.binary, None);
        set.add(home).await?;
        moment.check(&set).await?;
        let answered = lost.elapsed();
        story.turn_to(&set);
        story.show(LOOKUP).await?;
        print(&format!(
            "   The first lookup was answered {} after the loss. The bad write is undone: all rows have the digest {}",
            readable(answered),
            moment.digest
        ))?;
        if size > 1 {
            self.enlarge(&mut set, size).await?;
            moment.check(&set).await?;
            story.show_set().await?;
        }
        Ok((
            set,
            Restored {
                moment,
                records,
                answered,
            },
        ))
    }

    /// Has others join until there are so many members, each of which holds all rows.
    async fn enlarge(&self, set: &mut ProcessSet, size: u8) -> Result<(), CliError> {
        for number in size + 1..2 * size {
            let home = set.home(self.scratch, number).await?;
            let directory = home.directory().display();
            print(&format!("   {directory} joins, empty"))?;
            set.add(home).await?;
        }
        set.equal().await?;
        Ok(())
    }

    /// Fetches it, and applies what was archived by then. Says how many records that are.
    async fn fetch(&self, story: &Story, moment: &Moment, into: &Path) -> Result<u64, CliError> {
        let (bucket, time) = (self.bucket.to_string(), moment.time().to_string());
        let restore = ["backup", "restore", &bucket, "--to", &time].map(OsStr::new);
        let plan = story
            .told(&[&restore[..], &["--plan".as_ref()]].concat())
            .await?;
        let number = |json: &Json, name: &str| json.get(name).and_then(Json::as_u64).unwrap_or(0);
        if plan.get("final") != Some(&Json::Bool(true)) {
            let message = format!("{time} is not archived whole: {plan}");
            return Err(CliError::failed("NOT_RESTORED", message));
        }
        print(&format!(
            "     restore point {}: {} files, {} MB; then {} objects of archived records; reaches {time}, which is final",
            plan.get("point").and_then(Json::as_str).unwrap_or_default(),
            number(&plan, "files"),
            megabytes(number(&plan, "bytes")),
            number(&plan, "objects"),
        ))?;
        let made = story
            .told(&[&restore[..], &["--into".as_ref(), into.as_os_str()]].concat())
            .await?;
        let records = number(&made, "records");
        print(&format!(
            "     a new replica set of one, with {} archived records applied",
            grouped(records)
        ))?;
        Ok(records)
    }
}

/// Writes for a while; says how many writes that were.
async fn write(set: &ProcessSet) -> Result<u64, CliError> {
    let (endpoints, stop) = (set.endpoints(), CancellationToken::new());
    let load = Load::run(&endpoints, WRITERS, CommitLevel::Quorum, &stop, |_| {});
    let stopping = async {
        let _stop = stop.clone().drop_guard();
        sleep(LOAD_FOR).await;
        Ok(())
    };
    let (load, ()) = try_join(load, stopping).await?;
    Ok(load.acknowledged())
}

/// Writes until a write is later than the moment, for what is archived behind it shows that nothing before it is missing.
async fn write_beyond(moment: &Moment, set: &ProcessSet) -> Result<u64, CliError> {
    let (endpoints, stop) = (set.endpoints(), CancellationToken::new());
    let load = Load::run(&endpoints, LATER, CommitLevel::Quorum, &stop, |written| {
        let stamp: Option<Stamp> = written.stamp.parse().ok();
        // With a stamp that is none this would never end: what follows tells then that the moment is not final.
        if stamp.is_none_or(|stamp| moment.is_before(stamp)) {
            stop.cancel();
        }
    });
    Ok(load.await?.acknowledged())
}
