//! Nodes, and what is asked of them.

use std::sync::Arc;
use std::time::Duration;

use steadfast::base::clock::{Clock, SystemClock, now_monotonic, sleep};
use steadfast::base::disk::{DirLock, Disk, RealDisk};
use steadfast::base::{Budget, CommitLevel, NodeNumber, PackedBytes, ReadLevel, TaskGroup};
use steadfast::config::{Config, Listen};
use steadfast::control::Role;
use steadfast::model::cells::put_cell;
use steadfast::model::key::put_key_value;
use steadfast::model::resolve::{Status, Wanted};
use steadfast::model::view_file::parse_view;
use steadfast::model::{
    Batch, Change, EntityKey, Items, KeyValue, RowChange, Value, View, ViewRows,
};
use steadfast::node::{
    CatalogueChange, Error, Joining, LookupRequest, Node, Selection, SetStatus, StartError,
    WriteRequest, Written,
};
use steadfast::server::{Addresses, Server};
use tempfile::TempDir;

pub const DEADLINE: Duration = Duration::from_secs(10);
const VIEW: &str = r#"
    name = "v"
    entity = [{ name = "id", type = "int64" }]
    feature = [{ name = "x", type = "int64" }]
"#;

pub struct Member {
    pub node: Node,
    pub addresses: Addresses,
    server: Server,
    tasks: TaskGroup,
    directory: TempDir,
}

/// How a member is to be.
pub struct Manner {
    /// Its disk.
    pub disk: Arc<dyn Disk>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// It does not forward.
    pub refuses: bool,
    /// Where it says that clients reach it.
    pub client: Option<String>,
    /// At which level it answers lookups that name none, of views that name none.
    pub read_level: ReadLevel,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::new()),
            refuses: false,
            client: None,
            read_level: ReadLevel::Local,
        }
    }
}

impl Manner {
    /// One with a disk of its own.
    pub fn on(disk: Arc<dyn Disk>) -> Manner {
        Manner {
            disk,
            ..Manner::default()
        }
    }

    /// One that says that clients reach it at another address.
    pub fn reached_at(address: impl ToString) -> Manner {
        Manner {
            client: Some(address.to_string()),
            ..Manner::default()
        }
    }
}

fn config(directory: &TempDir) -> Config {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let mut config = Config {
        data_dir: directory.path().join("data"),
        listen: Listen {
            client: loopback,
            peer: loopback,
            http: loopback,
        },
        ..Config::default()
    };
    config.engine.row_cache_bytes = 4 << 20;
    config.store.block_cache_bytes = 4 << 20;
    config.store.memtable_bytes = 4 << 20;
    // Whoever is away for some MiB of writes needs a snapshot.
    config.wal.segment_bytes = 256 << 10;
    config.wal.retain_bytes = 1 << 20;
    config.engine.flush_after_wal_bytes = 1 << 20;
    config
}

impl Member {
    pub async fn start(joining: Option<Joining>) -> Result<Member, StartError> {
        Member::start_in(tempfile::tempdir().unwrap(), joining).await
    }

    pub async fn start_in(
        directory: TempDir,
        joining: Option<Joining>,
    ) -> Result<Member, StartError> {
        Member::start_as(directory, joining, Manner::default()).await
    }

    pub async fn start_as(
        directory: TempDir,
        joining: Option<Joining>,
        manner: Manner,
    ) -> Result<Member, StartError> {
        let mut config = config(&directory);
        config.server.forward = !manner.refuses;
        config.read.level = manner.read_level;
        let tasks = TaskGroup::new();
        let bound = Server::bind(&config).await.unwrap();
        let addresses = bound.addresses();
        let node = Node::new(config, manner.disk, manner.clock);
        let server = bound.serve(node.clone(), &tasks).await.unwrap();
        let mut reached = addresses.reached(None);
        reached.client = manner.client.unwrap_or(reached.client);
        node.open(reached, joining).await?;
        let (lives, stopped) = (node.clone(), tasks.cancelled());
        tasks.spawn_finite("life", async move {
            if let Some(cause) = stopped.run_until_cancelled(lives.live()).await {
                panic!("the node has failed: {cause}");
            }
        });
        Ok(Member {
            node,
            addresses,
            server,
            tasks,
            directory,
        })
    }

    /// A first member with the view.
    pub async fn first() -> Member {
        Member::first_as(Manner::default()).await
    }

    pub async fn first_as(manner: Manner) -> Member {
        let directory = tempfile::tempdir().unwrap();
        let first = Member::start_as(directory, None, manner).await.unwrap();
        let spec = Box::new(parse_view(VIEW).unwrap());
        let create = CatalogueChange::Create(spec);
        first.node.define(create, DEADLINE).await.unwrap();
        first
    }

    /// Another member of its set.
    pub async fn join(&self, role: Role) -> Member {
        let joining = Some(self.token(role).await);
        Member::start(joining).await.unwrap()
    }

    /// Another data member of its set, once it counts.
    pub async fn join_as(&self, manner: Manner) -> Member {
        let (directory, count) = (tempfile::tempdir().unwrap(), self.counting().len());
        let joining = Some(self.token(Role::Data).await);
        let other = Member::start_as(directory, joining, manner).await.unwrap();
        until("it counts", || self.counting().len() > count).await;
        until("all is done", || self.status().intents.is_empty()).await;
        until("it serves again", || self.serves()).await;
        other
    }

    pub async fn token(&self, role: Role) -> Joining {
        let expires_in = Duration::from_secs(60);
        let token = self.node.issue_token(role, expires_in).await.unwrap();
        Joining {
            address: self.addresses.peer.to_string(),
            secret: token.secret,
        }
    }

    pub fn status(&self) -> SetStatus {
        self.node.set_status().unwrap()
    }

    pub fn serves(&self) -> bool {
        let status = self.status();
        status.members.get(&status.by).is_some_and(|me| me.serves)
    }

    /// How many others have reported to this primary since it is one: before, it does not know that they are there.
    pub fn heard(&self) -> usize {
        let members = self.status().members;
        let heard = members
            .values()
            .filter(|member| !member.is_self && member.lag_records.is_some());
        heard.count()
    }

    /// Data members of the open epoch.
    pub fn counting(&self) -> Vec<NodeNumber> {
        let status = self.status();
        let counting = status.members.iter().filter(|(_, member)| member.counts);
        counting.map(|(number, _)| *number).collect()
    }

    fn view(&self) -> Arc<View> {
        self.node.catalogue().view("v").unwrap().clone()
    }

    pub async fn put(&self, id: i64, value: i64, level: CommitLevel) -> Result<Written, Error> {
        self.put_all([(id, value)], level).await
    }

    /// Writes values of some ids at once.
    pub async fn put_all(
        &self,
        values: impl IntoIterator<Item = (i64, i64)>,
        level: CommitLevel,
    ) -> Result<Written, Error> {
        let view = self.view();
        let feature = &view.spec.features[0];
        let row = |(id, value)| {
            let (mut cells, value) = (Vec::new(), Value::Int64(value));
            put_cell(&mut cells, feature.id, feature.value_type, &value);
            RowChange {
                key: EntityKey::encode([&KeyValue::Int64(id)]),
                event_time: None,
                change: Change::Put(cells.into()),
            }
        };
        let rows = values.into_iter().map(row).collect();
        let groups = vec![ViewRows {
            view: Arc::clone(&view),
            rows,
        }];
        let request = WriteRequest {
            batch: Batch {
                groups,
                is_override: false,
            },
            level: Some(level),
            request_id: None,
            deadline: DEADLINE,
            memory: memory(),
        };
        self.node.write(request).await
    }

    pub async fn get(&self, id: i64, level: ReadLevel) -> Result<Option<i64>, Error> {
        let view = self.view();
        let features = view.spec.features.clone();
        let mut keys = PackedBytes::default();
        keys.push_with(|out| put_key_value(out, &KeyValue::Int64(id)));
        let request = LookupRequest {
            selections: vec![Selection {
                view,
                features,
                keys,
            }],
            level,
            wanted: Wanted::default(),
            session: None,
            deadline: DEADLINE,
            memory: memory(),
        };
        let mut answered = self.node.lookup(request).await?;
        let column = answered.answer.remove(0).remove(0);
        let Items::Int64(values) = column.values else {
            panic!("x is an int64")
        };
        Ok((column.statuses[0] == Status::Present.code()).then_some(values[0]))
    }

    /// A number in its status document.
    pub fn number(&self, pointer: &str) -> u64 {
        let status = self.node.status();
        status
            .pointer(pointer)
            .and_then(|found| found.as_u64())
            .unwrap()
    }

    /// A sum over everything that it has counted under a name.
    pub fn counted(&self, name: &str) -> f64 {
        let text = self.node.metrics_text();
        let lines = text.lines().filter(|line| line.starts_with(name));
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        lines.filter_map(value).sum()
    }

    /// Stops it as SIGTERM does; gives back its directory.
    pub async fn stop(self) -> TempDir {
        self.server.drain(DEADLINE).await;
        self.node.stop(DEADLINE).await.unwrap();
        self.end().await
    }

    /// The same if its disk has failed, as is said again.
    pub async fn stop_failed(self) -> TempDir {
        self.server.drain(DEADLINE).await;
        self.node.stop(DEADLINE).await.unwrap_err();
        let directory = self.end().await;
        let path = directory.path().join("data");
        until("nobody uses it", || DirLock::acquire(&path).is_ok()).await;
        directory
    }

    async fn end(self) -> TempDir {
        self.tasks.stop(DEADLINE).await;
        self.directory
    }
}

fn memory() -> steadfast::base::Held {
    Budget::new(1 << 30).account([127, 0, 0, 1].into()).hold()
}

/// Waits until something is so; says what it waits for if it never is.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = now_monotonic();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Three data members with a view; the first is primary.
pub async fn set_of_three() -> [Member; 3] {
    let first = Member::first().await;
    let second = first.join(Role::Data).await;
    until("the second counts", || first.counting().len() == 2).await;
    let third = first.join(Role::Data).await;
    until("the third counts", || first.counting().len() == 3).await;
    until("all is done", || first.status().intents.is_empty()).await;
    until("it serves again", || first.serves()).await;
    [first, second, third]
}
