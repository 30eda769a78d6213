//! Each rule left out must be noticed: a simulator that finds nothing proves nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use steadfast::base::rule::{Rule, without};

use crate::run;

/// Every rule that the simulator can leave out, with a seed whose run notices it.
const RULES: &[(Rule, u64)] = &[];

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
