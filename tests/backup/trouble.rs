//! Servers that fail, throttle, cut off, lie and dawdle: what a caller is told, and what is tried again.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use steadfast::backup::bucket::{Bucket, BucketUrl, Environment, Kind, Patience, Put};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::bad_server::{Act, BadServer, answer, object_head, refusal};
use super::places::{QUICK, SECRET, credentials, name};

fn url(endpoint: &str) -> BucketUrl {
    format!("s3://bucket/p?endpoint={endpoint}")
        .parse()
        .unwrap()
}

fn open(server: &BadServer, patience: Patience) -> Bucket {
    Bucket::open(&url(&server.endpoint), &credentials(SECRET), patience).unwrap()
}

pub fn open_quickly(server: &BadServer) -> Bucket {
    open(server, QUICK)
}

/// A server that does this, and its bucket.
async fn at<const N: usize>(acts: [Act; N]) -> (BadServer, Bucket) {
    let server = BadServer::start(acts).await;
    let bucket = open_quickly(&server);
    (server, bucket)
}

const ETAG: &str = "ETag: \"e1\"";
const DATE: &str = "Last-Modified: Sun, 22 Nov 2026 04:00:00 GMT";
const DONE: fn() -> Act = || answer("200 OK", &[ETAG], "");

fn content() -> Bytes {
    Bytes::from_static(b"content")
}

/// The answer to a request for the letters from one on, as far as it is sent.
fn letters(from: usize, sent: &str) -> String {
    object_head(26, (from > 0).then_some(from)) + sent
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn what_a_server_fails_at_is_tried_again() {
    let (server, bucket) = at([
        refusal("500 Internal Server Error", "InternalError"),
        refusal("503 Slow Down", "SlowDown"),
        DONE(),
    ])
    .await;
    let put = bucket.put_new(&name("a"), content()).await.unwrap();
    assert_eq!(put, Put::Created);
    let line = "PUT /bucket/p/a | if-none-match: *";
    assert_eq!(server.seen(&["if-none-match"]), [line; 3]);
}

#[tokio::test]
async fn trying_again_has_an_end() {
    let (server, bucket) = at([refusal("503 Slow Down", "SlowDown")]).await;
    let error = bucket.put_new(&name("a"), content()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Throttled);
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        format!(
            "cannot put \"a\" in {}: SlowDown: said SlowDown (503), 4 times",
            url(&server.endpoint)
        )
    );
    assert_eq!(server.seen(&[]).len(), 4);
}

#[tokio::test]
async fn what_stays_so_is_told_at_once() {
    for (status, code, kind) in [
        ("403 Forbidden", "AccessDenied", Kind::Denied),
        ("403 Forbidden", "RequestTimeTooSkewed", Kind::Misconfigured),
        ("404 Not Found", "NoSuchBucket", Kind::Misconfigured),
        ("301 Moved", "PermanentRedirect", Kind::Misconfigured),
        ("507 Insufficient Storage", "XMinioStorageFull", Kind::Full),
        ("501 Not Implemented", "NotImplemented", Kind::Unsupported),
        ("400 Bad Request", "Whatever", Kind::BadAnswer),
    ] {
        let (server, bucket) = at([refusal(status, code)]).await;
        let error = bucket.put_new(&name("a"), content()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}");
        assert!(!error.is_transient());
        let said = error.to_string();
        assert!(said.contains(&format!("{code}: said {code}")), "{said}");
        assert!(!said.contains('<'), "{said}");
        assert_eq!(server.seen(&[]).len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = BadServer::start([DONE()]).await;
    let location = format!("Location: {}/bucket/p/a", elsewhere.endpoint);
    let (_server, bucket) = at([answer("307 Temporary Redirect", &[&location], "")]).await;
    let error = bucket.put_new(&name("a"), content()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Misconfigured);
    assert_eq!(elsewhere.seen(&[]), [""; 0]);
}

#[tokio::test]
async fn an_answer_that_was_lost_shows_as_already_there() {
    let stored = answer("200 OK", &[ETAG, DATE], "");
    let there = refusal("412 Precondition Failed", "PreconditionFailed");
    let (server, bucket) = at([Act::Cut(String::new()), there, stored]).await;
    let put = bucket.put_new(&name("a"), content()).await.unwrap();
    let Put::AlreadyThere(stored) = put else {
        panic!("{put:?}")
    };
    assert_eq!((stored.bytes, stored.etag.as_deref()), (0, Some("\"e1\"")));
    let lines = ["PUT /bucket/p/a", "PUT /bucket/p/a", "HEAD /bucket/p/a"];
    assert_eq!(server.seen(&[]), lines);
}

#[tokio::test]
async fn what_is_said_to_be_there_and_is_not_is_tried_again() {
    let conflict = refusal("409 Conflict", "ConditionalRequestConflict");
    let there = refusal("412 Precondition Failed", "PreconditionFailed");
    let (server, bucket) = at([conflict, there, answer("404 Not Found", &[], ""), DONE()]).await;
    let put = bucket.put_new(&name("a"), content()).await.unwrap();
    assert_eq!(put, Put::Created);
    assert_eq!(server.seen(&[]).len(), 4);
}

#[tokio::test]
async fn a_body_that_is_cut_off_goes_on_where_it_was() {
    let (server, bucket) = at([
        Act::Cut(letters(0, "abcdefghij")),
        refusal("500 Internal Server Error", "InternalError"),
        Act::Cut(letters(10, "klmno")),
        Act::Answer(letters(15, "pqrstuvwxyz")),
    ])
    .await;
    assert_eq!(bucket.get(&name("a"), 26).await.unwrap(), LETTERS);
    let expected = [
        "GET /bucket/p/a",
        "GET /bucket/p/a | range: bytes=10-",
        "GET /bucket/p/a | range: bytes=10-",
        "GET /bucket/p/a | range: bytes=15-",
    ];
    assert_eq!(server.seen(&["range"]), expected);
}

#[tokio::test]
async fn an_object_that_changed_meanwhile_is_not_read_on() {
    let other = letters(10, "klmnopqrstuvwxyz").replace("e1", "e2");
    let (_server, bucket) = at([Act::Cut(letters(0, "abcdefghij")), Act::Answer(other)]).await;
    let error = bucket.get(&name("a"), 26).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Changed);
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_not_taken() {
    let whole = letters(0, "abcdefghij");
    for wrong in [
        // The range of another place, of another end, and all of it.
        letters(12, "mnopqrstuvwxyz"),
        letters(10, "klmnopqrstuvwxy").replace("10-25", "10-24"),
        letters(0, LETTERS),
    ] {
        let (_server, bucket) = at([Act::Cut(whole.clone()), Act::Answer(wrong)]).await;
        let error = bucket.get(&name("a"), 26).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadAnswer, "{error}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let patience = Patience {
        answer_limit: Duration::from_millis(200),
        slowest: 1_000_000,
        attempts: 3,
        ..QUICK
    };
    let server = BadServer::start([Act::Drip(1_000_000)]).await;
    let bucket = open(&server, patience);
    let mut reading = bucket.read(&name("a"), 0).await.unwrap();
    let error = loop {
        match reading.next().await {
            Ok(bytes) => assert!(bytes.is_some(), "it ends"),
            Err(error) => break error,
        }
    };
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains(", 3 times"), "{error}");
}

#[tokio::test]
async fn silence_is_no_answer() {
    let patience = Patience {
        answer_limit: Duration::from_millis(50),
        attempts: 2,
        ..QUICK
    };
    let server = BadServer::start([Act::Silence]).await;
    let error = open(&server, patience)
        .stored(&name("a"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert_eq!(server.seen(&[]).len(), 2);
}

#[tokio::test]
async fn a_listing_that_breaks_off_goes_on_behind_the_last_name() {
    let page = |keys: &[&str], more: &str| {
        let entry = |key: &&str| {
            format!(
                "<Contents><Key>p/{key}</Key><Size>1</Size>\
                 <LastModified>2026-11-22T04:00:00.000Z</LastModified></Contents>"
            )
        };
        let entries: String = keys.iter().map(entry).collect();
        let body = format!("<ListBucketResult>{entries}{more}</ListBucketResult>");
        answer("200 OK", &[], &body)
    };
    let more = "<NextContinuationToken>t</NextContinuationToken>";
    let (server, bucket) = at([
        page(&["a", "b"], more),
        refusal("503 Slow Down", "SlowDown"),
        page(&["c"], ""),
    ])
    .await;
    let mut listing = bucket.list(None, None);
    let mut count = 0;
    while listing.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 3);
    let seen = server.seen(&[]);
    assert_eq!(
        seen[2],
        "GET /bucket?list-type=2&prefix=p%2F&start-after=p%2Fb"
    );

    let (_server, bucket) = at([page(&["b", "a"], "")]).await;
    let mut listing = bucket.list(None, None);
    assert!(listing.next().await.unwrap().is_some());
    let error = listing.next().await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadAnswer);
}

/// Two parts of a file, and its bytes.
fn large_file() -> (Arc<std::fs::File>, u64) {
    let bytes = (8 << 20) + 1;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; bytes]).unwrap();
    (Arc::new(file), u64::try_from(bytes).unwrap())
}

const BEGUN: &str =
    "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
const COMPLETED: &str =
    "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";

#[tokio::test]
async fn an_upload_in_parts_is_completed_create_only() {
    let (server, bucket) = at([
        answer("404 Not Found", &[], ""),
        answer("200 OK", &[], BEGUN),
        // Both parts, one of them at the second attempt.
        refusal("500 Internal Server Error", "InternalError"),
        DONE(),
        DONE(),
        // An error that comes with a status of success.
        refusal("200 OK", "InternalError"),
        answer("200 OK", &[], COMPLETED),
    ])
    .await;
    let (file, bytes) = large_file();
    let put = bucket.put_new_file(&name("a"), &file, bytes).await.unwrap();
    assert_eq!(put, Put::Created);
    let seen = server.seen(&["if-none-match"]);
    let completion = "POST /bucket/p/a?uploadId=u1 | if-none-match: *";
    assert_eq!(seen[5..], [completion; 2]);
    let parts = seen.iter().filter(|line| line.starts_with("PUT ")).count();
    assert_eq!(parts, 3);
}

#[tokio::test]
async fn an_upload_that_fails_is_aborted() {
    let (server, bucket) = at([
        answer("404 Not Found", &[], ""),
        answer("200 OK", &[], BEGUN),
        refusal("403 Forbidden", "AccessDenied"),
    ])
    .await;
    let (file, bytes) = large_file();
    let put = bucket.put_new_file(&name("a"), &file, bytes).await;
    assert_eq!(put.unwrap_err().kind(), Kind::Denied);
    let seen = server.seen(&[]);
    assert_eq!(seen.last().unwrap(), "DELETE /bucket/p/a?uploadId=u1");
}

#[tokio::test]
async fn an_upload_that_was_completed_unheard_shows_as_already_there() {
    let (server, bucket) = at([
        answer("404 Not Found", &[], ""),
        answer("200 OK", &[], BEGUN),
        DONE(),
        DONE(),
        Act::Cut(String::new()),
        refusal("404 Not Found", "NoSuchUpload"),
        answer("200 OK", &[ETAG, DATE], ""),
    ])
    .await;
    let (file, bytes) = large_file();
    let put = bucket.put_new_file(&name("a"), &file, bytes).await.unwrap();
    assert!(matches!(put, Put::AlreadyThere(_)), "{put:?}");
    let seen = server.seen(&[]);
    assert_eq!(seen[6], "HEAD /bucket/p/a");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unavailable() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let bucket = Bucket::open(&url(&endpoint), &credentials(SECRET), QUICK).unwrap();
    let error = bucket.stored(&name("a")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn https_is_spoken_where_the_url_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let patience = Patience {
        attempts: 1,
        ..QUICK
    };
    let bucket = Bucket::open(&url(&endpoint), &credentials(SECRET), patience).unwrap();
    let name = name("a");
    let asking = bucket.stored(&name);
    let first_bytes = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 3];
        socket.read_exact(&mut bytes).await.unwrap();
        bytes
    };
    let (answer, bytes) = tokio::join!(asking, first_bytes);
    // A TLS record that shakes hands, of version 1.0 as all begin.
    assert_eq!(bytes, [0x16, 3, 1]);
    assert!(answer.unwrap_err().is_transient());
}

#[tokio::test]
async fn a_machine_without_credentials_is_told_so() {
    let (asked, _) = at([answer("404 Not Found", &[], "")]).await;
    let store = BadServer::start([DONE()]).await;
    let home = tempfile::tempdir().unwrap();
    let environment: Environment = [
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &asked.endpoint),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let bucket = Bucket::open(&url(&store.endpoint), &environment, QUICK).unwrap();
    let error = bucket.stored(&name("a")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(
        error.to_string().contains("there are no credentials"),
        "{error}"
    );
    assert_eq!(store.seen(&[]), [""; 0]);
}

#[tokio::test]
async fn the_role_of_the_machine_signs() {
    let role = r#"{"AccessKeyId":"AKIAROLE","SecretAccessKey":"s","Token":"t","Expiration":"2126-11-22T04:00:00Z","Code":"Success","LastUpdated":"2026-11-22T04:00:00Z","Type":"AWS-HMAC"}"#;
    let (asked, _) = at([
        answer("200 OK", &[], "a-token"),
        answer("200 OK", &[], "a-role"),
        answer("200 OK", &[], role),
    ])
    .await;
    let store = BadServer::start([DONE()]).await;
    let home = tempfile::tempdir().unwrap();
    let environment: Environment = [
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &asked.endpoint),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let bucket = Bucket::open(&url(&store.endpoint), &environment, QUICK).unwrap();
    bucket.put_new(&name("a"), content()).await.unwrap();
    let seen = store.seen(&["authorization"]);
    assert!(seen[0].contains("Credential=AKIAROLE/"), "{seen:?}");
}
