//! Each rule left out must be noticed: a simulator that finds nothing proves nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use steadfast::base::rule::{Rule, without};

use crate::run;

/// Every rule that the cores contain, with the first seed whose run notices that it is left out. A change of the cores or
/// of the simulator makes other runs of the same seeds: `survey_of_the_rules` then finds the new ones.
const RULES: &[(Rule, u64)] = &[
    (Rule::Fence, 0),
    (Rule::StopOld, 33),
    (Rule::PromiseSync, 0),
    (Rule::AckDurable, 0),
    (Rule::OwnSync, 0),
    (Rule::BootToken, 7),
    (Rule::BootCovers, 18),
    (Rule::MuteUntilBoot, 1),
    (Rule::SealBasis, 5),
    (Rule::SealSize, 0),
    (Rule::CatchUp, 8),
    (Rule::Transfer, 7),
    (Rule::AckEpoch, 61),
    (Rule::CommitSize, 1),
    (Rule::Contact, 46),
    (Rule::ConfirmSize, 58),
    (Rule::ConfirmAfter, 716),
    (Rule::ReadIndex, 0),
    (Rule::WaitNewest, 70),
    (Rule::OpenFirst, 183),
    (Rule::OpenCovers, 0),
    (Rule::MergeTail, 0),
    (Rule::ReadMembers, 28),
    (Rule::ReadSize, 2),
    (Rule::ReadAgree, 2),
    (Rule::Ceiling, 0),
    (Rule::Freeze, 6),
    (Rule::Floor, 0),
    (Rule::CloseComplete, 0),
    (Rule::KeepTail, 1),
    (Rule::SnapshotCovers, 67),
    (Rule::SnapshotTail, 101),
    (Rule::RepeatNamed, 15),
    (Rule::StaysUnknown, 12),
];

/// Rules whose absence no seed up to 1,200 shows, but a script does: see [`crate::scripts`].
const SCRIPTED: &[Rule] = &[Rule::BootPromise, Rule::ReadOpening];

/// Rules behind which another one stands here, though not in the model of the protocol. `CloseLatest`: a primary proposes to
/// close a log once every member that is left has reported nothing more of it under its epoch, which none does that has
/// promised a later one; and it learns of an eviction only together with the epochs opened before.
const STOOD_BY: &[Rule] = &[Rule::CloseLatest];

/// What a run without a rule ends with; a broken assertion of the code counts.
fn violation(rule: Rule, seed: u64) -> Option<String> {
    let run = AssertUnwindSafe(|| without(rule, || run(seed)).violation);
    catch_unwind(run).unwrap_or_else(|cause| {
        let text = cause
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some(format!("panic: {}", text.unwrap_or_default()))
    })
}

#[test]
fn every_rule_that_is_left_out_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let missed: Vec<_> = RULES
        .iter()
        .filter(|(rule, seed)| violation(*rule, *seed).is_none())
        .collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
    let has_seed = |rule: &Rule| RULES.iter().any(|(named, _)| named == rule);
    let named = |rule: &Rule| SCRIPTED.contains(rule) || STOOD_BY.contains(rule);
    let forgotten = |rule: &&Rule| !has_seed(rule) && !named(rule);
    let forgotten: Vec<_> = Rule::ALL.iter().filter(forgotten).collect();
    assert!(forgotten.is_empty(), "without a seed: {forgotten:?}");
}

/// Looks for the first seed that notices each rule, and prints the table.
#[test]
#[ignore = "a search for the table above"]
fn survey_of_the_rules() {
    std::panic::set_hook(Box::new(|_| {}));
    let most: u64 = std::env::var("STEADFAST_MOST").map_or(200, |most| most.parse().unwrap());
    let from: u64 = std::env::var("STEADFAST_FROM").map_or(0, |from| from.parse().unwrap());
    let only = std::env::var("STEADFAST_RULE").ok();
    let width = if only.is_some() { 2_000 } else { 110 };
    for rule in Rule::ALL {
        if only
            .as_ref()
            .is_some_and(|only| *only != format!("{rule:?}"))
        {
            continue;
        }
        let found = (from..most).find_map(|seed| Some((seed, violation(*rule, seed)?)));
        match found {
            Some((seed, what)) => {
                let what: String = what.chars().take(width).collect();
                println!("    (Rule::{rule:?}, {seed}), // {what}");
            }
            None => println!("    // Rule::{rule:?}: not within {most}"),
        }
    }
}
