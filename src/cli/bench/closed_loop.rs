//! The generator: every connection has one call under way, and makes the next one as soon as it is answered.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::error::CliError;
use super::measured::Measured;
use crate::base::TaskGroup;
use crate::base::clock::now_monotonic;

/// How long a run takes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Span {
    /// Seconds that are measured.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds under load before that.
    #[arg(long, value_name = "S", default_value_t = 1)]
    warmup: u64,
}

impl Span {
    /// The seconds that are measured.
    #[must_use]
    pub fn seconds_f64(self) -> f64 {
        Duration::from_secs(self.seconds).as_secs_f64()
    }
}

/// Something that makes one call after the other.
pub trait Caller: Send + 'static {
    /// Makes a call and waits for its answer.
    fn call(&mut self) -> impl Future<Output = Result<(), CliError>> + Send;
}

/// Counts the calls of one connection that end within the time that is measured.
#[derive(Debug, Clone)]
pub struct Meter {
    from: Instant,
    until: Instant,
    measured: Measured,
}

impl Meter {
    /// A meter for a run that begins now.
    #[must_use]
    pub fn start(span: Span) -> Meter {
        let from = now_monotonic() + Duration::from_secs(span.warmup);
        let length = Duration::from_secs(span.seconds);
        Meter {
            from,
            until: from + length,
            measured: Measured::nothing(length),
        }
    }

    /// The beginning of the next call; `None` once the time is up.
    #[must_use]
    pub fn begin(&self) -> Option<Instant> {
        let now = now_monotonic();
        (now < self.until).then_some(now)
    }

    /// Ends a call.
    pub fn end(&mut self, begun: Instant) {
        let now = now_monotonic();
        if (self.from..self.until).contains(&now) {
            self.measured.record(now - begun);
        }
    }

    /// What was counted.
    #[must_use]
    pub fn finish(self) -> Measured {
        self.measured
    }
}

/// Runs all callers at once.
///
/// # Errors
/// The first call that failed.
pub async fn drive<C: Caller>(callers: Vec<C>, span: Span) -> Result<Measured, CliError> {
    let tasks = TaskGroup::new();
    let (done, mut results) = mpsc::channel(callers.len().max(1));
    let meter = Meter::start(span);
    for caller in callers {
        let (done, meter) = (done.clone(), meter.clone());
        tasks.spawn_finite("generator", async move {
            // Nobody listens any more once another caller has failed.
            let _heard = done.send(run(caller, meter).await).await;
        });
    }
    drop(done);
    let mut all = meter.finish();
    while let Some(result) = results.recv().await {
        all.add(&result?);
    }
    Ok(all)
}

async fn run(mut caller: impl Caller, mut meter: Meter) -> Result<Measured, CliError> {
    while let Some(begun) = meter.begin() {
        caller.call().await?;
        meter.end(begun);
    }
    Ok(meter.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing;

    impl Caller for Failing {
        async fn call(&mut self) -> Result<(), CliError> {
            Err(CliError::failed("NO", "not now"))
        }
    }

    #[tokio::test]
    async fn a_call_that_fails_ends_the_run() {
        let span = Span {
            seconds: 3_600,
            warmup: 0,
        };
        let error = drive(vec![Failing, Failing], span).await.unwrap_err();
        assert_eq!(error.to_string(), "NO: not now");
    }

    #[test]
    fn what_ends_before_the_time_measured_does_not_count() {
        let mut meter = Meter::start(Span {
            seconds: 1,
            warmup: 3_600,
        });
        let begun = meter.begin().unwrap();
        meter.end(begun);
        assert_eq!(meter.finish().rate(), 0.0);
    }
}
