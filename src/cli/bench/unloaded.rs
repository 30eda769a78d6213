//! What a call costs where nothing else happens: one connection for each way of making it, which take turns.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::process_set::ProcessSet;
use super::closed_loop::take_turns;
use super::empty::EmptyServer;
use super::generator::Span;
use super::grpc::{Call, Connection, Program};
use super::load::load;
use super::measured::{Measured, rounded};
use super::workload::{Requests, Shape};
use crate::proto::v1::ReadLevel;

const MEMBERS: u8 = 3;

/// Three members on this machine.
#[derive(Debug)]
pub struct Unloaded<'a> {
    binary: &'a Path,
    scratch: &'a Path,
    /// Kills the processes when it is dropped.
    _set: ProcessSet,
    primary: String,
    other: String,
    span: Span,
}

impl Unloaded<'_> {
    /// Forms a set and loads it.
    ///
    /// # Errors
    /// If it does not form, or refuses something.
    pub async fn prepare<'a>(
        binary: &'a Path,
        scratch: &'a Path,
        shape: Shape,
        span: Span,
    ) -> Result<Unloaded<'a>, CliError> {
        let set = ProcessSet::form(binary, scratch, MEMBERS, None).await?;
        let primary = set.whole().await?;
        load(set.client(primary.at)?, shape).await?;
        set.equal().await?;
        let mut endpoints = set.endpoints();
        let primary = endpoints.swap_remove(primary.at);
        let other = endpoints.swap_remove(0);
        Ok(Unloaded {
            binary,
            scratch,
            _set: set,
            primary,
            other,
            span,
        })
    }

    /// What level `primary` adds to level `local`, at the primary and at another member, beside a round trip to an empty
    /// server that answers with as many bytes.
    ///
    /// # Errors
    /// If a call fails.
    pub async fn levels(&self, name: &str, shape: Shape) -> Result<Vec<Json>, CliError> {
        // Nobody asks for what another one has just brought into the processor's caches.
        let mut seeds = 0..;
        let mut open = async |endpoint: &String, level| {
            let seed = seeds.next().unwrap_or_default();
            let requests = Requests::new(shape, seed).reading_at(level);
            Connection::open(std::slice::from_ref(endpoint), Call::Lookup, requests).await
        };
        let mut sample = open(&self.primary, ReadLevel::Local).await?;
        let answer_bytes = sample.answer().await?.len();
        let empty = EmptyServer::start(self.binary, self.scratch, answer_bytes).await?;
        let mut cases = Vec::new();
        for (place, member) in [("primary", &self.primary), ("other", &self.other)] {
            let callers = vec![
                open(member, ReadLevel::Local).await?,
                open(member, ReadLevel::Primary).await?,
                open(&empty.address, ReadLevel::Local).await?,
            ];
            let measured = take_turns(callers, self.span).await?;
            let [local, primary, round_trip] = medians_us(&measured)?;
            cases.push(json!({
                "case": format!("primary_at_{place}_{name}"),
                "local_p50_us": rounded(local),
                "primary_p50_us": rounded(primary),
                "added_p50_us": rounded(primary - local),
                "empty_p50_us": rounded(round_trip),
                "ratio_empty": rounded((primary - local) / round_trip),
            }));
        }
        Ok(cases)
    }

    /// What our client adds to a call by the code that tonic generates.
    ///
    /// # Errors
    /// If a call fails.
    pub async fn client(&self, name: &str, shape: Shape) -> Result<Json, CliError> {
        let callers = vec![
            Program::generated(&self.primary, Requests::new(shape, 1)).await?,
            Program::client(&self.primary, Requests::new(shape, 2)).await?,
        ];
        let measured = take_turns(callers, self.span).await?;
        let [generated, client] = medians_us(&measured)?;
        Ok(json!({
            "case": format!("client_{name}"),
            "tonic_p50_us": rounded(generated),
            "client_p50_us": rounded(client),
            "added_p50_us": rounded(client - generated),
        }))
    }
}

fn medians_us<const N: usize>(measured: &[Measured]) -> Result<[f64; N], CliError> {
    let medians: Vec<_> = measured.iter().map(|one| one.quantile_us(0.5)).collect();
    let wrong = |_| CliError::failed("BENCH_FAILED", "a caller did not tell what it measured");
    medians.try_into().map_err(wrong)
}
