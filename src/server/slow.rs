//! The log of slow requests: one line for each, with where its time went, and not more lines than a person can read.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::base::clock::now_monotonic;
use crate::node::Spent;

/// Lines in any second; what is slow beyond that is only counted.
const LINES_A_SECOND: u64 = 5;

/// Decides which requests are logged.
#[derive(Debug)]
pub(super) struct SlowLog {
    limit: Duration,
    opened: Instant,
    /// The second that lines are counted in, since `opened`.
    second: AtomicU64,
    lines: AtomicU64,
    skipped: AtomicU64,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timed {
    pub method: &'static str,
    pub client: IpAddr,
    /// When its headers were there.
    pub begun: Instant,
    /// When its message was decoded.
    pub decoded: Instant,
}

/// What a request asked for, in words for the log.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub views: String,
    /// Entities or rows.
    pub entities: usize,
    pub level: &'static str,
}

impl SlowLog {
    pub fn new(limit: Duration) -> SlowLog {
        SlowLog {
            limit,
            opened: now_monotonic(),
            second: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    /// Logs a request that ends now, if it took long. `asked` is made only then.
    pub fn ended(
        &self,
        request: Timed,
        spent: &Spent,
        outcome: &str,
        asked: impl FnOnce() -> Asked,
    ) {
        let took = request.begun.elapsed();
        if took < self.limit {
            return;
        }
        let Some(skipped) = self.line(self.opened.elapsed().as_secs()) else {
            return;
        };
        let Timed {
            method,
            client,
            begun,
            decoded,
        } = request;
        let asked = asked();
        let decode = decoded.duration_since(begun);
        let parts = spent
            .parts()
            .map(|(part, span)| format!("{part}={}us", span.as_micros()));
        warn!(
            method,
            outcome,
            took_us = took.as_micros(),
            decode_us = decode.as_micros(),
            spent = parts.join(" "),
            file_rows = spent.file_rows,
            level = asked.level,
            views = asked.views,
            entities = asked.entities,
            %client,
            skipped,
            "slow request"
        );
    }

    /// The right to log a line in this second, with the number of requests that got none since the last.
    fn line(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::AcqRel) != second {
            self.lines.store(0, Ordering::Release);
        }
        if self.lines.fetch_add(1, Ordering::AcqRel) >= LINES_A_SECOND {
            self.skipped.fetch_add(1, Ordering::AcqRel);
            return None;
        }
        Some(self.skipped.swap(0, Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_slow_requests_is_a_few_lines_a_second_and_a_count() {
        let log = SlowLog::new(Duration::ZERO);
        let lines = |second| {
            let lines: Vec<u64> = (0..1_000).filter_map(|_| log.line(second)).collect();
            lines
        };
        assert_eq!(lines(3), [0; 5]);
        assert_eq!(lines(4), [995, 0, 0, 0, 0]);
        assert_eq!(lines(9), [995, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_fast_is_not_put_into_words() {
        let log = SlowLog::new(Duration::from_secs(3_600));
        let now = now_monotonic();
        let request = Timed {
            method: "GetFeatures",
            client: [127, 0, 0, 1].into(),
            begun: now,
            decoded: now,
        };
        log.ended(request, &Spent::default(), "OK", || {
            panic!("asked for the words of a fast request")
        });
    }
}
