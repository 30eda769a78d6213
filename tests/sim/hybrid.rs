//! Sets whose primaries are replaced without an operator's word only if nothing acknowledged can be missing.

use crate::faults::Plan;
use crate::run_as;

#[test]
fn a_hybrid_set_replaces_a_primary_by_itself_only_with_all_members_sealed() {
    let mut replaced = 0;
    for seed in 0..24 {
        let plan = Plan {
            hybrid: true,
            ..Plan::random(seed)
        };
        let run = run_as(seed, plan);
        assert_eq!(run.violation, None, "seed {seed}");
        replaced += run.counts.replaced;
    }
    assert!(replaced > 0, "it never had to");
}
