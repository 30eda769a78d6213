//! What a stream does over a way that loses, repeats and reorders.

use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, VersionVector};
use crate::replication::member::{Member, Taken};
use crate::replication::testing::{append, control, held, records, vector};
use crate::replication::{Heads, Logged};

/// The records a shipment asks for, a few at a time.
fn read(log: &[Logged], shipment: &Shipment) -> Vec<Logged> {
    let lacks = |record: &&Logged| !shipment.after.contains(record.log(), record.seq());
    log.iter().filter(lacks).take(3).cloned().collect()
}

#[test]
fn nothing_is_sent_before_the_member_has_said_what_it_holds() {
    let mut sender = Sender::new();
    assert_eq!(sender.next(&control(), &vector(&[(3, 9)])), None);
    let member = Member::new(Epoch(3), Heads::default(), None);
    sender.report(&control(), held(3, 0, &member));
    let shipment = sender.next(&control(), &vector(&[(3, 9)])).unwrap();
    assert_eq!(shipment.after, VersionVector::new());
    assert_eq!(
        sender.next(&control(), &vector(&[(3, 9)])),
        None,
        "one at a time"
    );
}

#[test]
fn a_log_that_no_longer_reaches_back_asks_for_a_snapshot_until_the_member_moves() {
    let mut sender = Sender::new();
    let mut member = Member::new(Epoch(3), Heads::default(), None);
    sender.report(&control(), held(3, 0, &member));
    sender.next(&control(), &vector(&[(3, 9)])).unwrap();
    assert_eq!(sender.read(None), None);
    assert!(sender.needs_snapshot());
    sender.report(&control(), held(3, 0, &member));
    assert!(sender.needs_snapshot());
    member.merge(records(3, 5, 0)).unwrap();
    sender.report(&control(), held(3, 0, &member));
    assert!(!sender.needs_snapshot());
    let shipment = sender.next(&control(), &vector(&[(3, 9)])).unwrap();
    assert_eq!(shipment.after, vector(&[(3, 5)]));
}

#[test]
fn each_message_has_a_greater_number_than_the_one_before() {
    let mut sender = Sender::new();
    assert_eq!([sender.number(), sender.number()], [1, 2]);
}

#[test]
fn what_is_on_its_way_is_bounded() {
    let mut sender = Sender::new();
    let member = Member::new(Epoch(3), Heads::default(), None);
    sender.report(&control(), held(3, 0, &member));
    let log = records(3, 20, 0);
    let mut heavy: Vec<Logged> = log.clone();
    for record in &mut heavy {
        record.bytes = bytes::Bytes::from(vec![0; WINDOW_BYTES / 2]);
    }
    let mut messages = 0;
    for record in &heavy {
        if sender.next(&control(), &vector(&[(3, 20)])).is_none() {
            break;
        }
        sender.read(Some(std::slice::from_ref(record)));
        messages += 1;
    }
    assert_eq!(messages, 2, "two of half a window fill it");
    sender.report(&control(), held(3, 1, &member));
    let shipment = sender.next(&control(), &vector(&[(3, 20)]));
    let after = vector(&[(3, 2)]);
    assert_eq!(shipment.unwrap().after, after, "the second may yet arrive");
}

proptest! {
    #[test]
    fn a_member_gets_everything_once_messages_get_through(
        fates in proptest::collection::vec((0..4u8, 0..4usize, any::<bool>()), 0..60),
    ) {
        let log = records(3, 17, 0);
        let all = vector(&[(3, 17)]);
        let mut sender = Sender::new();
        let mut member = Member::new(Epoch(3), Heads::default(), None);
        let (mut on_way, mut heard) = (Vec::new(), 0);
        let sound = std::iter::repeat_n((1, 0, false), 20);
        for (fate, at, crash) in fates.into_iter().chain(sound) {
            // A ping, and records if there is room.
            on_way.push((sender.number(), vec![]));
            if let Some(shipment) = sender.next(&control(), &all) {
                let records = read(&log, &shipment);
                let number = sender.read(Some(&records)).unwrap();
                on_way.push((number, records));
            }
            let at = at.min(on_way.len() - 1);
            match fate {
                0 => { on_way.remove(at); }
                1 => {
                    for (number, records) in on_way.drain(..) {
                        deliver(&mut sender, &mut member, &mut heard, number, &records);
                    }
                }
                2 => {
                    let (number, records) = on_way.remove(at);
                    deliver(&mut sender, &mut member, &mut heard, number, &records);
                }
                _ => {
                    let (number, records) = on_way[at].clone();
                    deliver(&mut sender, &mut member, &mut heard, number, &records);
                }
            }
            if crash {
                // What was not synced is gone, and so is what was heard.
                member = Member::new(Epoch(3), Heads::default(), None);
                heard = 0;
            }
        }
        prop_assert_eq!(member.appended().vector(), &all);
    }
}

fn deliver(
    sender: &mut Sender,
    member: &mut Member,
    heard: &mut u64,
    number: u64,
    records: &[Logged],
) {
    let taken = member.take(&control(), &append(3, vector(&[(3, 17)]), records));
    assert!(matches!(taken, Ok(Taken::Records(_))));
    *heard = number.max(*heard);
    sender.report(&control(), held(3, *heard, member));
}
