//! Clients that mean harm (scenario 20): each gets the right answer, memory stays below its sum, and others are served.

use std::pin::Pin;
use std::time::Duration;

use axum::body::Body as HttpBody;
use futures::StreamExt as _;
use http_body::Body as _;
use steadfast::proto::v1::IngestFeaturesRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Code, Status};

use super::client::{
    INGEST, PUT, call, code_and_reason, connect, features, frame, get, status, until,
};
use super::{BAD, Node, ROWS};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

async fn raw(node: &Node) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((BAD, 0).into()).unwrap();
    let address = node.process.client.parse().unwrap();
    socket.connect(address).await.unwrap()
}

/// Reads until the node closes the connection.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    // A reset is an end, too.
    let _ended = steadfast::base::clock::timeout(Duration::from_secs(30), read)
        .await
        .expect("the node closes the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_messages_are_refused_and_others_are_served() {
    let node = Node::patient().await;
    let good = node.good_client();
    let bad = connect(&node.process.client, BAD).await;

    // Compression is not taken, so nothing can unpack to more than was sent.
    let bomb = frame(1 << 10, &[0; 1 << 10]);
    let answer = call(&bad, PUT, &[("grpc-encoding", "gzip")], bomb.into()).await;
    assert_eq!(status(&answer.unwrap()).code(), Code::Unimplemented);

    // A length that no message has is refused before anything of it is kept.
    for length in [(6 << 20) + 1, usize::try_from(u32::MAX).unwrap()] {
        let answer = call(&bad, PUT, &[], frame(length, &[0; 100]).into()).await;
        let (code, reason) = code_and_reason(&status(&answer.unwrap()));
        assert_eq!(
            (code, reason.as_str()),
            (Code::InvalidArgument, "TOO_LARGE")
        );
    }

    // Empty groups of rows, which take most memory for their bytes, several at once: as many as are decoded, and by the
    // million.
    for count in [450_000, 3 << 20] {
        let dense = [0x0a, 0].repeat(count);
        let dense = frame(dense.len(), &dense);
        let calls = (0..8).map(|_| call(&bad, PUT, &[], dense.clone().into()));
        for answer in futures::future::join_all(calls).await {
            let (code, reason) = code_and_reason(&status(&answer.unwrap()));
            let expected = if code == Code::ResourceExhausted {
                "OVERLOADED"
            } else if count > 450_000 {
                "TOO_LARGE"
            } else {
                "INVALID_ARGUMENT"
            };
            assert_eq!(reason, expected, "{count}: {code:?}");
        }
    }

    good.stop().await;
    node.assert_bounded();
    node.process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_cannot_take_the_memory_of_others() {
    let node = Node::start().await;
    let good = node.good_client();
    let bad = connect(&node.process.client, BAD).await;
    // Messages of which all but the end has arrived: 16 times 3 MiB do not fit into half of 64.
    let part = frame(4 << 20, &vec![0; 3 << 20]);
    let unfinished = (0..16).map(|_| {
        let (part, bad) = (part.clone(), bad.clone());
        let chunks = part
            .chunks(1 << 16)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()));
        let chunks: Vec<_> = chunks.collect();
        let rest = futures::stream::pending();
        let body = HttpBody::from_stream(futures::stream::iter(chunks).chain(rest));
        async move { call(&bad, PUT, &[], body).await }
    });
    let mut unfinished: futures::stream::FuturesUnordered<_> = unfinished.collect();
    let refused = unfinished.next().await.unwrap().unwrap();
    let refused = status(&refused);
    let (code, reason) = code_and_reason(&refused);
    assert_eq!(
        (code, reason.as_str()),
        (Code::ResourceExhausted, "OVERLOADED")
    );
    assert!(tonic_types::StatusExt::get_details_retry_info(&refused).is_some());
    drop(unfinished);
    // What was held comes back with the end of the calls.
    until("the client is served again", async || {
        let again = super::rows(0..1_000, 2_000);
        features(&bad).put_features(again).await.is_ok()
    })
    .await;
    good.stop().await;
    node.assert_bounded();
    node.process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_stops_in_the_middle_of_a_batch_gives_its_memory_back() {
    let node = Node::start().await;
    let good = node.good_client();
    let bad = connect(&node.process.client, BAD).await;
    // A whole batch is followed by a part of one, of 3 of 4 MiB: ten of those take almost all that one client may have.
    let whole = prost::Message::encode_to_vec(&IngestFeaturesRequest {
        sequence: 1,
        batch: Some(super::rows(0..1, 10)),
    });
    let begun = [
        frame(whole.len(), &whole),
        frame(4 << 20, &vec![0; 3 << 20]),
    ];
    let streams = (0..10).map(|_| {
        let chunks = begun.concat();
        let chunks = chunks.chunks(1 << 16).map(<[u8]>::to_vec);
        let chunks: Vec<_> = chunks.map(Ok::<_, std::io::Error>).collect();
        // The connection answers pings all the while.
        let rest = futures::stream::pending();
        let body = HttpBody::from_stream(futures::stream::iter(chunks).chain(rest));
        async { trailers(call(&bad, INGEST, &[], body).await.unwrap()).await }
    });
    for status in futures::future::join_all(streams).await {
        let (code, reason) = code_and_reason(&status);
        let expected = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert_eq!((code, reason.as_str()), expected, "{status:?}");
    }
    let again = super::rows(0..1_000, 2_000);
    features(&bad).put_features(again).await.unwrap();
    good.stop().await;
    node.process.stop().await;
}

/// How a stream of answers ends.
async fn trailers(answer: Response<Body>) -> Status {
    let mut body = answer.into_body();
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let frame = frame.expect("a stream ends with trailers").unwrap();
        if let Some(trailers) = frame.trailers_ref() {
            return Status::from_header_map(trailers).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_of_large_rows_take_no_more_than_they_are_counted_for() {
    let node = Node::start().await;
    let good = node.good_client();
    let bad = connect(&node.process.client, BAD).await;
    let large = ROWS..ROWS + 48;
    for id in large.clone() {
        let put = super::rows(id..id + 1, 1_040_000);
        features(&bad).put_features(put).await.unwrap();
    }
    // Of rows of 1 MiB, each several times, their numbers alone are asked for, by many at once.
    let lookups = (0..16).map(|_| {
        let (bad, ids) = (bad.clone(), large.clone().cycle().take(256));
        let mut request = tonic::Request::new(get(ids, &["number"]));
        request.set_timeout(Duration::from_secs(60));
        async move {
            match features(&bad).get_features(request).await {
                Ok(answer) => {
                    let column = &answer.get_ref().views[0].columns[0];
                    assert!(column.statuses.iter().all(|status| *status == 1));
                }
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
            }
        }
    });
    futures::future::join_all(lookups).await;
    good.stop().await;
    node.assert_bounded();
    node.process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let node = Node::start().await;
    let good = node.good_client();
    let mut open = Vec::new();
    // One client gets half of 64.
    for _ in 0..32 {
        open.push(connect(&node.process.client, BAD).await);
    }
    closed(raw(&node).await).await;
    assert!(
        node.process
            .metric("steadfast_refused_connections_total")
            .await
            > 0
    );
    for channel in &open {
        features(channel).get_features(get([1], &[])).await.unwrap();
    }
    drop(open);
    until("places are given back", async || {
        let mut stream = raw(&node).await;
        // A refused connection may be closed before all is written.
        let greeted = async {
            stream.write_all(PREFACE).await?;
            stream.write_all(EMPTY_SETTINGS).await?;
            stream.read(&mut [0; 9]).await
        };
        matches!(greeted.await, Ok(9))
    })
    .await;
    good.stop().await;
    node.process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_connections_are_closed() {
    let node = Node::start().await;
    let good = node.good_client();
    let silent = raw(&node).await;
    let mut greeted = raw(&node).await;
    // Says hello, answers no ping.
    greeted.write_all(PREFACE).await.unwrap();
    greeted.write_all(EMPTY_SETTINGS).await.unwrap();
    let mut dribbling = raw(&node).await;
    let (_, mut dribble) = {
        let (read, write) = dribbling.split();
        (read, write)
    };
    let dribbled = async {
        for byte in PREFACE {
            if dribble.write_all(&[*byte]).await.is_err() {
                return;
            }
            steadfast::base::clock::sleep(Duration::from_millis(500)).await;
        }
        panic!("the node takes a preface of twelve seconds");
    };
    tokio::join!(closed(silent), closed(greeted), dribbled);
    good.stop().await;
    node.process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_and_header_floods_end_their_connection() {
    let node = Node::start().await;
    let good = node.good_client();

    // HEADERS that open a stream, and its reset, again and again.
    let mut resets = [PREFACE, EMPTY_SETTINGS].concat();
    for stream in (1_u32..200_000).step_by(2) {
        // :method POST, :scheme http, :path /
        resets.extend_from_slice(&[0, 0, 3, 1, 4]);
        resets.extend_from_slice(&stream.to_be_bytes());
        resets.extend_from_slice(&[0x83, 0x86, 0x84]);
        resets.extend_from_slice(&[0, 0, 4, 3, 0]);
        resets.extend_from_slice(&stream.to_be_bytes());
        resets.extend_from_slice(&8_u32.to_be_bytes());
    }
    flood(&node, resets).await;

    // A header block that never ends.
    let mut headers = [PREFACE, EMPTY_SETTINGS].concat();
    headers.extend_from_slice(&[0, 0, 3, 1, 0, 0, 0, 0, 1, 0x83, 0x86, 0x84]);
    for _ in 0..2_000 {
        // Literal headers without indexing: name "a", value of 100 bytes, 160 in a frame of 16 KiB.
        let header = [&[0, 1, b'a', 100][..], &[b'x'; 100]].concat();
        let block = header.repeat(157);
        let length = u32::try_from(block.len()).unwrap().to_be_bytes();
        headers.extend_from_slice(&length[1..]);
        headers.extend_from_slice(&[9, 0, 0, 0, 0, 1]);
        headers.extend_from_slice(&block);
    }
    flood(&node, headers).await;

    good.stop().await;
    node.assert_bounded();
    node.process.stop().await;
}

/// Sends bytes until all are sent or the node closes the connection, which it must at last.
async fn flood(node: &Node, bytes: Vec<u8>) {
    let (mut read, mut write) = raw(node).await.into_split();
    let sending = tokio::spawn(async move { write.write_all(&bytes).await });
    let mut rest = Vec::new();
    let ended = read.read_to_end(&mut rest);
    let _ended = steadfast::base::clock::timeout(Duration::from_secs(30), ended)
        .await
        .expect("the node closes the connection");
    sending.abort();
}
