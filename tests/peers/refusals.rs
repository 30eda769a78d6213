//! Who and what is refused.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use steadfast::base::LineageId;
use steadfast::net::{FORMATS, Hello};
use steadfast::proto::v1;
use steadfast::replication::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;
use v1::peer_message::Content;
use v1::replication_service_client::ReplicationServiceClient;
use v1::replication_service_server::{ReplicationService, ReplicationServiceServer};

use crate::support::{A, B, C, Heard, LINEAGE, Member, loopback};

async fn trouble(a: &Member) -> String {
    let status = a.status(B, |status| status.trouble.is_some()).await;
    status.trouble.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_lineage_is_refused_by_both_names() {
    let mut a = Member::start(A).await;
    let b = Member::start_at(B, LineageId(78), loopback(), |_| {}).await;
    a.set_peers(&[(B, b.address)]);
    assert_eq!(
        trouble(&a).await,
        format!(
            "the peer is of lineage {LINEAGE}, this member of {}",
            LineageId(78)
        )
    );
    assert_eq!(a.rest(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_member_at_the_address_is_refused_by_both_names() {
    let mut a = Member::start(A).await;
    let mut c = Member::start(C).await;
    a.set_peers(&[(B, c.address)]);
    a.send(B, &Message::Probe { number: 1 });
    assert_eq!(
        trouble(&a).await,
        format!("the peer means incarnation {B}, this member is {C}")
    );
    assert_eq!((a.rest(), c.rest()), (vec![], vec![]));
}

/// Answers every call with this hello.
struct Impostor(Hello);

#[tonic::async_trait]
impl ReplicationService for Impostor {
    type ExchangeStream = BoxStream<'static, Result<v1::PeerHello, Status>>;

    async fn exchange(
        &self,
        _request: Request<Streaming<v1::PeerMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let answer = stream::iter([Ok(self.0.clone().into())]);
        Ok(Response::new(answer.chain(stream::pending()).boxed()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_answer_to_a_hello_is_refused_too() {
    let right = Hello {
        from: B,
        to: A,
        ..hello()
    };
    let wrong = [
        (
            Hello {
                from: C,
                ..right.clone()
            },
            format!("incarnation {C} answers in place of {B}"),
        ),
        (
            Hello {
                formats: 2..=2,
                ..right.clone()
            },
            "the peer reads formats 2 to 2, this member 1 to 1".into(),
        ),
        (
            Hello { to: C, ..right },
            format!("the peer means incarnation {C}, this member is {A}"),
        ),
    ];
    for (answer, trouble_said) in wrong {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut a = Member::start(A).await;
        a.tasks.spawn("impostor", async move {
            let service = ReplicationServiceServer::new(Impostor(answer));
            let server = tonic::transport::Server::builder().add_service(service);
            server
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
        });
        a.set_peers(&[(B, address)]);
        assert_eq!(trouble(&a).await, trouble_said);
        assert_eq!(a.rest(), []);
    }
}

fn hello() -> Hello {
    Hello {
        formats: FORMATS,
        lineage: LINEAGE,
        from: A,
        to: B,
        address: "a:7401".into(),
    }
}

fn message(content: Content) -> v1::PeerMessage {
    let content = Some(content);
    v1::PeerMessage { content }
}

/// How a stream of these messages ends.
async fn end(at: SocketAddr, messages: Vec<v1::PeerMessage>) -> Status {
    let client = ReplicationServiceClient::connect(format!("http://{at}"));
    let answered = client.await.unwrap().exchange(stream::iter(messages)).await;
    let mut answers = match answered {
        Ok(answers) => answers.into_inner(),
        Err(status) => return status,
    };
    assert!(answers.message().await.unwrap().is_some(), "a hello");
    match answers.message().await {
        Ok(more) => Status::ok(format!("{more:?}")),
        Err(status) => status,
    }
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.expect("a refusal has a reason").reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_of_other_formats_is_refused_by_both_ranges() {
    let b = Member::start(B).await;
    let formats = 7..=9;
    let other = Hello { formats, ..hello() };
    let status = end(b.address, vec![message(Content::Hello(other.into()))]).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "NO_COMMON_FORMAT");
    assert_eq!(
        status.message(),
        "the peer reads formats 7 to 9, this member 1 to 1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_does_not_begin_with_a_hello_is_refused() {
    let mut b = Member::start(B).await;
    let probe = || message(Content::Probe(v1::Probe { number: 1 }));
    let nobody = Content::Hello(v1::PeerHello::default());
    for messages in [vec![], vec![probe(), probe()], vec![message(nobody)]] {
        let status = end(b.address, messages).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(reason(&status), "INVALID_ARGUMENT");
    }
    assert_eq!(b.rest(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_that_cannot_be_read_ends_its_stream_by_the_field() {
    let mut b = Member::start(B).await;
    let bad = Content::Append(v1::Append {
        vector: Bytes::from_static(&[9; 3]),
        ..Default::default()
    });
    let probe = |number| message(Content::Probe(v1::Probe { number }));
    let first = message(Content::Hello(hello().into()));
    for (bad, field) in [
        (message(bad), "append.vector"),
        (first.clone(), "hello"),
        (v1::PeerMessage::default(), "content"),
    ] {
        let messages = vec![first.clone(), probe(1), bad, probe(2)];
        let status = end(b.address, messages).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
        let heard = b.hear().await;
        assert_eq!(heard, (A, Heard::Message(Message::Probe { number: 1 })));
        assert_eq!(b.rest(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn garbage_ends_its_connection_and_nothing_else() {
    let (mut a, mut b) = (Member::start(A).await, Member::start(B).await);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 5_000], &[0; 100]] {
        let mut stream = TcpStream::connect(b.address).await.unwrap();
        // It may be cut while it is still sent.
        let _sent = stream.write_all(garbage).await;
        let _half = stream.shutdown().await;
        let _ended = stream.read_to_end(&mut Vec::new()).await;
    }
    a.set_peers(&[(B, b.address)]);
    a.until(B, Heard::Connected).await;
    a.send(B, &Message::Probe { number: 3 });
    assert_eq!(b.message().await, Message::Probe { number: 3 });
}
