//! A disk that refuses to grow: the node is told so by a limit on the size of its files, set while it is under load.

use rand::Rng as _;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use steadfast::proto::v1::ReadLevel;
use tokio::task::JoinSet;
use tonic::Status;

use crate::api::reason;
use crate::history::Write;
use crate::load::{self, Ended};
use crate::{Node, Run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_refuses_to_grow_ends_writing_and_nothing_acknowledged_is_lost() {
    let mut run = Run::new(rand::random());
    println!("CRASH_SEED={}", run.seed);
    for _ in 0..6 {
        let mut node = run.start().await;
        run.settle(&mut node).await;
        run.define(&mut node).await;
        run.load_until_refused(&mut node).await;
        run.check_refusing(&mut node).await;
        node.process.kill().await;
        run.round += 1;
    }
    let mut node = run.start().await;
    run.settle(&mut node).await;
    node.process.stop().await;
    println!("{} writes acknowledged, 0 lost", run.answered.len());
}

/// Lets no file of a process grow beyond so many bytes.
fn limit_files(process: u32, bytes: u64) {
    let pid = Pid::from_raw(process.try_into().unwrap());
    let limit = Rlimit {
        current: Some(bytes),
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

impl Run {
    /// Lets the writers go on until none is answered any more.
    async fn load_until_refused(&mut self, node: &mut Node) {
        let mut tasks = JoinSet::new();
        let mut writers = load::start(&node.process.client, self.round, self.seed, &mut tasks);
        let limit_after = self.random.random_range(0..300);
        // Less than a segment, and from then on no other can be reserved.
        let bytes = self.random.random_range(30_000..60_000);
        let mut acknowledged = 0;
        while let Some(ended) = writers.recv().await {
            match ended {
                Ended::Acknowledged(write, answer) => {
                    self.check_answer(&write, &answer);
                    self.acknowledged(write, answer);
                    if acknowledged == limit_after {
                        limit_files(node.process.id(), bytes);
                    }
                    acknowledged += 1;
                }
                Ended::Unanswered(write, status) => {
                    assert!(acknowledged > limit_after, "{status:?}");
                    match why(&status) {
                        Refusal::Unknown => self.history.give_up(write),
                        Refusal::NotWritten => {}
                    }
                }
            }
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    }

    /// What is refused says why, and what was acknowledged can be read.
    async fn check_refusing(&mut self, node: &mut Node) {
        let (last, _) = self.answered.last().unwrap();
        let another = Write {
            request_id: String::new(),
            ..last.clone()
        };
        let refused = node.api.write(&another).await.unwrap_err();
        assert_eq!(reason(&refused), "NOT_WRITABLE", "{refused:?}");
        assert!(refused.message().contains("File too large"), "{refused:?}");
        let contents = node.api.contents(load::KEYS, ReadLevel::Local).await;
        let mut history = self.history.clone();
        if let Err(fault) = history.settle(contents.rows) {
            panic!("round {}: {fault}\n{}", self.round, node.process.explain());
        }
    }
}

enum Refusal {
    NotWritten,
    Unknown,
}

fn why(status: &Status) -> Refusal {
    let why = match reason(status).as_str() {
        "NOT_WRITABLE" => Refusal::NotWritten,
        // Of a batch of a stream, or of one behind it, there is only a code.
        "OUTCOME_UNKNOWN" | "Unknown" | "Unavailable" => Refusal::Unknown,
        other => panic!("{other}: {status:?}"),
    };
    let says = |text: &str| status.message().contains(text);
    assert!(says("File too large"), "{status:?}");
    why
}
