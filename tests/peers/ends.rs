//! What is seen of a member that ends, or whose connection does.

use std::time::Duration;

use steadfast::base::clock::now_monotonic;
use steadfast::replication::Message;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{A, B, C, Heard, LINEAGE, LONG, Member, loopback, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stopped_member_is_gone_within_a_tenth_of_a_second() {
    let (mut a, mut b) = pair().await;
    let mut spans = Vec::new();
    for _ in 0..5 {
        let address = b.address;
        b.stop().await;
        let stopped = now_monotonic();
        let gone = a.until(B, Heard::Gone).await;
        spans.push(gone.saturating_duration_since(stopped));
        b = Member::start_at(B, LINEAGE, address, |_| {}).await;
        a.until(B, Heard::Connected).await;
    }
    spans.sort();
    println!("gone after {spans:?}");
    // Not the slowest: other tests share the machine.
    assert!(spans[2] < Duration::from_millis(100), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_refuses_but_was_never_connected_is_not_gone() {
    let mut a = Member::start(A).await;
    let nobody = TcpListener::bind(loopback()).await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    a.set_peers(&[(B, address)]);
    let status = a.status(B, |status| status.trouble.is_some()).await;
    assert_eq!(
        status.trouble.unwrap(),
        format!("{address} refuses connections")
    );
    assert_eq!(a.rest(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_breaks_is_not_the_end_of_the_process() {
    let (mut a, b) = (Member::start(A).await, Member::start(B).await);
    // A way that can be cut.
    let way = TcpListener::bind(loopback()).await.unwrap();
    a.set_peers(&[(B, way.local_addr().unwrap())]);
    for number in 0..5 {
        let (mut near, _) = way.accept().await.unwrap();
        let mut far = TcpStream::connect(b.address).await.unwrap();
        let carried = async {
            let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        };
        let talked = async {
            assert_eq!(a.hear().await, (B, Heard::Connected));
            a.send(B, &Message::Probe { number });
        };
        tokio::select! {
            () = carried => panic!("the connection ended"),
            () = talked => {}
        }
    }
    // The last way was cut too, and leads nowhere now, but does not refuse.
    assert_eq!(a.rest(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_drains_still_talks() {
    let (a, mut b) = pair().await;
    assert!(b.server.drain(LONG).await);
    a.send(B, &Message::Probe { number: 1 });
    assert_eq!(b.message().await, Message::Probe { number: 1 });
    let mut c = Member::start(C).await;
    c.set_peers(&[(B, b.address)]);
    c.until(B, Heard::Connected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopping_ends_every_task_of_the_wires() {
    let (a, b) = pair().await;
    a.set_peers(&[(B, b.address)]);
    // Nobody answers there.
    let silent = TcpListener::bind(loopback()).await.unwrap();
    a.set_peers(&[(B, silent.local_addr().unwrap())]);
    let _accepted = silent.accept().await.unwrap();
    a.stop().await;
    b.stop().await;
}
