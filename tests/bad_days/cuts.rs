//! Members that are cut off from each other, wholly or in part.

use steadfast::base::Clock as _;
use steadfast::base::clock::SystemClock;
use steadfast::cli::network::{Cut, Service};
use steadfast::cli::process_set::{Primary, ProcessSet, own};
use steadfast::proto::v1;

use crate::day::Day;
use crate::traffic::{Manner, Traffic, held};

fn cut_off(set: &ProcessSet, at: usize, service: Option<Service>) -> Cut {
    Cut {
        ends: vec![set.end(at).unwrap()],
        service,
    }
}

fn number(at: usize) -> u64 {
    u64::try_from(at + 1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_takes_over_from_a_primary_that_is_cut_off_or_whose_records_do_not_arrive() {
    let mut day = Day::begin_apart().await;
    day.under_load(Manner::Once, async |set, traffic| {
        for service in [None, Some(Service::Records)] {
            let before = set.whole().await.unwrap();
            set.cut([cut_off(set, before.at, service)]).unwrap();
            traffic.after(before.epoch).await;
            traffic.more(20).await;
            let since = traffic.now();
            traffic.more(20).await;
            let acked_by = traffic.acked_at_async_since(since);
            assert!(!acked_by.contains(&before.epoch), "{acked_by:?}");
            set.heal().unwrap();
            let after = set.whole().await.unwrap();
            assert_ne!(after.at, before.at);
        }
    })
    .await;
}

/// Waits until the primary's window has passed by the clock.
async fn window_passed(set: &ProcessSet, primary: Primary) {
    let passed = set.until(|views| {
        let view = views[primary.at].as_ref().map_err(ToString::to_string)?;
        let left = view.window_us - SystemClock::new().wall().0;
        (left < 0)
            .then_some(())
            .ok_or(format!("{left} us are left"))
    });
    passed.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_agreement_lookups_go_on_and_so_do_quorum_writes_while_the_window_lasts() {
    let mut day = Day::begin_apart().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let before = set.whole().await.unwrap();
        let all = (0..3).map(|at| cut_off(set, at, Some(Service::Agreement)));
        set.cut(all.collect::<Vec<_>>()).unwrap();
        // Beyond its end by the clock stamps are left still.
        window_passed(set, before).await;
        traffic.more(20).await;
        assert_eq!(traffic.told().epoch, before.epoch);
        for at in 0..3 {
            let looked_up = held(set.client(at).unwrap(), &traffic.keys()).await;
            assert!(!looked_up.unwrap().is_empty());
        }
        set.heal().unwrap();
        traffic.more(20).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_cut_off_from_the_agreement_alone_is_primary_still() {
    let mut day = Day::begin_apart().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let before = set.whole().await.unwrap();
        set.cut([cut_off(set, before.at, Some(Service::Agreement))])
            .unwrap();
        window_passed(set, before).await;
        traffic.more(20).await;
        assert_eq!(traffic.told().epoch, before.epoch);
        set.heal().unwrap();
        traffic.more(20).await;
    })
    .await;
}

/// Has a pair act so when one of it is gone.
async fn choose(set: &ProcessSet, primary: Primary, two_node: v1::TwoNode) {
    let changes = v1::SetSettingsRequest {
        two_node: Some(two_node.into()),
        ..v1::SetSettingsRequest::default()
    };
    let client = set.client(primary.at).unwrap();
    client.set_settings(changes).await.unwrap();
}

/// The two data members no longer see each other; the arbiter sees both.
fn part(set: &ProcessSet) {
    let ends = vec![set.end(0).unwrap(), set.end(1).unwrap()];
    set.cut([Cut {
        ends,
        service: None,
    }])
    .unwrap();
}

/// Waits until the agreement is not led by the other one of the pair, who would take over if they were parted.
async fn led_at_hand(set: &ProcessSet) -> Primary {
    loop {
        let primary = set.whole().await.unwrap();
        let client = set.client(primary.at).unwrap();
        let view = client.replica_set().await.unwrap();
        let other = (0..2).find(|at| *at != primary.at).map(number);
        match view.agreement.and_then(|agreement| agreement.leader) {
            Some(leader) if Some(leader) != other => return primary,
            Some(_) => client.switch_over(None).await.unwrap(),
            None => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pair_that_is_parted_one_goes_on_at_async_and_quorum_is_refused() {
    let mut day = Day::begin_with_arbiter().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let before = led_at_hand(set).await;
        part(set);
        traffic.until_refused("NO_QUORUM").await;
        traffic.more_at_async(50).await;
        // In an epoch that it may have had to open anew, since the other one keeps trying.
        let goes_on = set.until(|views| {
            let same = own(&views[before.at]).filter(|own| own.serves);
            same.map(|_| ())
                .ok_or_else(|| "another one took over".to_owned())
        });
        goes_on.await.unwrap();
        set.heal().unwrap();
        traffic.more(20).await;
    })
    .await;
}

/// Parts a pair that is to shrink, until one of it acknowledges alone.
async fn shrink(set: &ProcessSet, traffic: &Traffic) -> Primary {
    let before = set.whole().await.unwrap();
    choose(set, before, v1::TwoNode::Shrink).await;
    part(set);
    traffic.after(before.epoch).await;
    traffic.more(20).await;
    let alone = traffic.told();
    assert_eq!(alone.copies, 1, "{alone:?}");
    before
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pair_that_may_shrink_one_acknowledges_alone_and_says_so_until_the_other_is_back() {
    let mut day = Day::begin_with_arbiter().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let before = shrink(set, traffic).await;
        set.heal().unwrap();
        let after = set.whole().await.unwrap();
        assert_eq!(after.at, before.at);
        traffic.more(20).await;
        let both = traffic.told();
        assert_eq!(both.copies, 2, "{both:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_left_out_does_not_take_over_from_the_one_that_went_on_alone() {
    let mut day = Day::begin_with_arbiter().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let before = shrink(set, traffic).await;
        let alone = traffic.told().epoch;
        set.kill(before.at).await.unwrap();
        set.heal().unwrap();
        let other = 1 - before.at;
        let told = set.until(|views| {
            let view = views[other].as_ref().map_err(ToString::to_string)?;
            let has_heard = view.epoch >= alone && !view.can_fail_over;
            has_heard.then_some(()).ok_or("it hopes still".to_owned())
        });
        told.await.unwrap();
        let client = set.client(other).unwrap();
        let epoch = client.replica_set().await.unwrap().epoch;
        let approved = client.approve_failover(epoch, true).await;
        assert!(approved.is_err(), "{approved:?}");
        set.restart(before.at).await.unwrap();
        traffic.more(20).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_when_the_leader_of_the_agreement_is_killed_that_is_not_primary() {
    let mut day = Day::begin().await;
    let ((), traffic) = day
        .under_load(Manner::Again, async |set, traffic| {
            let (primary, leader) = loop {
                let primary = set.whole().await.unwrap();
                let client = set.client(primary.at).unwrap();
                let view = client.replica_set().await.unwrap();
                match view.agreement.and_then(|agreement| agreement.leader) {
                    Some(leader) if leader != number(primary.at) => break (primary, leader),
                    Some(_) => client.switch_over(None).await.unwrap(),
                    None => {}
                }
            };
            let leader = usize::try_from(leader).unwrap() - 1;
            set.kill(leader).await.unwrap();
            traffic.more(50).await;
            assert_eq!(traffic.told().epoch, primary.epoch);
            set.restart(leader).await.unwrap();
        })
        .await;
    traffic.nothing_failed();
}
