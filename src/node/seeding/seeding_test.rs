//! Snapshots go over loopback, from a member's peer port to another's store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::base::clock::{SystemClock, timeout};
use crate::base::disk::RealDisk;
use crate::base::{Hlc, LineageId, Micros, RegionId};
use crate::config::{Config, DiskOptions, Listen, ReplicationOptions};
use crate::control::{Command, OpenConfig, Role};
use crate::engine::{Fate, LogWriter, Options, Recovered, ReplayProgress};
use crate::model::cells::put_cell;
use crate::model::record::{Body, RowGroup, RowWrite, Rows};
use crate::model::{
    EntityKey, FeatureId, KeyValue, MergeMode, Order, Scalar, Value, ValueType, ViewId,
};
use crate::node::Node;
use crate::server::Server;
use crate::wal;

const LONG: Duration = Duration::from_secs(60);
const LINEAGE: LineageId = LineageId(77);
const REGION: RegionId = RegionId(3);
const VIEW: ViewId = ViewId(7);
const A: IncarnationId = IncarnationId(0xa);
const B: IncarnationId = IncarnationId(0xb);
const FAST: u64 = 10 << 30;

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A peer port with what gives and takes snapshots behind it.
struct Member {
    dir: tempfile::TempDir,
    seeding: Seeding,
    address: SocketAddr,
    tasks: TaskGroup,
    seeds: UnboundedReceiver<Seed>,
}

impl Member {
    async fn start(incarnation: IncarnationId) -> Member {
        Member::start_with(incarnation, LINEAGE, None, FAST).await
    }

    /// A member that says it listens at `address`.
    async fn start_with(
        incarnation: IncarnationId,
        lineage: LineageId,
        address: Option<SocketAddr>,
        bytes_per_second: u64,
    ) -> Member {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: dir.path().to_owned(),
            listen: Listen {
                client: loopback(),
                peer: loopback(),
                http: loopback(),
            },
            replication: ReplicationOptions {
                snapshot_bytes_per_second: bytes_per_second,
            },
            disk: DiskOptions {
                low_watermark_bytes: 0,
            },
            ..Config::default()
        };
        let tasks = TaskGroup::new();
        let bound = Server::bind(&config).await.unwrap();
        let listens = bound.addresses().peer;
        let node = Node::new(
            config.clone(),
            Arc::new(RealDisk),
            Arc::new(SystemClock::new()),
        );
        bound.serve(node.clone(), &tasks).await.unwrap();
        let me = Me {
            lineage,
            incarnation,
            address: address.unwrap_or(listens).to_string(),
        };
        let (tell, seeds) = unbounded_channel();
        let seeded = move |seed| {
            let _listening = tell.send(seed);
        };
        let seeding = Seeding::start(me, &config, seeded, &tasks).unwrap();
        node.seed(seeding.clone());
        Member {
            dir,
            seeding,
            address: listens,
            tasks,
            seeds,
        }
    }

    fn engine(&self) -> Arc<Engine> {
        open(self.dir.path())
    }

    async fn seed(&mut self) -> Seed {
        let seed = timeout(LONG, self.seeds.recv()).await;
        seed.expect("a seed comes").unwrap()
    }

    async fn offer(&self, engine: &Arc<Engine>, to: &Member) -> Result<(), Error> {
        let (engine, control) = (Arc::clone(engine), spread(&to.address.to_string()));
        self.seeding.try_offer(engine, control, B, Epoch(5)).await
    }
}

/// A set that has seen everything; B is to be reached there.
fn spread(address: &str) -> Arc<ControlState> {
    let mut control = ControlState::new(LINEAGE, REGION, A);
    let (incarnation, role) = (B, Role::Data);
    let register = Command::Register { incarnation, role };
    control.apply(register).unwrap();
    let (epoch, members) = (Epoch(1_000), [A].into());
    control.open = Some(OpenConfig { epoch, members });
    for member in control.members.values_mut() {
        member.acked.fold(REGION, epoch);
        member.addresses.peer = address.to_owned();
    }
    Arc::new(control)
}

fn open(dir: &Path) -> Arc<Engine> {
    let disk = Arc::new(RealDisk);
    let (options, wal) = (Options::default(), wal::Options::default());
    let store = storage::Options::default();
    let mut recovered = Recovered::open(disk, dir, LINEAGE, &options, wal, &store).unwrap();
    recovered.replay(&ReplayProgress::default()).unwrap();
    Arc::new(recovered.start().unwrap())
}

fn entity(at: u64) -> EntityKey {
    EntityKey::encode([&KeyValue::Int64(i64::try_from(at).unwrap())])
}

/// Puts so many rows of random bytes that do not compress, each of some 400 bytes, in several tables.
fn fill(engine: &Engine, log: &mut LogWriter, rows: std::ops::Range<u64>) {
    let mut chance = SmallRng::seed_from_u64(rows.start);
    let mut last = None;
    let rows: Vec<u64> = rows.collect();
    for (at, keys) in rows.chunks(500).enumerate() {
        let write = |key: &u64| {
            let mut cells = Vec::new();
            let mut bytes = vec![0; 350];
            chance.fill(bytes.as_mut_slice());
            let bytes_type = ValueType::Scalar(Scalar::Bytes);
            put_cell(
                &mut cells,
                FeatureId(1),
                bytes_type,
                &Value::Bytes(bytes.into()),
            );
            RowWrite {
                key: entity(*key),
                event_time: Micros(1),
                cells: Some(cells.into()),
            }
        };
        let group = RowGroup {
            view: VIEW,
            merge: MergeMode::Row,
            order: Order::EventTime,
            rows: keys.iter().map(write).collect(),
        };
        let body = Body::Rows(Rows {
            older: 0,
            folded: 0,
            groups: vec![group],
        });
        let (fate, told) = oneshot::channel();
        let hlc = log.newest().next();
        engine
            .append_next(log, hlc, None, body, Some(Fate::new(fate)))
            .unwrap();
        last = Some(told);
        if at % 7 == 6 {
            last.take().unwrap().blocking_recv().unwrap().unwrap();
            engine.flush().unwrap();
        }
    }
    if let Some(told) = last {
        told.blocking_recv().unwrap().unwrap();
    }
}

/// An engine of a member, with this many rows.
async fn filled(member: &Member, rows: u64) -> (Arc<Engine>, LogWriter) {
    let engine = member.engine();
    let filling = Arc::clone(&engine);
    let work = move || {
        let mut log = LogWriter::new(REGION, Epoch(1), Hlc(0));
        fill(&filling, &mut log, 0..rows);
        log
    };
    let log = tokio::task::spawn_blocking(work).await.unwrap();
    (engine, log)
}

fn reseed(member: &Member, seed: &Seed) -> Arc<Engine> {
    let disk: Arc<dyn crate::base::disk::Disk> = Arc::new(RealDisk);
    let dir = member.dir.path();
    let (wal, store) = (wal::Options::default(), storage::Options::default());
    engine::reseed(&disk, dir, LINEAGE, wal, &store, &seed.received).unwrap();
    open(dir)
}

fn rows(engine: &Engine, keys: u64) -> BTreeMap<u64, Vec<u8>> {
    let row = |at| Some((at, engine.row(VIEW, &entity(at)).unwrap().row()?.to_vec()));
    (0..keys).filter_map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_gets_the_store_of_another_and_goes_on_behind_it() {
    let (a, mut b) = (Member::start(A).await, Member::start(B).await);
    drop(b.engine());
    let (engine, _) = filled(&a, 9_000).await;
    a.offer(&engine, &b).await.unwrap();
    let seed = b.seed().await;
    assert_eq!((seed.epoch, seed.from), (Epoch(5), A));
    let taken = reseed(&b, &seed);
    assert_eq!(rows(&taken, 9_100), rows(&engine, 9_100));
    assert_eq!(rows(&taken, 9_100).len(), 9_000);
    let (there, here) = (engine.state(), taken.state());
    assert_eq!((&there.applied, there.digest), (&here.applied, here.digest));
    assert_eq!(here.lsn, taken.wal().first());
    drop(seed);
    // The same again: nothing that was fetched is there any more, so all of it comes again.
    let sent = a.seeding.giver.sent_bytes.get();
    a.offer(&engine, &b).await.unwrap();
    b.seed().await;
    assert_eq!(a.seeding.giver.sent_bytes.get(), 2 * sent);
}

/// Leads to an address, with a connection cut or a byte flipped now and then.
async fn bad_wire(to: SocketAddr, tasks: &TaskGroup, seed: u64) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let faults = Arc::new(AtomicU64::new(0));
    let (counted, inner) = (Arc::clone(&faults), tasks.clone());
    tasks.spawn_finite("bad wire", async move {
        let mut chance = SmallRng::seed_from_u64(seed);
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let (mut near_reads, mut near_writes) = near.into_split();
            let (mut far_reads, mut far_writes) = far.into_split();
            inner.spawn_finite("requests", async move {
                let _ended = tokio::io::copy(&mut near_reads, &mut far_writes).await;
            });
            let mut left = chance.random_range(100_000..700_000_usize);
            let flips = chance.random_bool(0.5);
            let counted = Arc::clone(&counted);
            inner.spawn_finite("answers", async move {
                let mut buffer = vec![0; 16 << 10];
                while let Ok(read @ 1..) = far_reads.read(&mut buffer).await {
                    if read >= left {
                        counted.fetch_add(1, Ordering::SeqCst);
                        if !flips {
                            return;
                        }
                        buffer[left - 1] ^= 0x10;
                        left = usize::MAX;
                    } else if left < usize::MAX {
                        left -= read;
                    }
                    if near_writes.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, faults)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn broken_connections_and_damaged_bytes_only_cost_what_was_on_its_way() {
    let tasks = TaskGroup::new();
    // Its address is known before it listens.
    let later = Arc::new(Mutex::new(None));
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let front = listener.local_addr().unwrap();
    let (target, inner) = (Arc::clone(&later), tasks.clone());
    tasks.spawn_finite("front", async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to: SocketAddr = target.lock().unwrap().unwrap();
            inner.spawn_finite("forward", async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let a = Member::start_with(A, LINEAGE, Some(front), FAST).await;
    let mut b = Member::start(B).await;
    let (bad, faults) = bad_wire(a.address, &tasks, 11).await;
    *later.lock().unwrap() = Some(bad);
    drop(b.engine());
    let (engine, _) = filled(&a, 6_000).await;
    a.offer(&engine, &b).await.unwrap();
    let seed = b.seed().await;
    let faults = faults.load(Ordering::SeqCst);
    assert!(faults > 2, "{faults}");
    let files = &seed.received.state();
    assert_eq!(files.digest, engine.state().digest);
    // What was sent and on its way when a connection broke is lost; what had come is not.
    let (received, all) = (b.seeding.received_bytes.get(), 6_000 * 350);
    assert!((all..2 * all).contains(&received), "{received} of {all}");
    let taken = reseed(&b, &seed);
    assert_eq!(rows(&taken, 6_000), rows(&engine, 6_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_received_is_not_touched_while_it_is_held() {
    let (a, mut b) = (Member::start(A).await, Member::start(B).await);
    drop(b.engine());
    let (engine, mut log) = filled(&a, 2_000).await;
    a.offer(&engine, &b).await.unwrap();
    let seed = b.seed().await;
    let held = seed.received.state().clone();
    // Another snapshot, for the first is not used any more.
    a.seeding.giver.expire(now_monotonic() + giver::KEPT);
    let filling = Arc::clone(&engine);
    let work = move || fill(&filling, &mut log, 2_000..3_000);
    tokio::task::spawn_blocking(work).await.unwrap();
    a.offer(&engine, &b).await.unwrap();
    a.offer(&engine, &b).await.unwrap();
    // Far longer than it takes to receive it.
    let other = timeout(Duration::from_secs(2), b.seeds.recv()).await;
    assert!(other.is_err(), "{other:?}");
    let store = storage::Store::open_read_only(seed.received.dir()).unwrap();
    assert_eq!(store.state().unwrap(), held);
    assert_eq!(store.contents().unwrap().digest, held.digest);
    drop(store);
    drop(seed);
    let later = b.seed().await;
    assert_eq!(later.received.state().digest, engine.state().digest);
    assert_ne!(later.received.state().digest, held.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_is_kept_while_it_is_fetched_and_then_no_longer() {
    let (a, b) = (Member::start(A).await, Member::start(B).await);
    let (engine, _) = filled(&a, 500).await;
    a.offer(&engine, &b).await.unwrap();
    let checkpoints = || {
        std::fs::read_dir(a.dir.path().join("checkpoints"))
            .unwrap()
            .count()
    };
    assert_eq!(checkpoints(), 1);
    // Offered again, it is the same.
    a.offer(&engine, &b).await.unwrap();
    assert_eq!(checkpoints(), 1);
    a.seeding.giver.expire(now_monotonic() + giver::KEPT / 2);
    assert_eq!(checkpoints(), 1);
    a.seeding.giver.expire(now_monotonic() + giver::KEPT);
    assert_eq!(checkpoints(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_is_made_anew_once_more_is_folded() {
    let (a, mut b) = (Member::start(A).await, Member::start(B).await);
    let (engine, _) = filled(&a, 500).await;
    let checkpoint = async || {
        let kept = a
            .seeding
            .giver
            .checkpoint(Arc::clone(&engine), spread(""), B);
        kept.await.unwrap().unwrap()
    };
    let (first, old) = checkpoint().await;
    assert_eq!(old.folded(REGION), Epoch(0));
    drop(old);
    engine.fold(REGION, Epoch(1)).unwrap();
    engine.flush().unwrap();
    let (second, new) = checkpoint().await;
    assert_ne!(second, first);
    assert_eq!(new.folded(REGION), Epoch(1));
    drop(new);
    assert_eq!(checkpoint().await.0, second);
    let checkpoints = std::fs::read_dir(a.dir.path().join("checkpoints"));
    assert_eq!(checkpoints.unwrap().count(), 1);
    a.offer(&engine, &b).await.unwrap();
    assert_eq!(
        b.seed().await.received.state().applied,
        engine.state().applied
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_an_earlier_process_left_is_removed() {
    let a = Member::start(A).await;
    let left = a.dir.path().join("checkpoints").join("left");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("CURRENT"), b"x").unwrap();
    Giver::open(a.dir.path().join("checkpoints"), 1).unwrap();
    assert!(!left.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn strangers_and_what_is_not_offered_are_refused_by_name() {
    let (a, b) = (Member::start(A).await, Member::start(B).await);
    let other = Member::start_with(A, LineageId(78), None, FAST).await;
    let (engine, _) = filled(&a, 10).await;
    let refused = other.offer(&engine, &b).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "the peer is of lineage {}, this member of {LINEAGE}",
            LineageId(78)
        )
    );
    let refused = a.offer(&engine, &a).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("the peer means incarnation {B}, this member is {A}")
    );

    let mut peer = SnapshotPeer::connect(&a.address.to_string()).await.unwrap();
    let fetch = |name: &str, snapshot_id| v1::FetchFileRequest {
        snapshot_id,
        name: name.to_owned(),
        offset: 0,
    };
    let unknown = peer.fetch(fetch("CURRENT", 1)).await.unwrap_err();
    let says = "there is no snapshot 0000000000000001 here";
    assert_eq!(unknown, CallError::NotFound(says.to_owned()));
    let made = a
        .seeding
        .giver
        .checkpoint(Arc::clone(&engine), spread(""), B)
        .await;
    let (id, checkpoint) = made.unwrap().unwrap();
    let outside = peer.fetch(fetch("../../IDENTITY", id.0)).await.unwrap_err();
    assert_eq!(
        outside.to_string(),
        "\"../../IDENTITY\" is no file of a store"
    );
    for file in &checkpoint.snapshot().files {
        let mut chunks = peer.fetch(fetch(file.name.as_str(), id.0)).await.unwrap();
        let mut hasher = blake3::Hasher::new();
        while let Some(chunk) = chunks.next().await.unwrap() {
            hasher.update(&chunk);
        }
        assert_eq!(hasher.finalize(), file.digest, "{}", file.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_is_not_sent_faster_than_set() {
    let rate = 2 << 20;
    let a = Member::start_with(A, LINEAGE, None, rate).await;
    let mut b = Member::start(B).await;
    let (engine, _) = filled(&a, 9_000).await;
    let begun = now_monotonic();
    a.offer(&engine, &b).await.unwrap();
    b.seed().await;
    let seconds = begun.elapsed().as_secs_f64();
    let sent = a.seeding.giver.sent_bytes.get();
    // The last chunk goes at once when its turn comes, and the first ones have a little credit.
    let paced = sent.saturating_sub(crate::net::CHUNK_BYTES as u64) as f64;
    assert!(
        seconds >= paced / rate as f64 - 0.1,
        "{sent} bytes in {seconds} s"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_that_does_not_fit_is_not_begun() {
    let (a, b) = (Member::start(A).await, Member::start(B).await);
    let (engine, _) = filled(&a, 500).await;
    let made = a.seeding.giver.checkpoint(engine, spread(""), B).await;
    let (id, checkpoint) = made.unwrap().unwrap();
    let taker = Taker {
        dir: incoming_dir(b.dir.path()),
        lineage: LINEAGE,
        spared_bytes: u64::MAX,
        received_bytes: Counter::default(),
        seeded: Box::new(|_| {}),
    };
    let offer = Offer {
        hello: a.seeding.me.hello(B),
        epoch: Epoch(1),
        id,
        snapshot: checkpoint.snapshot().clone(),
    };
    let refused = taker.receive(&offer, &b.tasks.cancelled()).await;
    assert!(matches!(refused, Err(Error::NoSpace { available: 0, .. })));
    assert_eq!(taker.received_bytes.get(), 0);
}

/// Prints how long a snapshot takes, beside copying and hashing the same files.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a measurement"]
async fn measure_a_snapshot() {
    let (a, mut b) = (Member::start(A).await, Member::start(B).await);
    drop(b.engine());
    let megabytes = std::env::var("MEGABYTES").map_or(1_024, |text| text.parse().unwrap());
    let (engine, _) = filled(&a, megabytes * 1_000_000 / 380).await;
    let begun = now_monotonic();
    let made = a
        .seeding
        .giver
        .checkpoint(Arc::clone(&engine), spread(""), B)
        .await;
    let (_, checkpoint) = made.unwrap().unwrap();
    let made = begun.elapsed().as_secs_f64();
    let bytes: u64 = checkpoint
        .snapshot()
        .files
        .iter()
        .map(|file| file.bytes)
        .sum();
    a.offer(&engine, &b).await.unwrap();
    let seed = b.seed().await;
    let whole = begun.elapsed().as_secs_f64();
    engine.stop().unwrap();
    drop(engine);
    let swap = now_monotonic();
    let taken = reseed(&b, &seed);
    let swap = swap.elapsed().as_secs_f64();
    drop(taken);
    let copying = now_monotonic();
    let to = b.dir.path().join("copied");
    std::fs::create_dir(&to).unwrap();
    for file in &checkpoint.snapshot().files {
        let (mut from, path) = (
            checkpoint.open(&file.name).unwrap(),
            to.join(file.name.as_str()),
        );
        let mut copy = std::fs::File::create(&path).unwrap();
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = std::io::Read::read(&mut from, &mut buffer).unwrap();
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            std::io::Write::write_all(&mut copy, &buffer[..read]).unwrap();
        }
        copy.sync_data().unwrap();
        assert_eq!(hasher.finalize(), file.digest);
    }
    let copied = copying.elapsed().as_secs_f64();
    let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
    println!(
        "{:.0} MB: checkpoint {made:.2} s, all {whole:.2} s ({:.0} MB/s), copied and hashed {copied:.2} s ({:.0} MB/s), ratio {:.2}; swap {swap:.2} s",
        bytes as f64 / 1e6,
        rate(whole),
        rate(copied),
        copied / whole,
    );
}
