//! What a state of the model is: two regions with a log each, and up to three nodes that apply them.
//!
//! Node 0 and node 1 are members of region A, node 2 is region B. Times are small numbers; a stamp is twice its time, plus
//! one if it was given in region B, so stamps compare as they must and 0 is none.

use std::fmt;

/// Records a log may have.
pub const LOG: usize = 8;
/// Entities.
pub const KEYS: usize = 2;
/// Generations of the view.
pub const GENERATIONS: usize = 3;
/// Horizons that may be agreed.
pub const HORIZONS: usize = 2;

/// Where a stamp was given.
pub const A: usize = 0;
pub const B: usize = 1;

/// When and where a record was written; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp(pub u8);

impl Stamp {
    pub fn new(time: u8, region: usize) -> Stamp {
        Stamp(2 * time + u8::from(region == B))
    }

    pub fn time(self) -> u8 {
        self.0 / 2
    }

    pub fn region(self) -> usize {
        usize::from(self.0 % 2)
    }

    pub fn is_some(self) -> bool {
        self.0 > 0
    }
}

/// A version; its stamp is also the value that was written.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Item {
    pub event_time: i8,
    pub stamp: Stamp,
}

impl Item {
    pub fn is_some(self) -> bool {
        self.stamp.is_some()
    }
}

/// Tombstone, feature 0, feature 1.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Row(pub [Item; 3]);

/// One write to a row: which features it names (a bit each, none is a deletion), and its version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Write {
    pub features: u8,
    pub item: Item,
}

impl Write {
    pub fn is_delete(self) -> bool {
        self.features == 0
    }

    pub fn names(self, feature: usize) -> bool {
        self.features & 1 << feature != 0
    }

    /// The row that it makes where there was none.
    pub fn row(self) -> Row {
        let mut row = Row::default();
        if self.is_delete() {
            row.0[0] = self.item;
        }
        for feature in 0..2 {
            if self.names(feature) {
                row.0[feature + 1] = self.item;
            }
        }
        row
    }
}

impl Row {
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|item| !item.is_some())
    }

    /// Does it hold any feature?
    pub fn is_live(&self) -> bool {
        self.0[1].is_some() || self.0[2].is_some()
    }

    /// The items that merge one by one: the row's only version, or tombstone and cells.
    pub fn items(&self, cells: bool) -> Vec<Write> {
        let one = |slot: usize| Write {
            features: if slot == 0 { 0 } else { 1 << (slot - 1) },
            item: self.0[slot],
        };
        let held = (0..3).filter(|slot| self.0[*slot].is_some()).map(one);
        if cells {
            return held.collect();
        }
        let all = held.reduce(|a, b| Write {
            features: a.features | b.features,
            ..a
        });
        all.into_iter().collect()
    }

    pub fn bytes(&self) -> [u8; 6] {
        let [a, b, c] = self.0.map(|item| [item.event_time as u8, item.stamp.0]);
        [a[0], a[1], b[0], b[1], c[0], c[1]]
    }
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// `arg` names the features.
    #[default]
    Put,
    Delete,
    /// `arg` is the new ttl, 0 is for ever.
    Ttl,
    /// `arg` is the new `max_lateness`, 0 is without bound.
    Lateness,
    Drop,
    /// `arg` is the ttl, `event_time` the `max_lateness`.
    Create,
    /// `arg` is the index of the horizon.
    Horizon,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Record {
    pub kind: Kind,
    pub generation: u8,
    pub key: u8,
    pub arg: u8,
    pub event_time: i8,
    pub stamp: Stamp,
}

impl Record {
    pub fn write(&self) -> Option<Write> {
        let features = match self.kind {
            Kind::Put => self.arg,
            Kind::Delete => 0,
            _ => return None,
        };
        let item = Item {
            event_time: self.event_time,
            stamp: self.stamp,
        };
        Some(Write { features, item })
    }

    pub fn is_definition(&self) -> bool {
        !matches!(self.kind, Kind::Put | Kind::Delete | Kind::Horizon)
    }

    pub fn bytes(&self) -> [u8; 6] {
        let event_time = self.event_time as u8;
        let head = [self.kind as u8, self.generation, self.key];
        [
            head[0],
            head[1],
            head[2],
            self.arg,
            event_time,
            self.stamp.0,
        ]
    }
}

/// A node: how far it has applied each log, which horizons it knows (a bit each), and its rows.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Node {
    pub applied: [u8; 2],
    pub known: u8,
    /// Did it take over another's horizon in a snapshot?
    pub is_seeded: bool,
    /// The time its rows are swept to, and that of the sweep under way.
    pub swept: u8,
    pub sweeping: u8,
    pub rows: [[Row; KEYS]; GENERATIONS],
}

impl Node {
    /// By which horizon the applier leaves out.
    pub fn leaves_out_at(&self) -> u8 {
        self.sweeping.max(self.swept)
    }
}

/// An agreed horizon: a time, and how much of each log lies at or below it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    pub time: u8,
    pub covered: [u8; 2],
}

/// Is region B in the set of regions?
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Membership {
    #[default]
    In,
    Evicted,
    Returned,
}

#[derive(Clone, Copy, Default)]
pub struct State {
    pub logs: [[Record; LOG]; 2],
    pub lens: [u8; 2],
    /// What the last stamp's time was, or has been promised to be above.
    pub clocks: [u8; 2],
    pub nodes: [Node; 3],
    /// Which node writes in region A.
    pub primary: u8,
    pub horizons: [Horizon; HORIZONS],
    pub agreed: u8,
    /// How many horizons each region has logged.
    pub logged: [u8; 2],
    pub exchanges: u8,
    pub rebuilds: u8,
    pub membership: Membership,
    /// How much of B's log there is for the others while it is evicted.
    pub cut: u8,
    /// Records that were written and are in no log any more, and those of them that were counted.
    pub lost: u8,
    pub dead_letters: u8,
}

impl State {
    pub fn log(&self, region: usize) -> &[Record] {
        &self.logs[region][..usize::from(self.lens[region])]
    }

    /// The node that writes in a region.
    pub fn writer(&self, region: usize) -> usize {
        if region == A {
            usize::from(self.primary)
        } else {
            2
        }
    }

    /// The records that a version vector covers.
    pub fn covered(&self, applied: [u8; 2]) -> impl Iterator<Item = &Record> + Clone {
        let [a, b] = applied.map(usize::from);
        self.logs[A][..a].iter().chain(&self.logs[B][..b])
    }

    /// Does a version vector cover a stamp?
    pub fn covers(&self, applied: [u8; 2], stamp: Stamp) -> bool {
        self.covered(applied).any(|record| record.stamp == stamp)
    }

    /// Everything that tells states apart.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        for region in [A, B] {
            out.push(self.lens[region]);
            for record in self.log(region) {
                out.extend_from_slice(&record.bytes());
            }
        }
        out.extend_from_slice(&self.clocks);
        out.extend_from_slice(&[self.primary, self.agreed, self.logged[A], self.logged[B]]);
        for horizon in &self.horizons[..usize::from(self.agreed)] {
            out.extend_from_slice(&[horizon.time, horizon.covered[A], horizon.covered[B]]);
        }
        let counts = [
            self.exchanges,
            self.rebuilds,
            self.membership as u8,
            self.cut,
        ];
        out.extend_from_slice(&counts);
        out.extend_from_slice(&[self.lost, self.dead_letters]);
        for node in &self.nodes {
            let seeded = u8::from(node.is_seeded);
            out.extend_from_slice(&[node.applied[A], node.applied[B], node.known, seeded]);
            out.extend_from_slice(&[node.swept, node.sweeping]);
            for row in node.rows.iter().flatten() {
                out.extend_from_slice(&row.bytes());
            }
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.time(), ["a", "b"][self.region()])
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_some() {
            write!(f, "{}@{}", self.stamp, self.event_time)
        } else {
            write!(f, "-")
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { key, arg, .. } = self;
        let (generation, event_time) = (self.generation, self.event_time);
        write!(f, "{}: ", self.stamp)?;
        match self.kind {
            Kind::Put => write!(
                f,
                "puts features {arg:#b} of key {key}, event time {event_time}"
            ),
            Kind::Delete => write!(f, "deletes key {key}, event time {event_time}"),
            Kind::Ttl => write!(f, "alters ttl to {arg}"),
            Kind::Lateness => write!(f, "alters max_lateness to {arg}"),
            Kind::Drop => write!(f, "drops generation {generation}"),
            Kind::Create => write!(
                f,
                "creates generation {generation}, ttl {arg}, max_lateness {event_time}"
            ),
            Kind::Horizon => write!(f, "logs horizon {arg}"),
        }
    }
}
