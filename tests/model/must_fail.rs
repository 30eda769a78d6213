//! Each rule left out once: the search must find harm, in as many steps as are written here.

use crate::rule::{Rule, Rules};
use crate::scope::{Model, Scope, Sync, THREE};
use crate::search::End;

/// Enough for the deepest counterexample.
const MOST: usize = 30_000_000;

fn fails(name: &str, rule: Rule, length: usize, scope: Scope) {
    let report = Model::new(scope, Rules::without(rule)).search(MOST);
    let End::Broken(counterexample) = report.end else {
        panic!(
            "{name}: nothing fails in {} states, {} steps",
            report.states, report.steps
        );
    };
    let found = counterexample.steps.len();
    println!(
        "| {} | {rule:?} | {found} | {} |\n{counterexample}",
        name.replace('_', " "),
        report.states
    );
    assert_eq!(found, length, "{name} fails, but otherwise");
}

/// Rules left out: a name for the damage, the rule, the length of the counterexample, and the scope.
macro_rules! fail {
    ($($name:ident = $rule:ident in $length:literal: $scope:expr;)*) => {
        const LEFT_OUT: &[Rule] = &[$(Rule::$rule),*];
        $(
            #[test]
            #[cfg_attr(debug_assertions, ignore = "optimised only: make model")]
            fn $name() {
                fails(stringify!($name), Rule::$rule, $length, $scope);
            }
        )*
    };
}

/// Without quorum reads.
const PLAIN: Scope = Scope {
    quorum_reads: false,
    ..THREE
};
const SHIPS_FIRST: Scope = Scope {
    sync: Sync::AfterShipping,
    ..THREE
};
const SWAP: Scope = Scope {
    configs: &[0b0011, 0b0110],
    ..THREE
};
const SWAP_PLAIN: Scope = Scope {
    quorum_reads: false,
    epochs: 3,
    ..SWAP
};
const REPLACE: Scope = Scope {
    configs: &[0b0111, 0b1110],
    ..THREE
};
const FOUR_TO_THREE: Scope = Scope {
    configs: &[0b1111, 0b1110],
    ..SHIPS_FIRST
};
const CLOSING: Scope = Scope {
    close: true,
    primary_reads: false,
    ..PLAIN
};
const EVICTING: Scope = Scope {
    evictions: 1,
    configs: &[0b0111, 0b1110],
    sync: Sync::AfterShipping,
    ..CLOSING
};
const EVICTED: Scope = Scope {
    epochs: 3,
    writers: 0b001,
    ..EVICTING
};
const ROLLBACK: Scope = Scope {
    rollback: true,
    crashes: 1,
    ..PLAIN
};
const WINDOWS: Scope = Scope {
    windows: 3,
    ..PLAIN
};
const CONTACT: Scope = Scope {
    contact: true,
    configs: &[0b0011],
    ..PLAIN
};

fail! {
    members_obey_an_older_epoch = Fence in 12: PLAIN;
    a_deposed_primary_writes_on = StopOld in 12: PLAIN;
    a_crash_takes_the_promise = PromiseSync in 13: Scope { crashes: 1, ..PLAIN };
    what_is_held_is_read_before_the_promise = PromiseFirst in 14: PLAIN;
    a_member_acks_before_its_sync = AckDurable in 12: Scope { crashes: 1, ..PLAIN };
    async_is_acked_before_the_sync = OwnSync in 2: Scope { crashes: 1, sync: Sync::AfterShipping, ..PLAIN };
    a_merged_tail_overtakes_older_records = WalOrder in 18: Scope { configs: &[0b0011, 0b1110], sync: Sync::AfterShipping, ..PLAIN };
    a_record_is_taken_past_a_gap = Contiguous in 3: Scope { keys: "XX", ..PLAIN };
    a_lost_disk_keeps_its_identity = Identity in 13: Scope { losses: 1, ..PLAIN };
    a_restarted_primary_goes_on = NewEpoch in 4: Scope { crashes: 1, sync: Sync::AfterShipping, ..PLAIN };
    the_new_members_are_sealed = SealBasis in 12: Scope { quorum_reads: false, ..REPLACE };
    one_seal_too_few = SealSize in 11: PLAIN;
    a_dead_holder_still_counts = SealAgain in 13: Scope { losses: 1, ..PLAIN };
    opened_without_catching_up = CatchUp in 12: PLAIN;
    an_overtaken_attempt_opens = LatestOpens in 16: SWAP_PLAIN;
    changed_members_without_transfer = Transfer in 15: SWAP_PLAIN;
    any_copy_counts_as_ack = AckEpoch in 11: SWAP_PLAIN;
    one_ack_too_few = CommitSize in 9: PLAIN;
    a_read_confirmed_by_too_few = ConfirmSize in 11: Scope { epochs: 2, ..SWAP_PLAIN };
    a_read_confirmed_by_an_earlier_round = ConfirmAfter in 12: PLAIN;
    a_read_without_read_index = ReadIndex in 8: Scope { sync: Sync::AfterShipping, ..PLAIN };
    a_read_of_what_is_not_committed = WaitNewest in 14: PLAIN;
    a_read_skips_to_an_older_row = NoSkip in 12: PLAIN;
    a_read_skips_beside_quorum_reads = NoSkip in 9: THREE;
    an_opening_record_before_open = OpenFirst in 18: Scope { crashes: 1, epochs: 3, sync: Sync::AfterShipping, ..SWAP };
    an_opening_record_over_a_tail = OpenCovers in 17: FOUR_TO_THREE;
    an_opening_record_over_an_unsynced_tail = OpenCoversUnsynced in 19: Scope { sync: Sync::MembersToo, ..FOUR_TO_THREE };
    gossip = Star in 17: REPLACE;
    a_tail_is_cut_off = MergeTail in 7: PLAIN;
    members_of_any_epoch_answer = ReadEpoch in 12: REPLACE;
    members_answer_without_opening_record = ReadOpening in 17: FOUR_TO_THREE;
    a_learner_answers = ReadMembers in 14: Scope { learners: true, ..SWAP };
    too_few_answer = ReadSize in 5: Scope { configs: &[0b0011], ..THREE };
    the_newest_of_w_answers = ReadAgree in 7: THREE;
    a_member_vouches_for_what_it_holds = ReadRow in 16: THREE;
    no_ceiling = Ceiling in 7: WINDOWS;
    granted_when_overtaken = Freeze in 9: WINDOWS;
    no_floor = Floor in 8: WINDOWS;
    async_without_contact = Contact in 6: CONTACT;
    contact_by_extend_when_overtaken = Freeze in 7: CONTACT;
    resumed_after_a_handover = PlannedSeal in 5: Scope { planned: true, ..PLAIN };
    closed_before_commit = CloseCommitted in 12: Scope { epochs: 3, ..CLOSING };
    closed_before_the_report = CloseComplete in 7: CLOSING;
    closed_by_an_overtaken_primary = CloseLatest in 14: EVICTED;
    merged_beyond_a_final = FinalBinds in 10: EVICTING;
    a_member_is_evicted = EvictOpen in 2: Scope { losses: 1, ..EVICTING };
    one_named_by_an_attempt_is_evicted = EvictAttempt in 7: Scope { losses: 1, ..EVICTING };
    an_evicted_incarnation_is_named = BeginEvicted in 7: Scope { losses: 1, ..EVICTED };
    an_older_directory_starts = BootToken in 5: ROLLBACK;
    a_directory_without_its_records_starts = BootCovers in 5: ROLLBACK;
    a_directory_without_its_promise_starts = BootPromise in 15: ROLLBACK;
    answers_before_the_start_is_registered = MuteUntilBoot in 13: ROLLBACK;
    a_snapshot_over_a_tail = SnapshotCovers in 7: Scope { snapshots: true, ..PLAIN };
    a_snapshot_is_acked_before_it_is_durable = SnapshotDurable in 12: Scope { snapshots: true, crashes: 1, ..PLAIN };
}

#[test]
fn every_rule_is_left_out() {
    // What `must_hold` shows to be needed by nothing here.
    let mut left_out = 1 << Rule::OpenLeads as u64;
    for rule in LEFT_OUT {
        left_out |= 1u64 << *rule as u64;
    }
    let all = (1 << (Rule::SnapshotDurable as u64 + 1)) - 1;
    assert_eq!(left_out, all, "in force everywhere: {:b}", all & !left_out);
}
