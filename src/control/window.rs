//! Pure: stamp windows. A primary stamps only below a ceiling that was granted and made durable before, and the next
//! epoch starts above every ceiling ever granted, so a later epoch's stamps exceed an earlier one's whatever the clocks
//! did (I7).

use std::time::Duration;

use crate::base::Hlc;

/// How far a grant reaches ahead of the clock.
pub const WINDOW_MILLIS: u64 = 3_000;
/// How far clocks of one set may differ.
const MAX_OFFSET_MILLIS: u64 = 500;
/// How often a primary asks for a new ceiling. Several fit into a window, so a short hiccup stalls nobody.
pub const EXTEND_EVERY: Duration = Duration::from_millis(500);
/// A stamp that follows the clock stays this far below the ceiling; what is left is for the counter.
const MARGIN_MILLIS: u64 = 1_000;

/// The ceiling granted at this clock: ahead by window and offset, and in any case above the last one.
#[must_use]
pub fn grant(clock_millis: u64, last_ceiling: Hlc) -> Hlc {
    let ahead = clock_millis.saturating_add(WINDOW_MILLIS + MAX_OFFSET_MILLIS);
    Hlc::from_millis(ahead).max(last_ceiling.plus_millis(1))
}

/// The time of the next stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// This one.
    At(Hlc),
    /// None below the ceiling: a new grant must come first.
    AtCeiling,
}

/// The time of the next stamp after `newest`, following the clock but staying below the ceiling.
#[must_use]
pub fn tick(newest: Hlc, clock_millis: u64, ceiling: Hlc) -> Tick {
    let by_clock = Hlc::from_millis(clock_millis).min(ceiling.minus_millis(MARGIN_MILLIS));
    let next = newest.next().max(by_clock);
    if next < ceiling {
        Tick::At(next)
    } else {
        Tick::AtCeiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stamp_rises_and_stays_below_the_ceiling(newest in 0..1u64 << 62, clock in 0..1u64 << 46, ceiling in 0..1u64 << 62) {
            match tick(Hlc(newest), clock, Hlc(ceiling)) {
                Tick::At(hlc) => prop_assert!(hlc > Hlc(newest) && hlc < Hlc(ceiling)),
                Tick::AtCeiling => prop_assert!(Hlc(newest).next() >= Hlc(ceiling)),
            }
        }

        #[test]
        fn a_clock_that_jumps_never_moves_stamps_back_or_beyond_a_grant(clocks in proptest::collection::vec(0..1u64 << 46, 1..40)) {
            let (mut newest, mut ceiling) = (Hlc::ZERO, Hlc::ZERO);
            for clock in clocks {
                let granted = grant(clock, ceiling);
                prop_assert!(granted > ceiling);
                ceiling = granted;
                if let Tick::At(hlc) = tick(newest, clock, ceiling) {
                    prop_assert!(hlc > newest && hlc < ceiling);
                    newest = hlc;
                }
            }
        }

        #[test]
        fn with_sound_clocks_a_stamp_is_the_time_of_the_clock(clock in 10_000..1u64 << 46) {
            let ceiling = grant(clock, Hlc::ZERO);
            prop_assert_eq!(tick(Hlc::ZERO, clock, ceiling), Tick::At(Hlc::from_millis(clock)));
        }
    }
}
