//! What the real binary takes of memory, whatever its clients do, and that other clients are served meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "helpers of tests may panic, spawn and need no documentation for others"
)]

mod client;
mod hostile;
#[path = "../crash/process.rs"]
#[expect(dead_code, reason = "this test kills nothing")]
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use client::{connect, create_view, features, get, rows};
use process::Process;
use steadfast::base::task::threads;
use steadfast::config::Config;
use steadfast::proto::v1;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// As small as may be, so that everything is full soon.
const CONFIG: &str = r#"
[server]
connections = 64
stall_ms = 2000
slow_request_ms = 1
[read]
in_flight_bytes = 67108864
[write]
in_flight_bytes = 67108864
[wal]
segment_bytes = 4194304
[engine]
flush_after_wal_bytes = 16777216
row_cache_bytes = 8388608
[store]
block_cache_bytes = 8388608
memtable_bytes = 4194304
"#;

/// Clients that behave.
const GOOD: [u8; 4] = [127, 0, 0, 1];
/// Clients that do not, as far as the node can tell them apart.
const BAD: [u8; 4] = [127, 0, 0, 2];

const ROWS: i64 = 20_000;

struct Node {
    process: Process,
    bound: u64,
    /// The part of the bound that is for threads that decode.
    threads: u64,
    good: Channel,
    _directory: TempDir,
}

impl Node {
    /// A node with rows of 2 KiB, five times its caches.
    async fn start() -> Node {
        Node::start_as(CONFIG).await
    }

    /// The same, but it waits for a client that sends much at once and so answers pings late.
    async fn patient() -> Node {
        let config = CONFIG.replace("stall_ms = 2000", "stall_ms = 20000");
        assert_ne!(config, CONFIG);
        Node::start_as(&config).await
    }

    async fn start_as(config: &str) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("steadfast.toml");
        std::fs::write(&path, config).unwrap();
        let bound = Config::load(Some(&path), []).unwrap();
        let bound = bound.memory_bound(threads());
        let (bound, threads) = (bound.total(), bound.threads);
        let process = Process::start(&directory.path().join("data"), &path).await;
        let good = connect(&process.client, GOOD).await;
        create_view(&good).await;
        for from in (0..ROWS).step_by(500) {
            let put = rows(from..from + 500, 2_000);
            features(&good).put_features(put).await.unwrap();
        }
        Node {
            process,
            bound,
            threads,
            good,
            _directory: directory,
        }
    }

    /// The most memory that it has had so far.
    fn peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1024
    }

    fn assert_bounded(&self) {
        let (peak, bound) = (self.peak(), self.bound);
        println!("{} MiB of {} MiB", peak >> 20, bound >> 20);
        assert!(
            peak <= bound + bound / 10,
            "the node has had {peak} bytes, its bound is {bound}"
        );
    }

    /// Another client, all of whose lookups must succeed until it is told to stop.
    fn good_client(&self) -> GoodClient {
        let (channel, stop) = (self.good.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let served = tokio::spawn(async move {
            let mut served = 0;
            while !stopped.load(Ordering::Relaxed) {
                let ids = (0..100).map(|at| (served * 100 + at) % ROWS);
                let mut request = tonic::Request::new(get(ids, &["number"]));
                request.set_timeout(Duration::from_secs(20));
                let answer = features(&channel).get_features(request).await.unwrap();
                let column = &answer.get_ref().views[0].columns[0];
                assert!(column.statuses.iter().all(|status| *status == 1));
                served += 1;
            }
            served
        });
        GoodClient { served, stop }
    }
}

struct GoodClient {
    served: JoinHandle<i64>,
    stop: Arc<AtomicBool>,
}

impl GoodClient {
    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.served.await.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_below_its_documented_sum_under_load() {
    let mut node = Node::start().await;
    println!("loaded: {} MiB", node.peak() >> 20);
    let good = node.good_client();
    let overloaded = Arc::new(AtomicU64::new(0));
    let mut load = Vec::new();
    for at in 0..8 {
        let channel = connect(&node.process.client, BAD).await;
        load.push(tokio::spawn(read_and_write(
            channel,
            at,
            Arc::clone(&overloaded),
        )));
    }
    let mut stalled = Vec::new();
    for _ in 0..16 {
        stalled.push(stall(connect(&node.process.client, BAD).await).await);
    }
    for task in load {
        task.await.unwrap();
    }
    drop(stalled);
    good.stop().await;
    println!("{} calls refused", overloaded.load(Ordering::Relaxed));
    // Only hostile messages make threads take their part, so that without it the sum is tight.
    node.bound -= node.threads;
    node.assert_bounded();
    let log = node.process.explain();
    assert!(
        log.contains("slow request") && log.contains("files="),
        "{log}"
    );
    node.process.stop().await;
}

/// Large answers and large batches, several at once over one connection.
async fn read_and_write(channel: Channel, at: i64, overloaded: Arc<AtomicU64>) {
    for round in 0..6 {
        let calls = (0..8).map(|call| {
            let (channel, overloaded) = (channel.clone(), Arc::clone(&overloaded));
            async move {
                let outcome = if call % 2 == 0 {
                    let ids = (0..4_000).map(|id| (id * 7 + at * 1_000 + call) % ROWS);
                    let got = features(&channel).get_features(get(ids, &[])).await;
                    got.map(drop)
                } else {
                    let from = (at * 97 + round * 13 + call) * 100 % ROWS;
                    let put = rows(from..from + 1_500, 2_000);
                    features(&channel).put_features(put).await.map(drop)
                };
                if let Err(status) = outcome {
                    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
                    overloaded.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        futures::future::join_all(calls).await;
    }
}

/// Scans and lookups whose answers nobody reads.
async fn stall(channel: Channel) -> Vec<Box<dyn std::any::Any + Send>> {
    let mut held: Vec<Box<dyn std::any::Any + Send>> = Vec::new();
    for _ in 0..4 {
        let scan = v1::ScanFeaturesRequest {
            view: "v".into(),
            ..Default::default()
        };
        if let Ok(pages) = features(&channel).scan_features(scan).await {
            held.push(Box::new(pages));
        }
        let message = prost::Message::encode_to_vec(&get(0..4_000, &[]));
        let body = client::frame(message.len(), &message).into();
        if let Ok(answer) = client::call(&channel, client::GET, &[], body).await {
            held.push(Box::new(answer));
        }
    }
    held
}
