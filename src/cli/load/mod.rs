//! A write load, and the proof that nothing acknowledged was lost.
//!
//! Each writer numbers its writes and sends the next one once the last is acknowledged, see [`ledger`].

mod insist;
mod ledger;
mod seen;

use std::ops::Range;

use futures::future::{try_join, try_join_all};
use tokio_util::sync::CancellationToken;

pub use self::insist::Insistent;
use self::ledger::{Fault, LATEST, Ledger};
pub use self::seen::Seen;
use super::error::CliError;
use super::get::columns;
use crate::base::{Clock, CommitLevel, ReadLevel, clock::SystemClock};
use crate::client::{
    Client, Error, commit_level_to_wire, key_columns, read_level_to_wire, value_to_wire,
};
use crate::model::{JoinKey, KeyValue, Value, View, limits};
use crate::proto::v1;

/// The view that the load writes to.
const VIEW: &str = "ledger";
/// Its definition.
pub const VIEW_FILE: &str = r#"
name = "ledger"
entity = [{ name = "writer", type = "int32" }, { name = "entry", type = "int64" }]
[[feature]]
name = "number"
type = "int64"
"#;

/// What a load was told, writer by writer.
#[derive(Debug)]
pub struct Load {
    ledgers: Vec<(i32, Ledger)>,
}

/// What a set has of a load.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Lookups it took to find out.
    pub lookups: u64,
    /// Entries at fault.
    pub lost: u64,
    /// The first of them, for people.
    pub example: Option<String>,
}

impl Load {
    /// Writes at quorum, as is shown to `seen`, and beside that at async, until it is told to stop.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_both(
        endpoints: &[String],
        at_quorum: i32,
        at_async: i32,
        stop: &CancellationToken,
        seen: &Seen,
    ) -> Result<(Load, Load), CliError> {
        let note = |written: &v1::WriteResponse| seen.note(written.epoch);
        let all = at_quorum + at_async;
        let strong = Load::run(endpoints, 0..at_quorum, CommitLevel::Quorum, stop, note);
        let weak = Load::run(endpoints, at_quorum..all, CommitLevel::Async, stop, |_| {});
        try_join(strong, weak).await
    }

    /// Writes as these writers, each on a connection of its own to every endpoint and as fast as answers come, until it is
    /// told to stop. Every acknowledgement is shown to `see`.
    ///
    /// # Errors
    /// If a member cannot be reached at first or refuses a write, or none acknowledges one.
    pub async fn run(
        endpoints: &[String],
        writers: Range<i32>,
        level: CommitLevel,
        stop: &CancellationToken,
        see: impl Fn(&v1::WriteResponse),
    ) -> Result<Load, CliError> {
        let start = SystemClock::new().wall();
        let run = async |number| {
            let mut writer = Writer {
                number,
                level,
                members: Insistent::connect(endpoints).await?,
                ledger: Ledger {
                    start,
                    acknowledged: 0,
                },
            };
            while !stop.is_cancelled() {
                see(&writer.write().await?);
            }
            Ok::<_, Error>((number, writer.ledger))
        };
        let ledgers = try_join_all(writers.map(run)).await?;
        Ok(Load { ledgers })
    }

    /// Writes that were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let counts = self.ledgers.iter().map(|(_, ledger)| ledger.acknowledged);
        u64::try_from(counts.sum::<i64>()).unwrap_or(0)
    }

    /// Looks every write up at the primary.
    ///
    /// # Errors
    /// If a lookup fails.
    pub async fn verify(&self, primary: &Client) -> Result<Verdict, CliError> {
        let view = primary.view(VIEW).await?;
        let mut verdict = Verdict::default();
        for (writer, ledger) in &self.ledgers {
            let entries = ledger.entries();
            let keys: Vec<_> = entries
                .map(|entry| vec![KeyValue::Int32(*writer), KeyValue::Int64(entry)])
                .collect();
            let mut found = Vec::with_capacity(keys.len());
            for keys in keys.chunks(limits::LOOKUP_ENTITIES) {
                let answer = primary.get(at_primary(lookup(&view, keys))).await?;
                let columns = columns(answer.views)?;
                found.extend(columns.iter().flat_map(|column| column.cells().to_vec()));
                verdict.lookups += 1;
            }
            verdict.add(*writer, &ledger.judge(&found));
        }
        Ok(verdict)
    }
}

impl Verdict {
    /// What is found of another load, too.
    pub fn join(&mut self, other: Verdict) {
        self.lookups += other.lookups;
        self.lost += other.lost;
        self.example = self.example.take().or(other.example);
    }

    fn add(&mut self, writer: i32, faults: &[Fault]) {
        self.lost += u64::try_from(faults.len()).unwrap_or(u64::MAX);
        if let Some(fault) = faults.first() {
            let example = || format!("writer {writer}, entry {}: {}", fault.entry, fault.problem);
            self.example.get_or_insert_with(example);
        }
    }
}

/// A lookup of all features in one view, with event times.
#[must_use]
pub fn lookup(view: &View, keys: &[Vec<KeyValue>]) -> v1::GetFeaturesRequest {
    let entity: &[JoinKey] = &view.spec.entity;
    v1::GetFeaturesRequest {
        entities: key_columns(entity, keys),
        views: vec![v1::ViewSelection {
            view: view.spec.name.clone(),
            features: Vec::new(),
        }],
        include_event_times: true,
        ..v1::GetFeaturesRequest::default()
    }
}

fn at_primary(mut request: v1::GetFeaturesRequest) -> v1::GetFeaturesRequest {
    let (level, _) = read_level_to_wire(Some(ReadLevel::Primary));
    request.level = level.into();
    request
}

/// Reads the latest entry of the first writer at whoever is primary.
///
/// # Errors
/// If nobody is for too long.
pub async fn read_at_primary(members: &mut Insistent) -> Result<(), CliError> {
    let view = members
        .insist(async |member| member.view(VIEW).await)
        .await?;
    let key = vec![KeyValue::Int32(0), KeyValue::Int64(LATEST)];
    let request = at_primary(lookup(&view, &[key]));
    members
        .insist(async |member| member.get(request.clone()).await)
        .await?;
    Ok(())
}

struct Writer {
    number: i32,
    level: CommitLevel,
    members: Insistent,
    ledger: Ledger,
}

impl Writer {
    async fn write(&mut self) -> Result<v1::WriteResponse, Error> {
        let request = self.request(self.ledger.acknowledged + 1);
        let written = self
            .members
            .insist(async |member| member.put(request.clone()).await)
            .await?;
        self.ledger.acknowledged += 1;
        Ok(written)
    }

    fn request(&self, number: i64) -> v1::PutFeaturesRequest {
        let row = |entry| v1::Row {
            key: vec![
                value_to_wire(Some(Value::Int32(self.number))),
                value_to_wire(Some(Value::Int64(entry))),
            ],
            values: vec![value_to_wire(Some(Value::Int64(number)))],
            event_time_us: Some(self.ledger.event_time(number).0),
        };
        v1::PutFeaturesRequest {
            writes: vec![v1::ViewRows {
                view: VIEW.to_owned(),
                features: vec!["number".to_owned()],
                rows: vec![row(number), row(LATEST)],
            }],
            level: commit_level_to_wire(Some(self.level)).into(),
            request_id: format!("{}-{}-{number}", self.ledger.start.0, self.number),
            ..v1::PutFeaturesRequest::default()
        }
    }
}
