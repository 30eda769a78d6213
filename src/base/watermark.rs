//! A position that only rises, and waiting until it has reached a place: from tasks and from threads.
//!
//! **Invariants.** Never goes back. Every waiter at or below the position is woken; after [`Watermark::close`] all
//! others are woken with the reason, and the position stands still.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// A shared position of type `T` that ends, if ever, with a reason of type `E`.
pub struct Watermark<T, E> {
    shared: Arc<Shared<T, E>>,
}

struct Shared<T, E> {
    /// Guards the position, the reason of the end and the list of waiting tasks.
    state: Mutex<State<T, E>>,
    moved: Condvar,
}

struct State<T, E> {
    position: T,
    closed: Option<E>,
    waiting: Vec<(T, oneshot::Sender<()>)>,
    watching: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl<T: Copy + Ord, E: Clone> Watermark<T, E> {
    /// A watermark at `position`.
    #[must_use]
    pub fn new(position: T) -> Self {
        let state = Mutex::new(State {
            position,
            closed: None,
            waiting: Vec::new(),
            watching: Vec::new(),
        });
        Watermark {
            shared: Arc::new(Shared {
                state,
                moved: Condvar::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The position now.
    #[must_use]
    pub fn get(&self) -> T {
        self.state().position
    }

    /// The reason of the end, if it has ended.
    #[must_use]
    pub fn closed(&self) -> Option<E> {
        self.state().closed.clone()
    }

    /// Raises the position and wakes whoever waited for it; does nothing if it stands at or beyond `to`, or is closed.
    pub fn advance(&self, to: T) {
        let mut state = self.state();
        if state.closed.is_some() || to <= state.position {
            return;
        }
        state.position = to;
        let (reached, waiting) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition(|(place, _)| *place <= to);
        state.waiting = waiting;
        self.wake(state, reached);
    }

    /// Ends the watermark where it stands. The first reason stays.
    pub fn close(&self, reason: E) {
        let mut state = self.state();
        state.closed.get_or_insert(reason);
        let waiting = std::mem::take(&mut state.waiting);
        self.wake(state, waiting);
    }

    /// Has `moved` called after every move from now on and after the end, by the thread that brings it about: it must be
    /// short and must not wait for that thread. It learns no more than that it should look.
    pub fn watch(&self, moved: impl Fn() + Send + Sync + 'static) {
        self.state().watching.push(Arc::new(moved));
    }

    fn wake(&self, state: MutexGuard<'_, State<T, E>>, waiting: Vec<(T, oneshot::Sender<()>)>) {
        let watching = state.watching.clone();
        drop(state);
        watching.iter().for_each(|moved| moved());
        self.shared.moved.notify_all();
        for (_, waiter) in waiting {
            // A waiter that has given up is not an error.
            let _gone = waiter.send(());
        }
    }

    /// Waits until the position is at or beyond `place`. Dropping the future stops waiting and loses nothing.
    ///
    /// # Errors
    /// The reason, if the watermark is closed below `place`.
    pub async fn reached(&self, place: T) -> Result<T, E> {
        loop {
            let woken = {
                let mut state = self.state();
                if state.position >= place {
                    return Ok(state.position);
                }
                if let Some(reason) = &state.closed {
                    return Err(reason.clone());
                }
                let (waiter, woken) = oneshot::channel();
                state.waiting.retain(|(_, waiter)| !waiter.is_closed());
                state.waiting.push((place, waiter));
                woken
            };
            // Either outcome means: look again.
            let _woken = woken.await;
        }
    }

    /// Like [`reached`](Self::reached), for a thread; gives up after `limit` with `Ok(None)`.
    ///
    /// # Errors
    /// The reason, if the watermark is closed below `place`.
    pub fn reached_within(&self, place: T, limit: Duration) -> Result<Option<T>, E> {
        let (state, _) = self
            .shared
            .moved
            .wait_timeout_while(self.state(), limit, |state| {
                state.position < place && state.closed.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        match &state.closed {
            _ if state.position >= place => Ok(Some(state.position)),
            Some(reason) => Err(reason.clone()),
            None => Ok(None),
        }
    }

    /// Like [`reached`](Self::reached), for a thread that waits as long as it takes.
    ///
    /// # Errors
    /// The reason, if the watermark is closed below `place`.
    pub fn reached_blocking(&self, place: T) -> Result<T, E> {
        let state = self
            .shared
            .moved
            .wait_while(self.state(), |state| {
                state.position < place && state.closed.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        match &state.closed {
            Some(reason) if state.position < place => Err(reason.clone()),
            _ => Ok(state.position),
        }
    }
}

impl<T, E> Clone for Watermark<T, E> {
    fn clone(&self) -> Self {
        Watermark {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Copy + Ord + fmt::Debug, E: Clone> fmt::Debug for Watermark<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watermark").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_wakes_when_its_place_is_reached() {
        let mark: Watermark<u64, &str> = Watermark::new(0);
        let waiting = mark.clone();
        let (waited, ()) = tokio::join!(waiting.reached(2), async {
            mark.advance(1);
            mark.advance(3);
        });
        assert_eq!(waited, Ok(3));
    }

    #[test]
    fn a_thread_wakes_with_the_reason_of_the_end() {
        let mark: Watermark<u64, &str> = Watermark::new(5);
        let waiting = mark.clone();
        let thread = std::thread::spawn(move || waiting.reached_blocking(6));
        mark.close("poisoned");
        assert_eq!(thread.join().unwrap(), Err("poisoned"));
        assert_eq!(mark.reached_blocking(5), Ok(5));
    }

    #[test]
    fn the_position_never_goes_back_and_stands_still_once_closed() {
        let mark: Watermark<u64, &str> = Watermark::new(5);
        mark.advance(3);
        assert_eq!(mark.get(), 5);
        mark.close("first");
        mark.close("second");
        mark.advance(9);
        assert_eq!((mark.get(), mark.closed()), (5, Some("first")));
    }

    #[test]
    fn who_watches_hears_of_every_move_and_of_the_end() {
        let mark: Watermark<u64, &str> = Watermark::new(0);
        let (seen, watched) = (Arc::new(Mutex::new(Vec::new())), mark.clone());
        let heard = Arc::clone(&seen);
        mark.watch(move || {
            heard
                .lock()
                .unwrap()
                .push((watched.get(), watched.closed()))
        });
        mark.advance(2);
        mark.advance(1);
        mark.advance(5);
        mark.close("over");
        let expected = [(2, None), (5, None), (5, Some("over"))];
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn waiting_is_bounded_by_its_limit() {
        let mark: Watermark<u64, &str> = Watermark::new(0);
        assert_eq!(mark.reached_within(1, Duration::from_millis(1)), Ok(None));
    }
}
