//! The messages that wait for one peer.
//!
//! Those that carry records wait in one line, and so do pings, in order with them: a ping that overtook records would make
//! the member's answer look as if they had been lost. Everything else goes first and has room of its own, so that a seal
//! or a question never waits behind megabytes, nor is dropped for them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::sync::Notify;

use crate::base::clock::now_monotonic;
use crate::proto::v1;
use v1::PeerMessage;
use v1::peer_message::Content;

/// Bytes with records that may wait: twice what a primary lets be on its way to one member.
const BULK_BYTES: usize = 16 << 20;
/// Bytes of all else: thousands of messages.
const URGENT_BYTES: usize = 1 << 20;

/// A queue that never makes its sender wait.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Guards the messages and when one was last taken.
    lines: Mutex<Lines>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    urgent: Line,
    bulk: Line,
    /// Since when there are messages and none was taken.
    stands: Option<Instant>,
}

#[derive(Debug, Default)]
struct Line {
    messages: VecDeque<(PeerMessage, usize)>,
    bytes: usize,
}

impl Outbox {
    /// Puts a message in line, unless too much waits there already. One that is larger than all that may wait still goes
    /// alone. Says whether it was taken.
    pub fn push(&self, message: PeerMessage) -> bool {
        let mut lines = self.lines();
        let taken = if is_bulk(&message) {
            lines.bulk.push(message, BULK_BYTES)
        } else {
            lines.urgent.push(message, URGENT_BYTES)
        };
        if taken {
            lines.stands.get_or_insert_with(now_monotonic);
            self.filled.notify_one();
        }
        taken
    }

    /// The next message, with its size. For one reader at a time; dropping this loses nothing.
    pub async fn take(&self) -> (PeerMessage, usize) {
        loop {
            if let Some(next) = self.lines().pop() {
                return next;
            }
            self.filled.notified().await;
        }
    }

    /// Drops everything; says how many messages that were.
    pub fn clear(&self) -> usize {
        let dropped = std::mem::take(&mut *self.lines());
        dropped.urgent.messages.len() + dropped.bulk.messages.len()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        let lines = self.lines();
        lines.urgent.bytes + lines.bulk.bytes
    }

    /// For how long messages have waited without one being taken.
    pub fn stands_still(&self) -> Duration {
        let stands = self.lines().stands;
        stands.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn pop(&mut self) -> Option<(PeerMessage, usize)> {
        let next = self.urgent.pop().or_else(|| self.bulk.pop())?;
        let is_empty = self.urgent.messages.is_empty() && self.bulk.messages.is_empty();
        self.stands = (!is_empty).then(now_monotonic);
        Some(next)
    }
}

impl Line {
    fn push(&mut self, message: PeerMessage, most: usize) -> bool {
        let bytes = message.encoded_len();
        let fits = self.bytes.saturating_add(bytes) <= most || self.messages.is_empty();
        if fits {
            self.bytes += bytes;
            self.messages.push_back((message, bytes));
        }
        fits
    }

    fn pop(&mut self) -> Option<(PeerMessage, usize)> {
        let next = self.messages.pop_front()?;
        self.bytes -= next.1;
        Some(next)
    }
}

fn is_bulk(message: &PeerMessage) -> bool {
    matches!(
        message.content,
        Some(Content::Append(_) | Content::Fetched(_))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::FutureExt as _;

    fn append(number: u64, bytes: usize) -> PeerMessage {
        let records = Bytes::from(vec![7; bytes]);
        let content = Some(Content::Append(v1::Append {
            number,
            records,
            ..Default::default()
        }));
        PeerMessage { content }
    }

    fn probe(number: u64) -> PeerMessage {
        let content = Some(Content::Probe(v1::Probe { number }));
        PeerMessage { content }
    }

    fn taken(outbox: &Outbox) -> Vec<PeerMessage> {
        std::iter::from_fn(|| outbox.take().now_or_never())
            .map(|(message, _)| message)
            .collect()
    }

    #[test]
    fn pings_keep_their_place_behind_records_and_all_else_goes_first() {
        let outbox = Outbox::default();
        for message in [
            append(1, 100),
            probe(1),
            append(2, 0),
            append(3, 100),
            probe(2),
        ] {
            assert!(outbox.push(message));
        }
        let expected = [
            probe(1),
            probe(2),
            append(1, 100),
            append(2, 0),
            append(3, 100),
        ];
        assert_eq!(taken(&outbox), expected);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn what_waits_is_bounded_and_one_message_goes_however_large() {
        let outbox = Outbox::default();
        let mut pushed = 0;
        while outbox.push(append(pushed, 1 << 20)) {
            pushed += 1;
        }
        assert_eq!(pushed, 15);
        assert!(outbox.bytes() <= BULK_BYTES);
        assert!(outbox.push(append(pushed, 0)), "a ping still fits");
        assert_eq!(outbox.clear(), 16);
        assert_eq!(outbox.bytes(), 0);
        assert!(outbox.push(append(1, 2 * BULK_BYTES)));
        assert!(!outbox.push(append(2, 0)));
        assert_eq!(taken(&outbox), [append(1, 2 * BULK_BYTES)]);
        assert!(outbox.push(append(3, 0)));
    }

    #[test]
    fn records_take_no_room_from_other_messages_which_are_bounded_too() {
        let outbox = Outbox::default();
        while outbox.push(append(1, 1 << 20)) {}
        let mut pushed = 0;
        while outbox.push(probe(1 << 30)) {
            pushed += 1;
        }
        assert!((10_000..1_000_000).contains(&pushed), "{pushed}");
        assert!(outbox.bytes() <= BULK_BYTES + URGENT_BYTES);
    }

    #[test]
    fn it_stands_still_from_the_last_message_taken_while_others_wait() {
        let outbox = Outbox::default();
        assert_eq!(outbox.stands_still(), Duration::ZERO);
        outbox.push(probe(1));
        outbox.push(probe(2));
        let first = outbox.lines().stands.unwrap();
        outbox.take().now_or_never().unwrap();
        assert!(outbox.lines().stands.unwrap() > first);
        outbox.take().now_or_never().unwrap();
        assert_eq!(outbox.stands_still(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_and_one_that_was_dropped_loses_nothing() {
        let outbox = Outbox::default();
        assert!(outbox.take().now_or_never().is_none());
        let (taken, ()) = tokio::join!(outbox.take(), async {
            outbox.push(probe(4));
        });
        assert_eq!(taken.0, probe(4));
        let mut dropped = Box::pin(outbox.take());
        assert!(futures::poll!(&mut dropped).is_pending());
        outbox.push(probe(5));
        drop(dropped);
        assert_eq!(outbox.take().await.0, probe(5));
    }
}
