//! The configuration: one typed tree of the modules' options, from a TOML file, the environment and flags.
//!
//! Later sources win: defaults, file, environment, flags. A variable `STEADFAST_A__B` sets key `b` of table `a`. Keys
//! that do not exist are refused by name, wherever they come from.

mod memory;
mod set;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::memory::{CONNECTION_WINDOW_BYTES, MemoryBound};
pub use self::set::SetOptions;
use crate::base::ReadLevel;
use crate::{engine, storage, wal};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the node keeps its data.
    pub data_dir: PathBuf,
    /// Permits listening beyond loopback without TLS. Anybody who reaches the ports can then read and write.
    pub insecure: bool,
    /// Addresses to listen on.
    pub listen: Listen,
    /// The replica set that the node is of.
    pub set: SetOptions,
    /// What clients may do.
    pub server: ServerOptions,
    /// Reading.
    pub read: ReadOptions,
    /// Writing.
    pub write: WriteOptions,
    /// Forgetting what is no longer of use.
    pub purge: PurgeOptions,
    /// The disk that holds the data.
    pub disk: DiskOptions,
    /// What members send each other.
    pub replication: ReplicationOptions,
    /// What backups may take of this node.
    pub backup: BackupOptions,
    /// Caching and flushing.
    pub engine: engine::Options,
    /// The log on disk.
    pub wal: wal::Options,
    /// The store on disk.
    pub store: storage::Options,
}

/// Addresses to listen on; port 0 takes a free one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// For clients, gRPC.
    pub client: SocketAddr,
    /// For peers, gRPC.
    pub peer: SocketAddr,
    /// For probes, metrics and status, HTTP.
    pub http: SocketAddr,
}

/// What clients may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerOptions {
    /// Connections of clients that may be open at once; what comes beyond is closed at once.
    pub connections: usize,
    /// After so long a connection is closed that says nothing, sends a message by drops or does not take an answer.
    pub stall_ms: u64,
    /// Requests that take so long are logged, with where their time went.
    pub slow_request_ms: u64,
    /// What only the primary answers is forwarded there. Otherwise it is refused, and the client told where that is.
    pub forward: bool,
}

/// What reads are admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// The level of lookups and scans that name none, of views that name none: local, bounded:DURATION, quorum or primary.
    pub level: ReadLevel,
    /// Bytes of lookups, scans and their answers that may be in memory at once, half of it for one client; what comes
    /// beyond is refused at once.
    pub in_flight_bytes: u64,
}

/// What writes are admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteOptions {
    /// How far ahead of the node's time an event time may lie, in seconds. A row with a wrong event time far ahead stays
    /// the newest until then, so this is kept small.
    pub event_time_ahead_seconds: u64,
    /// Bytes of writes that may be in memory at once, half of it for one client; what comes beyond is refused at once.
    pub in_flight_bytes: u64,
}

/// How long it takes until what is deleted or expired goes for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeOptions {
    /// How far the purge horizon lags behind the node's time, in seconds. Until it has passed a row that expired, the
    /// row is answered as EXPIRED; from then on as NOT_FOUND.
    pub horizon_lag_seconds: u64,
}

impl PurgeOptions {
    /// How far the purge horizon lags behind.
    #[must_use]
    pub fn horizon_lag(&self) -> Duration {
        Duration::from_secs(self.horizon_lag_seconds)
    }
}

/// How much space is left to the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskOptions {
    /// Writes are refused while fewer bytes than this are available, so that the store never meets a full disk.
    pub low_watermark_bytes: u64,
}

/// What members send each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicationOptions {
    /// Bytes of snapshots that this node sends in a second, to all members together. 200 MiB: a quarter of what a common
    /// network takes, so that records and lookups are not kept waiting.
    pub snapshot_bytes_per_second: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("steadfast-data"),
            insecure: false,
            listen: Listen::default(),
            set: SetOptions::default(),
            server: ServerOptions::default(),
            read: ReadOptions::default(),
            write: WriteOptions::default(),
            purge: PurgeOptions::default(),
            disk: DiskOptions::default(),
            replication: ReplicationOptions::default(),
            backup: BackupOptions::default(),
            engine: engine::Options::default(),
            wal: wal::Options::default(),
            store: storage::Options::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Listen {
            client: local(7400),
            peer: local(7401),
            http: local(7480),
        }
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            connections: 512,
            stall_ms: 30_000,
            slow_request_ms: 100,
            forward: true,
        }
    }
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            level: ReadLevel::Local,
            in_flight_bytes: 256 << 20,
        }
    }
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions {
            event_time_ahead_seconds: 600,
            in_flight_bytes: 256 << 20,
        }
    }
}

impl Default for PurgeOptions {
    fn default() -> Self {
        PurgeOptions {
            horizon_lag_seconds: 3_600,
        }
    }
}

impl Default for DiskOptions {
    fn default() -> Self {
        DiskOptions {
            low_watermark_bytes: 512 << 20,
        }
    }
}

impl Default for ReplicationOptions {
    fn default() -> Self {
        ReplicationOptions {
            snapshot_bytes_per_second: 200 << 20,
        }
    }
}

/// What backups may take of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupOptions {
    /// Bytes that this node sends to a bucket in a second. 50 MiB, which leaves lookups most of what a
    /// common network takes.
    pub bytes_per_second: u64,
}

impl Default for BackupOptions {
    fn default() -> Self {
        BackupOptions {
            bytes_per_second: 50 << 20,
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML, or a key or value is wrong.
    #[error("{origin}: {problem}")]
    Syntax {
        /// The file, or the environment.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// A value is out of range.
    #[error("{key} = {value}: {problem}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value.
        value: u64,
        /// What is allowed.
        problem: &'static str,
    },
    /// An address beyond loopback needs TLS or the express wish to do without.
    #[error(
        "{key} = {address} is reachable from other machines, and there is no TLS: use a loopback address, or allow it with --insecure"
    )]
    NeedsInsecure {
        /// The key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// A text that names no place where a node can be reached.
    #[error("{key} = {value:?}: expected {expected}")]
    NoAddress {
        /// The key.
        key: &'static str,
        /// What it is set to.
        value: String,
        /// What it is to be.
        expected: &'static str,
    },
    /// One setting makes no sense without another.
    #[error("{key} needs {needed}: {why}")]
    Incomplete {
        /// What is set.
        key: &'static str,
        /// What is not.
        needed: &'static str,
        /// What for.
        why: &'static str,
    },
}

/// Variables of ours that set no key.
const OTHER_VARIABLES: [&str; 3] = ["ENDPOINT", "LOG", "SEEDS"];
const PREFIX: &str = "STEADFAST_";

impl Config {
    /// Reads the file, if one is given, and lets the variables override it.
    ///
    /// # Errors
    /// If the file cannot be read, or either holds an unknown key or a wrong value.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Error> {
        let mut tree = toml::Table::new();
        if let Some(path) = file {
            let read = std::fs::read_to_string(path);
            let text = read.map_err(|source| Error::Read {
                path: path.to_owned(),
                source,
            })?;
            let syntax = |error: toml::de::Error| Error::Syntax {
                origin: path.display().to_string(),
                problem: error.to_string().trim_end().to_owned(),
            };
            // Checked by itself first, so that its errors say where in the file they are.
            toml::from_str::<Config>(&text).map_err(syntax)?;
            tree = toml::from_str(&text).map_err(syntax)?;
        }
        for (name, value) in variables {
            let Some(path) = name
                .strip_prefix(PREFIX)
                .filter(|rest| !OTHER_VARIABLES.contains(rest))
            else {
                continue;
            };
            let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
            set(&mut tree, &path, &value);
            toml::Value::Table(tree.clone())
                .try_into::<Config>()
                .map_err(|error| Error::Syntax {
                    origin: format!("environment variable {name}"),
                    problem: error.to_string().trim_end().to_owned(),
                })?;
        }
        let read = toml::Value::Table(tree).try_into();
        read.map_err(|error| Error::Syntax {
            origin: "configuration".into(),
            problem: error.to_string(),
        })
    }

    /// Checks what types cannot: ranges, and that nothing listens beyond loopback by accident.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least = |key, value, least, problem| {
            if value >= least {
                Ok(())
            } else {
                Err(Error::OutOfRange {
                    key,
                    value,
                    problem,
                })
            }
        };
        let memory = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        at_least(
            "wal.segment_bytes",
            self.wal.segment_bytes,
            4 << 10,
            "at least 4096",
        )?;
        at_least(
            "wal.stall_limit_ms",
            self.wal.stall_limit_ms,
            100,
            "at least 100",
        )?;
        at_least(
            "engine.row_cache_bytes",
            self.engine.row_cache_bytes,
            1 << 20,
            "at least 1048576",
        )?;
        at_least(
            "engine.flush_after_wal_bytes",
            self.engine.flush_after_wal_bytes,
            1 << 16,
            "at least 65536",
        )?;
        at_least(
            "engine.sweep_rows_per_second",
            u64::from(self.engine.sweep_rows_per_second),
            1,
            "at least 1",
        )?;
        at_least(
            "replication.snapshot_bytes_per_second",
            self.replication.snapshot_bytes_per_second,
            1 << 20,
            "at least 1048576",
        )?;
        at_least(
            "backup.bytes_per_second",
            self.backup.bytes_per_second,
            1 << 20,
            "at least 1048576",
        )?;
        at_least(
            "store.block_cache_bytes",
            memory(self.store.block_cache_bytes),
            1 << 20,
            "at least 1048576",
        )?;
        at_least(
            "store.memtable_bytes",
            memory(self.store.memtable_bytes),
            1 << 20,
            "at least 1048576",
        )?;
        at_least(
            "server.connections",
            memory(self.server.connections),
            1,
            "at least 1",
        )?;
        at_least("server.stall_ms", self.server.stall_ms, 100, "at least 100")?;
        // One client gets half of it, and the largest answer or batch must fit with its copies.
        for (key, bytes) in [
            ("read.in_flight_bytes", self.read.in_flight_bytes),
            ("write.in_flight_bytes", self.write.in_flight_bytes),
        ] {
            at_least(key, bytes, 64 << 20, "at least 67108864")?;
        }
        let Listen { client, peer, http } = self.listen;
        for (key, address) in [
            ("listen.client", client),
            ("listen.peer", peer),
            ("listen.http", http),
        ] {
            if !address.ip().is_loopback() && !self.insecure {
                return Err(Error::NeedsInsecure { key, address });
            }
        }
        self.set.validate(&self.listen)
    }
}

fn set(tree: &mut toml::Table, path: &[String], value: &str) {
    match path {
        [] => {}
        [key] => {
            // A number or a truth value if it reads as one, else a text.
            let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
            let plain = parsed.and_then(|mut table| table.remove("value"));
            let plain =
                plain.filter(|plain| plain.is_integer() || plain.is_bool() || plain.is_float());
            tree.insert(
                key.clone(),
                plain.unwrap_or_else(|| toml::Value::String(value.to_owned())),
            );
        }
        [key, rest @ ..] => {
            let entry = tree
                .entry(key.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(table) = entry {
                set(table, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steadfast.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(
            Some(&path),
            variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into())),
        )
    }

    #[test]
    fn the_defaults_are_valid_and_listen_on_loopback() {
        let config = Config::load(None, []).unwrap();
        assert_eq!(config, Config::default());
        config.validate().unwrap();
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = load(
            "data_dir = \"/a\"\n[engine]\nrow_cache_bytes = 2000000\n",
            &[
                ("STEADFAST_ENGINE__ROW_CACHE_BYTES", "3000000"),
                ("STEADFAST_LISTEN__CLIENT", "127.0.0.1:0"),
                ("STEADFAST_ENDPOINT", "elsewhere:1"),
                ("HOME", "/root"),
            ],
        )
        .unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/a"));
        assert_eq!(config.engine.row_cache_bytes, 3_000_000);
        assert_eq!(config.listen.client.port(), 0);
    }

    #[test]
    fn unknown_keys_are_refused_by_name_and_place() {
        let file = load("[engine]\nrow_cache = 1\n", &[])
            .unwrap_err()
            .to_string();
        assert!(
            file.contains("row_cache") && file.contains("line 2"),
            "{file}"
        );
        let variable = load("", &[("STEADFAST_ENGINE__ROW_CACHE", "1")])
            .unwrap_err()
            .to_string();
        assert!(
            variable.contains("STEADFAST_ENGINE__ROW_CACHE") && variable.contains("row_cache"),
            "{variable}"
        );
    }

    #[test]
    fn listening_beyond_loopback_must_be_asked_for() {
        let mut config = load("[listen]\nhttp = \"0.0.0.0:7480\"\n", &[]).unwrap();
        let refused = config.validate().unwrap_err().to_string();
        assert!(
            refused.contains("listen.http = 0.0.0.0:7480") && refused.contains("--insecure"),
            "{refused}"
        );
        config.insecure = true;
        config.validate().unwrap();
    }

    #[test]
    fn values_out_of_range_are_refused_by_key() {
        let config = load("[wal]\nsegment_bytes = 10\n", &[]).unwrap();
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .starts_with("wal.segment_bytes = 10")
        );
    }
}
