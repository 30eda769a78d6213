//! What is read at a quorum while a member is gone or behind.

use std::collections::BTreeMap;

use steadfast::base::Clock as _;
use steadfast::base::clock::SystemClock;
use steadfast::cli::network::{Cut, Service};
use steadfast::client::Client;
use steadfast::proto::v1;

use crate::day::Day;
use crate::history::ReadLevel;
use crate::scans::scan_at;
use crate::stages::decide;
use crate::traffic::{Manner, get, put, read_at, values};

#[tokio::test]
async fn a_quorum_reads_on_while_there_is_no_primary() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let before = set.whole().await.unwrap();
        decide(set, before.at, v1::FailoverPolicy::Manual).await;
        traffic.more(20).await;
        set.kill(before.at).await.unwrap();
        let others: Vec<usize> = (0..3).filter(|at| *at != before.at).collect();
        let keys = traffic.keys();
        let read = async |at: usize| {
            let client = set.client(at).unwrap();
            let read = read_at(client, &keys, ReadLevel::Quorum).await;
            read.unwrap()
        };
        // Nobody writes any more.
        let seen = [read(others[0]).await, read(others[1]).await];
        assert!(!seen[0].is_empty());
        assert_eq!(seen[0], seen[1]);
        let client = set.client(others[0]).unwrap();
        client.approve_failover(before.epoch, true).await.unwrap();
        traffic.after(before.epoch).await;
        decide(set, others[0], v1::FailoverPolicy::Automatic).await;
        set.restart(before.at).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_at_a_quorum_needs_no_primary() {
    let mut day = Day::begin().await;
    let set = &mut day.set;
    let before = set.whole().await.unwrap();
    let client = set.client(before.at).unwrap();
    let mut written = BTreeMap::new();
    for key in 0..600 {
        let now = SystemClock::new().wall().0;
        let write = put(key, 2 * key, now, v1::CommitLevel::Quorum);
        client.put(write).await.unwrap();
        written.insert(key, 2 * key);
    }
    // What only one of those has that are left would be decided once there is a primary again.
    set.equal().await.unwrap();
    decide(set, before.at, v1::FailoverPolicy::Manual).await;
    let all = Client::connect(&*set.endpoints().join(",")).await.unwrap();
    set.kill(before.at).await.unwrap();
    for at in (0..3).filter(|at| *at != before.at) {
        let client = set.client(at).unwrap();
        let scanned = scan_at(client, ReadLevel::Quorum, 0).await.unwrap();
        assert_eq!(scanned, written);
    }
    let scanned = scan_at(&all, ReadLevel::Quorum, 0).await.unwrap();
    assert_eq!(scanned, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_behind_reads_at_a_quorum_what_the_others_have() {
    let mut day = Day::begin_apart().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let primary = set.whole().await.unwrap();
        let behind = (primary.at + 1) % 3;
        let ends = vec![set.end(primary.at).unwrap(), set.end(behind).unwrap()];
        let service = Some(Service::Records);
        set.cut([Cut { ends, service }]).unwrap();
        let (writer, reader) = (set.client(primary.at).unwrap(), set.client(behind).unwrap());
        // Of this key there are no other writes.
        let key = u64::MAX >> 2;
        for value in 1..=20 {
            let now = SystemClock::new().wall().0;
            let quorum = v1::CommitLevel::Quorum;
            writer.put(put(key, value, now, quorum)).await.unwrap();
            let local = read_at(reader, &[key], ReadLevel::Local).await.unwrap();
            assert!(local.is_empty(), "{local:?} although nothing arrives");
            let read = read_at(reader, &[key], ReadLevel::Quorum).await.unwrap();
            assert_eq!(read, BTreeMap::from([(key, value)]));
            // That there is such a key at all is known to others only.
            let scanned = scan_at(reader, ReadLevel::Quorum, 0).await.unwrap();
            assert_eq!(scanned.get(&key), Some(&value));
        }
        // What a session has written and does not come here is read where it is.
        let write = v1::PutFeaturesRequest {
            session: Some(String::new()),
            ..put(
                key,
                21,
                SystemClock::new().wall().0,
                v1::CommitLevel::Quorum,
            )
        };
        let written = writer.put(write).await.unwrap();
        let read = v1::GetFeaturesRequest {
            session: Some(written.session),
            ..get(&[key], ReadLevel::Local)
        };
        let read = reader.get(read).await.unwrap();
        assert_eq!(values(read), [Some(21)]);
        traffic.more(20).await;
        assert_eq!(traffic.told().epoch, primary.epoch);
        set.heal().unwrap();
    })
    .await;
}
