//! The real binary as a child process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use steadfast::base::clock;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Far beyond what anything here takes; waiting longer means that it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running node.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where clients connect.
    pub client: String,
    http: String,
}

impl Process {
    /// Starts the node of a data directory and waits until it says that it is ready.
    pub async fn start(data: &Path, config: &Path) -> Process {
        let (mut child, log) = spawn(data, config);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = clock::timeout(PATIENCE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            panic!("the node does not become ready: {line:?}\n{}", tail(&log));
        };
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["event"], "ready", "{line}");
        Process {
            child,
            client: ready["client"].as_str().unwrap().to_owned(),
            http: ready["http"].as_str().unwrap().to_owned(),
            log,
        }
    }

    /// Starts the node and kills it after some time, ready or not.
    pub async fn start_and_kill(data: &Path, config: &Path, after: Duration) {
        let (mut child, log) = spawn(data, config);
        // There is nothing to wait for: any instant will do.
        clock::sleep(after).await;
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the node ended by itself: {status}\n{}", tail(&log));
        }
        child.kill().await.unwrap();
    }

    /// Ends the node at once, whatever it is doing.
    pub async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.ended().await;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it has not ended")
    }

    /// Asks the node to end and waits until it has.
    pub async fn stop(mut self) {
        let pid = self.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(asked.unwrap().success());
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", tail(&self.log));
    }

    async fn ended(&mut self) -> ExitStatus {
        match clock::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("the node does not end: {}", tail(&self.log)),
        }
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(&self.http).await.unwrap();
        let request = b"GET /metrics HTTP/1.0\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }

    /// Whether the node has ended, and the last lines that it has logged.
    pub fn explain(&mut self) -> String {
        format!("{:?}\n{}", self.child.try_wait(), tail(&self.log))
    }
}

/// The node's log goes beside its directory.
fn spawn(data: &Path, config: &Path) -> (Child, PathBuf) {
    let log = data.with_extension("log");
    let stderr = std::fs::File::create(&log).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_steadfast"))
        .arg("serve")
        .arg("--data-dir")
        .arg(data)
        .arg("--config")
        .arg(config)
        .args(["--listen", "127.0.0.1:0"])
        .args(["--peer-listen", "127.0.0.1:0"])
        .args(["--http-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (child, log)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(40).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
