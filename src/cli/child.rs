//! This program as a child process: nodes and other servers on directories of their own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::error::CliError;
use crate::base::clock::timeout;

/// A node that is not ready by then never will be.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How much of a node's log an error shows.
const LOG_TAIL: usize = 600;

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    child: Child,
    /// Where clients connect.
    pub client: String,
    /// Where probes and scrapers connect.
    pub http: String,
}

impl Node {
    /// Starts a node on `directory` and waits until it is ready. Its log goes to `directory` with `.log` at the end.
    ///
    /// # Errors
    /// If it does not get ready; says what its log says last.
    pub async fn start(binary: &Path, directory: &Path) -> Result<Node, CliError> {
        let mut arguments = vec![
            OsStr::new("serve"),
            OsStr::new("--data-dir"),
            directory.as_os_str(),
        ];
        for listener in ["--listen", "--peer-listen", "--http-listen"] {
            arguments.extend([listener, "127.0.0.1:0"].map(OsStr::new));
        }
        let (child, ready) = start(binary, &arguments, &directory.with_extension("log")).await?;
        let address = |name: &str| ready.get(name).and_then(Json::as_str).unwrap_or_default();
        Ok(Node {
            client: address("client").to_owned(),
            http: address("http").to_owned(),
            child,
        })
    }

    /// Kills it as a crash would: SIGKILL, without a chance to finish anything.
    ///
    /// # Errors
    /// If it is gone already.
    pub async fn kill(&mut self) -> Result<(), CliError> {
        self.child
            .kill()
            .await
            .map_err(|error| failed(format!("cannot kill the node: {error}")))
    }

    /// Waits until it ends by itself, at most `limit`.
    pub async fn wait(&mut self, limit: Duration) {
        // If it does not end, dropping it kills it.
        let _ended = timeout(limit, self.child.wait()).await;
    }
}

/// Starts a program and waits for the line that says it is ready. Dropping the child kills it.
///
/// # Errors
/// If it does not get ready; says what its `log` says last.
pub async fn start(
    binary: &Path,
    arguments: &[&OsStr],
    log: &Path,
) -> Result<(Child, Json), CliError> {
    let mut child = spawn(binary, arguments, log)
        .map_err(|error| failed(format!("cannot start {}: {error}", binary.display())))?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| failed("the child process has no output".to_owned()))?;
    let ready = timeout(READY_LIMIT, ready_line(stdout)).await;
    match ready.ok().flatten() {
        Some(ready) => Ok((child, ready)),
        None => Err(failed(format!(
            "the child process did not get ready; its log ends: {}",
            tail(log)
        ))),
    }
}

fn spawn(binary: &Path, arguments: &[&OsStr], log: &Path) -> std::io::Result<Child> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)?;
    Command::new(binary)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

/// The line by which a server says that it is ready; `None` if it ends without.
async fn ready_line(stdout: ChildStdout) -> Option<Json> {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let json: Json = serde_json::from_str(&line).unwrap_or_default();
        if json.get("event").is_some_and(|event| event == "ready") {
            return Some(json);
        }
    }
    None
}

fn failed(message: String) -> CliError {
    CliError::failed("NODE_FAILED", message)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let count = text.chars().count();
    text.chars().skip(count.saturating_sub(LOG_TAIL)).collect()
}

/// A directory for the time of one command; removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty one, named after the command.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(command: &str) -> Result<Scratch, CliError> {
        let path = std::env::temp_dir().join(format!("steadfast-{command}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| CliError::file("make", &path, &error))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the directory for temporary files harms nobody.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
