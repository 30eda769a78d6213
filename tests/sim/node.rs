//! A node of the simulation: a disk, and while its process lives, a replica with a store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use steadfast::base::{BootToken, IncarnationId, Stamp, VersionVector};
use steadfast::control::{Addresses, BootClaim, ControlState, LEVEL};
use steadfast::replica::{Found, ReadId, Replica};

use crate::caller::endpoint;
use crate::disk::{Disk, Store};

pub struct Node {
    pub disk: Disk,
    pub live: Option<Live>,
    /// Counts processes, so that what was meant for an earlier one is not taken by a later.
    pub life: u64,
    /// Counts processes only: a life also ends when another store takes the place of this one's.
    pub process: u64,
    /// What has reached it of what is agreed; durable.
    pub learnt: usize,
    /// Milliseconds by which its clock is wrong.
    pub skew: i64,
    pub paused_until: u64,
    /// Its start was refused: the directory is dead.
    pub is_dead: bool,
    /// Syncs take so many times longer.
    pub slowness: u64,
    /// An earlier state of its disk, to roll back to.
    pub backup: Option<Disk>,
}

pub struct Live {
    pub replica: Replica,
    pub store: Store,
    /// The store holds `wal[..applied_at]`.
    pub applied_at: usize,
    pub durable: VersionVector,
    pub is_syncing: bool,
    pub is_applying: bool,
    /// Reads under way: the attempt, and the row once it is read.
    pub reads: BTreeMap<ReadId, (usize, Option<Vec<u8>>)>,
    /// Writes that this process has logged and may not have applied yet.
    pub recent: BTreeMap<usize, Stamp>,
}

impl Node {
    pub fn new(incarnation: IncarnationId) -> Node {
        Node {
            disk: Disk::empty(incarnation),
            live: None,
            life: 0,
            process: 0,
            learnt: 0,
            skew: 0,
            paused_until: 0,
            is_dead: false,
            slowness: 1,
            backup: None,
        }
    }

    /// Starts a process on the disk of this node.
    pub fn start(&mut self, at: usize, control: &Arc<ControlState>, now: Duration, chance: u64) {
        let store = self.disk.recover();
        let token = BootToken(chance);
        let known = self.disk.tokens.clone();
        self.disk.tokens.insert(token);
        let found = Found {
            incarnation: self.disk.incarnation,
            claim: BootClaim {
                incarnation: self.disk.incarnation,
                known,
                token,
                held: store.held.vector().clone(),
                addresses: Addresses {
                    peer: String::new(),
                    client: endpoint(at),
                },
                level: LEVEL,
            },
            promise: self.disk.promise,
            held: store.held.clone(),
            opening: store.opening.clone(),
            applied: store.held.vector().clone(),
            newest: store.newest,
        };
        let replica = Replica::new(found, Arc::clone(control), now, chance);
        self.life += 1;
        self.process += 1;
        self.live = Some(Live {
            replica,
            durable: store.held.vector().clone(),
            store,
            applied_at: self.disk.synced,
            is_syncing: false,
            is_applying: false,
            reads: BTreeMap::new(),
            recent: BTreeMap::new(),
        });
    }

    /// Its clock, in milliseconds.
    pub fn wall_millis(&self, now: u64) -> u64 {
        let base = 1_000_000_000 + now / 1_000_000;
        base.saturating_add_signed(self.skew)
    }
}
