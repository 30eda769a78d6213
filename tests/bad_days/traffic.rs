//! Clients that write and read, and what they were told.
//!
//! Most writes have a row of their own, so that each one that is lost is missed; the others meet in a few rows, where strong
//! reads must follow one another. Event times rise with the values, so that of a row the greatest value is the newest. Every
//! second client is a session.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use steadfast::base::clock::{SystemClock, now_monotonic, sleep, timeout};
use steadfast::base::{Clock as _, Micros, Stamp};
use steadfast::client::{Client, Error, Kind, value_to_wire};
use steadfast::model::{Value, limits};
use steadfast::proto::{items_to_proto, v1};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::history::{
    Action, Fact, Healed, History, Operation, ReadLevel, ReadOutcome, Version, WriteLevel,
    WriteOutcome, judge, judge_healed,
};
use crate::scans::scan_at;

pub const VIEW: &str = r#"
    name = "v"
    entity = [{ name = "id", type = "int64" }]
    feature = [{ name = "x", type = "int64" }]
"#;
/// Rows in which writes meet; those of their own lie above.
pub const SHARED: u64 = 5;
/// Whoever makes each call once gives it up after this.
const PATIENCE: Duration = Duration::from_millis(400);
/// Between two calls of a client.
const PAUSE: Duration = Duration::from_millis(2);
/// Far beyond what anything takes.
const LIMIT: Duration = Duration::from_secs(60);

/// How clients deal with failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Two for each node, which ask that one alone, once, and do not wait long.
    Once,
    /// Four, which follow the set and try again.
    Again,
}

/// A client, and what it has seen if it is a session.
struct Caller {
    client: Client,
    manner: Manner,
    session: Option<Session>,
}

struct Session {
    number: u64,
    token: String,
}

impl Caller {
    fn session(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.number)
    }

    fn token(&self) -> Option<String> {
        self.session.as_ref().map(|session| session.token.clone())
    }

    /// Goes on with what an answer gave the session.
    fn saw(&mut self, token: &str) {
        if let Some(session) = &mut self.session {
            token.clone_into(&mut session.token);
        }
    }
}

/// What clients were told so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// The latest epoch in which a write was acknowledged.
    pub epoch: u64,
    /// Writes acknowledged at quorum, and the copies of the last.
    pub at_quorum: u64,
    pub copies: u32,
    /// Writes acknowledged at async.
    pub at_async: u64,
    /// Writes without an answer.
    pub unknown: u64,
}

/// A load, and its history.
pub struct Traffic {
    endpoints: Vec<String>,
    begun: Instant,
    /// The event time of the value 0.
    start: Micros,
    last_value: AtomicU64,
    last_session: AtomicU64,
    history: Mutex<History>,
    /// Failed calls that changed nothing, with why.
    refused: Mutex<BTreeMap<String, u64>>,
    told: watch::Sender<Told>,
}

impl Traffic {
    pub fn new(endpoints: Vec<String>) -> Traffic {
        Traffic {
            endpoints,
            begun: now_monotonic(),
            start: SystemClock::new().wall(),
            last_value: AtomicU64::new(0),
            last_session: AtomicU64::new(0),
            history: Mutex::default(),
            refused: Mutex::default(),
            told: watch::Sender::default(),
        }
    }

    /// Has clients call as long as something happens.
    pub async fn beside<T>(&self, manner: Manner, happens: impl Future<Output = T>) -> T {
        let stop = CancellationToken::new();
        let endpoints = self.endpoints.len();
        let known = match manner {
            Manner::Once => (0..2 * endpoints)
                .map(|client| vec![self.endpoints[client % endpoints].clone()])
                .collect::<Vec<_>>(),
            Manner::Again => (0..4).map(|_| self.endpoints.clone()).collect(),
        };
        let clients = join_all(known.iter().enumerate().map(async |(number, known)| {
            let client = match manner {
                Manner::Once => Client::to(known).await,
                Manner::Again => Client::connect(&*known.join(",")).await,
            };
            let mut caller = Caller {
                client: client.unwrap(),
                manner,
                session: (number % 2 == 1).then(|| self.new_session()),
            };
            while !stop.is_cancelled() {
                self.call(&mut caller).await;
            }
        }));
        let happens = async {
            let done = happens.await;
            stop.cancel();
            done
        };
        // A test is of one thread, in which this goes on while the processes work.
        let (done, _) = futures::future::join(happens, clients).await;
        done
    }

    fn new_session(&self) -> Session {
        Session {
            number: self.last_session.fetch_add(1, Ordering::Relaxed),
            token: String::new(),
        }
    }

    async fn call(&self, caller: &mut Caller) {
        let written = self.write(caller).await;
        sleep(PAUSE).await;
        let row = rand::random_range(0..SHARED);
        for (row, level) in [
            (written, ReadLevel::Local),
            (row, ReadLevel::Primary),
            (row, ReadLevel::Quorum),
            (row, ReadLevel::Local),
        ] {
            self.read(caller, row, level).await;
            sleep(PAUSE).await;
        }
        if written.is_multiple_of(4) {
            self.scan(caller, ReadLevel::Quorum).await;
            sleep(PAUSE).await;
        }
    }

    /// Nanoseconds since it began, on the clock of the history.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap()
    }

    /// How a call went; `None` if it was given up.
    async fn patiently<T>(
        &self,
        manner: Manner,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Option<Result<T, Error>> {
        match manner {
            Manner::Once => timeout(PATIENCE, call).await.ok(),
            Manner::Again => Some(call.await),
        }
    }

    fn refuse(&self, error: &Error) {
        let mut refused = self.refused.lock().unwrap();
        *refused.entry(error.to_string()).or_default() += 1;
        drop(refused);
        // Who waits for it looks again.
        self.told.send_modify(|_| ());
    }

    /// Writes a row; returns which.
    async fn write(&self, caller: &mut Caller) -> u64 {
        let value = self.last_value.fetch_add(1, Ordering::Relaxed) + 1;
        let key = row_of(value);
        let (level, wanted) = match value % 2 {
            0 => (WriteLevel::Quorum, v1::CommitLevel::Quorum),
            _ => (WriteLevel::Async, v1::CommitLevel::Async),
        };
        let event_time = self.event_time(value);
        let request = v1::PutFeaturesRequest {
            session: caller.token(),
            ..put(key, value, event_time, wanted)
        };
        let invoked = self.now();
        let put = Box::pin(caller.client.put(request));
        let answered = self.patiently(caller.manner, put).await;
        let (outcome, responded) = match answered {
            Some(Ok(written)) => {
                caller.saw(&written.session);
                (self.acknowledged(value, level, &written), Some(self.now()))
            }
            Some(Err(error)) if error.kind != Kind::UnknownOutcome => {
                self.refuse(&error);
                (WriteOutcome::Refused, Some(self.now()))
            }
            Some(Err(_)) | None => {
                self.told.send_modify(|told| told.unknown += 1);
                (WriteOutcome::Unknown, None)
            }
        };
        self.note(Operation {
            key,
            session: caller.session(),
            invoked,
            responded,
            action: Action::Write {
                value,
                level,
                event_time: Some(event_time),
                outcome,
            },
        });
        key
    }

    fn acknowledged(
        &self,
        value: u64,
        level: WriteLevel,
        written: &v1::WriteResponse,
    ) -> WriteOutcome {
        let stamp: Stamp = written.stamp.parse().unwrap();
        self.told.send_modify(|told| {
            told.epoch = told.epoch.max(written.epoch);
            match level {
                WriteLevel::Async => told.at_async += 1,
                WriteLevel::Quorum | WriteLevel::All => {
                    told.at_quorum += 1;
                    told.copies = written.copies;
                }
            }
        });
        WriteOutcome::Acked {
            version: Version {
                event_time: Some(self.event_time(value)),
                hlc: stamp.hlc.0,
                epoch: stamp.epoch.0,
                seq: stamp.seq.0,
            },
            // Who is primary of an epoch has no better name.
            node: written.epoch,
        }
    }

    async fn read(&self, caller: &mut Caller, key: u64, level: ReadLevel) {
        let session = caller.session();
        let request = v1::GetFeaturesRequest {
            session: caller.token(),
            ..get(&[key], level)
        };
        let invoked = self.now();
        let get = Box::pin(caller.client.get(request));
        let Some(answered) = self.patiently(caller.manner, get).await else {
            return;
        };
        let outcome = match answered {
            Ok(answer) => {
                let info = answer.info.as_ref().unwrap();
                caller.saw(&info.session);
                let staleness = (level == ReadLevel::Local)
                    .then(|| info.staleness_ms.saturating_mul(1_000_000));
                ReadOutcome::Value {
                    value: values(answer)[0],
                    version: None,
                    staleness,
                }
            }
            Err(error) if error.reason == "UNRECOVERED" => {
                caller.session = Some(self.new_session());
                ReadOutcome::Unrecovered
            }
            Err(error) => {
                self.refuse(&error);
                ReadOutcome::Failed
            }
        };
        let responded = Some(self.now());
        self.note(Operation {
            key,
            session,
            invoked,
            responded,
            action: Action::Read { level, outcome },
        });
    }

    /// Scans the rows in which writes meet. They lie before all others, and what is said of each is a read of it.
    async fn scan(&self, caller: &Caller, level: ReadLevel) {
        let invoked = self.now();
        let scan = Box::pin(scan_at(&caller.client, level, SHARED));
        let scanned = match self.patiently(caller.manner, scan).await {
            Some(Ok(scanned)) => scanned,
            Some(Err(error)) => return self.refuse(&error),
            None => return,
        };
        let responded = Some(self.now());
        for key in 0..SHARED {
            let outcome = ReadOutcome::Value {
                value: scanned.get(&key).copied(),
                version: None,
                staleness: None,
            };
            self.note(Operation {
                key,
                session: None,
                invoked,
                responded,
                action: Action::Read { level, outcome },
            });
        }
    }

    fn event_time(&self, value: u64) -> i64 {
        self.start.0 + i64::try_from(value).unwrap()
    }

    fn note(&self, operation: Operation) {
        self.history.lock().unwrap().operations.push(operation);
    }

    /// What clients were told so far.
    pub fn told(&self) -> Told {
        *self.told.borrow()
    }

    /// Waits until so many more writes are acknowledged at quorum.
    pub async fn more(&self, count: u64) {
        let wanted = self.told().at_quorum + count;
        self.until("more at quorum", |told| told.at_quorum >= wanted)
            .await;
    }

    /// The same at async.
    pub async fn more_at_async(&self, count: u64) {
        let wanted = self.told().at_async + count;
        self.until("more at async", |told| told.at_async >= wanted)
            .await;
    }

    /// Waits until a write is acknowledged in a later epoch, and one at quorum after it.
    pub async fn after(&self, epoch: u64) {
        let what = format!("a write after epoch {epoch}");
        self.until(&what, |told| told.epoch > epoch).await;
        self.more(1).await;
    }

    /// Waits until a write or read is refused for this reason.
    pub async fn until_refused(&self, reason: &str) {
        let is_told = || {
            self.refusals()
                .keys()
                .any(|refusal| refusal.starts_with(reason))
        };
        // Whoever is refused writes again.
        self.until(reason, |_| is_told()).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn(Told) -> bool) {
        let mut seen = self.told.subscribe();
        let is_so = timeout(LIMIT, seen.wait_for(|told| is_so(*told))).await;
        let told = || format!("{:?}; refused were {:#?}", self.told(), self.refusals());
        is_so
            .unwrap_or_else(|_| panic!("never: {what}; told was {}", told()))
            .unwrap();
    }

    /// What was refused, and how often.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        self.refused.lock().unwrap().clone()
    }

    /// The primary of an epoch lost its disk: what it acknowledged at async until now may be gone.
    pub fn lose_disk(&self, epoch: u64) {
        let (node, time) = (epoch, self.now());
        let mut history = self.history.lock().unwrap();
        history.facts.push(Fact::DiskLost { node, time });
    }

    /// The rows written so far.
    pub fn keys(&self) -> Vec<u64> {
        let history = self.history.lock().unwrap();
        let keys: BTreeSet<u64> = history.operations.iter().map(|one| one.key).collect();
        keys.into_iter().collect()
    }

    /// Do rows hold what was written to them?
    pub fn is_true(&self, held: &BTreeMap<u64, u64>) {
        let last = self.last_value.load(Ordering::Relaxed);
        for (key, found) in held {
            let is_written = (1..=last).contains(found) && row_of(*found) == *key;
            assert!(is_written, "{key} holds {found}");
        }
    }

    /// The writes acknowledged at async since an instant of [`now`](Self::now), by epoch.
    pub fn acked_at_async_since(&self, since: u64) -> BTreeSet<u64> {
        let history = self.history.lock().unwrap();
        let epochs = history.operations.iter().filter_map(|operation| {
            let Action::Write {
                level: WriteLevel::Async,
                outcome: WriteOutcome::Acked { version, .. },
                ..
            } = operation.action
            else {
                return None;
            };
            (operation.responded? >= since).then_some(version.epoch)
        });
        epochs.collect()
    }

    /// Nothing failed, and no write is without an answer.
    pub fn nothing_failed(&self) {
        assert_eq!((self.refusals(), self.told().unknown), ([].into(), 0));
    }

    /// Holds what clients were told to the rules, and the rows that each member holds in the end to it.
    pub fn judge(&self, held: &[BTreeMap<u64, u64>]) {
        let mut history = self.history.lock().unwrap().clone();
        let versions = versions(&history);
        one_record_for_each_place(&history);
        for operation in &mut history.operations {
            if let Action::Read {
                outcome: ReadOutcome::Value { value, version, .. },
                ..
            } = &mut operation.action
            {
                *version = value.map(|value| versions[&value]);
            }
        }
        judge(&history).unwrap_or_else(|fault| panic!("{fault}"));
        let mut healed = Healed::new();
        for (member, held) in (1..).zip(held) {
            not_refused(&history, held);
            let held = held.iter().map(|(key, value)| (*key, versions[value]));
            healed.insert(member, held.collect());
        }
        judge_healed(&history, &healed).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

/// The row that a value is written to.
fn row_of(value: u64) -> u64 {
    match value % 3 {
        0 => value / 3 % SHARED,
        _ => SHARED + value,
    }
}

/// The version of each value. That of a write without an answer is told by nobody; it is as its event time says.
fn versions(history: &History) -> HashMap<u64, Version> {
    let version = |operation: &Operation| match operation.action {
        Action::Write {
            outcome: WriteOutcome::Acked { version, .. },
            value,
            ..
        } => Some((value, version)),
        Action::Write {
            value, event_time, ..
        } => {
            let version = Version {
                event_time,
                hlc: 0,
                epoch: 0,
                seq: value,
            };
            Some((value, version))
        }
        Action::Read { .. } => None,
    };
    history.operations.iter().filter_map(version).collect()
}

/// Two primaries in one epoch would give two writes one place.
fn one_record_for_each_place(history: &History) {
    let mut places = BTreeMap::new();
    for operation in &history.operations {
        if let Action::Write {
            outcome: WriteOutcome::Acked { version, .. },
            ..
        } = operation.action
        {
            let other = places.insert((version.epoch, version.seq), operation);
            assert!(other.is_none(), "one place for {other:?} and {operation}");
        }
    }
}

/// What was called failed has not been done.
fn not_refused(history: &History, held: &BTreeMap<u64, u64>) {
    let values: BTreeSet<u64> = held.values().copied().collect();
    for operation in &history.operations {
        if let Action::Write {
            value,
            outcome: WriteOutcome::Refused,
            ..
        } = operation.action
        {
            assert!(!values.contains(&value), "it was refused: {operation}");
        }
    }
}

/// The rows that a member has of these.
pub async fn held(member: &Client, keys: &[u64]) -> Result<BTreeMap<u64, u64>, Error> {
    read_at(member, keys, ReadLevel::Local).await
}

/// The rows of these that a member reads at a level.
pub async fn read_at(
    member: &Client,
    keys: &[u64],
    level: ReadLevel,
) -> Result<BTreeMap<u64, u64>, Error> {
    let mut held = BTreeMap::new();
    for keys in keys.chunks(limits::LOOKUP_ENTITIES) {
        let answer = member.get(get(keys, level)).await?;
        let found = keys.iter().zip(values(answer));
        held.extend(found.filter_map(|(key, value)| Some((*key, value?))));
    }
    Ok(held)
}

fn int64(value: u64) -> v1::Value {
    value_to_wire(Some(Value::Int64(value.cast_signed())))
}

/// A write of one row.
pub fn put(
    key: u64,
    value: u64,
    event_time: i64,
    level: v1::CommitLevel,
) -> v1::PutFeaturesRequest {
    let row = v1::Row {
        key: vec![int64(key)],
        values: vec![int64(value)],
        event_time_us: Some(event_time),
    };
    v1::PutFeaturesRequest {
        writes: vec![v1::ViewRows {
            view: "v".to_owned(),
            features: vec!["x".to_owned()],
            rows: vec![row],
        }],
        level: level.into(),
        ..v1::PutFeaturesRequest::default()
    }
}

/// A lookup of rows at a level.
pub fn get(keys: &[u64], level: ReadLevel) -> v1::GetFeaturesRequest {
    let keys = keys.iter().map(|key| key.cast_signed()).collect();
    v1::GetFeaturesRequest {
        entities: vec![v1::KeyColumn {
            join_key: "id".to_owned(),
            values: Some(items_to_proto(steadfast::model::Items::Int64(keys))),
        }],
        views: vec![v1::ViewSelection {
            view: "v".to_owned(),
            features: Vec::new(),
        }],
        level: level_to_wire(level).into(),
        ..v1::GetFeaturesRequest::default()
    }
}

pub fn level_to_wire(level: ReadLevel) -> v1::ReadLevel {
    match level {
        ReadLevel::Primary => v1::ReadLevel::Primary,
        ReadLevel::Quorum => v1::ReadLevel::Quorum,
        ReadLevel::Local | ReadLevel::Bounded(_) => v1::ReadLevel::Local,
    }
}

/// The values that were looked up, in the order of the keys.
pub fn values(answer: v1::GetFeaturesResponse) -> Vec<Option<u64>> {
    let column = &answer.views[0].columns[0];
    let Some(v1::items::Kind::Int64s(items)) =
        column.values.as_ref().and_then(|items| items.kind.as_ref())
    else {
        panic!("x is an int64: {column:?}");
    };
    let is_present = |status: &u8| i32::from(*status) == i32::from(v1::ValueStatus::Present);
    let found = items.items.iter().zip(&column.statuses);
    found
        .map(|(value, status)| is_present(status).then(|| value.cast_unsigned()))
        .collect()
}
