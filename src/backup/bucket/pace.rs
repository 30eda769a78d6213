//! Pure: is what arrives fast enough to be waited for?

use std::time::Duration;

/// Looks at what arrives over one connection, span by span.
#[derive(Debug)]
pub(super) struct Pace {
    /// In bytes per second.
    slowest: u32,
    span: Duration,
    waited: Duration,
    bytes: u64,
}

/// What is to be thought of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opinion {
    /// It is too early to tell.
    None,
    /// It carries what it must.
    Good,
    /// It is as good as broken.
    TooSlow,
}

impl Pace {
    pub fn new(slowest: u32, span: Duration) -> Pace {
        Pace {
            slowest,
            span,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// So many bytes arrived after having been waited for so long; how long their receiver took does not count.
    pub fn arrived(&mut self, bytes: u64, after: Duration) -> Opinion {
        self.waited += after;
        self.bytes = self.bytes.saturating_add(bytes);
        let (bytes, waited) = (u128::from(self.bytes), self.waited.as_millis());
        let due = u128::from(self.slowest) * waited / 1_000;
        let is_enough = bytes >= due && bytes >= u128::from(self.slowest);
        let is_over = self.waited >= self.span;
        if is_over {
            *self = Pace::new(self.slowest, self.span);
        }
        match (is_enough, is_over && bytes < due) {
            (true, _) => Opinion::Good,
            (false, true) => Opinion::TooSlow,
            (false, false) => Opinion::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_drip_is_too_slow_after_the_span_and_not_before() {
        let mut pace = Pace::new(1_000, 10 * SECOND);
        for _ in 0..9 {
            assert_eq!(pace.arrived(999, SECOND), Opinion::None);
        }
        assert_eq!(pace.arrived(999, SECOND), Opinion::TooSlow);
    }

    #[test]
    fn what_came_in_an_earlier_span_does_not_make_up_for_a_drip() {
        let mut pace = Pace::new(1_000, 10 * SECOND);
        assert_eq!(pace.arrived(1_000_000, 10 * SECOND), Opinion::Good);
        assert_eq!(pace.arrived(1, 10 * SECOND), Opinion::TooSlow);
    }

    #[test]
    fn little_is_no_proof_however_fast_it_came() {
        let mut pace = Pace::new(1_000, 10 * SECOND);
        assert_eq!(pace.arrived(999, Duration::ZERO), Opinion::None);
        assert_eq!(pace.arrived(1, SECOND), Opinion::Good);
    }
}
