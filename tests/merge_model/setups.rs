//! The setups that the runs vary.

use super::setup::Op::{self, *};
use super::setup::Setup;

pub const PUT: Op = Put(1);
pub const OTHER: Op = Put(2);
pub const TTLS: [&[Op]; 2] = [&[PUT, Delete, Ttl(9), Ttl(1)]; 2];
pub const LATENESSES: [&[Op]; 2] = [&[PUT, Delete, Lateness(1), Lateness(9)]; 2];

/// Two regions that write these.
pub fn writing(a: &'static [Op], b: &'static [Op], writes: [u8; 2]) -> Setup {
    Setup {
        ops: [a, b],
        writes,
        ..Setup::small()
    }
}

pub fn ttl() -> Setup {
    Setup {
        ttl: 3,
        ops: TTLS,
        ..Setup::small()
    }
}

pub fn lateness() -> Setup {
    Setup {
        lateness: 3,
        ops: LATENESSES,
        offsets: &[-6, -3, 0],
        ..Setup::small()
    }
}

pub fn overrides() -> Setup {
    Setup {
        ttl: 6,
        lateness: 2,
        ops: [&[PUT, Delete, Override]; 2],
        steps: &[1, 3],
        ..Setup::small()
    }
}

pub fn own_times() -> Setup {
    let ops: [&[Op]; 2] = [&[DeleteAt, Lateness(9)], &[PUT, DeleteAt]];
    Setup {
        lateness: 3,
        ops,
        steps: &[1, 5],
        offsets: &[-5, -4, 0],
        ..Setup::small()
    }
}

pub fn views() -> Setup {
    let ops: [&[Op]; 2] = [&[PUT, Drop, Create(0, 0)]; 2];
    Setup {
        ops,
        steps: &[1],
        offsets: &[0],
        writes: [3, 1],
        ..Setup::small()
    }
}

/// Both regions create the next generation, each with its own ttl.
pub fn two_creations() -> Setup {
    let ops: [&[Op]; 2] = [&[Drop, Create(3, 3), PUT], &[Create(9, 9)]];
    Setup {
        ops,
        steps: &[1, 6],
        offsets: &[0],
        writes: [3, 1],
        ..Setup::small()
    }
}

pub fn max_ages() -> Setup {
    Setup {
        ttl: 5,
        max_ages: [2, 0],
        ops: [&[PUT, OTHER, Delete]; 2],
        ..Setup::small()
    }
}

pub fn three_nodes() -> Setup {
    let small = Setup::small();
    Setup {
        has_second: true,
        lateness: 2,
        writes: [1, 1],
        steps: &[1, 3],
        offsets: &[-2, 0],
        ..small
    }
}

pub fn rebuilt() -> Setup {
    Setup {
        rebuilds: 1,
        lateness: 1,
        steps: &[1, 4],
        offsets: &[0],
        ..three_nodes()
    }
}

pub fn exchanged() -> Setup {
    Setup {
        rebuilds: 1,
        exchanges: 1,
        ops: [&[PUT, Delete], &[]],
        writes: [2, 0],
        offsets: &[0],
        ..three_nodes()
    }
}

/// One region writes, and either may take a snapshot from the other.
pub fn snapshot(ops: &'static [Op], writes: u8) -> Setup {
    Setup {
        lateness: 1,
        exchanges: 1,
        steps: &[1],
        offsets: &[0],
        ..writing(ops, &[], [writes, 0])
    }
}

pub fn two_horizons() -> Setup {
    let ops: [&[Op]; 2] = [&[PUT], &[PUT]];
    Setup {
        ttl: 2,
        lateness: 0,
        ops,
        horizons: 2,
        steps: &[1],
        idle: 3,
        ..rebuilt()
    }
}

pub fn evicted() -> Setup {
    let ops: [&[Op]; 2] = [&[Delete], &[PUT, Delete]];
    Setup {
        evicts: true,
        lateness: 2,
        ops,
        writes: [2, 2],
        steps: &[1, 3],
        offsets: &[-2, 0],
        ..Setup::small()
    }
}

pub fn carried() -> Setup {
    let ops: [&[Op]; 2] = [&[Drop, Create(0, 0)], &[PUT]];
    Setup {
        ops,
        writes: [2, 1],
        steps: &[1],
        horizons: 0,
        ..three_nodes()
    }
}

pub fn promoted() -> Setup {
    Setup {
        promotes: true,
        writes: [2, 1],
        ..three_nodes()
    }
}

pub fn everything() -> Setup {
    let all: &[Op] = &[
        PUT,
        OTHER,
        Put(3),
        Delete,
        DeleteAt,
        Override,
        Drop,
        Create(9, 4),
        Create(4, 8),
        Ttl(4),
        Ttl(20),
        Lateness(6),
    ];
    Setup {
        ttl: 9,
        lateness: 4,
        max_ages: [6, 0],
        ops: [all; 2],
        writes: [4, 4],
        steps: &[1, 2, 4],
        offsets: &[-6, -3, -1, 0, 2],
        keys: 2,
        horizons: 2,
        has_second: true,
        exchanges: 2,
        rebuilds: 1,
        promotes: true,
        ..Setup::small()
    }
}
