//! What was done when, for people: printed, and kept beside the logs.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use steadfast::base::Clock as _;
use steadfast::base::clock::SystemClock;

use crate::load::Shared;

pub struct Timeline {
    shared: Arc<Shared>,
    file: File,
}

impl Timeline {
    pub fn new(scratch: &Path, shared: &Arc<Shared>) -> anyhow::Result<Timeline> {
        Ok(Timeline {
            shared: Arc::clone(shared),
            file: File::create(scratch.join("timeline.txt"))?,
        })
    }

    pub fn note(&mut self, text: &str) {
        let wall = SystemClock::new().wall();
        let seconds = self.shared.begun.elapsed().as_secs_f64();
        println!("{seconds:9.2} s  {text}");
        // It is printed in any case.
        let _kept = writeln!(self.file, "{wall} {seconds:9.3} s  {text}");
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }
}
