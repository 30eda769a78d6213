//! A write load that is cut short, and the proof that nothing acknowledged was lost.

use futures::future::join_all;

use super::super::error::CliError;
use super::super::get::columns;
use super::ledger::{Fault, LATEST, Ledger};
use crate::base::{Clock, clock::SystemClock};
use crate::client::{Client, Error, Kind, key_columns, value_to_wire};
use crate::model::{JoinKey, KeyValue, Value, View, limits};
use crate::proto::v1;

/// The view that the load writes to.
pub const VIEW: &str = "demo_ledger";
/// Its definition.
pub const VIEW_FILE: &str = r#"
name = "demo_ledger"
entity = [{ name = "writer", type = "int32" }, { name = "entry", type = "int64" }]
[[feature]]
name = "number"
type = "int64"
"#;

/// What a load was told, writer by writer.
#[derive(Debug, Default)]
pub struct Load {
    ledgers: Vec<Ledger>,
}

/// What a node that came back has of a load.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Lookups it took to find out.
    pub lookups: u64,
    /// Entries at fault.
    pub lost: u64,
    /// The first of them, for people.
    pub example: Option<String>,
}

impl Load {
    /// Writes on `writers` connections of their own, each as fast as answers come, until the node is gone.
    ///
    /// # Errors
    /// If a connection cannot be made, or the node refuses a write.
    pub async fn run(endpoint: &str, writers: i32) -> Result<Load, CliError> {
        let writers = (0..writers).map(|writer| write_until_cut_off(endpoint, writer));
        let ledgers = join_all(writers)
            .await
            .into_iter()
            .collect::<Result<_, _>>()?;
        Ok(Load { ledgers })
    }

    /// Writes that were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let counts = self.ledgers.iter().map(|ledger| ledger.acknowledged);
        u64::try_from(counts.sum::<i64>()).unwrap_or(0)
    }

    /// Writes that were sent and not answered.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        let unanswered = self.ledgers.iter().filter(|ledger| ledger.one_unanswered);
        u64::try_from(unanswered.count()).unwrap_or(0)
    }

    /// Looks every write up.
    ///
    /// # Errors
    /// If a lookup fails.
    pub async fn verify(&self, client: &Client) -> Result<Verdict, CliError> {
        let view = client.view(VIEW).await?;
        let mut verdict = Verdict::default();
        for (writer, ledger) in (0..).zip(&self.ledgers) {
            let keys: Vec<_> = ledger
                .entries()
                .map(|entry| vec![KeyValue::Int32(writer), KeyValue::Int64(entry)])
                .collect();
            let mut found = Vec::with_capacity(keys.len());
            for keys in keys.chunks(limits::LOOKUP_ENTITIES) {
                let answer = client.get(lookup(&view, &[], keys)).await?;
                let columns = columns(answer.views)?;
                found.extend(
                    columns
                        .into_iter()
                        .flat_map(|column| column.cells().to_vec()),
                );
                verdict.lookups += 1;
            }
            verdict.add(writer, &ledger.judge(&found));
        }
        Ok(verdict)
    }
}

impl Verdict {
    fn add(&mut self, writer: i32, faults: &[Fault]) {
        self.lost += u64::try_from(faults.len()).unwrap_or(u64::MAX);
        if let Some(fault) = faults.first() {
            let example = || format!("writer {writer}, entry {}: {}", fault.entry, fault.problem);
            self.example.get_or_insert_with(example);
        }
    }
}

/// A lookup in one view with event times, of all features if none is named.
#[must_use]
pub fn lookup(view: &View, features: &[&str], keys: &[Vec<KeyValue>]) -> v1::GetFeaturesRequest {
    let entity: &[JoinKey] = &view.spec.entity;
    v1::GetFeaturesRequest {
        entities: key_columns(entity, keys),
        views: vec![v1::ViewSelection {
            view: view.spec.name.clone(),
            features: features.iter().map(|name| (*name).to_owned()).collect(),
        }],
        include_event_times: true,
        ..v1::GetFeaturesRequest::default()
    }
}

async fn write_until_cut_off(endpoint: &str, writer: i32) -> Result<Ledger, Error> {
    let client = Client::connect(&[endpoint]).await?;
    let mut ledger = Ledger {
        start: SystemClock::new().wall(),
        acknowledged: 0,
        one_unanswered: false,
    };
    loop {
        match client
            .put(write(writer, &ledger, ledger.acknowledged + 1))
            .await
        {
            Ok(_) => ledger.acknowledged += 1,
            Err(error) => {
                ledger.one_unanswered = error.kind == Kind::UnknownOutcome;
                return match error.kind {
                    Kind::UnknownOutcome | Kind::Unavailable => Ok(ledger),
                    Kind::InvalidInput | Kind::Other => Err(error),
                };
            }
        }
    }
}

fn write(writer: i32, ledger: &Ledger, number: i64) -> v1::PutFeaturesRequest {
    let row = |entry| v1::Row {
        key: vec![
            value_to_wire(Some(Value::Int32(writer))),
            value_to_wire(Some(Value::Int64(entry))),
        ],
        values: vec![value_to_wire(Some(Value::Int64(number)))],
        event_time_us: Some(ledger.event_time(number).0),
    };
    v1::PutFeaturesRequest {
        writes: vec![v1::ViewRows {
            view: VIEW.to_owned(),
            features: vec!["number".to_owned()],
            rows: vec![row(number), row(LATEST)],
        }],
        ..v1::PutFeaturesRequest::default()
    }
}
