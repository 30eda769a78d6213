//! Time as an input. The only file that reads clocks or waits by them.
//!
//! Wall time is for stamps, event times and people; monotonic time is for silence, timeouts and staleness.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since the Unix epoch, negative before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Micros(pub i64);

impl Micros {
    /// The point `span` later, at the greatest representable time at the most.
    #[must_use]
    pub fn plus(self, span: Duration) -> Micros {
        Micros(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// The point `span` earlier, at the least representable time at the least.
    #[must_use]
    pub fn minus(self, span: Duration) -> Micros {
        Micros(
            self.0
                .saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// Prints as RFC 3339 in UTC where the calendar reaches, else as the bare number.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// Where time comes from: [`SystemClock`] in production, [`ManualClock`] in tests.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time; may jump in either direction.
    fn wall(&self) -> Micros;
    /// Time since some fixed point of this process; never goes back.
    fn monotonic(&self) -> Duration;

    /// Wall time in whole milliseconds since the Unix epoch; 0 before it.
    fn wall_millis(&self) -> u64 {
        u64::try_from(self.wall().0 / 1000).unwrap_or(0)
    }
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> SystemClock {
        SystemClock {
            start: now_monotonic(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Micros {
        now_wall()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock {
    /// (wall, monotonic)
    now: std::sync::Mutex<(Micros, Duration)>,
}

impl ManualClock {
    /// A clock that shows `wall`.
    #[must_use]
    pub fn new(wall: Micros) -> ManualClock {
        ManualClock {
            now: std::sync::Mutex::new((wall, Duration::ZERO)),
        }
    }

    /// Moves both times forward.
    pub fn advance(&self, span: Duration) {
        let mut now = self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = (now.0.plus(span), now.1 + span);
    }

    /// Sets the wall time, as a correction of the machine's clock would.
    pub fn set_wall(&self, wall: Micros) {
        self.now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0 = wall;
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Micros {
        self.now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0
    }

    fn monotonic(&self) -> Duration {
        self.now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .1
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
fn now_wall() -> Micros {
    let now = SystemTime::now();
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    match now.duration_since(UNIX_EPOCH) {
        Ok(after) => Micros(micros(after)),
        Err(before) => Micros(-micros(before.duration())),
    }
}

/// A point of the monotonic clock, for measuring how long something takes.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the monotonic clock"
)]
pub fn now_monotonic() -> Instant {
    Instant::now()
}

/// Waits for `span` of real time.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that waits by the clock"
)]
pub async fn sleep(span: Duration) {
    tokio::time::sleep(span).await;
}

/// The time limit given to [`timeout`] passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time limit passed")]
pub struct Elapsed;

/// Runs `future` for at most `limit`; then drops it.
///
/// # Errors
/// [`Elapsed`] if the limit passed first.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that waits by the clock"
)]
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| Elapsed)
}
