//! Redis, if it is installed: the same lookups, one command for each row, those of one request pipelined.
//!
//! Answers are not taken apart, only counted through: a reply is one line for its length and two for each of its items, none
//! of which holds a line feed.

use std::ops::Range;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::super::error::CliError;
use super::generator::Caller;
use super::workload::{Requests, Shape, entity, feature_names};

/// Rows that are loaded with one round trip.
const LOAD_BATCH: usize = 1_000;
const READ_BYTES: usize = 64 << 10;

/// How a row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Field by field.
    Hmget,
    /// All of it, with the names of the fields.
    Hgetall,
}

impl Read {
    /// The name of the command.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Read::Hmget => "HMGET",
            Read::Hgetall => "HGETALL",
        }
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    _child: Child,
    address: String,
}

impl Redis {
    /// Starts `redis-server` in memory only; `None` if it is not installed.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn start(directory: &Path) -> Result<Option<Redis>, CliError> {
        let port = free_port().await.map_err(|error| failed(&error))?;
        let spawned = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let stdout = child.stdout.take().ok_or_else(|| failed(&"no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.map_err(|error| failed(&error))? {
            if line.contains("Ready to accept connections") {
                return Ok(Some(Redis {
                    _child: child,
                    address: format!("127.0.0.1:{port}"),
                }));
            }
        }
        Err(failed(&"it ended before it was ready"))
    }

    /// A connection that makes these requests.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn connect(&self, read: Read, requests: Requests) -> Result<Connection, CliError> {
        let open = async {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = open.await.map_err(|error: std::io::Error| failed(&error))?;
        let mut names = Vec::new();
        for name in feature_names(requests.shape().features) {
            put_word(&mut names, &name);
        }
        Ok(Connection {
            stream,
            read,
            requests,
            names,
            command: Vec::new(),
            answer: vec![0; READ_BYTES],
        })
    }

    /// Connections, one for each seed of a sequence of requests.
    ///
    /// # Errors
    /// If one cannot be made.
    pub async fn callers(
        &self,
        read: Read,
        shape: Shape,
        seeds: Range<u64>,
    ) -> Result<Vec<Connection>, CliError> {
        let mut callers = Vec::new();
        for seed in seeds {
            callers.push(self.connect(read, Requests::new(shape, seed)).await?);
        }
        Ok(callers)
    }

    /// Writes all rows, with values as they print.
    ///
    /// # Errors
    /// If it refuses one.
    pub async fn load(&self, requests: Requests) -> Result<(), CliError> {
        let mut connection = self.connect(Read::Hmget, requests).await?;
        let shape = connection.requests.shape();
        for view in 0..shape.views {
            let mut ranks = 0..shape.entities;
            loop {
                let batch: Vec<_> = ranks.by_ref().take(LOAD_BATCH).map(entity).collect();
                if batch.is_empty() {
                    break;
                }
                connection.write(view, &batch).await?;
            }
        }
        Ok(())
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    read: Read,
    requests: Requests,
    /// The names of all features, as words of a command.
    names: Vec<u8>,
    command: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    async fn write(&mut self, view: usize, entities: &[i64]) -> Result<(), CliError> {
        let features = self.requests.shape().features;
        self.command.clear();
        for entity in entities {
            put_array(&mut self.command, 2 + 2 * features);
            put_word(&mut self.command, "HSET");
            put_word(&mut self.command, &key(view, *entity));
            for name in feature_names(features) {
                put_word(&mut self.command, &name);
                put_word(&mut self.command, &self.requests.value().to_string());
            }
        }
        self.round_trip(entities.len()).await
    }

    /// Sends the commands and reads so many lines of replies.
    async fn round_trip(&mut self, lines: usize) -> Result<(), CliError> {
        self.stream
            .write_all(&self.command)
            .await
            .map_err(|error| failed(&error))?;
        let mut seen = 0;
        while seen < lines {
            let read = self
                .stream
                .read(&mut self.answer)
                .await
                .map_err(|error| failed(&error))?;
            let bytes = self.answer.get(..read).unwrap_or_default();
            if bytes.is_empty() || bytes.starts_with(b"-") {
                return Err(failed(&String::from_utf8_lossy(bytes)));
            }
            seen += bytes.iter().filter(|byte| **byte == b'\n').count();
        }
        Ok(())
    }
}

impl Caller for Connection {
    async fn call(&mut self) -> Result<(), CliError> {
        let features = self.requests.shape().features;
        let entities = self.requests.entities();
        let (words, items) = match self.read {
            Read::Hmget => (2 + features, features),
            Read::Hgetall => (2, 2 * features),
        };
        let mut rows = 0;
        self.command.clear();
        for view in self.requests.views() {
            for entity in &entities {
                put_array(&mut self.command, words);
                put_word(&mut self.command, self.read.name());
                put_word(&mut self.command, &key(view, *entity));
                if self.read == Read::Hmget {
                    self.command.extend_from_slice(&self.names);
                }
                rows += 1;
            }
        }
        self.round_trip(rows * (1 + 2 * items)).await
    }
}

/// Under which a row is found.
fn key(view: usize, entity: i64) -> String {
    format!("{view}:{entity}")
}

/// Begins a command of so many words.
fn put_array(out: &mut Vec<u8>, words: usize) {
    out.extend_from_slice(format!("*{words}\r\n").as_bytes());
}

fn put_word(out: &mut Vec<u8>, word: &str) {
    out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

fn failed(cause: &dyn std::fmt::Display) -> CliError {
    CliError::failed("REDIS_FAILED", format!("redis-server: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = Vec::new();
        put_array(&mut out, 2);
        put_word(&mut out, "HMGET");
        put_word(&mut out, "-7");
        assert_eq!(out, b"*2\r\n$5\r\nHMGET\r\n$2\r\n-7\r\n");
    }
}
