//! An HTTP server that does to each request what a test has written down for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steadfast::base::TaskGroup;
use steadfast::base::clock::sleep;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// It is answered.
    Answer(String),
    /// The connection ends after these bytes.
    Cut(String),
    /// Of an object of so many bytes one comes now and then, from where it is asked for.
    Drip(usize),
    /// It is never answered.
    Silence,
}

/// An answer without a body, but for its length.
pub fn head(status: &str, headers: &[&str], bytes: usize) -> String {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {bytes}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// The head of the answer that holds an object of so many bytes, or the rest of it.
pub fn object_head(bytes: usize, from: Option<usize>) -> String {
    let date = "Last-Modified: Sun, 22 Nov 2026 04:00:00 GMT";
    let headers = ["ETag: \"e1\"", date];
    let Some(from) = from else {
        return head("200 OK", &headers, bytes);
    };
    let range = format!("Content-Range: bytes {from}-{}/{bytes}", bytes - 1);
    let [etag, date] = headers;
    head("206 Partial Content", &[etag, date, &range], bytes - from)
}

pub fn answer(status: &str, headers: &[&str], body: &str) -> Act {
    Act::Answer(head(status, headers, body.len()) + body)
}

/// As S3 says what is wrong.
pub fn refusal(status: &str, code: &str) -> Act {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said {code}</Message></Error>"
    );
    answer(status, &[], &body)
}

/// The server. Each request takes the next act, the last one is for all that follow.
pub struct BadServer {
    pub endpoint: String,
    /// The heads of all requests so far.
    requests: watch::Sender<Vec<String>>,
    _tasks: TaskGroup,
}

impl BadServer {
    pub async fn start(acts: impl IntoIterator<Item = Act>) -> BadServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = watch::Sender::default();
        let server = Server {
            acts: Arc::new(Mutex::new(acts.into_iter().collect())),
            requests: requests.clone(),
        };
        let tasks = TaskGroup::new();
        let group = tasks.clone();
        tasks.spawn_finite("bad server", async move {
            while let Ok((socket, _)) = listener.accept().await {
                group.spawn_finite("connection", server.clone().serve(socket));
            }
        });
        BadServer {
            endpoint,
            requests,
            _tasks: tasks,
        }
    }

    /// Waits until so many requests have come.
    pub async fn until(&self, count: usize) {
        let mut requests = self.requests.subscribe();
        let _seen = requests.wait_for(|seen| seen.len() >= count).await.unwrap();
    }

    /// The first lines of all requests, without the version, and with the headers of these names.
    pub fn seen(&self, headers: &[&str]) -> Vec<String> {
        let requests = self.requests.borrow();
        let line = |request: &String| {
            let mut lines = request.lines();
            let first = lines.next().unwrap().trim_end_matches(" HTTP/1.1");
            let wanted = |line: &&str| {
                let name = line.split(':').next().unwrap().to_ascii_lowercase();
                headers.contains(&name.as_str())
            };
            let wanted = lines.filter(wanted);
            std::iter::once(first)
                .chain(wanted)
                .collect::<Vec<_>>()
                .join(" | ")
        };
        requests.iter().map(line).collect()
    }
}

#[derive(Clone)]
struct Server {
    acts: Arc<Mutex<VecDeque<Act>>>,
    requests: watch::Sender<Vec<String>>,
}

impl Server {
    async fn serve(self, socket: TcpStream) {
        let mut socket = BufReader::new(socket);
        while let Some(request) = read_request(&mut socket).await {
            let from = range_of(&request);
            self.requests.send_modify(|seen| seen.push(request));
            if !play(&mut socket, self.next(), from).await {
                return;
            }
        }
    }

    fn next(&self) -> Act {
        let mut acts = self.acts.lock().unwrap();
        if acts.len() > 1 {
            acts.pop_front().unwrap()
        } else {
            acts.front().unwrap().clone()
        }
    }
}

/// The head of a request whose body has been read, too.
async fn read_request(socket: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if socket.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).await.ok()?;
    Some(head)
}

/// From where on the object is asked for, if not as a whole.
fn range_of(request: &str) -> Option<usize> {
    let range = request.lines().find_map(|line| {
        let line = line.to_ascii_lowercase();
        Some(line.strip_prefix("range: bytes=")?.to_owned())
    })?;
    range.trim_end_matches('-').parse().ok()
}

/// Does the connection stay?
async fn play(socket: &mut BufReader<TcpStream>, act: Act, from: Option<usize>) -> bool {
    match act {
        Act::Answer(text) => socket.write_all(text.as_bytes()).await.is_ok(),
        Act::Cut(text) => {
            // The client may be gone, too.
            let _written = socket.write_all(text.as_bytes()).await;
            false
        }
        Act::Drip(bytes) => {
            let text = object_head(bytes, from);
            let mut is_open = socket.write_all(text.as_bytes()).await.is_ok();
            while is_open {
                sleep(Duration::from_millis(20)).await;
                is_open = socket.write_all(b"x").await.is_ok();
            }
            false
        }
        Act::Silence => {
            // Until the client gives up.
            let _closed = socket.read_u8().await;
            false
        }
    }
}
