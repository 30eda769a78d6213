//! Bounds what is under way: refuses early instead of queueing without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much may be under way, and how much is.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    in_flight: Arc<AtomicU64>,
    max: u64,
}

/// Too much is under way already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    pub in_flight: u64,
    pub max: u64,
}

/// The right to have some bytes under way; given back when dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    in_flight: Arc<AtomicU64>,
    bytes: u64,
}

impl Admission {
    pub fn new(max: u64) -> Admission {
        Admission {
            in_flight: Arc::default(),
            max,
        }
    }

    /// Admits `bytes` if they still fit. Something is always admitted when nothing is under way.
    pub fn admit(&self, bytes: usize) -> Result<Admitted, Full> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let room = |now: u64| {
            (now == 0 || now.saturating_add(bytes) <= self.max).then(|| now.saturating_add(bytes))
        };
        match self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
        {
            Ok(_) => Ok(Admitted {
                in_flight: Arc::clone(&self.in_flight),
                bytes,
            }),
            Err(in_flight) => Err(Full {
                in_flight,
                max: self.max,
            }),
        }
    }

    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Acquire)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_until_something_ends() {
        let admission = Admission::new(100);
        let first = admission.admit(60).unwrap();
        assert_eq!(
            admission.admit(50).unwrap_err(),
            Full {
                in_flight: 60,
                max: 100
            }
        );
        let second = admission.admit(40).unwrap();
        drop(first);
        let _third = admission.admit(60).unwrap();
        drop(second);
        assert_eq!(admission.in_flight(), 60);
    }

    #[test]
    fn one_oversized_write_passes_when_nothing_else_is_under_way() {
        let admission = Admission::new(100);
        let only = admission.admit(500).unwrap();
        assert!(admission.admit(1).is_err());
        drop(only);
        assert_eq!(admission.in_flight(), 0);
    }
}
