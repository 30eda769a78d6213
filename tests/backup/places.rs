//! Buckets of each kind.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
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
use tokio::sync::watch;

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

/// How the server in this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// It does what it is asked for.
    Fair,
    /// It refuses every write with this status and code.
    Refuses(u16, &'static str),
    /// Each request meets something else: it is done, fails, is throttled or cut off, or it is done and the answer is lost.
    Storm,
    /// It does not answer as long as that lasts.
    Silent,
}

/// What becomes of a request.
enum Fate {
    Done,
    Refused(u16, &'static str),
    CutOff,
    AnswerLost,
}

impl Weather {
    fn fate(self, is_write: bool) -> Fate {
        match self {
            Weather::Fair => Fate::Done,
            Weather::Refuses(status, code) if is_write => Fate::Refused(status, code),
            Weather::Refuses(..) => Fate::Done,
            Weather::Silent => Fate::CutOff,
            Weather::Storm => match rand::random_range(0..8) {
                0 => Fate::Refused(500, "InternalError"),
                1 => Fate::Refused(503, "SlowDown"),
                2 => Fate::CutOff,
                3 => Fate::AnswerLost,
                _ => Fate::Done,
            },
        }
    }
}

/// An S3 server: one in this process, or the one that the environment names.
pub struct S3 {
    pub endpoint: String,
    /// How it is; the one in this process heeds it.
    pub weather: watch::Sender<Weather>,
    /// What the server in this process needs; gone with it.
    _own: Option<(TempDir, TaskGroup)>,
}

impl S3 {
    pub async fn start() -> S3 {
        let weather = watch::Sender::new(Weather::Fair);
        if let Ok(endpoint) = std::env::var("STEADFAST_TEST_S3_ENDPOINT") {
            make_bucket(&endpoint).await;
            let _own = None;
            return S3 {
                endpoint,
                weather,
                _own,
            };
        }
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let tasks = TaskGroup::new();
        let serving = serve(listener, service, weather.subscribe(), tasks.clone());
        tasks.spawn_finite("S3 server", serving);
        S3 {
            endpoint,
            weather,
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

async fn serve(
    listener: TcpListener,
    service: S3Service,
    weather: watch::Receiver<Weather>,
    tasks: TaskGroup,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let (service, weather) = (service.clone(), weather.clone());
        tasks.spawn_finite("S3 connection", async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let answer = service_fn(|request| answer_in(weather.clone(), service.clone(), request));
            let connection = server.serve_connection(TokioIo::new(socket), answer);
            // How it ends is the client's business.
            let _ended = connection.await;
        });
    }
}

/// An answer, as the weather is. With an error the connection ends.
async fn answer_in(
    mut weather: watch::Receiver<Weather>,
    service: S3Service,
    request: Request<Incoming>,
) -> anyhow::Result<Response<s3s::Body>> {
    let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
    let now = *weather.borrow_and_update();
    if now == Weather::Silent {
        weather.changed().await?;
    }
    let request = request.map(s3s::Body::from);
    let done = |answer: Result<_, s3s::HttpError>| answer.map_err(|error| anyhow!("{error:?}"));
    match now.fate(is_write) {
        Fate::Done => done(service.call(request).await),
        Fate::Refused(status, code) => {
            let body = format!("<Error><Code>{code}</Code><Message>so</Message></Error>");
            let response = Response::builder().status(status);
            Ok(response.body(s3s::Body::from(body))?)
        }
        Fate::CutOff => anyhow::bail!("cut off"),
        Fate::AnswerLost => {
            let _done = service.call(request).await;
            anyhow::bail!("the answer is lost")
        }
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
