//! Pure: what a primary sends to one member, and when.
//!
//! ```text
//!   probing ── first Held ──► streaming ── the log no longer reaches back ──► needs snapshot
//!                                 ▲                                                │
//!                                 └──────────── Held shows that it has moved ──────┘
//! ```
//! While streaming, `sent` runs ahead of what the member has reported. Every message has a number, every [`Held`] echoes
//! the greatest one heard: if that is past the last records sent and the member lacks some of them, they were lost, and
//! `sent` falls back. What is on its way is bounded in bytes.

use std::collections::VecDeque;

use super::message::Held;
use crate::base::VersionVector;
use crate::control::ControlState;
use crate::model::{Heads, Logged};

/// Bytes that may be on their way to one member.
const WINDOW_BYTES: usize = 8 << 20;
/// Bytes of records in one message.
const MESSAGE_BYTES: usize = 1 << 20;

/// What is to be read from the primary's log for a member: the records not in `after`, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// What the member has, or has been sent.
    pub after: VersionVector,
    /// About how many bytes at once; one record at least.
    pub max_bytes: usize,
}

/// The stream from a primary to one member.
#[derive(Debug, Default)]
pub struct Sender {
    number: u64,
    /// The number of the last message with records.
    last_records: u64,
    /// What the member reported last; `None` while probing.
    reported: Option<Held>,
    sent: VersionVector,
    in_flight: VecDeque<(u64, usize)>,
    /// A [`Shipment`] is being read.
    is_reading: bool,
    /// The last [`Shipment`] came back without records: the next one waits for a report.
    is_empty_handed: bool,
    needs_snapshot: bool,
}

impl Sender {
    /// A stream to a member of which nothing is known yet.
    #[must_use]
    pub fn new() -> Sender {
        Sender::default()
    }

    /// The number of the next message.
    pub fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// What the member reported last, under the sender's epoch.
    #[must_use]
    pub fn reported(&self) -> Option<&Held> {
        self.reported.as_ref()
    }

    /// Does the log no longer reach back to what the member lacks?
    #[must_use]
    pub fn needs_snapshot(&self) -> bool {
        self.needs_snapshot
    }

    /// What is to be read next for the member, out of what is durable here.
    pub fn next(&mut self, control: &ControlState, durable: &VersionVector) -> Option<Shipment> {
        let in_flight: usize = self.in_flight.iter().map(|(_, bytes)| bytes).sum();
        let may = self.reported.is_some()
            && !self.is_reading
            && !self.is_empty_handed
            && !self.needs_snapshot
            && in_flight < WINDOW_BYTES;
        if !may || control.covers(&self.sent, durable) {
            return None;
        }
        if control.missing(durable, &self.sent).is_none() {
            // It would never know that it holds to their ends the logs whose ends have been forgotten.
            self.needs_snapshot = true;
            return None;
        }
        self.is_reading = true;
        Some(Shipment {
            after: self.sent.clone(),
            max_bytes: MESSAGE_BYTES,
        })
    }

    /// What was read; `None` if the log no longer reaches back. Returns the number of the message that carries it.
    pub fn read(&mut self, records: Option<&[Logged]>) -> Option<u64> {
        self.is_reading = false;
        let Some(records) = records else {
            self.needs_snapshot = true;
            return None;
        };
        if records.is_empty() {
            // The log has nothing yet of what it is said to hold: the member's next report is soon enough to look again.
            self.is_empty_handed = true;
            return None;
        }
        let bytes = records.iter().map(|record| record.bytes.len()).sum();
        for record in records {
            self.sent.advance(record.log(), record.seq());
        }
        let number = self.number();
        self.last_records = number;
        self.in_flight.push_back((number, bytes));
        Some(number)
    }

    /// The member reports what it holds.
    pub fn report(&mut self, control: &ControlState, held: Held) {
        if self
            .reported
            .as_ref()
            .is_some_and(|last| held.number < last.number)
        {
            return;
        }
        while self
            .in_flight
            .front()
            .is_some_and(|(number, _)| *number <= held.number)
        {
            self.in_flight.pop_front();
        }
        self.is_empty_handed = false;
        let appended = held.appended.vector();
        let is_first = self.reported.is_none();
        let lost = held.number >= self.last_records && !control.covers(appended, &self.sent);
        if is_first || lost {
            self.sent = appended.clone();
        } else {
            self.sent.join(appended);
        }
        let has_moved = self.reported.as_ref().map(|last| last.appended.vector()) != Some(appended);
        self.needs_snapshot &= !has_moved;
        self.reported = Some(held);
    }

    /// What the member last reported as appended.
    #[must_use]
    pub fn appended(&self) -> Option<&Heads> {
        self.reported.as_ref().map(|held| &held.appended)
    }
}

#[cfg(test)]
#[path = "sender_test.rs"]
mod tests;
