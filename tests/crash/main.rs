//! Kills the real binary again and again under load and compares what is there afterwards with what was acknowledged.
//!
//! One data directory lives through all of it, with segments and memtables so small that logs are released and the
//! store is flushed all the time. `CRASH_SEED` repeats a run's writes (not its timing), `CRASH_KILLS` makes it longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "helpers of tests may panic and need no documentation for others"
)]

mod api;
mod full;
mod history;
mod load;
mod process;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use steadfast::base::Stamp;
use steadfast::proto::v1::{ReadLevel, WriteResponse};
use tokio::task::JoinSet;

use api::Api;
use history::{History, Kind, Write};
use load::Ended;
use process::Process;

/// Small enough that every few rounds a segment is released and the store is flushed.
const CONFIG: &str = r#"
[wal]
segment_bytes = 65536
[engine]
flush_after_wal_bytes = 65536
row_cache_bytes = 1048576
[store]
block_cache_bytes = 1048576
memtable_bytes = 1048576
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_however_often_the_node_is_killed() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let seed = number("CRASH_SEED").unwrap_or_else(rand::random);
    let kills = number("CRASH_KILLS").unwrap_or(100);
    println!("CRASH_SEED={seed}");
    let mut run = Run::new(seed);
    for round in 0..kills {
        run.round(End::Kill).await;
        if round % 10 == 9 {
            run.round(End::Stop).await;
        }
    }
    let mut node = run.start().await;
    run.settle(&mut node).await;
    node.process.stop().await;
    println!(
        "{kills} kills: {} writes acknowledged, 0 lost; {} without an answer, of which {} are there",
        run.answered.len(),
        run.unanswered,
        run.unanswered_but_there
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_during_its_first_start_starts_the_next_time() {
    for _ in 0..20 {
        let mut run = Run::new(rand::random());
        for _ in 0..2 {
            let after = Duration::from_millis(run.random.random_range(0..150));
            Process::start_and_kill(&run.data, &run.config, after).await;
        }
        let mut node = run.start().await;
        run.define(&mut node).await;
        node.process.kill().await;
    }
}

/// Markers say what digest the rows had where they stand in the log; the replay must come by the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_held_to_the_marker_that_was_logged_before_the_kill() {
    const EQUAL: &str = "steadfast_markers_equal_total";
    let mut run = Run::new(rand::random());
    // Nothing is flushed under way, so that the replay comes by the marker.
    std::fs::write(&run.config, "").unwrap();
    let mut node = run.start().await;
    run.define(&mut node).await;
    let mut tasks = JoinSet::new();
    let mut writers = load::start(&node.process.client, 0, run.seed, &mut tasks);
    for count in 0_u64.. {
        let ended = writers.recv().await;
        let is_acknowledged = matches!(ended, Some(Ended::Acknowledged(..)));
        assert!(is_acknowledged, "{ended:?}\n{}", node.process.explain());
        if count % 100 == 0 && node.process.metric(EQUAL).await > 0 {
            break;
        }
    }
    node.process.kill().await;
    drop(writers);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let node = run.start().await;
    assert_eq!(node.process.metric(EQUAL).await, 1);
    assert_eq!(
        node.process.metric("steadfast_markers_skipped_total").await,
        0
    );
    node.process.stop().await;
}

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Stop,
}

struct Node {
    process: Process,
    api: Api,
}

struct Run {
    _dir: tempfile::TempDir,
    data: PathBuf,
    config: PathBuf,
    seed: u64,
    random: StdRng,
    round: u64,
    /// The epoch of the round before.
    epoch: u64,
    /// The greatest stamp acknowledged so far.
    newest: Option<Stamp>,
    views: BTreeSet<String>,
    history: History,
    /// Every write that was acknowledged, with its answer.
    answered: Vec<(Write, WriteResponse)>,
    unanswered: usize,
    unanswered_but_there: usize,
}

impl Run {
    fn new(seed: u64) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("steadfast.toml");
        std::fs::write(&config, CONFIG).unwrap();
        Run {
            data: dir.path().join("data"),
            config,
            _dir: dir,
            seed,
            random: StdRng::seed_from_u64(seed),
            round: 0,
            epoch: 0,
            newest: None,
            views: BTreeSet::new(),
            history: History::default(),
            answered: Vec::new(),
            unanswered: 0,
            unanswered_but_there: 0,
        }
    }

    async fn start(&mut self) -> Node {
        if self.random.random_ratio(1, 4) {
            let after = Duration::from_millis(self.random.random_range(0..100));
            Process::start_and_kill(&self.data, &self.config, after).await;
        }
        let process = Process::start(&self.data, &self.config).await;
        let api = Api::connect(&process.client).await.unwrap();
        Node { process, api }
    }

    /// Starts the node, checks what is there, puts load on it, and ends it.
    async fn round(&mut self, end: End) {
        let mut node = self.start().await;
        self.repeat_answered(&mut node).await;
        self.settle(&mut node).await;
        self.define(&mut node).await;
        self.load(node.process, end).await;
        self.round += 1;
    }

    /// Repeated requests get their first answers and change nothing, which [`settle`](Self::settle) sees.
    async fn repeat_answered(&mut self, node: &mut Node) {
        let count = self.answered.len();
        let mut picked: Vec<usize> = (count.saturating_sub(3)..count).collect();
        if count > 0 {
            picked.extend((0..5).map(|_| self.random.random_range(0..count)));
        }
        for (write, first) in picked.into_iter().map(|at| &self.answered[at]) {
            let again = node.api.write(write).await.unwrap();
            let expected = WriteResponse {
                repeated: true,
                ..first.clone()
            };
            assert_eq!(again, expected, "{write:?}");
            let other = Write {
                value: Some(-1),
                ..write.clone()
            };
            let refused = node.api.write(&other).await.unwrap_err();
            assert_eq!(api::reason(&refused), "REQUEST_ID_REUSED", "{refused:?}");
        }
    }

    /// Reads everything, compares it with the history, and finds out about writes without an answer.
    async fn settle(&mut self, node: &mut Node) {
        if self.round == 0 {
            return;
        }
        let names: BTreeSet<String> = node.api.list_views().await.into_iter().collect();
        assert_eq!(names, self.views);
        let contents = node.api.contents(load::KEYS, ReadLevel::Primary).await;
        assert!(
            contents.epoch > self.epoch,
            "epoch {} comes after {}",
            contents.epoch,
            self.epoch
        );
        self.epoch = contents.epoch;
        let settled = self.history.settle(contents.rows);
        let maybe = settled.unwrap_or_else(|fault| {
            panic!("round {}: {fault}\n{}", self.round, node.process.explain())
        });
        self.unanswered += maybe.len();
        self.unanswered_but_there += maybe.iter().filter(|(_, is_shown)| *is_shown).count();
        for (write, is_shown) in maybe {
            if self.random.random() {
                let answer = node.api.write(&write).await.unwrap();
                assert!(answer.repeated || !is_shown, "{write:?} is written twice");
                assert!(answer.repeated == (answer.epoch < self.epoch), "{answer:?}");
                if !answer.repeated {
                    self.acknowledged(write, answer);
                }
            }
        }
    }

    /// Definitions live through crashes too.
    async fn define(&mut self, node: &mut Node) {
        if self.round == 0 {
            node.api.create_views().await.unwrap();
            self.views = node.api.list_views().await.into_iter().collect();
            assert_eq!(self.views.len(), 3);
        }
        let name = "passing";
        if self.views.contains(name) {
            node.api.drop_view(name).await.unwrap();
            self.views.remove(name);
        } else {
            node.api.create_view(name, "row").await.unwrap();
            self.views.insert(name.to_owned());
        }
    }

    /// Lets the writers go on until the node ends after a random number of acknowledgements.
    async fn load(&mut self, process: Process, end: End) {
        let mut tasks = JoinSet::new();
        let mut writers = load::start(&process.client, self.round, self.seed, &mut tasks);
        // Now and then so many that the store is flushed and logs are released under load.
        let most = if self.round % 10 == 5 { 3_000 } else { 200 };
        let mut left = self.random.random_range(1..=most);
        let mut process = Some(process);
        while let Some(ended) = writers.recv().await {
            match ended {
                Ended::Acknowledged(write, answer) => {
                    self.check_answer(&write, &answer);
                    self.acknowledged(write, answer);
                }
                Ended::Unanswered(write, status) => {
                    if let Some(process) = &mut process {
                        panic!("{write:?} failed: {status:?}\n{}", process.explain());
                    }
                    assert!(
                        api::is_about_the_node(&status),
                        "{write:?} failed: {status:?}"
                    );
                    self.history.give_up(write);
                }
            }
            left -= 1;
            if left == 0 {
                let process = process.take().unwrap();
                self.wait_a_little().await;
                match end {
                    End::Kill => process.kill().await,
                    End::Stop => process.stop().await,
                }
            }
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    }

    /// So that the end does not always follow an answer.
    async fn wait_a_little(&mut self) {
        for _ in 0..self.random.random_range(0..300) {
            tokio::task::yield_now().await;
        }
    }

    fn check_answer(&self, write: &Write, answer: &WriteResponse) {
        let rows = u64::try_from(write.keys.len()).unwrap();
        match write.kind {
            Kind::Twin => assert_eq!((answer.applied, answer.older), (rows * 2, 0), "{write:?}"),
            Kind::Timed => assert_eq!(answer.applied + answer.older, rows, "{write:?}"),
        }
        assert_eq!(
            (answer.copies, answer.folded, answer.repeated),
            (1, 0, false)
        );
        assert!(answer.level >= write.level.into(), "{answer:?}");
    }

    fn acknowledged(&mut self, write: Write, answer: WriteResponse) {
        let stamp = api::stamp(&answer);
        assert_eq!(stamp.epoch.0, answer.epoch);
        // Every stamp of this epoch lies above all of those before.
        let above = self
            .newest
            .is_none_or(|newest| newest.epoch == stamp.epoch || newest < stamp);
        assert!(above, "{stamp} after {:?}", self.newest);
        self.newest = self.newest.max(Some(stamp));
        self.history.acknowledge(stamp, write.clone());
        self.answered.push((write, answer));
    }
}
