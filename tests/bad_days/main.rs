//! Sets of real processes on bad days: killed, stopped, cut off, filled up and damaged under load.
//!
//! Each day ends well, or the test fails: the set is whole again, its members hold the same, and what clients were told fits
//! the rules of `tests/history`, so that nothing acknowledged is lost and nothing is called failed that was done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod bucket;
mod calm;
mod cuts;
mod damage;
mod day;
mod directories;
mod disks;
#[allow(dead_code, reason = "these days use a part of what a history can say")]
#[path = "../history/mod.rs"]
mod history;
mod kills;
mod members;
mod pauses;
#[allow(dead_code, reason = "these days need but a server")]
#[path = "../backup/places.rs"]
mod places;
mod reads;
mod scans;
mod slow;
mod stages;
mod traffic;
mod turns;
mod undo;
