//! How fast it is here: printed, not judged. `cargo test --release --test peers measure -- --nocapture`

use std::sync::Arc;
use std::sync::OnceLock;

use steadfast::base::clock::now_monotonic;
use steadfast::net::Wires;
use steadfast::replication::Message;

use crate::messages::{append, record};
use crate::support::{A, B, Heard, LINEAGE, Member, loopback, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn measured_records_a_second() {
    const RECORDS: u64 = 64;
    const MESSAGES: u64 = 100;
    let (a, mut b) = pair().await;
    let records: Vec<_> = (1..=RECORDS).map(|seq| record(seq, 16 << 10)).collect();
    let message = append(1, records);
    let begun = now_monotonic();
    // As many on their way as a primary sends ahead.
    for sent in 0..MESSAGES + 8 {
        if sent >= 8 {
            assert!(matches!(b.message().await, Message::Append(_)));
        }
        if sent < MESSAGES {
            a.send(B, &message);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let records = (RECORDS * MESSAGES) as f64;
    println!(
        "{:.0} records of 16 KiB a second, {:.0} MiB/s",
        records / seconds,
        records / 64.0 / seconds
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn measured_round_trip_of_a_ping() {
    const PINGS: usize = 1_000;
    let wires: Arc<OnceLock<Wires>> = Arc::default();
    let back = Arc::clone(&wires);
    let answer = move |message: &Message| {
        if let (Some(wires), Message::Append(append)) = (back.get(), message) {
            let number = append.number;
            wires.send(A, (&Message::Probe { number }).into());
        }
    };
    let mut a = Member::start(A).await;
    let mut b = Member::start_at(B, LINEAGE, loopback(), answer).await;
    wires.set(b.wires.clone()).unwrap();
    a.set_peers(&[(B, b.address)]);
    b.set_peers(&[(A, a.address)]);
    a.until(B, Heard::Connected).await;
    b.until(A, Heard::Connected).await;
    let mut spans = Vec::new();
    for number in 0..PINGS as u64 {
        let begun = now_monotonic();
        a.send(B, &append(number, vec![]));
        assert_eq!(a.message().await, Message::Probe { number });
        spans.push(begun.elapsed());
    }
    spans.sort();
    let (median, slow) = (spans[PINGS / 2], spans[PINGS * 99 / 100]);
    println!("a ping is answered after {median:?}, 99 in 100 within {slow:?}");
}
