//! Logs for tests of the cores.

use super::{Append, Held, Logged, Round};
use crate::base::{
    Epoch, Hlc, IncarnationId, LineageId, LogId, RegionId, Seq, Stamp, VersionVector,
};
use crate::control::ControlState;
use crate::model::digest::Digest;
use crate::model::record::{Body, Opening, Record, Rows};

pub const REGION: RegionId = RegionId(7);

pub fn log(epoch: u64) -> LogId {
    LogId {
        region: REGION,
        epoch: Epoch(epoch),
    }
}

/// The first records of an epoch's log, the opening record first. `salt` makes another log of the same name.
pub fn records(epoch: u64, count: u64, salt: u32) -> Vec<Logged> {
    let mut chain = Digest::EMPTY;
    let mut made = Vec::new();
    for seq in 1..=count {
        let body = if seq == 1 {
            Body::Opening(Opening {
                floor: Hlc::ZERO,
                members: vec![IncarnationId(1), IncarnationId(2), IncarnationId(3)],
                recovered: VersionVector::new(),
            })
        } else {
            Body::Rows(Rows {
                older: salt,
                ..Rows::default()
            })
        };
        let stamp = Stamp {
            hlc: Hlc(epoch << 32 | seq),
            region: REGION,
            epoch: Epoch(epoch),
            seq: Seq(seq),
        };
        let record = Record {
            stamp,
            chain_before: chain,
            request: None,
            body,
        };
        let logged = Logged::new(record);
        chain = logged.chain_after;
        made.push(logged);
    }
    made
}

pub fn vector(held: &[(u64, u64)]) -> VersionVector {
    let mut vector = VersionVector::new();
    for (epoch, seq) in held {
        vector.advance(log(*epoch), Seq(*seq));
    }
    vector
}

pub fn control() -> ControlState {
    ControlState::new(LineageId(1), REGION, IncarnationId(1))
}

pub fn append(epoch: u64, vector: VersionVector, records: &[Logged]) -> Append {
    Append {
        epoch: Epoch(epoch),
        number: 1,
        round: Round(1),
        vector,
        records: records.to_vec(),
    }
}

/// What a member says that has heard `number`.
pub fn held(epoch: u64, number: u64, member: &super::Member) -> Held {
    Held {
        epoch: Epoch(epoch),
        number,
        round: Round(0),
        durable: member.durable().clone(),
        appended: member.appended().clone(),
        applied: VersionVector::new(),
    }
}
