//! `steadfast bench backup`: what backups take and give, all in one run on one machine.
//!
//! The bucket is a directory beside the node, unless another is named, so both share its disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value as Json, json};

use super::super::child::{Home, Node};
use super::super::error::CliError;
use super::super::output::{Output, plain, print, print_json, table};
use super::closed_loop::drive;
use super::compare::connect;
use super::copying::{down, listed, up};
use super::generator::Span;
use super::grpc::Call;
use super::load::load;
use super::measured::{ratio, rounded};
use super::open_loop::drive_at;
use super::with_processes;
use super::workload::{Keys, Requests, Shape, entity};
use crate::backup::bucket::{Bucket, BucketUrl, Environment, ObjectName, Patience};
use crate::base::clock::{now_monotonic, sleep};
use crate::client::Client;
use crate::proto::v1;
use v1::create_backup_response::What;

const FEATURES: usize = 10;
/// Rows of one write.
const BATCH: usize = 100;
const CALLERS: u64 = 16;
/// Writes under way while rows are written that are to be replayed.
const IN_FLIGHT: usize = 16;
/// Of all rows one in so many is changed before the incremental backup.
const CHANGED: u64 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So many bytes per second are as many as there are.
const UNLIMITED: u64 = 1 << 40;

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rows of the store, of ten doubles each
    #[arg(long, value_name = "N", default_value_t = 700_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    entities: u64,
    /// Rows that are written, archived and applied again by the restore at the end: as default ten minutes of 5,000 a second
    #[arg(long, value_name = "N", default_value_t = 3_000_000)]
    replayed: u64,
    /// The bucket: s3://BUCKET/PREFIX or file:///DIRECTORY. What is put there stays; a directory of its own if none is named
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    span: Span,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// Starts a node and measures it.
///
/// # Errors
/// If the node or the bucket fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    let output = args.output;
    let measured = with_processes("bench-backup", async |binary, scratch| {
        Box::pin(measure(binary, scratch, args)).await
    });
    let figures = measured.await?;
    if output == Output::Json {
        return print_json(&figures);
    }
    // There are too many for a line.
    let mut table = table(["figure", "value"]);
    for (name, value) in figures.as_object().into_iter().flatten() {
        table.add_row([name.clone(), plain(value)]);
    }
    print(&table.to_string())
}

/// A node, and where it is backed up.
struct Bench {
    binary: PathBuf,
    home: Home,
    node: Node,
    client: Client,
    url: String,
    bucket: Bucket,
    shape: Shape,
    span: Span,
}

async fn measure(binary: &Path, scratch: &Path, args: Args) -> Result<Json, CliError> {
    let mut bench = Bench::start(binary, scratch, &args).await?;
    load(&bench.client, bench.shape).await?;
    let (idle, beside) = bench.lookups_beside().await?;
    bench.restart(scratch).await?;

    let full = bench.back_up(true).await?;
    let objects = bench.files_of(&full.point).await?;
    let (copied_down, files) = down(&bench.bucket, &objects, &scratch.join("copied")).await?;
    let copied_up = up(&bench.bucket, &files, "copied").await?;
    let restored = bench
        .restore(&full.point.point, &scratch.join("first"))
        .await?;
    let restored = full.point.bytes as f64 / restored.as_secs_f64();
    bench.change().await?;
    let next = bench.back_up(false).await?;
    let (plain, archived, age, drained) = bench.ingest().await?;
    let (replayed, answered) = bench.replay(scratch, args.replayed).await?;
    let mb = |rate: f64| rounded(rate / 1e6);
    Ok(json!({
        "rows": args.entities,
        "bytes": full.point.bytes,
        "backup_mb_per_second": mb(full.rate()),
        "copy_up_mb_per_second": mb(copied_up),
        "ratio_backup": ratio(full.rate(), copied_up),
        "restore_mb_per_second": mb(restored),
        "copy_down_mb_per_second": mb(copied_down),
        "ratio_restore": ratio(restored, copied_down),
        "sent_after_1_percent_changed": ratio(next.point.sent_bytes as f64, full.point.bytes as f64),
        "lookup_p99_us_idle": rounded(idle),
        "lookup_p99_us_beside_backups": rounded(beside),
        "ratio_p99": ratio(beside, idle),
        "ingest_rows_per_second": rounded(plain),
        "ingest_archived_rows_per_second": rounded(archived),
        "ratio_archived": ratio(archived, plain),
        "oldest_unarchived_ms": age,
        "archived_after_ms": u64::try_from(drained.as_millis()).unwrap_or_default(),
        "replayed_rows": replayed,
        "restored_and_answered_seconds": rounded(answered.as_secs_f64()),
    }))
}

/// A backup that was made.
struct Made {
    point: v1::RestorePoint,
    took: Duration,
}

impl Made {
    fn rate(&self) -> f64 {
        self.point.bytes as f64 / self.took.as_secs_f64()
    }
}

impl Bench {
    async fn start(binary: &Path, scratch: &Path, args: &Args) -> Result<Bench, CliError> {
        let home = Home::new(scratch.join("node"))?;
        let node = Node::start(binary, &home, None).await?;
        let client = Client::to(&[&home.client]).await?;
        let bad = |why: String| CliError::wrong("BAD_URL", why);
        let no_url = || bad(format!("{} has no URL", scratch.display()));
        let parsed = match &args.url {
            Some(url) => url.parse().map_err(|error| bad(format!("{error}")))?,
            None => BucketUrl::of_directory(&scratch.join("bucket")).ok_or_else(no_url)?,
        };
        let bucket = Bucket::create(&parsed, &Environment::of_process(), Patience::default());
        Ok(Bench {
            binary: binary.to_owned(),
            home,
            node,
            client,
            url: parsed.to_string(),
            bucket: bucket.map_err(|error| bad(error.to_string()))?,
            shape: Shape {
                entities: args.entities,
                views: 1,
                views_asked: None,
                features: FEATURES,
                batch: BATCH,
                keys: Keys::Uniform,
            },
            span: args.span,
        })
    }

    /// Starts the node again, as one that sends as fast as it can.
    async fn restart(&mut self, scratch: &Path) -> Result<(), CliError> {
        let config = scratch.join("fast.toml");
        let text = format!("[backup]\nbytes_per_second = {UNLIMITED}\n");
        let written = std::fs::write(&config, text);
        written.map_err(|error| CliError::file("write", &config, &error))?;
        self.node.kill().await?;
        self.home.config = Some(config);
        self.node = Node::start(&self.binary, &self.home, None).await?;
        self.client = Client::to(&[&self.home.client]).await?;
        Ok(())
    }

    async fn back_up(&self, full: bool) -> Result<Made, CliError> {
        let begun = now_monotonic();
        let request = v1::CreateBackupRequest {
            url: self.url.clone(),
            full,
        };
        let mut stages = self.client.create_backup(request).await?;
        while let Some(stage) = stages.next().await? {
            if let Some(What::Done(point)) = stage.what {
                let took = begun.elapsed();
                return Ok(Made { point, took });
            }
        }
        Err(CliError::failed("CUT_OFF", "the node ended the stream"))
    }

    async fn back_up_again_and_again(&self) -> CliError {
        loop {
            if let Err(failed) = self.back_up(true).await {
                return failed;
            }
        }
    }

    /// The 99th percentile of lookups at a quarter of the peak, in microseconds: idle, and while one full backup follows the
    /// other at the rate that is the default.
    async fn lookups_beside(&self) -> Result<(f64, f64), CliError> {
        let endpoint = [self.home.client.clone()];
        let callers = async || connect(&endpoint, Call::Lookup, self.shape, 0..CALLERS).await;
        let peak = drive(callers().await?, self.span).await?.rate();
        let idle = drive_at(peak / 4.0, callers().await?, self.span).await?;
        let beside = tokio::select! {
            beside = drive_at(peak / 4.0, callers().await?, self.span) => beside?,
            failed = self.back_up_again_and_again() => return Err(failed),
        };
        Ok((idle.quantile_us(0.99), beside.quantile_us(0.99)))
    }

    async fn files_of(&self, point: &v1::RestorePoint) -> Result<Vec<(ObjectName, u64)>, CliError> {
        let under = format!("{}/files/{}", point.lineage, point.generation);
        let under = ObjectName::parse(&under);
        let under = under.map_err(|error| CliError::failed("BUCKET", error.to_string()))?;
        listed(&self.bucket, &under).await
    }

    /// Restores as an operator does; how long it takes.
    async fn restore(&self, to: &str, into: &Path) -> Result<Duration, CliError> {
        let begun = now_monotonic();
        let mut command = tokio::process::Command::new(&self.binary);
        command.args(["backup", "restore", &self.url, "--to", to, "--into"]);
        let ended = command.arg(into).kill_on_drop(true).output().await;
        let ended = ended.map_err(|error| CliError::file("run", &self.binary, &error))?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            return Err(CliError::failed("RESTORE", said));
        }
        Ok(begun.elapsed())
    }

    /// Writes one row in a hundred anew, at random.
    async fn change(&self) -> Result<(), CliError> {
        let mut requests = Requests::new(self.shape, 1);
        for _ in 0..(self.shape.entities / CHANGED).div_ceil(BATCH as u64) {
            let ranks = (0..BATCH).map(|_| rand::random_range(0..self.shape.entities));
            let write = requests.write_of(&ranks.map(entity).collect::<Vec<_>>());
            self.client.put(write).await?;
        }
        Ok(())
    }

    /// Rows per second without and with an archive; the greatest age of what was not archived meanwhile, in milliseconds; and
    /// how long afterwards all is.
    async fn ingest(&self) -> Result<(f64, f64, u64, Duration), CliError> {
        let endpoint = [self.home.client.clone()];
        let writers = async || connect(&endpoint, Call::Write, self.shape, 0..CALLERS).await;
        let rows = BATCH as f64;
        let plain = drive(writers().await?, self.span).await?.rate() * rows;
        let bucket = Some(self.url.clone());
        let backup = Some(v1::BackupChange {
            bucket,
            ..v1::BackupChange::default()
        });
        let change = v1::SetSettingsRequest {
            backup,
            ..v1::SetSettingsRequest::default()
        };
        self.client.set_settings(change).await?;
        while self.archive().await?.last.is_none() {
            sleep(LOOK_EVERY).await;
        }
        let mut age = 0;
        let archived = tokio::select! {
            archived = drive(writers().await?, self.span) => archived?,
            failed = self.watch(&mut age) => return Err(failed),
        };
        let drained = self.drain().await?;
        Ok((plain, archived.rate() * rows, age, drained))
    }

    /// Keeps the greatest age of what is not archived, in milliseconds.
    async fn watch(&self, age: &mut u64) -> CliError {
        loop {
            match self.archive().await {
                Ok(archive) => *age = archive.unarchived_ms.unwrap_or_default().max(*age),
                Err(failed) => return failed,
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn archive(&self) -> Result<v1::Archive, CliError> {
        let archive = self.client.replica_set().await?.archive;
        let none = || CliError::failed("ARCHIVE", "the settings name no bucket any more");
        let archive = archive.ok_or_else(none)?;
        match archive.trouble {
            Some(trouble) => Err(CliError::failed("ARCHIVE", trouble)),
            None => Ok(archive),
        }
    }

    /// Waits until all is archived.
    async fn drain(&self) -> Result<Duration, CliError> {
        let begun = now_monotonic();
        while self.archive().await?.unarchived_ms != Some(0) {
            sleep(LOOK_EVERY).await;
        }
        Ok(begun.elapsed())
    }

    /// Writes rows behind a restore point, loses the node, and has another one in its place: how many rows were written, and how
    /// long it takes from the loss to an answer.
    async fn replay(&mut self, scratch: &Path, rows: u64) -> Result<(u64, Duration), CliError> {
        self.back_up(false).await?;
        let mut requests = Requests::new(self.shape, 2);
        let batches = rows.div_ceil(BATCH as u64);
        let writes = (0..batches).map(|_| requests.write());
        stream::iter(writes)
            .map(|write| async { self.client.put(write).await.map(drop) })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        self.drain().await?;
        self.node.kill().await?;
        let lost: Instant = now_monotonic();
        let into = scratch.join("second");
        self.restore("latest", &into).await?;
        self.home = Home::new(into)?;
        self.node = Node::start(&self.binary, &self.home, None).await?;
        self.client = Client::to(&[&self.home.client]).await?;
        self.client.get(requests.lookup()).await?;
        Ok((batches * BATCH as u64, lost.elapsed()))
    }
}
