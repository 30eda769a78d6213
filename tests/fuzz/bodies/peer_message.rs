//! What members say to one another.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use steadfast::base::{BootNumber, Epoch, IncarnationId, LogId, RegionId, Seq, VersionVector};
use steadfast::control::Missing;
use steadfast::model::Digest;
use steadfast::proto::v1;
use steadfast::replication::{
    Append, Fetch, Fetched, Heads, Held, Logged, Message, PreSeal, Round, Seal, SealAck,
};

use super::{assert_same, bounded};

/// A record is decoded, and the multiples of decoding it are those of its own body; version vectors are trees.
const MULTIPLE: u64 = 60;

pub fn check(bytes: &[u8]) {
    let input = Bytes::copy_from_slice(bytes);
    let read = bounded(input.len(), MULTIPLE, || {
        let message = v1::PeerMessage::decode(input.clone()).ok()?;
        Message::try_from(message).ok()
    });
    let Some(read) = read else { return };
    let again = Message::try_from(v1::PeerMessage::from(&read));
    assert_same(&again.expect("what was written can be read"), &read);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let log = |epoch| LogId {
        region: RegionId(5),
        epoch: Epoch(epoch),
    };
    let mut vector = VersionVector::new();
    vector.fold(RegionId(5), Epoch(2));
    vector.advance(log(3), Seq(9));
    let heads = Heads::new(vector.clone(), BTreeMap::from([(log(3), Digest(1))]));
    let logged = |bytes: Vec<u8>| Logged::read(bytes.into()).expect("seeds are records");
    let records: Vec<Logged> = super::record::seeds().into_iter().map(logged).collect();
    let (epoch, round) = (Epoch(3), Round(4));
    let messages = [
        Message::Append(Append {
            epoch,
            number: 1,
            round,
            vector: vector.clone(),
            records: records.clone(),
        }),
        Message::Held(Held {
            epoch,
            number: 1,
            round,
            durable: vector.clone(),
            appended: heads.clone(),
            applied: vector.clone(),
        }),
        Message::Fenced {
            epoch,
            promise: Epoch(4),
        },
        Message::Seal(Seal { epoch }),
        Message::SealAck(SealAck {
            epoch,
            boot: BootNumber(2),
            durable: vector.clone(),
            appended: heads,
        }),
        Message::Fetch(Fetch {
            epoch,
            wanted: vec![Missing {
                log: log(3),
                after: Seq(1),
                through: Seq(9),
            }],
        }),
        Message::Fetched(Fetched {
            epoch,
            records: Some(records),
        }),
        Message::Fetched(Fetched {
            epoch,
            records: None,
        }),
        Message::PreSeal(PreSeal {
            number: 1,
            open: epoch,
            attempt: Epoch(4),
        }),
        Message::PreSealed {
            number: 1,
            agrees: true,
        },
        Message::HandOver {
            epoch,
            members: BTreeSet::from([IncarnationId(1), IncarnationId(2)]),
            vector: vector.clone(),
        },
        Message::Probe { number: 7 },
        Message::Probed {
            number: 7,
            appended: vector,
        },
    ];
    messages
        .iter()
        .map(|message| v1::PeerMessage::from(message).encode_to_vec())
        .collect()
}
