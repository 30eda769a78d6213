//! I22: equal positions mean equal rows, and equal results of named writes.

use steadfast::base::VersionVector;

use crate::disk::Store;
use crate::world::World;

impl World {
    pub fn check_equal(&mut self) {
        let mut seen: Vec<(&VersionVector, &Store)> = Vec::new();
        let mut differ = None;
        for live in self.nodes.iter().filter_map(|node| node.live.as_ref()) {
            let held = live.store.held.vector();
            let other = seen.iter().find(|(other, _)| *other == held);
            let is_like = |other: &Store| {
                other.rows == live.store.rows && other.requests == live.store.requests
            };
            if other.is_some_and(|(_, other)| !is_like(other)) {
                differ = Some(held.to_string());
            }
            seen.push((held, &live.store));
        }
        if let Some(held) = differ {
            self.fail(format!("I22: two nodes hold {held} and different rows"));
        }
    }
}
