//! Buckets of each kind.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use steadfast::backup::bucket::{Bucket, BucketUrl, Environment, ObjectName, Patience};
use steadfast::base::TaskGroup;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub const KEY: &str = "AKIATEST";
pub const SECRET: &str = "secret-of-the-test";
pub const BUCKET: &str = "steadfast-test";

/// As the default, but without waiting long.
pub const QUICK: Patience = Patience {
    attempts: 4,
    first_wait: Duration::from_millis(1),
    longest_wait: Duration::from_millis(5),
    give_up_after: Duration::from_secs(60),
    answer_limit: Duration::from_secs(20),
    slowest: 1_000,
};

pub fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

pub fn credentials(secret: &str) -> Environment {
    let variables = [
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ];
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A bucket in a new directory inside this one.
pub fn directory(inside: &Path) -> Bucket {
    let url = BucketUrl::of_directory(&inside.join("a/bucket")).unwrap();
    Bucket::create(&url, &Environment::default(), QUICK).unwrap()
}

/// An S3 server: one in this process, or the one that the environment names.
pub struct S3 {
    pub endpoint: String,
    /// What the server in this process needs; gone with it.
    _own: Option<(TempDir, TaskGroup)>,
}

impl S3 {
    pub async fn start() -> S3 {
        if let Ok(endpoint) = std::env::var("STEADFAST_TEST_S3_ENDPOINT") {
            make_bucket(&endpoint).await;
            let _own = None;
            return S3 { endpoint, _own };
        }
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let tasks = TaskGroup::new();
        tasks.spawn_finite("S3 server", serve(listener, service, tasks.clone()));
        S3 {
            endpoint,
            _own: Some((root, tasks)),
        }
    }

    /// Is it the one in this process, whose faults are known?
    pub fn is_own(&self) -> bool {
        self._own.is_some()
    }

    pub fn url(&self, prefix: &str) -> BucketUrl {
        let url = format!("s3://{BUCKET}/{prefix}?endpoint={}", self.endpoint);
        url.parse().unwrap()
    }

    /// The bucket below a prefix that nobody else has.
    pub fn bucket(&self) -> Bucket {
        let prefix = format!("team/{:016x}", rand::random::<u64>());
        Bucket::open(&self.url(&prefix), &credentials(SECRET), QUICK).unwrap()
    }
}

async fn serve(listener: TcpListener, service: S3Service, tasks: TaskGroup) {
    while let Ok((socket, _)) = listener.accept().await {
        let service = service.clone();
        tasks.spawn_finite("S3 connection", async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection(TokioIo::new(socket), service);
            // How it ends is the client's business.
            let _ended = connection.await;
        });
    }
}

/// Makes the bucket at a server that asks for no signature; others have it already.
async fn make_bucket(endpoint: &str) {
    let host = endpoint.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "PUT /{BUCKET} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
}

/// Checks the same of a bucket of each kind.
pub async fn for_each<F: Future<Output = ()>>(check: impl Fn(Bucket) -> F) {
    check(Bucket::in_memory()).await;
    let dir = tempfile::tempdir().unwrap();
    check(directory(dir.path())).await;
    let s3 = S3::start().await;
    check(s3.bucket()).await;
}
