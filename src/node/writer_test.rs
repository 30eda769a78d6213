//! What the writer says of a horizon is true of the log it writes.

use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::start::{Started, start};
use super::*;
use crate::base::clock::ManualClock;
use crate::base::disk::{Disk, RealDisk};
use crate::base::{Micros, TaskGroup};
use crate::config::Config;
use crate::control::Addresses;
use crate::engine::ReplayProgress;
use crate::epoch::timing::HEARTBEAT;
use crate::model::Record;
use crate::model::record::Rows;
use crate::model::view_file::parse_view;

const LAG_SECONDS: u64 = 3;
const VIEW: &str = r#"
    name = "v"
    entity = [{ name = "id", type = "int64" }]
    ttl = "1s"
    feature = [{ name = "f", type = "int64" }]
"#;

struct Fixture {
    started: Started,
    writer: Writer,
}

impl Fixture {
    fn start(dir: &Path, clock: &Arc<ManualClock>) -> Fixture {
        let mut config = Config {
            data_dir: dir.to_owned(),
            ..Config::default()
        };
        config.purge.horizon_lag_seconds = LAG_SECONDS;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let time: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
        let started = start(
            &config,
            &disk,
            &time,
            &ReplayProgress::default(),
            Addresses::default(),
            &TaskGroup::new(),
        )
        .unwrap();
        let fixture = Fixture {
            writer: Writer::new(
                Arc::clone(&started.engine),
                Arc::clone(&started.member),
                Arc::clone(&started.agreement),
                time,
                Duration::ZERO,
                config.purge.horizon_lag(),
            ),
            started,
        };
        fixture.settle(clock);
        fixture
    }

    /// Waits until it serves and the logs of earlier reigns are closed. It takes time to pass for that.
    fn settle(&self, clock: &ManualClock) {
        loop {
            let standing = self.started.member.standing();
            let logs = standing.control.logs.values();
            let active = logs.filter(|log| **log == LogState::Active).count();
            if standing.serves.is_some() && active == 1 {
                return;
            }
            clock.advance(HEARTBEAT);
            let next = standing.control.index + 1;
            let agreed = self.started.member.agreed();
            agreed.reached_within(next, HEARTBEAT).unwrap();
        }
    }

    fn log(&mut self) {
        let turn = self.writer.member.turn().unwrap();
        let behind = self.writer.member.end();
        let logged = self.writer.log(turn, Body::Rows(Rows::default()), behind);
        logged.unwrap();
    }

    /// Raises the horizon once the window follows the clock, so that the horizon record's stamp does.
    fn raise_horizon(&mut self, clock: &ManualClock) {
        let follows = Hlc::from_millis(clock.wall_millis() + 1_000);
        loop {
            let control = &self.started.member.standing().control;
            if control.ceiling >= follows {
                break;
            }
            let agreed = self.started.member.agreed();
            let next = control.index + 1;
            agreed.reached_within(next, HEARTBEAT).unwrap();
        }
        self.writer.raise_horizon().unwrap();
    }

    fn agreed(&self) -> Hlc {
        self.started.agreement.state().horizon
    }

    fn records(&self) -> Vec<Record> {
        self.writer.catch_up().unwrap();
        let wal = self.started.engine.wal();
        let entries = wal.read_from(wal.first()).unwrap();
        let records = entries.map(|entry| Record::decode(&entry.unwrap().payload).unwrap());
        records.collect()
    }

    fn check(&self) {
        let records = self.records();
        let mut horizon = Hlc::ZERO;
        for (at, record) in records.iter().enumerate() {
            let Body::Horizon(raised) = &record.body else {
                continue;
            };
            assert!(raised.horizon > horizon, "it rises");
            horizon = raised.horizon;
            let lag = record.stamp.hlc.millis() - horizon.millis();
            assert!(lag >= LAG_SECONDS * 1_000, "it lags by {lag} ms only");
            for (place, record) in records.iter().enumerate() {
                let (log, seq) = (record.stamp.log(), record.stamp.seq);
                let is_covered = raised.covered.contains(log, seq);
                assert!(is_covered || record.stamp.hlc > horizon, "P1: {record:?}");
                assert!(!is_covered || place < at, "nobody can have applied it");
            }
        }
        assert_eq!(
            self.agreed(),
            horizon,
            "what is logged was agreed, and the reverse"
        );
        let state = self.started.engine.state();
        assert_eq!(state.purge_horizon(), horizon);
    }
}

#[test]
fn a_horizon_is_agreed_and_logged_and_covers_all_that_lies_at_or_below_it() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let clock = Arc::new(ManualClock::new(Micros(1_000_000_000_000)));
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::start(dir.path(), &clock);
    let spec = Box::new(parse_view(VIEW).unwrap());
    let create = CatalogueChange::Create(spec);
    let level = CommitLevel::Quorum;
    fixture.writer.define(create, level).unwrap();
    for _ in 0..40 {
        match rng.random_range(0..8) {
            0..4 => fixture.log(),
            4 => clock.advance(Duration::from_millis(rng.random_range(0..2_000))),
            5 => clock.advance(Duration::from_micros(300)),
            _ => fixture.raise_horizon(&clock),
        }
    }
    clock.advance(Duration::from_secs(LAG_SECONDS + 1));
    fixture.raise_horizon(&clock);
    fixture.log();
    fixture.check();
    assert!(fixture.agreed() > Hlc::ZERO, "else nothing is shown");
}

#[test]
fn the_horizon_goes_on_after_a_restart() {
    let clock = Arc::new(ManualClock::new(Micros(1_000_000_000_000)));
    let dir = tempfile::tempdir().unwrap();
    let mut horizons = Vec::new();
    for _ in 0..5 {
        let mut fixture = Fixture::start(dir.path(), &clock);
        fixture.log();
        clock.advance(Duration::from_secs(2));
        fixture.raise_horizon(&clock);
        fixture.check();
        horizons.push(fixture.agreed());
        fixture.started.member.stop();
        fixture.started.engine.stop().unwrap();
    }
    assert!(horizons.is_sorted_by(|a, b| a < b), "{horizons:?}");
    let lagging = Hlc::from_millis(clock.wall_millis() - LAG_SECONDS * 1_000);
    assert_eq!(horizons.last(), Some(&lagging));
}
