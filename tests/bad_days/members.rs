//! Members come and go while others die.

use steadfast::cli::child::Home;
use steadfast::cli::process_set::ProcessSet;
use steadfast::proto::v1;

use crate::day::{Day, newcomer, number};
use crate::kills::a_while;
use crate::traffic::{Manner, Traffic};

/// Has the change made, whoever is primary by now, unless it is made already.
async fn insist(set: &ProcessSet, old: u64, new: u64) {
    set.until(|views| {
        let views: Vec<_> = views.iter().flatten().collect();
        let primary = views.iter().any(|view| view.primary.is_some());
        primary.then_some(()).ok_or("nobody is primary".to_owned())
    })
    .await
    .unwrap();
    for asked in set.holders() {
        match asked.replace_member(old, new).await {
            Ok(()) => return,
            Err(_)
                if asked
                    .replica_set()
                    .await
                    .is_ok_and(|view| has_left(&view, old)) =>
            {
                return;
            }
            Err(_) => {}
        }
    }
    panic!("nobody replaces {old}");
}

#[tokio::test]
async fn a_member_is_replaced_though_the_primary_dies_meanwhile() {
    let mut day = Day::begin().await;
    let homes = [day.home(4).await, day.home(5).await];
    day.under_load(Manner::Once, async |set, traffic| {
        for home in homes {
            replace_while_the_primary_dies(set, traffic, home).await;
        }
    })
    .await;
}

async fn replace_while_the_primary_dies(set: &mut ProcessSet, traffic: &Traffic, home: Home) {
    let primary = set.whole().await.unwrap();
    let leaving = (primary.at + 1) % 3;
    let old = number(set, leaving).await;
    let new = newcomer(set, home).await;
    let asked = set.client(3).unwrap().clone();
    let (_perhaps, ()) = tokio::join!(asked.replace_member(old, new), async {
        a_while().await;
        set.kill(primary.at).await.unwrap();
    });
    traffic.after(primary.epoch).await;
    set.launch(primary.at).unwrap();
    insist(set, old, new).await;
    let left = set.until(|views| {
        let others = views.iter().enumerate().filter(|(at, _)| *at != leaving);
        let mut others = others.flat_map(|(_, view)| view);
        let is_left = others.all(|view| has_left(view, old));
        is_left
            .then_some(())
            .ok_or("it is a member still".to_owned())
    });
    left.await.unwrap();
    set.dismiss(leaving).await.unwrap();
}

fn has_left(view: &v1::GetReplicaSetResponse, old: u64) -> bool {
    view.members.iter().all(|member| member.number != old)
}
