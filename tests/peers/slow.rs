//! Members that take nothing.

use std::sync::{Arc, Condvar, Mutex};

use steadfast::base::clock::now_monotonic;
use steadfast::net::STALL;
use steadfast::replication::Message;
use tokio::net::TcpListener;

use crate::messages::{append, record};
use crate::support::{A, B, C, Heard, LINEAGE, LONG, Member, loopback};

/// What may wait, with records and without.
const WAITING_BYTES: usize = 17 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_silent_member_is_not_gone_and_costs_the_others_nothing() {
    let (mut a, mut c) = (Member::start(A).await, Member::start(C).await);
    let silent = TcpListener::bind(loopback()).await.unwrap();
    a.set_peers(&[(B, silent.local_addr().unwrap()), (C, c.address)]);
    let _accepted = silent.accept().await.unwrap();
    let large = append(1, vec![record(1, 1 << 20)]);
    for number in 0..40 {
        a.send(B, &large);
        a.send(C, &Message::Probe { number });
        assert_eq!(c.message().await, Message::Probe { number });
        assert!(a.wires.status()[&B].waiting_bytes <= WAITING_BYTES);
    }
    assert!(a.wires.status()[&B].dropped_messages >= 20);
    let begun = now_monotonic();
    let status = a.status(B, |status| status.trouble.is_some()).await;
    println!("after {:?}: {status:?}", begun.elapsed());
    assert!(begun.elapsed() < STALL * 2);
    assert_eq!(status.waiting_bytes, 0, "what waited is dropped");
    assert!(!a.rest().contains(&Heard::Gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_answers_but_takes_nothing_has_its_connection_cut() {
    let stuck = Arc::new((Mutex::new(true), Condvar::new()));
    let until_freed = Arc::clone(&stuck);
    let wait = move |message: &Message| {
        if matches!(message, Message::Append(_)) {
            let (is_stuck, freed) = &*until_freed;
            // In place, so that the tasks that answer its pings go on.
            tokio::task::block_in_place(|| {
                let stuck = is_stuck.lock().unwrap();
                drop(freed.wait_timeout_while(stuck, LONG, |stuck| *stuck));
            });
        }
    };
    let mut a = Member::start(A).await;
    let mut b = Member::start_at(B, LINEAGE, loopback(), wait).await;
    a.set_peers(&[(B, b.address)]);
    let connected = a.until(B, Heard::Connected).await;
    let large = append(1, vec![record(1, 1 << 20)]);
    for _ in 0..40 {
        a.send(B, &large);
    }
    let (_, heard, again) = a.hear_timed().await;
    assert_eq!(heard, Heard::Connected, "it is not gone");
    let again = again - connected;
    assert!(again >= STALL && again < STALL * 2, "{again:?}");
    let status = a.wires.status().remove(&B).unwrap();
    assert!(status.dropped_messages > 20, "{status:?}");
    assert_eq!(status.waiting_bytes, 0, "what waited is dropped");
    let (is_stuck, freed) = &*stuck;
    *is_stuck.lock().unwrap() = false;
    freed.notify_all();
    a.send(B, &Message::Probe { number: 9 });
    while b.message().await != (Message::Probe { number: 9 }) {}
    assert!(!a.rest().contains(&Heard::Gone));
}
