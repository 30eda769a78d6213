//! What a run explores: one kind of view, and what may happen to it.

use super::rules::Rules;

/// What a region may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Puts of these features (a bit each), at each of the offsets from the stamp's time.
    Put(u8),
    /// A delete without an event time.
    Delete,
    /// A delete at each of the offsets.
    DeleteAt,
    /// An override without an event time.
    Override,
    Drop,
    /// Creates the name again, with this ttl and `max_lateness`.
    Create(u8, u8),
    Ttl(u8),
    Lateness(u8),
}

/// One configuration. Spans of 0 are without end.
#[derive(Debug, Clone)]
pub struct Setup {
    pub cells: bool,
    pub arrival: bool,
    pub ttl: u8,
    pub lateness: u8,
    pub max_ages: [u8; 2],
    /// What each region may write, and how often.
    pub ops: [&'static [Op]; 2],
    pub writes: [u8; 2],
    /// By how much a clock may advance to a write.
    pub steps: &'static [u8],
    /// Event times of puts, relative to their stamps' time.
    pub offsets: &'static [i8],
    pub keys: u8,
    pub horizons: u8,
    /// How far a horizon may lie above the last stamp, all being applied.
    pub idle: u8,
    /// Has region A a second member?
    pub has_second: bool,
    pub exchanges: u8,
    pub rebuilds: u8,
    pub promotes: bool,
    pub evicts: bool,
    pub rules: Rules,
}

impl Setup {
    /// Two regions of one node each, a row view by event time that keeps everything.
    pub fn small() -> Setup {
        Setup {
            cells: false,
            arrival: false,
            ttl: 0,
            lateness: 0,
            max_ages: [0, 0],
            ops: [&[Op::Put(1), Op::Delete]; 2],
            writes: [2, 1],
            steps: &[1, 4],
            offsets: &[-3, 0],
            keys: 1,
            horizons: 1,
            idle: 4,
            has_second: false,
            exchanges: 0,
            rebuilds: 0,
            promotes: false,
            evicts: false,
            rules: Rules::default(),
        }
    }

    /// The nodes there are.
    pub fn nodes(&self) -> &'static [usize] {
        if self.has_second { &[0, 1, 2] } else { &[0, 2] }
    }
}
