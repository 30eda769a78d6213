//! Writers that go on until their node is gone.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use steadfast::base::clock::timeout;
use steadfast::proto::v1::ingest_features_response::Outcome;
use steadfast::proto::v1::{CommitLevel, IngestFeaturesRequest, WriteResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::api::{self, Api};
use crate::history::{Kind, Write};

/// Keys are below this.
pub const KEYS: i64 = 200;
/// Writers that wait for each answer before they write again.
const UNARY: u64 = 3;
/// Batches under way in the stream of the one that does not.
const WINDOW: usize = 8;

/// A node that is there answers sooner.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a write ended.
#[derive(Debug)]
pub enum Ended {
    /// It was acknowledged.
    Acknowledged(Write, WriteResponse),
    /// It was not answered, for this cause.
    Unanswered(Write, Status),
}

/// Starts the writers of a round; the channel closes once all have ended.
pub fn start(
    address: &str,
    round: u64,
    seed: u64,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<Ended> {
    let (ended, receiver) = mpsc::channel(1);
    for writer in 0..=UNARY {
        let address = address.to_owned();
        let writes = Writes::new(seed, round, writer);
        let ended = ended.clone();
        tasks.spawn(async move {
            // The node may be gone before a slow writer comes.
            if let Ok(api) = Api::connect(&address).await {
                if writer == UNARY {
                    ingest(api, writes, ended).await;
                } else {
                    write(api, writes, ended).await;
                }
            }
        });
    }
    receiver
}

async fn write(mut api: Api, mut writes: Writes, ended: mpsc::Sender<Ended>) {
    loop {
        let write = writes.next();
        match in_time(api.write(&write)).await {
            Ok(answer) => {
                let (written, stamp) = (write.clone(), api::stamp(&answer));
                drop(ended.send(Ended::Acknowledged(write, answer)).await);
                // A node that is gone shows at the next write.
                let _gone = in_time(api.check_visible(&written, stamp)).await;
            }
            Err(status) => return drop(ended.send(Ended::Unanswered(write, status)).await),
        }
    }
}

async fn ingest(mut api: Api, mut writes: Writes, ended: mpsc::Sender<Ended>) {
    let (batches, stream) = mpsc::channel(WINDOW);
    let mut sent = VecDeque::new();
    let mut refill = |sent: &mut VecDeque<Write>| {
        while sent.len() < WINDOW {
            let write = writes.next_put();
            let batch = IngestFeaturesRequest {
                sequence: sequence(&write),
                batch: Some(api::put(&write)),
            };
            sent.push_back(write);
            // Where the stream is closed, reading it says why.
            let _closed = batches.try_send(batch);
        }
    };
    refill(&mut sent);
    let cause = match in_time(api.ingest(ReceiverStream::new(stream))).await {
        Err(status) => status,
        Ok(mut answers) => loop {
            let answer = match in_time(answers.message()).await {
                Ok(Some(answer)) => answer,
                Ok(None) => break Status::unavailable("the stream has ended"),
                Err(status) => break status,
            };
            assert_eq!(answer.sequence, sequence(&sent[0]), "answers come in order");
            match answer.outcome.unwrap() {
                Outcome::Error(error) => break Status::new(Code::from(error.code), error.message),
                Outcome::Written(answer) => {
                    let write = sent.pop_front().unwrap();
                    drop(ended.send(Ended::Acknowledged(write, answer)).await);
                }
            }
            refill(&mut sent);
        },
    };
    for write in sent {
        drop(ended.send(Ended::Unanswered(write, cause.clone())).await);
    }
}

/// Nobody waits for ever for a node that may be gone: what breaks at the wrong instant may tell its caller nothing.
async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let answered = timeout(PATIENCE, call).await;
    answered.unwrap_or_else(|_| Err(Status::unavailable("nothing came for long")))
}

fn sequence(write: &Write) -> u64 {
    write.value.unwrap().cast_unsigned()
}

/// The random writes of one writer in one round.
struct Writes {
    random: StdRng,
    next_value: i64,
}

impl Writes {
    fn new(seed: u64, round: u64, writer: u64) -> Writes {
        let own = round * (UNARY + 1) + writer;
        Writes {
            random: StdRng::seed_from_u64(seed ^ own.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            next_value: i64::try_from(own).unwrap() * 1_000_000,
        }
    }

    fn next(&mut self) -> Write {
        let mut write = self.next_put();
        if write.kind == Kind::Twin && self.random.random_ratio(1, 5) {
            write.value = None;
        }
        write
    }

    fn next_put(&mut self) -> Write {
        self.next_value += 1;
        let random = &mut self.random;
        let is_timed = random.random_ratio(1, 4);
        let keys: BTreeSet<i64> = (0..random.random_range(1..=4))
            .map(|_| random.random_range(0..KEYS))
            .collect();
        let levels = [CommitLevel::Async, CommitLevel::Quorum, CommitLevel::All];
        Write {
            request_id: format!("w{}", self.next_value),
            kind: if is_timed { Kind::Timed } else { Kind::Twin },
            keys: keys.into_iter().collect(),
            value: Some(self.next_value),
            event_time: if is_timed {
                random.random_range(1..=20)
            } else {
                0
            },
            level: levels[random.random_range(0..levels.len())],
        }
    }
}
