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

/// Has callers call one after the other, again and again, so that all meet the same moods of the machine. The results are in
/// the order of the callers.
///
/// # Errors
/// The first call that failed.
pub async fn take_turns<C: Caller>(callers: Vec<C>, span: Span) -> Result<Vec<Measured>, CliError> {
    let meter = Meter::start(span);
    let mut metered: Vec<_> = callers
        .into_iter()
        .map(|caller| (caller, meter.clone()))
        .collect();
    while meter.begin().is_some() {
        for (caller, meter) in &mut metered {
            let begun = now_monotonic();
            caller.call().await?;
            meter.end(begun);
        }
    }
    Ok(metered
        .into_iter()
        .map(|(_, meter)| meter.finish())
        .collect())
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
