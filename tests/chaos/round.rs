//! One round: faults under load, healing, and the verdict on what clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use steadfast::base::clock::{now_monotonic, sleep};
use steadfast::base::{CommitLevel, ReadLevel};
use steadfast::client::Client;

use crate::heal::LOOK_EVERY;
use crate::history::{self, Healed, History};
use crate::kept::Kept;
use crate::load::{self, KEYS, Load, Shared};
use crate::nemesis::Nemesis;
use crate::plan::{self, Means};
use crate::recorded::{self, Recorded, Stamps, Told, Write};
use crate::summary::Summary;

/// What a member holds of some keys: values, with their event times where those order versions.
pub type Held = BTreeMap<u64, (u64, Option<i64>)>;
/// Keys that are looked up at once.
const LOOKUP: usize = 1_000;
/// An epoch that was begun before the faults ended opens by then, or another one.
const REST_LIMIT: Duration = Duration::from_secs(30);
/// What no log of a node may say.
const ALARMS: [&str; 2] = [
    "panicked",
    "the rows here are not those of the marker's writer",
];

pub struct Rounds<'a> {
    pub shared: Arc<Shared>,
    pub seed: u64,
    pub means: Means,
    /// Faults begin within this time.
    pub span: Duration,
    pub scratch: &'a Path,
    /// What is archived of it.
    pub kept: Kept,
    /// What the keys of the rounds before were left with.
    pub before: Held,
    /// What the round before may have written yet when it was over.
    pub late: BTreeMap<u64, BTreeSet<u64>>,
    pub summary: Summary,
}

impl Rounds<'_> {
    /// Runs a round and says what is wrong with it, if anything is.
    pub async fn run(&mut self, nemesis: &mut Nemesis, round: u64) -> anyhow::Result<()> {
        let mut random = StdRng::seed_from_u64(self.seed ^ (round << 32));
        nemesis.timeline.note(&format!("round {round}"));
        let endpoints = nemesis.set.endpoints();
        let load = Load::start(&self.shared, &endpoints, round, random.random());
        let plan = plan::plan(&mut random, self.means, self.span);
        nemesis.carry_out(plan, self.span).await?;
        let healed = nemesis.heal(&mut random).await;
        let recorded = load.stop().await;
        let history = self.scratch.join(format!("round-{round}.jsonl"));
        keep(&history, &recorded)?;
        healed?;
        self.judge(nemesis, round, &recorded).await?;
        let kept = self.kept.check(&nemesis.set).await;
        kept.context("what is in the bucket is not what members hold")?;
        self.look_for_alarms(nemesis)?;
        let (longest, since) = self.summary.add(&recorded);
        nemesis.timeline.note(&format!(
            "without fault; {:.1} s without a write acknowledged at quorum, from {:.1} s on",
            longest.as_secs_f64(),
            since.as_secs_f64()
        ));
        std::fs::remove_file(&history)?;
        Ok(())
    }

    async fn judge(
        &mut self,
        nemesis: &mut Nemesis,
        round: u64,
        recorded: &[Recorded],
    ) -> anyhow::Result<()> {
        if let Some(wrong) = recorded::wrong(recorded) {
            bail!("this is no answer to a write: {wrong:?}");
        }
        let mut stamps = recorded::told(recorded);
        let client = Client::to(&nemesis.set.endpoints()).await?;
        let read: BTreeSet<u64> = recorded.iter().filter_map(Recorded::found).collect();
        let lost = self.resolve(&client, recorded, &read, &mut stamps).await?;
        let is_excused = !nemesis.facts.is_empty();
        ensure!(
            lost.is_empty() || is_excused,
            "values were read that no member knows any more: {lost:?}"
        );
        if let Some(read) = recorded::strongly_found(recorded, &lost) {
            bail!("what this read found is lost: {read:?}");
        }
        let held = self.held_by_all(nemesis, round).await?;
        let values = held.values().flat_map(|held| held.values());
        let values = values.map(|(value, _)| *value).collect();
        let unknown = self
            .resolve(&client, recorded, &values, &mut stamps)
            .await?;
        ensure!(
            unknown.is_empty(),
            "members hold values whose writes are not recognised: {unknown:?}"
        );
        let primaries = client.history().await?.into_iter();
        let primaries = primaries.map(|note| (note.epoch, note.primary)).collect();
        let history = History {
            operations: recorded::judged(recorded, &stamps, &primaries, &lost)?,
            facts: std::mem::take(&mut nemesis.facts),
        };
        history::judge(&history)?;
        history::judge_healed(&history, &self.healed(&held, round, &stamps)?)?;
        self.keep_for_later(&held, round)?;
        self.late = recorded::open(recorded, &stamps);
        Ok(())
    }

    /// Repeats the writes of these values that were not answered. Those that are not recognised had been lost.
    async fn resolve(
        &self,
        client: &Client,
        recorded: &[Recorded],
        values: &BTreeSet<u64>,
        stamps: &mut Stamps,
    ) -> anyhow::Result<BTreeSet<u64>> {
        let mut lost = BTreeSet::new();
        for (key, write) in recorded::unresolved(recorded, values, stamps) {
            let written = client.put(self.shared.put(key, write)).await?;
            match load::acknowledged(CommitLevel::Async, &written) {
                Told::Acked(stamp) if written.repeated => drop(stamps.insert(write.value, stamp)),
                Told::Acked(_) => drop(lost.insert(write.value)),
                other => bail!("{write:?} is repeated: {other:?}"),
            }
        }
        Ok(lost)
    }

    /// What each member holds of all keys so far, once all hold the same records; one that does not is an error.
    async fn held_by_all(
        &self,
        nemesis: &mut Nemesis,
        round: u64,
    ) -> anyhow::Result<BTreeMap<u64, Held>> {
        self.beacon(nemesis, round).await?;
        self.at_rest(nemesis).await?;
        let digests = nemesis.set.digests().await?;
        ensure!(
            digests.iter().all(|digest| *digest == digests[0]),
            "members hold the same records, and their rows differ: {digests:?}"
        );
        let mut held = BTreeMap::new();
        for (at, host) in nemesis.hosts().into_iter().enumerate() {
            let number = nemesis.numbers[&host];
            held.insert(number, held_by(nemesis.set.client(at)?, round).await?);
        }
        Ok(held)
    }

    /// Waits until all hold the same records and one epoch is under way: a member that suspected the primary before the faults
    /// ended may have begun another one just now, which opens soon.
    async fn at_rest(&self, nemesis: &mut Nemesis) -> anyhow::Result<()> {
        let begun = now_monotonic();
        loop {
            let primary = nemesis.set.equal().await?;
            nemesis.look().await;
            let views = nemesis.set.look().await.into_iter();
            let views = views.collect::<Result<Vec<_>, _>>()?;
            let other = views
                .iter()
                .find(|view| view.epoch != primary.epoch || view.attempt.is_some());
            let Some(view) = other else { return Ok(()) };
            ensure!(
                begun.elapsed() < REST_LIMIT,
                "more than one epoch is under way, {REST_LIMIT:?} after the set was whole: {view:#?}"
            );
            sleep(LOOK_EVERY).await;
        }
    }

    /// A healed set acknowledges a write at quorum. Its key belongs to no round.
    async fn beacon(&self, nemesis: &Nemesis, round: u64) -> anyhow::Result<()> {
        let client = Client::to(&nemesis.set.endpoints()).await?;
        let write = Write {
            value: self.shared.next_value(),
            level: CommitLevel::Quorum,
            event_time: None,
            is_sent_once: false,
        };
        let key = u64::from(u32::MAX);
        let written = client.put(self.shared.put(key, write)).await;
        let written = written.with_context(|| format!("no write at all after round {round}"))?;
        match load::acknowledged(write.level, &written) {
            Told::Acked(_) => Ok(()),
            other => bail!("the healed set acknowledges so: {other:?}"),
        }
    }

    /// What each member holds of the keys of this round.
    fn healed(
        &self,
        held: &BTreeMap<u64, Held>,
        round: u64,
        stamps: &Stamps,
    ) -> anyhow::Result<Healed> {
        let mut healed = Healed::new();
        for (node, held) in held {
            let versions = healed.entry(*node).or_default();
            for (key, (value, event_time)) in held.range(round * KEYS..) {
                let stamp = stamps.get(value);
                let stamp = stamp.with_context(|| format!("nobody wrote {value} to key {key}"))?;
                versions.insert(*key, recorded::version(*event_time, *stamp));
            }
        }
        Ok(healed)
    }

    /// What the rounds before left is still there, and so is to be what this one leaves.
    fn keep_for_later(&mut self, held: &BTreeMap<u64, Held>, round: u64) -> anyhow::Result<()> {
        for (node, held) in held {
            let is_late = |key: &u64, value: &u64| {
                let late = self.late.get(key);
                late.is_some_and(|late| late.contains(value))
            };
            let gone = self.before.keys().find(|key| !held.contains_key(key));
            let mut of_before = held.range(..round * KEYS);
            let differs = of_before
                .find(|(key, held)| self.before.get(key) != Some(held) && !is_late(key, &held.0));
            ensure!(
                gone.is_none() && differs.is_none(),
                "member {node} holds other values of earlier rounds: {differs:?}, and nothing of key {gone:?}",
            );
        }
        let held = held.values().next().context("there are members")?;
        self.before.clone_from(held);
        Ok(())
    }

    fn look_for_alarms(&self, nemesis: &Nemesis) -> anyhow::Result<()> {
        for home in nemesis.ground.homes() {
            let log = std::fs::read_to_string(home.log()).unwrap_or_default();
            let is_alarm = |line: &&str| ALARMS.iter().any(|alarm| line.contains(alarm));
            if let Some(line) = log.lines().find(is_alarm) {
                bail!("{} says: {line}", home.log().display());
            }
        }
        Ok(())
    }
}

/// What a member holds of all keys so far.
async fn held_by(member: &Client, round: u64) -> anyhow::Result<Held> {
    let mut held = Held::new();
    for parity in 0..2 {
        let keys: Vec<u64> = (0..(round + 1) * KEYS)
            .filter(|key| key % 2 == parity)
            .collect();
        for keys in keys.chunks(LOOKUP) {
            let (found, _) = load::look_up(member, keys, ReadLevel::Local).await?;
            let found = keys.iter().zip(found);
            held.extend(found.filter_map(|(key, value)| Some((*key, value?))));
        }
    }
    Ok(held)
}

fn keep(path: &Path, recorded: &[Recorded]) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for call in recorded {
        serde_json::to_writer(&mut file, call)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
