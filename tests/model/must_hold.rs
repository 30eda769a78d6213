//! What must hold with all rules in force.

use crate::rule::Rules;
use crate::scope::{Model, Scope, Sync, THREE};
use crate::search::End;

const BOUNDED: usize = 3_000_000;
const LARGE: usize = 150_000_000;

fn holds(name: &str, most: usize, scope: Scope) {
    let report = Model::new(scope, Rules::ALL).search(most);
    let end = match &report.end {
        End::Exhausted => "exhaustive".to_owned(),
        End::Capped => format!("capped, complete to depth {}", report.depth),
        End::Broken(counterexample) => panic!("{name} is broken\n{counterexample}"),
    };
    println!(
        "| {} | {} | {} | {} | {} | {end} |",
        name.replace('_', " "),
        report.states,
        report.steps,
        report.healed,
        report.depth
    );
}

/// Runs that must hold: a name and a scope each, searched up to so many states.
macro_rules! hold {
    (#[$when:meta] $most:ident: $($name:ident = $scope:expr;)*) => {
        $(
            #[test]
            #[$when]
            fn $name() {
                holds(stringify!($name), $most, $scope);
            }
        )*
    };
}

const TWO: Scope = Scope {
    configs: &[0b0011],
    epochs: 3,
    sync: Sync::AfterShipping,
    ..THREE
};
const SWAP: Scope = Scope {
    configs: &[0b0011, 0b0110],
    ..TWO
};
const SHRINK: Scope = Scope {
    configs: &[0b0011, 0b0001, 0b0010],
    ..TWO
};
const REPLACE: Scope = Scope {
    configs: &[0b0111, 0b1110],
    losses: 1,
    sync: Sync::AfterShipping,
    ..THREE
};

hold! {
    #[cfg_attr(debug_assertions, ignore = "optimised only: make model")]
    BOUNDED:
    two_and_an_arbiter = Scope { crashes: 1, ..TWO };
    three_members = Scope { crashes: 1, sync: Sync::AfterShipping, ..THREE };
    one_of_two_exchanged = Scope { sync: Sync::AtOnce, ..SWAP };
    shrunk_and_grown = Scope { crashes: 1, epochs: 3, sync: Sync::AtOnce, ..SHRINK };
    a_member_replaced = Scope { sync: Sync::AtOnce, ..REPLACE };
    windows = Scope { configs: &[0b0011], windows: 3, ..THREE };
    planned_handover = Scope { planned: true, crashes: 1, sync: Sync::BeforeShipping, ..THREE };
    contact_of_three = Scope { contact: true, sync: Sync::BeforeShipping, ..THREE };
    contact_where_one_seals = Scope { contact: true, configs: &[0b0011], sync: Sync::BeforeShipping, ..THREE };
    rolled_back = Scope { rollback: true, crashes: 1, primary_reads: true, quorum_reads: false, ..THREE };
    snapshots = Scope { snapshots: true, crashes: 1, sync: Sync::AfterShipping, ..THREE };
    closed_and_evicted = Scope { close: true, evictions: 1, losses: 1, epochs: 3, configs: &[0b0011, 0b0110], ..THREE };
    closed_logs_of_three = Scope { close: true, epochs: 3, quorum_reads: false, ..THREE };
}

hold! {
    #[ignore = "large: make model"]
    LARGE:
    two_and_an_arbiter_with_two_crashes = Scope { crashes: 2, ..TWO };
    three_members_with_two_writes = Scope { keys: "XX", crashes: 1, sync: Sync::AfterShipping, ..THREE };
}
