//! What a user would do, done by the commands that the user would type.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::process::Command;

use super::super::error::CliError;
use super::super::load::lookup;
use super::super::output::{grouped, print};
use super::super::process_set::ProcessSet;
use super::super::scan::unpack;
use crate::base::Stamp;
use crate::base::clock::now_monotonic;
use crate::client::Client;
use crate::model::KeyValue;
use crate::proto::v1;

/// The views, largest first: the first one tells by how much time is shifted.
const VIEWS: [&str; 4] = [
    "aircraft_stats",
    "route_stats",
    "airport_weather",
    "aircraft_profile",
];

/// A fact that became true long before what is stored.
const LATE: &str = "put aircraft_stats --json '{\"tailnum\":\"N14228\",\"flights_total\":1}' --event-time 2013-01-01T00:00:00Z";
/// One that flew on the last day, one that has not flown for two weeks, and one that never did.
const LOOKUPS: [&str; 4] = [
    "get aircraft_stats --key tailnum=N14228 --event-times",
    "get aircraft_stats --key tailnum=N14228 --key tailnum=N619AA --key tailnum=N730MQ --key tailnum=UNKNOWN \
     --feature flights_total --feature mean_arr_delay_last10 --feature last_arr_delay --defaults --event-times",
    "get aircraft_profile --key tailnum=N14228 --key tailnum=N619AA --feature manufacturer --feature model \
     --feature seats --feature speed",
    "get route_stats --key carrier=UA,origin=EWR,dest=IAH --event-times",
];
const SCAN: &str = "scan route_stats --prefix carrier=UA,origin=LGA --limit 5 --feature flights_total \
                    --feature mean_dep_delay_last20 --feature distance";

/// The commands, on the nodes of a set.
#[derive(Debug)]
pub struct Story {
    binary: PathBuf,
    data: PathBuf,
    endpoints: String,
}

/// What was imported.
#[derive(Debug, Default)]
pub struct Imported {
    /// Rows written.
    pub rows: u64,
    took: Duration,
}

impl Imported {
    /// The rate, rounded down.
    #[must_use]
    pub fn rows_per_second(&self) -> u64 {
        let millis = u64::try_from(self.took.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        self.rows * 1_000 / millis
    }
}

/// How lookups went.
#[derive(Debug, Default)]
pub struct Lookups {
    /// How many there were, those shown included.
    pub count: u64,
    /// Half of them took no longer.
    pub median: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

impl Story {
    /// The commands of `binary` on the nodes at `endpoints`, with the files in `data`.
    #[must_use]
    pub fn new(binary: PathBuf, data: PathBuf, endpoints: String) -> Story {
        Story {
            binary,
            data,
            endpoints,
        }
    }

    /// Creates the views and imports their files, all shifted by the same span.
    ///
    /// # Errors
    /// If a file is missing or a command fails.
    pub async fn import_month(&self) -> Result<Imported, CliError> {
        let mut imported = Imported::default();
        let mut shift = "--shift-event-time".to_owned();
        for view in VIEWS {
            let definition = self.data.join(view).with_extension("toml");
            let rows = self.data.join(view).with_extension("parquet");
            if !rows.exists() {
                let message = format!(
                    "there is no {}: give the directory with --data",
                    rows.display()
                );
                return Err(CliError::wrong("FILE", message));
            }
            self.answer(&[
                OsStr::new("view"),
                OsStr::new("create"),
                definition.as_os_str(),
            ])
            .await?;
            let arguments = [
                OsStr::new("import"),
                OsStr::new(view),
                rows.as_os_str(),
                OsStr::new(&shift),
            ];
            let summary = self.told(&arguments).await?;
            let count = |name: &str| summary.get(name).and_then(Json::as_u64).unwrap_or(0);
            print(&format!(
                "     {} rows: applied {}, older {}, folded {}; {} rows/s",
                grouped(count("read")),
                grouped(count("applied")),
                grouped(count("older")),
                grouped(count("folded")),
                grouped(count("rows_per_second"))
            ))?;
            imported.rows += count("read");
            let seconds = summary.get("seconds").and_then(Json::as_f64).unwrap_or(0.0);
            imported.took += Duration::try_from_secs_f64(seconds).unwrap_or_default();
            if let Some(span) = summary.get("shifted_by").and_then(Json::as_str) {
                shift = format!("--shift-event-time={}", span.replace(' ', ""));
            }
        }
        Ok(imported)
    }

    /// Shows a few lookups.
    ///
    /// # Errors
    /// If one fails.
    pub async fn show_lookups(&self) -> Result<(), CliError> {
        for command in LOOKUPS {
            self.show(command).await?;
        }
        Ok(())
    }

    /// Shows the set.
    ///
    /// # Errors
    /// If no node answers.
    pub async fn show_set(&self) -> Result<(), CliError> {
        self.show("rs status").await
    }

    /// Shows that late data do not win.
    ///
    /// # Errors
    /// If the write fails.
    pub async fn show_late_write(&self) -> Result<(), CliError> {
        self.show(LATE).await
    }

    /// Shows a scan.
    ///
    /// # Errors
    /// If it fails.
    pub async fn show_scan(&self) -> Result<(), CliError> {
        self.show(SCAN).await
    }

    /// Looks all features of `entities` aircraft up, `count` times one after the other.
    ///
    /// # Errors
    /// If a lookup fails.
    pub async fn measure(
        &self,
        client: &Client,
        count: usize,
        entities: usize,
    ) -> Result<Lookups, CliError> {
        let view = client.view("aircraft_stats").await?;
        let keys = some_keys(client, &view.spec.name, entities).await?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = now_monotonic();
            client.get(lookup(&view, &keys)).await?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let percentile = |percent: usize| {
            times
                .get(times.len() * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        Ok(Lookups {
            count: u64::try_from(count + LOOKUPS.len()).unwrap_or(u64::MAX),
            median: percentile(50),
            p99: percentile(99),
        })
    }

    /// Rows of all imported views.
    ///
    /// # Errors
    /// If the node does not say.
    pub async fn rows(&self, client: &Client) -> Result<u64, CliError> {
        let views = client.list_views().await?;
        let imported = views
            .iter()
            .filter(|view| VIEWS.contains(&view.name.as_str()));
        Ok(imported.map(|view| view.rows).sum())
    }

    /// Writes by a command; says with which stamp.
    ///
    /// # Errors
    /// If it fails, or something that is stored is newer.
    pub async fn put(&self, command: &str) -> Result<Stamp, CliError> {
        print(&format!("   $ steadfast {command}"))?;
        let written = self.answer(&words(command)).await?;
        let stamp = written.get("stamp").and_then(Json::as_str);
        let stamp = stamp.and_then(|stamp| stamp.parse().ok());
        match (written.get("older").and_then(Json::as_u64), stamp) {
            (Some(0), Some(stamp)) => {
                print(&format!("     stamp {stamp}\n"))?;
                Ok(stamp)
            }
            _ => Err(failed(command, &written.to_string())),
        }
    }

    /// Does the rest on another set.
    pub fn turn_to(&mut self, set: &ProcessSet) {
        self.endpoints = set.endpoints().join(",");
    }

    /// Runs a command and lets its output through.
    ///
    /// # Errors
    /// If it fails.
    pub async fn show(&self, command: &str) -> Result<(), CliError> {
        print(&format!("   $ steadfast {command}"))?;
        let status = self.command(words(command)).status().await;
        match status {
            Ok(status) if status.success() => print(""),
            Ok(status) => Err(failed(command, &status.to_string())),
            Err(error) => Err(failed(command, &error.to_string())),
        }
    }

    /// Shows a command, without its output, and returns its JSON.
    ///
    /// # Errors
    /// If it fails.
    pub async fn told(&self, arguments: &[&OsStr]) -> Result<Json, CliError> {
        let command = arguments.join(OsStr::new(" "));
        print(&format!("   $ steadfast {}", command.display()))?;
        self.answer(arguments).await
    }

    /// Runs a command, lets its progress through and returns its JSON.
    async fn answer(&self, arguments: &[&OsStr]) -> Result<Json, CliError> {
        let name = arguments
            .join(OsStr::new(" "))
            .to_string_lossy()
            .into_owned();
        let mut command = self.command(arguments);
        command
            .args(["--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let output = command
            .spawn()
            .map_err(|error| failed(&name, &error.to_string()))?
            .wait_with_output();
        let output = output
            .await
            .map_err(|error| failed(&name, &error.to_string()))?;
        if !output.status.success() {
            return Err(failed(&name, &output.status.to_string()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(&name, &error.to_string()))
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let binary: &Path = &self.binary;
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env("STEADFAST_ENDPOINT", &self.endpoints)
            .kill_on_drop(true);
        command
    }
}

/// The arguments that a shell would make of a command without blanks inside them.
fn words(command: &str) -> Vec<&OsStr> {
    let words = command.split_whitespace();
    words.map(|word| word.trim_matches('\'').as_ref()).collect()
}

fn failed(command: &str, problem: &str) -> CliError {
    CliError::failed("STEP_FAILED", format!("steadfast {command}: {problem}"))
}

/// The keys of the first `count` rows of a view.
async fn some_keys(
    client: &Client,
    view: &str,
    count: usize,
) -> Result<Vec<Vec<KeyValue>>, CliError> {
    let request = v1::ScanFeaturesRequest {
        view: view.to_owned(),
        limit: u64::try_from(count).unwrap_or(u64::MAX),
        ..v1::ScanFeaturesRequest::default()
    };
    let mut pages = client.scan(request).await?;
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await? {
        keys.extend(unpack(page)?.0);
    }
    Ok(keys)
}
