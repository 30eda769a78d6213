//! Payloads on their way to the writer, each with its place in the log from the moment it is queued.
//!
//! **Invariants.** Bounded: who appends to a full queue waits. Places are given out in the order of the queue, those of
//! marks included. Once the log is poisoned nothing is taken out any more; once it is closing nothing is put in.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::error::Poisoned;
use super::frame::frame_bytes;
use super::log::mark_bytes;
use crate::base::{Lsn, Watermark};

/// How many bytes of payload may wait, and so the size of a batch. A longer payload is a batch of its own.
const QUEUE_BYTES: usize = 16 << 20;

/// Between those who append and the writer.
#[derive(Debug)]
pub(super) struct Queue {
    /// Guards what is queued.
    state: Mutex<State>,
    /// There is something for the writer.
    work: Condvar,
    /// There may be room for those who append.
    room: Condvar,
    /// Says by its end that the log is poisoned.
    durable: Watermark<Lsn, Poisoned>,
}

#[derive(Debug)]
struct State {
    /// The place behind everything queued so far.
    end: Lsn,
    payloads: Vec<Bytes>,
    bytes: usize,
    /// The segment is to be ended behind what is queued.
    sealing: bool,
    closing: bool,
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Write these payloads, the last of which ends at this place.
    Batch(Vec<Bytes>, Lsn),
    /// End the segment.
    Seal,
    /// Nothing came for a while: write a mark.
    Mark,
    /// Closing or poisoned: end.
    End,
}

impl Queue {
    /// An empty queue whose first payload goes to `end`.
    pub(super) fn new(end: Lsn, durable: Watermark<Lsn, Poisoned>) -> Queue {
        let state = Mutex::new(State {
            end,
            payloads: Vec::new(),
            bytes: 0,
            sealing: false,
            closing: false,
        });
        Queue {
            state,
            work: Condvar::new(),
            room: Condvar::new(),
            durable,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing can be queued any more, if so.
    fn ended(&self, state: &State) -> Option<Poisoned> {
        let closing = state.closing.then_some(Poisoned::Closed);
        self.durable.closed().or(closing)
    }

    /// Queues a payload, waiting for room; returns the place directly behind its frame.
    pub(super) fn put(&self, payload: Bytes) -> Result<Lsn, Poisoned> {
        let full = |state: &mut State| {
            self.ended(state).is_none()
                && state.bytes > 0
                && state.bytes + payload.len() > QUEUE_BYTES
        };
        let mut state = self
            .room
            .wait_while(self.state(), full)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = self.ended(&state) {
            return Err(cause);
        }
        state.end = state.end.advance(frame_bytes(&payload));
        state.bytes += payload.len();
        state.payloads.push(payload);
        self.work.notify_one();
        Ok(state.end)
    }

    /// Asks for the end of the segment, unless all lies in sealed ones; returns the place behind everything queued so far,
    /// which is to lie in it.
    pub(super) fn seal(&self, sealed: Lsn) -> Result<Lsn, Poisoned> {
        let mut state = self.state();
        if let Some(cause) = self.ended(&state) {
            return Err(cause);
        }
        state.sealing |= state.end > sealed;
        self.work.notify_one();
        Ok(state.end)
    }

    /// Waits for something to do. With a limit, its passing means that a mark is due, whose place is then taken.
    pub(super) fn take(&self, quiet_limit: Option<Duration>) -> Work {
        let idle = |state: &mut State| {
            state.payloads.is_empty() && !state.sealing && self.ended(state).is_none()
        };
        let mut state = match quiet_limit {
            None => self
                .work
                .wait_while(self.state(), idle)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.work
                    .wait_timeout_while(self.state(), limit, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        if self.durable.closed().is_some() {
            return Work::End;
        }
        if !state.payloads.is_empty() {
            state.bytes = 0;
            self.room.notify_all();
            return Work::Batch(std::mem::take(&mut state.payloads), state.end);
        }
        if std::mem::take(&mut state.sealing) {
            return Work::Seal;
        }
        if state.closing {
            return Work::End;
        }
        state.end = state.end.advance(mark_bytes());
        Work::Mark
    }

    /// Lets nothing more in.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.wake();
    }

    /// Makes everyone look again, after the durable mark has been closed.
    pub(super) fn wake(&self) {
        // Taken and given back, so that nobody is between having looked and going to sleep.
        drop(self.state());
        self.work.notify_all();
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(Lsn(100), Watermark::new(Lsn(100)))
    }

    #[test]
    fn places_follow_each_other_marks_included() {
        let queue = queue();
        assert_eq!(queue.put(Bytes::from_static(b"abc")).unwrap(), Lsn(128));
        assert_eq!(queue.put(Bytes::new()).unwrap(), Lsn(153));
        let batch = vec![Bytes::from_static(b"abc"), Bytes::new()];
        assert_eq!(queue.take(None), Work::Batch(batch, Lsn(153)));
        assert_eq!(queue.seal(Lsn(100)).unwrap(), Lsn(153));
        assert_eq!(queue.take(None), Work::Seal);
        assert_eq!(
            queue.seal(Lsn(153)).unwrap(),
            Lsn(153),
            "nothing is to be sealed"
        );
        assert_eq!(queue.take(Some(Duration::ZERO)), Work::Mark);
        assert_eq!(queue.put(Bytes::new()).unwrap(), Lsn(203));
    }

    #[test]
    fn a_full_queue_makes_the_next_wait_until_it_is_taken() {
        let queue = queue();
        queue.put(Bytes::from(vec![0; QUEUE_BYTES])).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.put(Bytes::from_static(b"x")));
            assert!(matches!(queue.take(None), Work::Batch(batch, _) if batch.len() == 1));
            assert!(matches!(queue.take(None), Work::Batch(batch, _) if batch.len() == 1));
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn closing_lets_out_what_is_queued_and_nothing_in() {
        let queue = queue();
        queue.put(Bytes::new()).unwrap();
        queue.close();
        assert!(matches!(queue.put(Bytes::new()), Err(Poisoned::Closed)));
        assert!(matches!(queue.take(None), Work::Batch(..)));
        assert_eq!(queue.take(None), Work::End);
    }

    #[test]
    fn poison_keeps_what_is_queued_from_being_written_and_wakes_who_waits_for_room() {
        let durable = Watermark::new(Lsn(0));
        let queue = Queue::new(Lsn(0), durable.clone());
        queue.put(Bytes::from(vec![0; QUEUE_BYTES])).unwrap();
        let running = Duration::from_secs(11);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.put(Bytes::from_static(b"x")));
            durable.close(Poisoned::Stalled { running });
            queue.wake();
            let refused = waiting.join().unwrap();
            assert!(matches!(refused, Err(Poisoned::Stalled { .. })));
        });
        assert_eq!(queue.take(None), Work::End);
    }
}
