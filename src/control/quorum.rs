//! Pure: how many members make a decision.
//!
//! I12: every commit set meets every seal set, since W + R = |D| + 1.

/// W: how many of so many data members commit a write, or confirm a read.
#[must_use]
pub fn commit_size(members: usize) -> usize {
    members / 2 + 1
}

/// R: how many of so many data members must seal before a new epoch opens.
#[must_use]
pub fn seal_size(members: usize) -> usize {
    members + 1 - commit_size(members)
}

/// The greatest value that at least `n` of the given ones reach; `None` if there are fewer than `n`.
#[must_use]
pub fn nth_greatest<T: Ord + Copy>(values: impl Iterator<Item = T>, n: usize) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(n.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_commit_set_meets_every_seal_set_and_every_other_commit_set() {
        for members in 1..20 {
            assert!(commit_size(members) + seal_size(members) > members);
            assert!(2 * commit_size(members) > members);
            assert!(seal_size(members) >= 1 && seal_size(members) <= members);
        }
    }

    proptest! {
        #[test]
        fn at_least_n_reach_the_nth_greatest_and_fewer_anything_above(values in proptest::collection::vec(0..9u8, 0..7), n in 1..8usize) {
            let Some(nth) = nth_greatest(values.iter().copied(), n) else {
                prop_assert!(values.len() < n);
                return Ok(());
            };
            prop_assert!(values.iter().filter(|value| **value >= nth).count() >= n);
            prop_assert!(values.iter().filter(|value| **value > nth).count() < n);
        }
    }
}
