//! What is sent arrives.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use steadfast::net::Waits;
use steadfast::replication::Message;

use crate::messages::{append, is_bulk, random, record};
use crate::support::{A, B, C, Heard, LINEAGE, LONG, Member, loopback, pair};

/// Those that wait in line with records, and the others.
fn lines(messages: &[Message]) -> (Vec<&Message>, Vec<&Message>) {
    messages.iter().partition(|message| is_bulk(message))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_messages_arrive_equal_and_in_order_both_ways() {
    let (mut a, mut b) = pair().await;
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut sent: Vec<Message> = (0..50).map(|_| random(&mut rng)).collect();
        let back = sent.split_off(25);
        sent.iter().for_each(|message| a.send(B, message));
        back.iter().for_each(|message| b.send(A, message));
        let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
        for _ in 0..25 {
            at_a.push(a.message().await);
            at_b.push(b.message().await);
        }
        assert_eq!(lines(&at_b), lines(&sent), "seed {seed}");
        assert_eq!(lines(&at_a), lines(&back), "seed {seed}");
    }
    let status = a.wires.status();
    assert_eq!(status[&B].dropped_messages, 0);
    assert_eq!(status[&B].connections, 1);
    assert!(status[&B].sent_bytes > 0 && status[&B].received_bytes > 0);
    assert!(status[&B].connected_for.is_some() && status[&B].heard_ago.is_some());
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_larger_than_every_window_and_queue_arrives() {
    let (a, mut b) = pair().await;
    let message = append(1, vec![record(1, 33 << 20)]);
    a.send(B, &message);
    assert!(b.message().await == message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_sent_before_the_first_connection_waits_for_it() {
    let (a, mut b) = (Member::start(A).await, Member::start(B).await);
    a.set_peers(&[(B, b.address)]);
    a.send(B, &Message::Probe { number: 7 });
    a.send(C, &Message::Probe { number: 8 });
    assert_eq!(b.message().await, Message::Probe { number: 7 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_that_changes_is_followed() {
    let (mut a, b) = pair().await;
    b.stop().await;
    let mut b = Member::start(B).await;
    a.set_peers(&[(A, a.address), (B, b.address)]);
    a.until(B, Heard::Connected).await;
    a.send(B, &Message::Probe { number: 1 });
    assert_eq!(b.message().await, Message::Probe { number: 1 });
    assert_eq!(a.wires.status().len(), 1, "it does not dial itself");
    a.set_peers(&[]);
    b.set_peers(&[(A, a.address)]);
    b.until(A, Heard::Connected).await;
    assert!(a.wires.status().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_comes_back_at_its_address_is_talked_to_again() {
    let (mut a, mut b) = pair().await;
    for number in 0..3 {
        let address = b.address;
        b.stop().await;
        a.until(B, Heard::Gone).await;
        b = Member::start_at(B, LINEAGE, address, |_| {}).await;
        a.until(B, Heard::Connected).await;
        a.send(B, &Message::Probe { number });
        assert_eq!(b.message().await, Message::Probe { number });
    }
    assert_eq!(a.wires.status()[&B].connections, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_calls_is_called_back_at_once() {
    // Only a call ends such a wait.
    let for_ever = Waits {
        first: 100 * LONG,
        longest: 100 * LONG,
    };
    let mut a = Member::start_as(A, LINEAGE, loopback(), for_ever, |_| {}).await;
    let mut b = Member::start(B).await;
    a.set_peers(&[(B, b.address)]);
    b.set_peers(&[(A, a.address)]);
    a.until(B, Heard::Connected).await;
    b.until(A, Heard::Connected).await;
    for _ in 0..5 {
        let address = b.address;
        b.stop().await;
        a.status(B, |status| status.trouble.is_some()).await;
        b = Member::start_at(B, LINEAGE, address, |_| {}).await;
        b.set_peers(&[(A, a.address)]);
        a.until(B, Heard::Connected).await;
    }
}
