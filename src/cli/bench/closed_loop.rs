//! The closed loop: every connection has one call under way, and makes the next one as soon as it is answered.

use std::time::Instant;

use super::super::error::CliError;
use super::generator::{Caller, Span, gather};
use super::measured::Measured;
use crate::base::clock::now_monotonic;

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
        let from = now_monotonic() + span.warmup;
        Meter {
            from,
            until: from + span.measured,
            measured: Measured::nothing(span.measured),
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
    let meter = Meter::start(span);
    let runs = callers.into_iter().map(|caller| run(caller, meter.clone()));
    gather(Measured::nothing(span.measured), runs).await
}

/// Has callers call one after the other, again and again, so that all meet the same moods of the machine. Of a turn all calls count,
/// or none; one turn does, however long it takes. The results are in the order of the callers.
///
/// # Errors
/// The first call that failed.
pub async fn take_turns<C: Caller>(
    mut callers: Vec<C>,
    span: Span,
) -> Result<Vec<Measured>, CliError> {
    let meter = Meter::start(span);
    let mut measured = vec![Measured::nothing(span.measured); callers.len()];
    while meter.begin().is_some() || measured.iter().any(|one| one.count() == 0) {
        let counts = now_monotonic() >= meter.from;
        for (caller, measured) in callers.iter_mut().zip(&mut measured) {
            let begun = now_monotonic();
            caller.call().await?;
            if counts {
                measured.record(begun.elapsed());
            }
        }
    }
    Ok(measured)
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
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    struct Failing;

    impl Caller for Failing {
        async fn call(&mut self) -> Result<(), CliError> {
            Err(CliError::failed("NO", "not now"))
        }
    }

    #[tokio::test]
    async fn a_call_that_fails_ends_the_run() {
        let span = Span {
            measured: HOUR,
            warmup: Duration::ZERO,
        };
        let error = drive(vec![Failing, Failing], span).await.unwrap_err();
        assert_eq!(error.to_string(), "NO: not now");
        let error = take_turns(vec![Failing, Failing], span).await.unwrap_err();
        assert_eq!(error.to_string(), "NO: not now");
    }

    struct Idle;

    impl Caller for Idle {
        async fn call(&mut self) -> Result<(), CliError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_turn_counts_though_the_time_is_over() {
        let span = Span {
            measured: Duration::ZERO,
            warmup: Duration::from_millis(1),
        };
        let measured = take_turns(vec![Idle, Idle, Idle], span).await.unwrap();
        let counts: Vec<u64> = measured.iter().map(Measured::count).collect();
        assert_eq!(counts, [1; 3]);
    }

    #[test]
    fn what_ends_before_the_time_measured_does_not_count() {
        let mut meter = Meter::start(Span {
            measured: HOUR,
            warmup: HOUR,
        });
        let begun = meter.begin().unwrap();
        meter.end(begun);
        assert_eq!(meter.finish().rate(), 0.0);
    }
}
