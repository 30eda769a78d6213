//! Progress of bytes that go somewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::super::progress::{megabytes, per_second};
use crate::base::clock::now_monotonic;

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far bytes have come: a bar on a terminal, a plain line now and then elsewhere, on standard error.
pub(super) struct Moving {
    name: &'static str,
    begun: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Moving {
    /// Starts the clock. What is `named` is what becomes of the bytes.
    pub fn new(name: &'static str) -> Moving {
        let begun = now_monotonic();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}");
            let style = style.expect("the template is well-formed");
            ProgressBar::new(0).with_style(style)
        });
        Moving {
            name,
            begun,
            last_line: begun,
            bar,
        }
    }

    /// So many bytes of so many have come there.
    pub fn update(&mut self, done: u64, total: u64, more: &str) {
        let speed = megabytes(per_second(done, self.begun.elapsed()));
        let (name, so_far, all) = (self.name, megabytes(done), megabytes(total));
        let message = format!("{name} {so_far} of {all} MB, {speed} MB/s{more}");
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(1));
            bar.set_position(done);
            bar.set_message(message);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = now_monotonic();
            eprintln!("{message}");
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
