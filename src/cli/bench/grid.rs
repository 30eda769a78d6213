//! `steadfast bench grid`: wide lookups, of many views at once, as model servers ask for them.
//!
//! The grid is that of Feast's benchmarks: entities of a request times features of each. An entity has 25 views of ten
//! features, so that a request reads 5 or 25 rows of each entity. By default the views hold about four times as many bytes as
//! the caches.

use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::super::child::{Home, Node};
use super::super::error::CliError;
use super::super::output::{Output, print, print_json};
use super::closed_loop::drive;
use super::compare::connect;
use super::generator::Span;
use super::grpc::{Call, Connection};
use super::load::load;
use super::measured::{Measured, rounded};
use super::open_loop::drive_at;
use super::redis::{Read, Redis};
use super::unloaded::Unloaded;
use super::workload::{Keys, Requests, Shape};
use super::{table_of_objects, with_processes};
use crate::client::Client;

const VIEWS: usize = 25;
/// Of one view.
const FEATURES: usize = 10;
/// Entities of a request, and views of each.
const GRID: [(usize, usize); 5] = [(1, 5), (10, 5), (100, 5), (1, 25), (100, 25)];
/// The shapes of calls that are measured without load.
const NARROWEST: (usize, usize) = (1, 5);
const MIDDLE: (usize, usize) = (100, 5);
/// The corner where everything is read.
const WIDEST: (usize, usize) = (100, 25);
/// Those of the set on which calls are measured without load: its caches hold all of them.
const UNLOADED_ENTITIES: u64 = 1_000;
/// A node that has been told to stop needs less.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Measure wide lookups on nodes of its own: 1x50, 10x50, 100x50, 1x250 and 100x250 (entities x features)
///
/// For each shape, with keys by Zipf's law and uniform ones: the peak of a closed loop, then latencies at half of it in an open
/// loop, from each request's arrival; the same beside Redis, if installed, by HMGET or HGETALL, whichever does more, at a rate
/// that is half of the lower peak; and at half of the peak again on a node just started, whose caches are empty. At the end, on
/// an idle set of three: what level `primary` adds to `local`, and the client to the code that tonic generates. About ten minutes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to print the results: tables at the end, or one JSON object a line as cases are done.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
    /// Entities in each of the 25 views
    #[arg(long, value_name = "N", default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1..))]
    entities: u64,
    #[command(flatten)]
    span: Span,
    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: u64,
}

/// Measures everything.
///
/// # Errors
/// If something that is measured fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    let mut cases = Vec::new();
    let keep = |case: Json| match args.output {
        Output::Json => print_json(&case),
        Output::Table => {
            let name = case.get("case").and_then(Json::as_str);
            eprintln!("{}: done", name.unwrap_or_default());
            cases.push(case);
            Ok(())
        }
    };
    with_processes("bench-grid", async |binary, scratch| {
        Box::pin(measure(binary, scratch, &args, keep)).await
    })
    .await?;
    let alike = cases.chunk_by(|one, other| keys(one).eq(keys(other)));
    let tables: Vec<_> = alike.map(table_of_objects).collect();
    match args.output {
        Output::Json => Ok(()),
        Output::Table => print(&tables.join("\n\n")),
    }
}

fn keys(case: &Json) -> impl Iterator<Item = &String> {
    case.as_object().into_iter().flat_map(Map::keys)
}

async fn measure(
    binary: &Path,
    scratch: &Path,
    args: &Args,
    mut report: impl FnMut(Json) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut grid = Grid::prepare(binary, scratch, args).await?;
    let mut peaks = Vec::new();
    for keys in [Keys::Zipf, Keys::Uniform] {
        // Otherwise the first shapes would pay for filling the caches.
        grid.peak(shape_of(args, WIDEST, keys)).await?;
        for cell in GRID {
            let (case, peak) = grid.warm(cell, keys).await?;
            report(case)?;
            peaks.push((cell, keys, peak));
        }
    }
    for (cell, keys, peak) in peaks {
        report(grid.cold(cell, keys, peak).await?)?;
    }
    drop(grid);
    let shape = Shape {
        entities: args.entities.min(UNLOADED_ENTITIES),
        ..shape_of(args, WIDEST, Keys::Uniform)
    };
    let unloaded = Unloaded::prepare(binary, scratch, shape, args.span).await?;
    for cell in [NARROWEST, MIDDLE] {
        let name = shape_name(cell);
        let shape = Shape {
            entities: shape.entities,
            ..shape_of(args, cell, Keys::Uniform)
        };
        for case in unloaded.levels(&name, shape).await? {
            report(case)?;
        }
        report(unloaded.client(&name, shape).await?)?;
    }
    Ok(())
}

/// A loaded node, and Redis with the same rows.
struct Grid<'a> {
    binary: &'a Path,
    args: &'a Args,
    node: Node,
    redis: Option<Redis>,
    /// Below it, all seeds of sequences of requests have been used.
    seed: Cell<u64>,
}

impl<'a> Grid<'a> {
    async fn prepare(
        binary: &'a Path,
        scratch: &Path,
        args: &'a Args,
    ) -> Result<Grid<'a>, CliError> {
        let shape = shape_of(args, WIDEST, Keys::Uniform);
        let home = Home::new(scratch.join("node"))?;
        let node = Node::start(binary, &home, None).await?;
        load(&Client::to(&[&home.client]).await?, shape).await?;
        let redis = Redis::start(scratch).await?;
        if let Some(redis) = &redis {
            redis.load(Requests::new(shape, 0)).await?;
        }
        Ok(Grid {
            binary,
            args,
            node,
            redis,
            seed: Cell::new(1),
        })
    }

    /// Seeds for requests that nobody has made before, for caches would hold their answers.
    fn seeds(&self) -> Range<u64> {
        let first = self.seed.get();
        let next = first + self.args.connections;
        self.seed.set(next);
        first..next
    }

    /// One shape on caches that are as warm as such requests keep them; and the node's peak.
    async fn warm(&self, cell: (usize, usize), keys: Keys) -> Result<(Json, f64), CliError> {
        let shape = shape_of(self.args, cell, keys);
        let peak = self.peak(shape).await?;
        let half = self.at(peak / 2.0, shape, self.args.span).await?;
        let mut case = json!({
            "case": case_name(cell, keys, "warm"),
            "peak_per_second": rounded(peak),
        });
        put(&mut case, latencies(peak / 2.0, &half));
        put(&mut case, self.beside_redis(shape, peak).await?);
        Ok((case, peak))
    }

    /// The same at half of this peak on empty caches. Files that the node wrote are still in the kernel's.
    async fn cold(
        &mut self,
        cell: (usize, usize),
        keys: Keys,
        peak: f64,
    ) -> Result<Json, CliError> {
        self.node.terminate()?;
        self.node.wait(STOP_LIMIT).await;
        self.node = Node::start(self.binary, &self.node.home.clone(), None).await?;
        let span = Span {
            warmup: Duration::ZERO,
            ..self.args.span
        };
        let shape = shape_of(self.args, cell, keys);
        let half = self.at(peak / 2.0, shape, span).await?;
        let mut case = json!({"case": case_name(cell, keys, "cold")});
        put(&mut case, latencies(peak / 2.0, &half));
        Ok(case)
    }

    async fn peak(&self, shape: Shape) -> Result<f64, CliError> {
        let callers = self.callers(shape).await?;
        Ok(drive(callers, self.args.span).await?.rate())
    }

    async fn at(&self, rate: f64, shape: Shape, span: Span) -> Result<Measured, CliError> {
        drive_at(rate, self.callers(shape).await?, span).await
    }

    async fn callers(&self, shape: Shape) -> Result<Vec<Connection>, CliError> {
        let seeds = self.seeds();
        let node = std::slice::from_ref(&self.node.home.client);
        connect(node, Call::Lookup, shape, seeds).await
    }

    /// The node and Redis at one rate, that is half of the lower peak, so that neither only waits.
    async fn beside_redis(&self, shape: Shape, peak: f64) -> Result<Json, CliError> {
        let names = [
            "redis_command",
            "redis_peak_per_second",
            "same_rate_per_second",
            "p50_us_at_same_rate",
            "redis_p50_us",
            "redis_p99_us",
            "ratio_redis_p50",
        ];
        let span = self.args.span;
        let Some(redis) = &self.redis else {
            return Ok(names.into_iter().map(|name| (name, Json::Null)).collect());
        };
        let mut fastest = (Read::Hmget, 0.0);
        for read in [Read::Hmget, Read::Hgetall] {
            let callers = redis.callers(read, shape, self.seeds()).await?;
            let peak = drive(callers, span).await?.rate();
            if peak > fastest.1 {
                fastest = (read, peak);
            }
        }
        let (read, redis_peak) = fastest;
        let rate = peak.min(redis_peak) / 2.0;
        let ours = self.at(rate, shape, span).await?.quantile_us(0.5);
        let callers = redis.callers(read, shape, self.seeds()).await?;
        let theirs = drive_at(rate, callers, span).await?;
        let ratio = (ours / theirs.quantile_us(0.5) * 1e3).round() / 1e3;
        let values = [
            json!(read.name()),
            json!(rounded(redis_peak)),
            json!(rounded(rate)),
            json!(rounded(ours)),
            json!(rounded(theirs.quantile_us(0.5))),
            json!(rounded(theirs.quantile_us(0.99))),
            json!(ratio),
        ];
        Ok(names.into_iter().zip(values).collect())
    }
}

fn shape_of(args: &Args, (batch, views): (usize, usize), keys: Keys) -> Shape {
    Shape {
        entities: args.entities,
        views: VIEWS,
        views_asked: Some(views),
        features: FEATURES,
        batch,
        keys,
    }
}

/// Entities x features.
fn shape_name((entities, views): (usize, usize)) -> String {
    format!("{entities}x{}", views * FEATURES)
}

fn case_name(cell: (usize, usize), keys: Keys, caches: &str) -> String {
    let keys = match keys {
        Keys::Zipf => "zipf",
        Keys::Uniform => "uniform",
    };
    format!("{}_{keys}_{caches}", shape_name(cell))
}

fn latencies(rate: f64, measured: &Measured) -> Json {
    json!({
        "rate_per_second": rounded(rate),
        "p50_us": rounded(measured.quantile_us(0.5)),
        "p99_us": rounded(measured.quantile_us(0.99)),
        "p999_us": rounded(measured.quantile_us(0.999)),
    })
}

/// Adds the fields of one object to another.
fn put(object: &mut Json, more: Json) {
    if let (Json::Object(object), Json::Object(more)) = (object, more) {
        object.extend(more);
    }
}
