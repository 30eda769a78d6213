//! What must hold with all rules in force, what one rule alone is not needed for, and what must be possible at all.

use std::sync::Mutex;

use crate::rule::{Rule, Rules};
use crate::scope::{Model, Scope, Sync, THREE, Witness};
use crate::search::{End, Report};
use crate::step::Kind;

const BOUNDED: usize = 3_000_000;
/// What is known of them fits into 6 GiB.
const LARGE: usize = 60_000_000;

/// Large searches take turns, so that memory is that of one.
static TURN: Mutex<()> = Mutex::new(());

fn holds(name: &str, most: usize, rules: Rules, scope: Scope) {
    let turn = (most > BOUNDED).then(|| TURN.lock());
    let (name, bounds) = (name.replace('_', " "), scope.to_string());
    let report = Model::new(scope, rules).search(most);
    drop(turn);
    let end = match &report.end {
        End::Exhausted => "exhaustive".to_owned(),
        End::Capped => format!("capped, complete to depth {}", report.depth),
        End::Broken(counterexample) => panic!("{name} is broken\n{counterexample}"),
    };
    let Report {
        states,
        steps,
        healed,
        depth,
        ..
    } = report;
    println!("| {name} | {bounds} | {states} | {steps} | {healed} | {depth} | {end} |");
}

/// Runs that must hold: a name and a scope each, searched up to so many states.
macro_rules! hold {
    (#[$when:meta] $most:ident, $rules:expr; $($name:ident = $scope:expr;)*) => {
        $(
            #[test]
            #[$when]
            fn $name() {
                holds(stringify!($name), $most, $rules, $scope);
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
/// {0, 1} and {1, 2}.
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
/// Three members, one after the other primary, logs closed, incarnations evicted.
const RETIRE: Scope = Scope {
    configs: &[0b0111, 0b1110],
    close: true,
    evictions: 1,
    snapshots: true,
    quorum_reads: false,
    sync: Sync::AfterShipping,
    ..THREE
};
const ROLLBACK: Scope = Scope {
    rollback: true,
    quorum_reads: false,
    ..THREE
};
const CONTACT: Scope = Scope {
    contact: true,
    sync: Sync::BeforeShipping,
    ..THREE
};

hold! {
    #[cfg_attr(debug_assertions, ignore = "optimised only: make model")]
    BOUNDED, Rules::ALL;
    two_and_an_arbiter = Scope { crashes: 1, ..TWO };
    three_members = Scope { crashes: 1, sync: Sync::AfterShipping, ..THREE };
    three_members_that_sync_apart = Scope { sync: Sync::MembersToo, ..THREE };
    one_of_two_exchanged = Scope { sync: Sync::AtOnce, ..SWAP };
    shrunk_and_grown = Scope { crashes: 1, sync: Sync::AtOnce, ..SHRINK };
    a_member_replaced = Scope { sync: Sync::AtOnce, ..REPLACE };
    windows_of_two = Scope { configs: &[0b0011], windows: 3, ..THREE };
    a_planned_handover = Scope { planned: true, crashes: 1, sync: Sync::BeforeShipping, ..THREE };
    contact_of_three = CONTACT;
    contact_where_one_seals = Scope { configs: &[0b0011], ..CONTACT };
    rolled_back = Scope { primary_reads: false, crashes: 1, ..ROLLBACK };
    snapshots = Scope { snapshots: true, crashes: 1, sync: Sync::AfterShipping, ..THREE };
    closed_and_evicted = Scope { primary_reads: false, losses: 1, ..RETIRE };
}

hold! {
    #[ignore = "large: make model"]
    LARGE, Rules::ALL;
    two_and_an_arbiter_two_crashes = Scope { crashes: 2, ..TWO };
    two_and_an_arbiter_two_keys = Scope { keys: "XY", sync: Sync::AtOnce, ..TWO };
    three_members_two_crashes = Scope { crashes: 2, sync: Sync::AfterShipping, ..THREE };
    three_members_two_writes = Scope { keys: "XX", crashes: 1, sync: Sync::AfterShipping, ..THREE };
    three_members_two_keys = Scope { keys: "XY", crashes: 1, ..THREE };
    three_epochs = Scope { epochs: 3, ..THREE };
    three_epochs_with_a_crash = Scope { epochs: 3, crashes: 1, ..THREE };
    three_epochs_shipped_before_the_sync = Scope { epochs: 3, crashes: 1, sync: Sync::AfterShipping, ..THREE };
    four_members = Scope { configs: &[0b1111, 0b1110], ..THREE };
    five_members = Scope { configs: &[0b1_1111], ..THREE };
    one_of_two_exchanged_with_a_crash = Scope { crashes: 1, ..SWAP };
    shrunk_and_grown_two_crashes = Scope { crashes: 2, ..SHRINK };
    shrunk_and_grown_by_another_disk = Scope { configs: &[3, 1, 2, 5, 6], losses: 1, sync: Sync::AtOnce, ..SHRINK };
    a_member_replaced_with_a_crash = Scope { crashes: 1, ..REPLACE };
    a_member_replaced_beside_learners = Scope { learners: true, ..REPLACE };
    a_member_replaced_in_three_epochs = Scope { epochs: 3, writers: 0b011, sync: Sync::AtOnce, ..REPLACE };
    windows_of_two_three_epochs = Scope { configs: &[0b0011], epochs: 3, windows: 4, ..THREE };
    windows_of_three_two_writes = Scope { keys: "XX", windows: 4, quorum_reads: false, ..THREE };
    planned_handovers_in_three_epochs = Scope { planned: true, epochs: 3, configs: &[0b0011, 0b0110], sync: Sync::BeforeShipping, ..THREE };
    planned_shrink_and_growth = Scope { planned: true, crashes: 1, ..SHRINK };
    contact_of_three_in_three_epochs = Scope { epochs: 3, quorum_reads: false, primary_reads: false, ..CONTACT };
    contact_where_one_seals_three_epochs = Scope { epochs: 3, crashes: 1, configs: &[0b0011], ..CONTACT };
    contact_while_shrunk_and_grown = Scope { contact: true, sync: Sync::BeforeShipping, ..SHRINK };
    rolled_back_with_reads = Scope { crashes: 1, ..ROLLBACK };
    rolled_back_two_in_three_epochs = Scope { configs: &[0b0011], epochs: 3, crashes: 1, ..ROLLBACK };
    rolled_back_and_replaced = Scope { configs: &[0b0011, 0b0110], epochs: 3, ..ROLLBACK };
    snapshots_beside_learners = Scope { snapshots: true, learners: true, crashes: 1, configs: &[0b0011, 0b0110], ..TWO };
    closed_and_evicted_with_reads = Scope { losses: 1, ..RETIRE };
    closed_and_evicted_in_three_epochs = Scope { epochs: 3, primary_reads: false, writers: 0b011, losses: 1, ..RETIRE };
    closed_logs_of_two = Scope { configs: &[0b0011, 0b0110], epochs: 3, losses: 1, crashes: 1, ..RETIRE };
}

// Rules without which nothing fails here, as long as the others hold.
hold! {
    #[ignore = "large: make model"]
    LARGE, Rules::without(Rule::OpenLeads);
    without_open_leads_three_epochs = Scope { epochs: 3, ..THREE };
    without_open_leads_two_and_an_arbiter = Scope { crashes: 1, ..TWO };
    without_open_leads_exchanged = SWAP;
}

hold! {
    #[ignore = "large: make model"]
    LARGE, Rules::without(Rule::Star);
    without_star_or_quorum_reads = Scope { quorum_reads: false, sync: Sync::AtOnce, ..SWAP };
}

hold! {
    #[ignore = "large: make model"]
    LARGE, Rules::without(Rule::LatestOpens);
    without_latest_opens_or_change_of_members = Scope { epochs: 3, quorum_reads: false, ..THREE };
}

/// What must be reached.
macro_rules! reach {
    ($($name:ident = $scope:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let report = Model::new($scope, Rules::ALL).search(BOUNDED);
                let End::Broken(way) = report.end else {
                    panic!("{} is out of reach", stringify!($name));
                };
                println!("| {} | {} |\n{way}", stringify!($name), way.steps.len());
            }
        )*
    };
}

reach! {
    a_row_is_read_while_the_primary_is_dead = Scope { crashes: 1, witness: Some(Witness::ReadWithoutPrimary), ..THREE };
    a_rollback_to_after_the_last_extend_is_not_seen = Scope { witness: Some(Witness::UnseenRollback), ..ROLLBACK };
}

/// A step that is never taken would leave its rules unsearched.
#[test]
#[cfg_attr(debug_assertions, ignore = "optimised only: make model")]
fn every_kind_of_step_is_taken() {
    let scopes = [
        Scope {
            windows: 3,
            planned: true,
            crashes: 1,
            sync: Sync::AfterShipping,
            ..THREE
        },
        Scope {
            configs: &[0b0011],
            ..CONTACT
        },
        Scope {
            primary_reads: false,
            ..ROLLBACK
        },
        Scope {
            primary_reads: false,
            losses: 1,
            ..RETIRE
        },
    ];
    // What only a rule left out makes possible.
    let broken = [Kind::ReadEarly, Kind::Gossip, Kind::QuorumVouch];
    let mut taken = broken
        .iter()
        .fold(0, |taken, kind| taken | 1 << *kind as u64);
    for scope in scopes {
        taken |= Model::new(scope, Rules::ALL).search(500_000).taken;
    }
    let all = (1 << (Kind::Boot as u64 + 1)) - 1;
    assert_eq!(taken, all, "not taken: {:b}", all & !taken);
}
