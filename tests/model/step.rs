//! One step of the model, and how it reads in a counterexample.

use std::fmt;

use crate::set::{Set, each};
use crate::state::{State, number, record_of};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Begin,
    BeginPlanned,
    Seal,
    SealAckLost,
    ReadEarly,
    CatchUp,
    Open,
    Extend,
    Record,
    Append,
    Sync,
    Replicate,
    FetchTail,
    Join,
    Ping,
    Snapshot,
    Reseed,
    Gossip,
    QuorumAck,
    PingRound,
    ExtendContact,
    Lapse,
    Close,
    Evict,
    ReadStart,
    ReadPing,
    ReadTake,
    ReadReturn,
    QuorumReply,
    QuorumVouch,
    QuorumReturn,
    Crash,
    DiskLoss,
    Image,
    Rollback,
    Boot,
}

/// What happens, in which epoch, at which node, and one more byte: records, nodes, a version or a key.
#[derive(Clone, Copy)]
pub struct Step {
    pub kind: Kind,
    pub epoch: u8,
    pub node: u8,
    pub detail: u8,
}

/// The steps out of one state.
#[derive(Default)]
pub struct Steps(pub Vec<(Step, State)>);

impl Steps {
    pub fn push(&mut self, kind: Kind, epoch: usize, node: usize, detail: u8, after: State) {
        let step = Step {
            kind,
            epoch: epoch as u8,
            node: node as u8,
            detail,
        };
        self.0.push((step, after));
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, e, x) = (self.node, number(usize::from(self.epoch)), self.detail);
        let (nodes, records) = (Names('n', 0, x), Names('r', 1, x));
        match self.kind {
            Kind::Begin => write!(f, "n{n} begins e{e} with members {nodes}"),
            Kind::BeginPlanned => write!(f, "n{n} begins e{e}, planned, with members {nodes}"),
            Kind::Seal => write!(f, "n{n} promises e{e}, its SealAck says it holds {records}"),
            Kind::SealAckLost => write!(f, "n{n} promises e{e}, its SealAck is lost"),
            Kind::ReadEarly => write!(f, "n{n} reads that it holds {records}, for e{e}"),
            Kind::CatchUp => write!(f, "n{n} has caught up for e{e}, T = {records}"),
            Kind::Open => write!(f, "e{e} opens, primary n{n}, members {nodes}"),
            Kind::Extend => write!(f, "e{e} is granted the ceiling {x}"),
            Kind::Record => write!(f, "e{e} extends and records what its members acknowledged"),
            Kind::Append => write!(f, "n{n} writes {records} in e{e}"),
            Kind::Sync => write!(f, "n{n} syncs {records}"),
            Kind::Replicate => write!(f, "n{n} takes {records} from e{e}'s primary"),
            Kind::FetchTail => write!(f, "e{e}'s primary fetches {records} from n{n}"),
            Kind::Join => write!(f, "n{n} takes e{e}'s opening record"),
            Kind::Ping => write!(f, "n{n} is pinged in e{e}"),
            Kind::Snapshot => write!(f, "n{n} takes a snapshot from e{e}'s primary, of {records}"),
            Kind::Reseed => write!(f, "n{n} sets {records} aside and is seeded again in e{e}"),
            Kind::Gossip => write!(f, "n{n} takes {records} from another member"),
            Kind::QuorumAck => write!(f, "n{n} acknowledges {records} at quorum in e{e}"),
            Kind::PingRound => write!(f, "n{n} confirms its contact with W members of e{e}"),
            Kind::ExtendContact => write!(f, "n{n} confirms its contact by an Extend of e{e}"),
            Kind::Lapse => write!(f, "L passes"),
            Kind::Close => write!(f, "n{n} closes e{e}'s log at {records}"),
            Kind::Evict => write!(f, "n{n} is evicted"),
            Kind::ReadStart => write!(f, "a primary read of key {x} arrives at n{n} in e{e}"),
            Kind::ReadPing => write!(f, "n{n} confirms it in e{e}"),
            Kind::ReadTake => write!(f, "n{n} takes {}", Row(x)),
            Kind::ReadReturn => write!(f, "the primary read in e{e} returns {}", Row(x)),
            Kind::QuorumReply => write!(f, "n{n} answers a quorum read in e{e}: {}", Row(x)),
            Kind::QuorumVouch => write!(f, "n{n} vouches for {}", Row(x)),
            Kind::QuorumReturn => write!(f, "the quorum read in e{e} returns {}", Row(x)),
            Kind::Crash => write!(f, "n{n} restarts, losing {records}"),
            Kind::DiskLoss => write!(f, "n{n} loses its disk"),
            Kind::Image => write!(f, "n{n}'s directory is copied"),
            Kind::Rollback => write!(f, "n{n}'s directory is replaced by its copy"),
            Kind::Boot => write!(f, "n{n}'s start is registered: {}", x == 1),
        }
    }
}

struct Names(char, usize, Set);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Names(letter, first, set) = *self;
        if set == 0 {
            return write!(f, "nothing");
        }
        let names: Vec<String> = each(set)
            .map(|i| format!("{letter}{}", i + first))
            .collect();
        write!(f, "{}", names.join(" "))
    }
}

struct Row(u8);

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "no row"),
            version => write!(f, "the row r{}", record_of(version) + 1),
        }
    }
}
