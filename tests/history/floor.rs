//! What must be seen from when on: the greatest of all that was done before a moment.

use super::{Nanos, Operation};

/// Ends of operations in order of time, each with the greatest rank up to it and the operation that has it.
pub struct Floor<'a, R> {
    steps: Vec<(Nanos, R, &'a Operation)>,
}

impl<'a, R: Ord + Copy> Floor<'a, R> {
    /// The floor that operations raise at these times to these ranks.
    pub fn new(raises: impl IntoIterator<Item = (Nanos, R, &'a Operation)>) -> Floor<'a, R> {
        let mut steps: Vec<_> = raises.into_iter().collect();
        steps.sort_by_key(|(time, ..)| *time);
        for at in 1..steps.len() {
            let (_, before, by) = steps[at - 1];
            if before > steps[at].1 {
                (steps[at].1, steps[at].2) = (before, by);
            }
        }
        Floor { steps }
    }

    /// The greatest rank reached strictly before `time`, and who reached it.
    pub fn before(&self, time: Nanos) -> Option<(R, &'a Operation)> {
        let after = self.steps.partition_point(|(end, ..)| *end < time);
        let (_, rank, by) = self.steps[..after].last()?;
        Some((*rank, by))
    }
}
