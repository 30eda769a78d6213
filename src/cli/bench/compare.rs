//! `steadfast bench compare`: the node and what bounds it, one after the other on the same machine with the same
//! generator.
//!
//! The node and the empty server are child processes of this program, as is Redis; bare RocksDB runs in threads here.

use std::ops::Range;
use std::path::PathBuf;

use super::super::child::{self, Home, Node, Scratch};
use super::super::error::CliError;
use super::bare::Bare;
use super::case::Case;
use super::closed_loop::drive;
use super::empty::EmptyServer;
use super::generator::Span;
use super::grpc::{Call, Connection};
use super::load::load;
use super::redis::{Read, Redis};
use super::workload::{Keys, Requests, Shape};
use crate::client::Client;

/// The lookups that are compared: their names, entities of a request, which of them, and the share of all that is
/// asked for at all, as a divisor. A tenth fits in the row cache: the lookups of it are the hot ones.
const LOOKUPS: [(&str, usize, Keys, u64); 4] = [
    ("lookup_1x10", 1, Keys::Zipf, HOT),
    ("lookup_100x10", 100, Keys::Zipf, HOT),
    ("lookup_100x10_zipf", 100, Keys::Zipf, ALL),
    ("lookup_100x10_uniform", 100, Keys::Uniform, ALL),
];
const HOT: u64 = 10;
const ALL: u64 = 1;
const FEATURES: usize = 10;
const INGEST_BATCH: usize = 100;
/// How long the load lasts under which lookups are measured: until it is killed.
const FOR_EVER: &str = "100000";

/// Everything that takes part.
pub struct Comparison {
    binary: PathBuf,
    node: Node,
    redis: Option<Redis>,
    shape: Shape,
    connections: u64,
    span: Span,
    /// Dropped last, when nobody uses it any more.
    scratch: Scratch,
}

impl Comparison {
    /// Starts node and Redis, and loads both.
    ///
    /// # Errors
    /// If one of them fails.
    pub async fn prepare(
        entities: u64,
        connections: u64,
        span: Span,
    ) -> Result<Comparison, CliError> {
        let binary = child::this_program()?;
        let shape = Shape {
            entities,
            views: 1,
            views_asked: None,
            features: FEATURES,
            batch: INGEST_BATCH,
            keys: Keys::Uniform,
        };
        let scratch = Scratch::new("bench")?;
        let home = Home::new(scratch.path().join("node"))?;
        let node = Node::start(&binary, &home, None).await?;
        let client = Client::to(&[&home.client]).await?;
        load(&client, shape).await?;
        let redis = Redis::start(scratch.path()).await?;
        if let Some(redis) = &redis {
            redis.load(Requests::new(shape, 0)).await?;
        }
        Ok(Comparison {
            binary,
            node,
            redis,
            shape,
            connections,
            span,
            scratch,
        })
    }

    /// Measures all cases, and hands each to `report` when it is done.
    ///
    /// # Errors
    /// If a call fails, or `report` does.
    pub async fn run(
        &self,
        mut report: impl FnMut(&Case) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        for (name, batch, keys, share) in LOOKUPS {
            report(
                &self
                    .lookups(name, self.shape_of(batch, keys, share))
                    .await?,
            )?;
        }
        report(&self.ingest().await?)?;
        report(&self.lookup_under_ingest().await?)
    }

    async fn lookups(&self, name: &'static str, shape: Shape) -> Result<Case, CliError> {
        let node = std::slice::from_ref(&self.node.home.client);
        let mut sample = Connection::open(node, Call::Lookup, Requests::new(shape, 0)).await?;
        let answer_bytes = sample.answer().await?.len();
        let ours = drive(
            connect(node, Call::Lookup, shape, self.seeds()).await?,
            self.span,
        )
        .await?;
        Ok(Case {
            name,
            unit: "requests/s",
            ours: ours.rate(),
            others: vec![
                (
                    "empty_server",
                    "ratio_empty",
                    Some(self.empty_server(shape, answer_bytes).await?),
                ),
                ("redis", "ratio_redis", self.redis_lookups(shape).await?),
            ],
        })
    }

    async fn empty_server(&self, shape: Shape, answer_bytes: usize) -> Result<f64, CliError> {
        let server = EmptyServer::start(&self.binary, self.scratch.path(), answer_bytes).await?;
        let endpoint = std::slice::from_ref(&server.address);
        let callers = connect(endpoint, Call::Lookup, shape, self.seeds()).await?;
        Ok(drive(callers, self.span).await?.rate())
    }

    async fn redis_lookups(&self, shape: Shape) -> Result<Option<f64>, CliError> {
        let Some(redis) = &self.redis else {
            return Ok(None);
        };
        let callers = redis.callers(Read::Hmget, shape, self.seeds()).await?;
        Ok(Some(drive(callers, self.span).await?.rate()))
    }

    async fn ingest(&self) -> Result<Case, CliError> {
        let shape = self.shape_of(INGEST_BATCH, Keys::Uniform, ALL);
        let rows = |rate: f64| rate * INGEST_BATCH as f64;
        let node = std::slice::from_ref(&self.node.home.client);
        let callers = connect(node, Call::Write, shape, self.seeds()).await?;
        let ours = drive(callers, self.span).await?;
        let bare = Bare::load(&self.scratch.path().join("bare"), shape)?;
        let bare = bare.ingest(self.connections, self.span)?;
        Ok(Case {
            name: "ingest_async_100",
            unit: "rows/s",
            ours: rows(ours.rate()),
            others: vec![("bare_rocksdb", "ratio_bare", Some(rows(bare.rate())))],
        })
    }

    /// One connection's lookups, alone and while another process writes as fast as it can.
    async fn lookup_under_ingest(&self) -> Result<Case, CliError> {
        let idle = self.lone_p99_us().await?;
        let connections = self.connections.to_string();
        let (entities, features) = (
            self.shape.entities.to_string(),
            self.shape.features.to_string(),
        );
        let _ingest = tokio::process::Command::new(&self.binary)
            .args(["bench", "ingest", "--endpoint", &self.node.home.client])
            .args(["--entities", &entities, "--features", &features])
            .args(["--keys", "uniform", "--connections", &connections])
            .args(["--seconds", FOR_EVER])
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| CliError::failed("BENCH_FAILED", error.to_string()))?;
        Ok(Case {
            name: "lookup_under_ingest",
            unit: "us p99",
            ours: self.lone_p99_us().await?,
            others: vec![("idle", "ratio_idle", Some(idle))],
        })
    }

    async fn lone_p99_us(&self) -> Result<f64, CliError> {
        let shape = self.shape_of(100, Keys::Zipf, HOT);
        let node = std::slice::from_ref(&self.node.home.client);
        let callers = connect(node, Call::Lookup, shape, 1..2).await?;
        Ok(drive(callers, self.span).await?.quantile_us(0.99))
    }

    fn seeds(&self) -> Range<u64> {
        1..1 + self.connections
    }

    fn shape_of(&self, batch: usize, keys: Keys, share: u64) -> Shape {
        Shape {
            batch,
            keys,
            entities: self.shape.entities.div_ceil(share),
            ..self.shape
        }
    }
}

/// Opens connections, one for each seed of a sequence of requests.
///
/// # Errors
/// If one cannot be opened.
pub async fn connect(
    endpoints: &[String],
    call: Call,
    shape: Shape,
    seeds: Range<u64>,
) -> Result<Vec<Connection>, CliError> {
    let mut callers = Vec::new();
    for seed in seeds {
        let requests = Requests::new(shape, seed);
        callers.push(Connection::open(endpoints, call, requests).await?);
    }
    Ok(callers)
}
