//! What drives a load: callers, each with one call under way, and for how long.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::error::CliError;
use super::measured::Measured;
use crate::base::TaskGroup;

/// How long a run takes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Span {
    /// Seconds that are measured.
    #[arg(id = "seconds", long = "seconds", value_name = "S", default_value = "5", value_parser = some_seconds)]
    pub measured: Duration,
    /// Seconds under load before that.
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    pub warmup: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    let seconds = seconds(text)?;
    let some = (!seconds.is_zero()).then_some(seconds);
    some.ok_or_else(|| "nothing can be measured in no time".to_owned())
}

/// Something that makes one call after the other.
pub trait Caller: Send + 'static {
    /// Makes a call and waits for its answer.
    fn call(&mut self) -> impl Future<Output = Result<(), CliError>> + Send;
}

/// Runs these at once and adds what they measured to `all`.
///
/// # Errors
/// The first failure.
pub async fn gather<F>(
    mut all: Measured,
    runs: impl ExactSizeIterator<Item = F>,
) -> Result<Measured, CliError>
where
    F: Future<Output = Result<Measured, CliError>> + Send + 'static,
{
    let tasks = TaskGroup::new();
    let (done, mut results) = mpsc::channel(runs.len().max(1));
    for run in runs {
        let done = done.clone();
        tasks.spawn_finite("generator", async move {
            // Nobody listens any more once another one has failed.
            let _heard = done.send(run.await).await;
        });
    }
    drop(done);
    while let Some(result) = results.recv().await {
        all.add(&result?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_take_a_part_of_a_second_but_not_none() {
        assert_eq!(some_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for wrong in ["0", "-1", "NaN", "inf", "soon"] {
            assert!(some_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
