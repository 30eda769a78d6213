//! A virtual disk, and the store on it: what is not synced or flushed is gone after a crash.

use std::collections::{BTreeMap, BTreeSet};

use steadfast::base::{
    BootToken, Epoch, Hlc, IncarnationId, LogId, RegionId, Seq, Stamp, VersionVector,
};
use steadfast::control::{ControlState, Missing};
use steadfast::model::record::{Body, Record};
use steadfast::model::row::{Content, Merged, Row, merge_write};
use steadfast::model::{EntityKey, ViewId};
use steadfast::replication::{Heads, HeldOpening, Logged, Place, Shipment};

use crate::chance::Chance;

/// Rows and what describes them, as of some place in the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Store {
    pub rows: BTreeMap<(ViewId, EntityKey), Vec<u8>>,
    /// The results of named writes, by their operations. Of two records the one of the greater stamp is kept.
    pub requests: BTreeMap<usize, Stamp>,
    pub held: Heads,
    pub opening: Option<HeldOpening>,
    pub newest: Hlc,
}

impl Store {
    /// Applies a record, which must follow what is held.
    pub fn apply(&mut self, logged: &Logged) {
        match self.held.place(logged).expect("the log is one chain") {
            Place::Held => return,
            Place::Next => {}
            Place::Ahead => panic!("{:?} is applied before what precedes it", logged.stamp),
        }
        let record = Record::decode(&logged.bytes).expect("a record is what was written");
        if let Body::Rows(rows) = &record.body {
            for group in &rows.groups {
                for write in &group.rows {
                    let at = (group.view, write.key.clone());
                    let write = group.write(write, record.stamp);
                    let stored = self.rows.get(&at).map(Vec::as_slice);
                    if let Merged::Applied(row) = merge_write(stored, &write).unwrap() {
                        self.rows.insert(at, row);
                    }
                }
            }
        }
        if let Some(request) = &record.request {
            let op = request.id.parse().unwrap();
            let stamp = self.requests.entry(op).or_insert(record.stamp);
            *stamp = record.stamp.max(*stamp);
        }
        self.held.advance(logged);
        self.newest = self.newest.max(logged.stamp.hlc);
        if let Some(opening) = HeldOpening::of(logged)
            && self
                .opening
                .as_ref()
                .is_none_or(|held| held.log.epoch < opening.log.epoch)
        {
            self.opening = Some(opening);
        }
    }
}

/// A store, with the last of its records.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub store: Store,
    pub tail: Vec<Logged>,
}

impl Snapshot {
    /// What of it is in the store alone.
    pub fn without_records(&self, region: RegionId) -> VersionVector {
        let held = self.store.held.vector();
        let first = |log| self.tail.iter().find(|record| record.log() == log);
        let mut without = VersionVector::new();
        without.fold(region, held.base(region));
        for (log, last) in held.logs() {
            without.advance(
                log,
                first(log).map_or(last, |record| Seq(record.seq().0 - 1)),
            );
        }
        without
    }
}

/// What a stored row says: its version's event time and stamp, and its value.
pub fn read_row(row: &[u8]) -> (i64, Stamp, Option<u64>) {
    let Content::Whole { version, cells } = Row::decode(row).unwrap().content else {
        panic!("the simulator's views are row views");
    };
    let value = cells.map(|cells| {
        let bytes = cells.last_chunk::<8>().expect("one int64 cell");
        u64::from_le_bytes(*bytes)
    });
    (version.event_time.0, version.stamp, value)
}

#[derive(Debug, Clone)]
pub struct Disk {
    pub incarnation: IncarnationId,
    /// Tokens of starts whose registration may have been the last.
    pub tokens: BTreeSet<BootToken>,
    pub promise: Epoch,
    /// Everything appended, in order; up to `synced` it survives a crash, before `released` it is gone.
    pub wal: Vec<Logged>,
    pub synced: usize,
    pub released: usize,
    /// What the log before `released` held.
    pub released_held: VersionVector,
    /// The store as of `wal[..flushed_at]`.
    pub flushed: Store,
    pub flushed_at: usize,
}

impl Disk {
    pub fn empty(incarnation: IncarnationId) -> Disk {
        Disk {
            incarnation,
            tokens: BTreeSet::new(),
            promise: Epoch::NONE,
            wal: Vec::new(),
            synced: 0,
            released: 0,
            released_held: VersionVector::new(),
            flushed: Store::default(),
            flushed_at: 0,
        }
    }

    /// The power fails: of what was not synced, any prefix may have reached the disk.
    pub fn crash(&mut self, chance: &mut Chance) {
        let unsynced = self.wal.len() - self.synced;
        let kept = self.synced + chance.index(unsynced + 1);
        self.wal.truncate(kept);
        self.synced = kept;
    }

    /// What is durable.
    pub fn held(&self) -> VersionVector {
        let mut held = self.flushed.held.vector().clone();
        for record in &self.wal[self.flushed_at..self.synced] {
            held.advance(record.log(), record.seq());
        }
        held
    }

    /// What a start finds: the store with the log after it applied.
    pub fn recover(&self) -> Store {
        let mut store = self.flushed.clone();
        for record in &self.wal[self.flushed_at..self.synced] {
            store.apply(record);
        }
        store
    }

    /// The store, applied up to `at`, is on disk now.
    pub fn flush(&mut self, store: &Store, at: usize) {
        self.flushed = store.clone();
        self.flushed_at = at;
    }

    /// Gives up the log before the flushed place, as far as it may.
    pub fn release(&mut self, may: impl Fn(&Logged) -> bool) {
        let kept = &self.wal[self.released..self.flushed_at];
        for record in kept.iter().take_while(|record| may(record)) {
            self.released_held.advance(record.log(), record.seq());
            self.released += 1;
        }
    }

    /// The records of the store, applied up to `at`, that go with it as a snapshot.
    pub fn tail(&self, at: usize, goes: impl Fn(&Logged) -> bool) -> Vec<Logged> {
        let kept = self.wal[self.released..at].iter();
        kept.filter(|record| goes(record)).cloned().collect()
    }

    /// Another member's store takes the place of everything, with the records that came along.
    pub fn install(&mut self, region: RegionId, snapshot: Snapshot) {
        self.released_held = snapshot.without_records(region);
        let Snapshot { store, tail } = snapshot;
        self.synced = tail.len();
        self.flushed_at = tail.len();
        self.released = 0;
        self.wal = tail;
        self.flushed = store;
    }

    /// Durable records not in `shipment.after`, in the order of the log.
    pub fn shipment(&self, control: &ControlState, shipment: &Shipment) -> Option<Vec<Logged>> {
        if !control.covers(&shipment.after, &self.released_held) {
            return None;
        }
        let mut bytes = 0;
        let wanted = self.wal[self.released..self.synced].iter();
        let wanted = wanted.filter(|r| !shipment.after.contains(r.log(), r.seq()));
        let within = wanted.take_while(|record| {
            let fits = bytes < shipment.max_bytes;
            bytes += record.bytes.len();
            fits
        });
        // Small messages make for more that can go wrong.
        Some(within.take(8).cloned().collect())
    }

    /// Durable records of some spans; `None` if the log no longer reaches back to one of them.
    pub fn fetch(&self, missing: &[Missing]) -> Option<Vec<Logged>> {
        let kept = &self.wal[self.released..self.synced];
        let mut found = Vec::new();
        for Missing {
            log,
            after,
            through,
        } in missing
        {
            if *after < *through && self.released_held.contains(*log, after.next()) {
                return None;
            }
            let of_log = kept.iter().filter(|record| record.log() == *log);
            let wanted = of_log.filter(|r| r.seq() > *after && r.seq() <= *through);
            found.extend(wanted.take(8).cloned());
        }
        Some(found)
    }

    /// Folds positions kept here.
    pub fn fold(&mut self, log: LogId) {
        self.released_held.fold(log.region, log.epoch);
        self.flushed.held.fold(log.region, log.epoch);
    }
}
