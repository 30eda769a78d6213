//! Which node a call goes to.

use std::collections::BTreeSet;

use super::*;

const NOW: Duration = Duration::from_secs(100);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn routes(given: &[&str], zone: Option<&str>) -> Routes {
    Routes::new(&names(given), zone.map(str::to_owned))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn order(routes: &Routes, wish: Wish) -> Vec<String> {
    routes.order(wish, NOW, [0.0, 0.0])
}

/// Who is asked first, whatever the chances.
fn firsts(routes: &Routes) -> BTreeSet<String> {
    let chances = (0..100).map(|at| [f64::from(at % 10) / 9.0, f64::from(at / 10) / 9.0]);
    chances
        .map(|chances| routes.order(Wish::Anyone, NOW, chances).remove(0))
        .collect()
}

fn told(epoch: u64, primary: &str, members: &[(&str, bool)]) -> Told {
    let members = members
        .iter()
        .map(|(endpoint, is_arbiter)| ((*endpoint).to_owned(), *is_arbiter));
    Told {
        epoch,
        primary: Some(primary.to_owned()),
        members: members.collect(),
    }
}

#[test]
fn without_measurements_who_answered_last_is_asked_and_the_others_in_the_order_given() {
    let mut routes = routes(&["a", "b", "c", "b"], None);
    assert_eq!(order(&routes, Wish::Anyone), ["a", "b", "c"]);
    assert_eq!(routes.last().unwrap(), "a");
    routes.answered("b");
    assert_eq!(order(&routes, Wish::Primary), ["b", "a", "c"]);
    assert_eq!(firsts(&routes).len(), 1);
}

#[test]
fn near_nodes_share_the_calls_and_far_ones_come_after_them() {
    let mut routes = routes(&["a", "b", "c", "d"], None);
    for (endpoint, round_trip) in [("a", 30), ("b", 1), ("c", 2)] {
        routes.measured(endpoint, millis(round_trip), "");
    }
    assert_eq!(firsts(&routes), ["b", "c"].map(str::to_owned).into());
    assert_eq!(order(&routes, Wish::Anyone)[2..], ["a", "d"]);
    // One call more is under way at one of them.
    routes.begun("b");
    assert_eq!(firsts(&routes), ["c".to_owned()].into());
    routes.ended("b");
    assert_eq!(firsts(&routes).len(), 2);
}

#[test]
fn a_round_trip_that_lasts_moves_a_node_away_and_a_single_one_does_not() {
    let mut routes = routes(&["a", "b"], None);
    for endpoint in ["a", "b"] {
        routes.measured(endpoint, millis(10), "");
    }
    routes.measured("a", millis(40), "");
    assert_eq!(firsts(&routes).len(), 2);
    for _ in 0..10 {
        routes.measured("a", millis(40), "");
    }
    assert_eq!(firsts(&routes), ["b".to_owned()].into());
}

#[test]
fn the_own_zone_comes_first_and_arbiters_last() {
    for given in [&["a", "b", "c"][..], &["a"]] {
        let mut routes = routes(given, Some("west"));
        routes.told(told(1, "a", &[("c", true), ("a", false), ("b", false)]));
        for (endpoint, round_trip, zone) in [("a", 1, "east"), ("b", 9, "west"), ("c", 1, "west")] {
            routes.measured(endpoint, millis(round_trip), zone);
        }
        assert_eq!(order(&routes, Wish::Anyone), ["b", "a", "c"]);
        assert_eq!(order(&routes, Wish::Primary), ["a", "b", "c"]);
    }
}

#[test]
fn a_node_that_failed_comes_last_for_ever_longer_until_it_answers() {
    let mut routes = routes(&["a", "b"], None);
    let first = |routes: &Routes, now| routes.order(Wish::Anyone, now, [0.0; 2]).remove(0);
    let mut spans = Vec::new();
    for _ in 0..10 {
        routes.failed("a", NOW);
        let is_shunned = |span: &Duration| first(&routes, NOW + *span) == "b";
        let span = (0..)
            .map(|at| millis(at * 50))
            .take_while(is_shunned)
            .last();
        spans.push(span.unwrap());
    }
    assert!(spans.is_sorted() && spans[0] < SHUN && spans[9] < SHUN_LIMIT);
    assert_eq!(
        order(&routes, Wish::Anyone),
        ["b", "a"],
        "it is asked still"
    );
    routes.answered("a");
    assert_eq!(first(&routes, NOW), "a");
}

#[test]
fn a_node_is_overtaken_twice_before_that_counts() {
    let mut routes = routes(&["a", "b"], None);
    routes.overtaken("a", NOW);
    assert_eq!(order(&routes, Wish::Anyone), ["a", "b"]);
    routes.overtaken("a", NOW);
    assert_eq!(order(&routes, Wish::Anyone), ["b", "a"]);
}

#[test]
fn the_primary_is_whom_the_latest_epoch_or_a_node_names_until_it_fails() {
    let mut routes = routes(&["a", "b"], None);
    routes.told(told(5, "b", &[("a", false), ("b", false)]));
    routes.told(told(4, "a", &[("a", false)]));
    assert_eq!(order(&routes, Wish::Primary), ["b", "a"]);
    routes.not_primary("b", Some(&"p".to_owned()));
    assert_eq!(order(&routes, Wish::Primary), ["p", "a", "b"]);
    routes.failed("p", NOW);
    assert_eq!(order(&routes, Wish::Primary), ["a", "b"]);
    routes.not_primary("a", Some(&"b".to_owned()));
    routes.not_primary("b", None);
    assert_eq!(order(&routes, Wish::Primary), ["a", "b"]);
}

#[test]
fn nodes_given_stay_and_others_as_long_as_they_are_members() {
    let mut routes = routes(&["a", "b"], None);
    routes.told(told(1, "c", &[("b", false), ("c", false)]));
    assert_eq!(order(&routes, Wish::Anyone), ["a", "b", "c"]);
    routes.told(told(2, "d", &[("b", false), ("d", false)]));
    assert_eq!(order(&routes, Wish::Anyone), ["a", "b", "d"]);
}

#[test]
fn two_different_nodes_are_compared_and_every_pair_at_some_time() {
    let mut pairs = BTreeSet::new();
    for count in 2..6 {
        for at in 0..=400 {
            let chances = [f64::from(at % 21) / 20.0, f64::from(at / 21) / 20.0];
            let [one, other] = two_of(count, chances);
            assert!(one < count && other < count && one != other);
            pairs.insert((count, one, other));
        }
    }
    assert_eq!(pairs.len(), 2 + 6 + 12 + 20);
}

#[test]
fn a_round_trip_measured_again_and_again_stays_what_it_is() {
    let mut routes = routes(&["a", "b"], None);
    routes.measured("a", millis(30), "");
    for _ in 0..100 {
        routes.measured("b", millis(30), "");
    }
    assert_eq!(firsts(&routes).len(), 2, "both are near");
}

#[test]
fn what_is_said_again_of_the_same_epoch_is_newer() {
    let mut routes = routes(&["a", "b"], None);
    let members = [("a", false), ("b", false)];
    for primary in ["a", "b"] {
        routes.told(told(3, primary, &members));
        assert_eq!(order(&routes, Wish::Primary)[0], primary);
    }
    routes.told(told(2, "a", &members));
    assert_eq!(order(&routes, Wish::Primary)[0], "b");
}
