//! Random messages.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::rngs::StdRng;
use steadfast::base::{
    BootNumber, Epoch, Hlc, IncarnationId, LogId, RegionId, Seq, Stamp, VersionVector,
};
use steadfast::control::Missing;
use steadfast::model::record::Rows;
use steadfast::model::{Body, Digest, Record, RequestId};
use steadfast::replication::{
    Append, Fetch, Fetched, Heads, Held, Logged, Message, PreSeal, Round, Seal, SealAck,
};

/// A record of about so many bytes.
pub fn record(seq: u64, bytes: usize) -> Logged {
    let record = Record {
        stamp: Stamp {
            hlc: Hlc(seq << 16),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(seq),
        },
        chain_before: Digest(u128::from(seq)),
        request: Some(RequestId {
            caller: "x".repeat(bytes),
            id: "id".into(),
            body_hash: Digest(1),
        }),
        body: Body::Rows(Rows::default()),
    };
    Logged::new(record)
}

pub fn append(number: u64, records: Vec<Logged>) -> Message {
    Message::Append(Append {
        epoch: Epoch(1),
        number,
        round: Round(number),
        vector: VersionVector::new(),
        records,
    })
}

/// Does it wait in line with records?
pub fn is_bulk(message: &Message) -> bool {
    matches!(message, Message::Append(_) | Message::Fetched(_))
}

fn log(rng: &mut StdRng) -> LogId {
    LogId {
        region: RegionId(rng.random()),
        epoch: Epoch(rng.random()),
    }
}

fn vector(rng: &mut StdRng) -> VersionVector {
    let mut vector = VersionVector::new();
    for _ in 0..rng.random_range(0..4) {
        let log = log(rng);
        vector.fold(log.region, Epoch(log.epoch.0 / 2));
        vector.advance(log, Seq(rng.random()));
    }
    vector
}

fn heads(rng: &mut StdRng) -> Heads {
    let vector = vector(rng);
    let chains = vector.logs().map(|(log, seq)| (log, Digest(seq.0.into())));
    let chains: BTreeMap<_, _> = chains.collect();
    Heads::new(vector, chains)
}

fn records(rng: &mut StdRng) -> Vec<Logged> {
    let count = rng.random_range(0..20);
    (0..count)
        .map(|_| record(rng.random(), rng.random_range(0..5_000)))
        .collect()
}

pub fn random(rng: &mut StdRng) -> Message {
    let (epoch, number) = (Epoch(rng.random()), rng.random());
    match rng.random_range(0..12) {
        0 => Message::Append(Append {
            epoch,
            number,
            round: Round(rng.random()),
            vector: vector(rng),
            records: records(rng),
        }),
        1 => Message::Held(Held {
            epoch,
            number,
            round: Round(rng.random()),
            durable: vector(rng),
            appended: heads(rng),
            applied: vector(rng),
        }),
        2 => Message::Fenced {
            epoch,
            promise: Epoch(rng.random()),
        },
        3 => Message::Seal(Seal { epoch }),
        4 => Message::SealAck(SealAck {
            epoch,
            boot: BootNumber(rng.random()),
            durable: vector(rng),
            appended: heads(rng),
        }),
        5 => Message::Fetch(Fetch {
            epoch,
            wanted: vec![Missing {
                log: log(rng),
                after: Seq(rng.random()),
                through: Seq(rng.random()),
            }],
        }),
        6 => Message::Fetched(Fetched {
            epoch,
            records: rng.random::<bool>().then(|| records(rng)),
        }),
        7 => Message::PreSeal(PreSeal {
            number,
            open: epoch,
            attempt: Epoch(rng.random()),
        }),
        8 => Message::PreSealed {
            number,
            agrees: rng.random(),
        },
        9 => Message::HandOver {
            epoch,
            members: (0..3).map(|_| IncarnationId(rng.random())).collect(),
            vector: vector(rng),
        },
        10 => Message::Probe { number },
        _ => Message::Probed {
            number,
            appended: vector(rng),
        },
    }
}
