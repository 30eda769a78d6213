//! The open loop: requests arrive at a rate of their own, whatever their answers take.
//!
//! ```text
//!  metronome (a thread) ── one is due ──► due ──► the first connection that is free takes the next arrival
//! ```
//! **Invariant.** Every request counts from its arrival. Where all connections are busy it waits for one, which is part of its
//! latency, and a run ends only when every request is answered: nothing that was slow is left out ("coordinated omission").

use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;

use super::super::error::CliError;
use super::arrivals::{Arrival, Arrivals};
use super::generator::{Caller, Span, gather};
use super::measured::Measured;
use crate::base::clock::now_monotonic;
use crate::base::task;

/// All loads of one rate arrive at the same times, so that who is compared is asked at the same ones.
const SEED: u64 = 0;

/// Has callers answer requests that arrive at this rate, per second. The result's length is the time until the last
/// answer, if that is longer than the time measured.
///
/// # Errors
/// The first call that failed.
pub async fn drive_at<C: Caller>(
    rate: f64,
    callers: Vec<C>,
    span: Span,
) -> Result<Measured, CliError> {
    let schedule = Schedule::start(rate, span);
    let measuring = schedule.begun + span.warmup;
    let queue = Arc::new(Queue {
        due: Semaphore::new(0),
        taken: Mutex::new(schedule.clone()),
    });
    // Dropped with this future at the latest, and the metronome stops.
    let (running, stop) = channel::<()>();
    let (beating, connections) = (Arc::clone(&queue), callers.len());
    let metronome = task::thread("metronome", move || {
        beat(schedule, &beating.due, connections, &stop);
    });
    let failed = |cause: &str| CliError::failed("METRONOME_FAILED", cause);
    let metronome = metronome.map_err(|error| failed(&error.to_string()))?;
    let runs = callers
        .into_iter()
        .map(|caller| run(caller, Arc::clone(&queue), span));
    let measured = gather(Measured::nothing(span.measured), runs).await;
    drop(running);
    metronome.join().map_err(|_| failed("it panicked"))?;
    let mut measured = measured?;
    measured.lasted(measuring.elapsed());
    Ok(measured)
}

/// What arrives when, on this machine's clock.
#[derive(Debug, Clone)]
struct Schedule {
    begun: Instant,
    arrivals: Arrivals,
    rng: SmallRng,
}

impl Schedule {
    fn start(rate: f64, span: Span) -> Schedule {
        Schedule {
            begun: now_monotonic(),
            arrivals: Arrivals::new(rate, span.warmup, span.measured),
            rng: SmallRng::seed_from_u64(SEED),
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        self.arrivals.next(self.rng.random())
    }
}

/// The requests that are due and that nobody has taken. As their times follow from the seed, it need not hold them.
struct Queue {
    due: Semaphore,
    /// The same schedule as the metronome's, as far as requests are taken.
    taken: Mutex<Schedule>,
}

impl Queue {
    /// Waits for the next request that nobody has taken, and tells when it arrived; `None` once all are taken.
    async fn take(&self) -> Option<(Instant, bool)> {
        self.due.acquire().await.expect("nobody closes it").forget();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Arrival { at, counts } = taken.next()?;
        Some((taken.begun + at, counts))
    }
}

async fn run(mut caller: impl Caller, queue: Arc<Queue>, span: Span) -> Result<Measured, CliError> {
    let mut measured = Measured::nothing(span.measured);
    while let Some((arrived, counts)) = queue.take().await {
        caller.call().await?;
        if counts {
            measured.record(arrived.elapsed());
        }
    }
    Ok(measured)
}

/// Says of each request that it is due when it is, at the end as many more as there are callers, to let each of them go.
/// Stops when nobody holds the other end of `stop` any more.
///
/// A thread, because tokio's timers count in milliseconds, in which a node answers several requests.
fn beat(schedule: Schedule, due: &Semaphore, callers: usize, stop: &Receiver<()>) {
    // By default the kernel may wake a thread 50 us late. Where it cannot be told otherwise, that is part of what is measured.
    let _refused = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let begun = schedule.begun;
    for arrival in schedule {
        let wait = (begun + arrival.at).saturating_duration_since(now_monotonic());
        match stop.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => due.add_permits(1),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    due.add_permits(callers);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::sleep;

    struct Slow(Duration);

    impl Caller for Slow {
        async fn call(&mut self) -> Result<(), CliError> {
            sleep(self.0).await;
            Ok(())
        }
    }

    fn span(millis: u64) -> Span {
        Span {
            measured: Duration::from_millis(millis),
            warmup: Duration::ZERO,
        }
    }

    fn arrivals(rate: f64, span: Span) -> usize {
        Schedule::start(rate, span).count()
    }

    #[tokio::test]
    async fn every_request_that_arrives_is_answered_and_counts_once() {
        let span = span(50);
        let callers = (0..4).map(|_| Slow(Duration::ZERO)).collect();
        let measured = drive_at(2_000.0, callers, span).await.unwrap();
        assert_eq!(measured.count(), arrivals(2_000.0, span) as u64);
    }

    #[tokio::test]
    async fn what_waits_for_a_connection_counts_from_its_arrival() {
        let (span, call) = (span(50), Duration::from_millis(5));
        let measured = drive_at(1_000.0, vec![Slow(call)], span).await.unwrap();
        let requests = arrivals(1_000.0, span);
        assert_eq!(measured.count(), requests as u64);
        // One connection makes one call after the other, and the last one waits for nearly all of them.
        let all = call.as_secs_f64() * requests as f64;
        let last = measured.quantile_us(1.0) / 1e6;
        assert!(last > all - span.measured.as_secs_f64() - call.as_secs_f64());
        assert!(measured.rate() < 1.01 / call.as_secs_f64());
    }

    #[tokio::test]
    async fn a_call_that_fails_ends_the_run() {
        struct Failing;
        impl Caller for Failing {
            async fn call(&mut self) -> Result<(), CliError> {
                Err(CliError::failed("NO", "not now"))
            }
        }
        let measured = drive_at(1_000.0, vec![Failing], span(3_600_000)).await;
        assert_eq!(measured.unwrap_err().to_string(), "NO: not now");
    }
}
