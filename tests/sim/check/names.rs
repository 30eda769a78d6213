//! I2: equal names mean equal records, everywhere and for ever.

use std::collections::BTreeMap;

use steadfast::base::{LogId, Seq, Stamp};
use steadfast::model::digest::Digest;
use steadfast::replication::Logged;

use crate::world::World;

/// The record seen under each name.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<(LogId, Seq), (Stamp, Digest)>);

impl World {
    pub fn check_name(&mut self, record: &Logged) {
        let name = (record.log(), record.seq());
        let is = (record.stamp, record.chain_after);
        if *self.seen.names.0.entry(name).or_insert(is) != is {
            let (log, seq) = name;
            self.fail(format!("I2: two records are called {log} {seq}"));
        }
    }
}
