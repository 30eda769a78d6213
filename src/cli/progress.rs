//! Progress on standard error: a bar on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::grouped;
use crate::base::clock::now_monotonic;

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far a file or view is read, in bytes of a text or in rows of a table.
#[derive(Debug, Clone, Default)]
pub struct Position {
    done: Arc<AtomicU64>,
    /// `None` if the end is not known.
    pub total: Option<u64>,
}

impl Position {
    /// A start, of something that long.
    #[must_use]
    pub fn of(total: Option<u64>) -> Position {
        Position {
            done: Arc::default(),
            total,
        }
    }

    /// Moves on.
    pub fn advance(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
    }

    /// How much is read.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// Shows how an import or export goes, or other work that takes long.
pub struct Progress {
    name: String,
    position: Position,
    start: Instant,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    /// Starts the clock.
    #[must_use]
    pub fn new(name: String, position: Position) -> Progress {
        let start = now_monotonic();
        let bar = std::io::stderr().is_terminal().then(|| bar(&position));
        Progress {
            name,
            position,
            start,
            bar,
            last_line: start,
        }
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Shows how far it is: rows, and bytes if any are written.
    pub fn update(&mut self, rows: u64, bytes: u64) {
        self.show(self.message(rows, bytes));
    }

    /// Shows what is being done now, where no rows are counted.
    pub fn step(&mut self, what: &str) {
        self.show(format!("{}: {what}", self.name));
    }

    fn show(&mut self, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.position.done());
            bar.set_message(message);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = now_monotonic();
            eprintln!("{}{message}", self.percent());
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn percent(&self) -> String {
        match self.position.total {
            Some(total) if total > 0 => format!("{}% ", self.position.done() * 100 / total),
            Some(_) | None => String::new(),
        }
    }

    fn message(&self, rows: u64, bytes: u64) -> String {
        let written = match bytes {
            0 => String::new(),
            bytes => format!(", {} MB", megabytes(bytes)),
        };
        let speed = grouped(per_second(rows, self.elapsed()));
        format!(
            "{}: {} rows, {speed} rows/s{written}",
            self.name,
            grouped(rows)
        )
    }
}

fn bar(position: &Position) -> ProgressBar {
    let (bar, template) = match position.total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:30} {percent:>3}%  {msg}  (about {eta} left)",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    bar.with_style(style)
}

/// A rate, rounded down.
#[must_use]
pub fn per_second(count: u64, span: Duration) -> u64 {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / millis
}

/// Such as `1.2`.
#[must_use]
pub fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_sizes_are_rounded_down() {
        assert_eq!(per_second(3_000, Duration::from_millis(1_500)), 2_000);
        assert_eq!(per_second(3, Duration::ZERO), 3_000);
        assert_eq!(megabytes(1_290_000), "1.2");
    }
}
