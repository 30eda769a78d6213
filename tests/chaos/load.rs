//! Clients in a closed loop: half of the writers at quorum, half at async, readers at every level. Some know all members,
//! and repeat elsewhere what one does not answer; some know one, and repeat nothing. Half of either kind are sessions; writers that are
//! one read, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use steadfast::base::clock::{SystemClock, now_monotonic, sleep, timeout};
use steadfast::base::{Clock as _, CommitLevel, Micros, ReadLevel};
use steadfast::client::{
    Cell, Client, Column, Error, Kind, commit_level_to_wire, read_level_to_wire, value_to_wire,
};
use steadfast::model::resolve::Status;
use steadfast::model::{Items, Value};
use steadfast::proto::{items_to_proto, v1};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::recorded::{Answered, Call, Found, Recorded, Told, Write};

/// Keys of a round; those of every second belong to the view by event time.
pub const KEYS: u64 = 32;
/// Clients of each kind.
const WRITERS: usize = 6;
const READERS: usize = 6;
/// Of so many calls of a writer that is a session one is a read.
const READS_ONE_IN: u32 = 3;
/// A client waits so many milliseconds for an answer at the most, not always as long.
const PATIENCE_MS: std::ops::Range<u64> = 300..4_000;
/// Between two calls of a client.
const PAUSE_MS: std::ops::Range<u64> = 0..40;
/// A member is reached within this time, or not now.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// How far event times lie from the time of the write.
const EVENT_TIMES: i64 = 1_000_000;
/// By event time, and in the order of arrival.
const VIEWS: [&str; 2] = ["timed", "arrival"];

/// What all clients of a run share.
pub struct Shared {
    /// Names the run's writes.
    pub run: u64,
    pub begun: Instant,
    next_value: AtomicU64,
    next_session: AtomicU64,
}

impl Shared {
    pub fn new(run: u64) -> Shared {
        Shared {
            run,
            begun: now_monotonic(),
            next_value: AtomicU64::new(1),
            next_session: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("a run is no century")
    }

    pub fn next_value(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    /// A session that has seen nothing.
    fn new_session(&self) -> Session {
        Session {
            number: self.next_session.fetch_add(1, Ordering::Relaxed),
            token: String::new(),
        }
    }

    /// A write as it is sent, and sent again.
    pub fn put(&self, key: u64, write: Write) -> v1::PutFeaturesRequest {
        let integer = |value: u64| value_to_wire(Some(Value::Int64(integer(value))));
        let row = v1::Row {
            key: vec![integer(key)],
            values: vec![integer(write.value)],
            event_time_us: write.event_time,
        };
        v1::PutFeaturesRequest {
            writes: vec![v1::ViewRows {
                view: view(key).to_owned(),
                features: vec!["value".to_owned()],
                rows: vec![row],
            }],
            level: commit_level_to_wire(Some(write.level)).into(),
            request_id: format!("{:x}-{}", self.run, write.value),
            ..v1::PutFeaturesRequest::default()
        }
    }
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).expect("values are small")
}

/// The view that a key belongs to.
fn view(key: u64) -> &'static str {
    VIEWS[usize::from(!is_timed(key))]
}

fn is_timed(key: u64) -> bool {
    key.is_multiple_of(2)
}

/// Creates the views.
pub async fn define(client: &Client) -> Result<(), Error> {
    for (name, order) in VIEWS.into_iter().zip(["event_time", "arrival"]) {
        let definition = format!(
            r#"
            name = "{name}"
            order = "{order}"
            entity = [{{ name = "id", type = "int64" }}]
            feature = [{{ name = "value", type = "int64" }}]
            "#
        );
        client.create_view(definition).await?;
    }
    Ok(())
}

/// A lookup of keys of one view.
fn lookup(keys: &[u64], level: ReadLevel) -> v1::GetFeaturesRequest {
    let items = Items::Int64(keys.iter().map(|key| integer(*key)).collect());
    let (level, max_staleness_ms) = read_level_to_wire(Some(level));
    v1::GetFeaturesRequest {
        entities: vec![v1::KeyColumn {
            join_key: "id".to_owned(),
            values: Some(items_to_proto(items)),
        }],
        views: vec![v1::ViewSelection {
            view: view(keys[0]).to_owned(),
            features: Vec::new(),
        }],
        level: level.into(),
        max_staleness_ms,
        include_event_times: true,
        ..v1::GetFeaturesRequest::default()
    }
}

/// What a key holds: a value, and its event time where that orders versions.
type Held = Option<(u64, Option<i64>)>;

/// What keys of one view hold, and who says so.
pub async fn look_up(
    client: &Client,
    keys: &[u64],
    level: ReadLevel,
) -> Result<(Vec<Held>, Answered), Error> {
    let (held, info) = answered(client, keys, lookup(keys, level)).await?;
    Ok((held, who(&info)))
}

fn who(info: &v1::AnswerInfo) -> Answered {
    Answered {
        node: info.node.clone(),
        staleness_ms: info.staleness_ms,
    }
}

async fn answered(
    client: &Client,
    keys: &[u64],
    lookup: v1::GetFeaturesRequest,
) -> Result<(Vec<Held>, v1::AnswerInfo), Error> {
    let answer = client.get(lookup).await?;
    let mut columns = answer.views.into_iter().flat_map(|view| view.columns);
    let column = columns
        .next()
        .ok_or_else(|| Error::bad_answer("no column"))?;
    let column = Column::from_wire(column).map_err(Error::bad_answer)?;
    let held = |(key, cell): (&u64, &Cell)| match (cell.status, &cell.value) {
        (Status::Present, Value::Int64(value)) => {
            let value = u64::try_from(*value).expect("values are from 1");
            let event_time = cell.event_time.map(|Micros(micros)| micros);
            Some((value, event_time.filter(|_| is_timed(*key))))
        }
        (Status::NotFound, _) => None,
        other => panic!("nobody wrote what key {key} holds: {other:?}"),
    };
    let held = keys.iter().zip(column.cells()).map(held).collect();
    Ok((held, answer.info.unwrap_or_default()))
}

/// The clients of a round.
pub struct Load {
    stop: CancellationToken,
    clients: JoinSet<Vec<Recorded>>,
}

impl Load {
    /// Starts the clients; they use the keys of the round.
    pub fn start(shared: &Arc<Shared>, endpoints: &[String], round: u64, seed: u64) -> Load {
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..WRITERS + READERS {
            let seed = seed ^ (round << 32) ^ (number as u64) << 48;
            let mut random = StdRng::seed_from_u64(seed);
            let mut endpoints = endpoints.to_vec();
            endpoints.shuffle(&mut random);
            if number % 2 == 1 {
                endpoints.truncate(1);
            }
            let kind = if number < WRITERS { "writer" } else { "reader" };
            let caller = Caller {
                name: format!("{kind} {number} of {}", endpoints.join(" ")),
                is_writer: number < WRITERS,
                keys: round * KEYS..(round + 1) * KEYS,
                session: (number % 4 < 2).then(|| shared.new_session()),
                shared: Arc::clone(shared),
                endpoints,
                random,
            };
            clients.spawn(caller.run(stop.clone()));
        }
        Load { stop, clients }
    }

    /// What all have done, once each has its last answer.
    pub async fn stop(mut self) -> Vec<Recorded> {
        self.stop.cancel();
        let mut recorded = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            recorded.extend(client.expect("clients do not panic"));
        }
        recorded
    }
}

/// What a client has seen, if it holds the nodes to that.
struct Session {
    number: u64,
    token: String,
}

struct Caller {
    session: Option<Session>,
    name: String,
    is_writer: bool,
    keys: std::ops::Range<u64>,
    shared: Arc<Shared>,
    endpoints: Vec<String>,
    random: StdRng,
}

impl Caller {
    async fn run(mut self, stop: CancellationToken) -> Vec<Recorded> {
        let mut recorded = Vec::new();
        let mut connected = None;
        while !stop.is_cancelled() {
            match &connected {
                Some(client) => {
                    let call = self.call(client).await;
                    recorded.push(call);
                }
                None => {
                    let client = timeout(CONNECT_LIMIT, Client::to(&self.endpoints)).await;
                    connected = client.ok().and_then(Result::ok);
                }
            }
            let pause = self.random.random_range(PAUSE_MS);
            sleep(Duration::from_millis(pause)).await;
        }
        recorded
    }

    async fn call(&mut self, client: &Client) -> Recorded {
        let key = self.random.random_range(self.keys.clone());
        let patience = Duration::from_millis(self.random.random_range(PATIENCE_MS));
        let session = self.session.as_ref().map(|session| session.number);
        let reads = self.session.is_some() && self.random.random_ratio(1, READS_ONE_IN);
        let invoked;
        let call = if self.is_writer && !reads {
            let write = self.next_write(key);
            invoked = self.shared.now();
            Call::Write(write, self.write(client, key, write, patience).await)
        } else {
            let level = self.next_level();
            invoked = self.shared.now();
            Call::Read(level, self.read(client, key, level, patience).await)
        };
        Recorded {
            client: self.name.clone(),
            session,
            key,
            invoked,
            ended: self.shared.now(),
            call,
        }
    }

    fn next_write(&mut self, key: u64) -> Write {
        let Micros(now) = SystemClock::new().wall();
        let event_time = now + self.random.random_range(-EVENT_TIMES..EVENT_TIMES);
        Write {
            value: self.shared.next_value(),
            level: if self.random.random() {
                CommitLevel::Quorum
            } else {
                CommitLevel::Async
            },
            event_time: is_timed(key).then_some(event_time),
            is_sent_once: self.endpoints.len() == 1,
        }
    }

    fn next_level(&mut self) -> ReadLevel {
        match self.random.random_range(0..10) {
            0..4 => ReadLevel::Local,
            4..6 => ReadLevel::Bounded(Duration::from_millis(self.random.random_range(50..2_000))),
            6..8 => ReadLevel::Quorum,
            _ => ReadLevel::Primary,
        }
    }

    fn token(&self) -> Option<String> {
        self.session.as_ref().map(|session| session.token.clone())
    }

    /// The session goes on with what an answer gave it.
    fn saw(&mut self, token: String) {
        if let Some(session) = &mut self.session {
            session.token = token;
        }
    }

    async fn write(&mut self, client: &Client, key: u64, write: Write, patience: Duration) -> Told {
        let put = v1::PutFeaturesRequest {
            session: self.token(),
            ..self.shared.put(key, write)
        };
        match timeout(patience, client.put(put)).await {
            Ok(Ok(written)) => {
                let told = acknowledged(write.level, &written);
                self.saw(written.session);
                told
            }
            Ok(Err(error)) => match error.kind {
                Kind::UnknownOutcome => Told::Unknown(error.to_string()),
                Kind::Unavailable | Kind::Refused | Kind::Other => Told::Refused(error.to_string()),
                // It is in order.
                Kind::InvalidInput => Told::Wrong(error.to_string()),
            },
            Err(_) => Told::Unknown("the client waits no longer".to_owned()),
        }
    }

    async fn read(
        &mut self,
        client: &Client,
        key: u64,
        level: ReadLevel,
        patience: Duration,
    ) -> Found {
        let lookup = v1::GetFeaturesRequest {
            session: self.token(),
            ..lookup(&[key], level)
        };
        match timeout(patience, answered(client, &[key], lookup)).await {
            Ok(Ok((held, info))) => {
                let answered = who(&info);
                self.saw(info.session);
                match held[0] {
                    Some((value, event_time)) => Found::Value {
                        value,
                        event_time,
                        answered,
                    },
                    None => Found::Nothing(answered),
                }
            }
            Ok(Err(error)) if error.reason == "UNRECOVERED" => {
                self.session = Some(self.shared.new_session());
                Found::Unrecovered
            }
            Ok(Err(error)) => Found::Failed(error.to_string()),
            Err(_) => Found::Failed("the client waits no longer".to_owned()),
        }
    }
}

/// An acknowledgement must say at least what was asked for.
pub fn acknowledged(level: CommitLevel, written: &v1::WriteResponse) -> Told {
    let (reached, copies) = match level {
        CommitLevel::Async => (v1::CommitLevel::Async, 1),
        CommitLevel::Quorum | CommitLevel::All => (v1::CommitLevel::Quorum, 2),
    };
    match written.stamp.parse() {
        Ok(stamp) if written.level() >= reached && written.copies >= copies => Told::Acked(stamp),
        Ok(_) | Err(_) => Told::Wrong(format!("{written:?}")),
    }
}
