//! Quorum reads: rows that a majority of the data members name as theirs, whoever is primary.
//!
//! ```text
//!  asker:   its own rows ── keys, digests ──► member: all that was durable then applied ── rows read ── vouched (Q1)
//!           Plan, Gather ◄── none | the same | another, for each key; epoch, data members ──┘
//! ```
//! Only rows that differ from the asker's travel. Rows are compared as they are read: without what may go (P4).
//!
//! **Invariants.** Q2 and Q3 stand with [`Gather`]: only answers to questions asked after the read began are given to it. The
//! row is read before it is vouched for.

mod wire;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tracing::debug;

pub use self::wire::{NamedRow, RowsAsked, RowsNamed, rows_named_to_proto};

use self::wire::rows_named_of_proto;
use super::Serving;
use super::reads::Deadline;
use super::request::{Error, Spent};
use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::base::{Held, IncarnationId, VersionVector};
use crate::engine::{self, KeyedRow};
use crate::model::Digest;
use crate::model::purge::Left;
use crate::net::RowLines;
use crate::read::{Gather, Nearness, Plan};
use crate::replication::Vouched;
use crate::storage::{RowKeys, view_of};

/// After this long the members are asked, too, that are not among the nearest.
const HEDGE: Duration = Duration::from_millis(10);
/// So often all are asked again while they do not agree.
const RETRY: Duration = Duration::from_millis(25);
/// Who has not answered by then is asked anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The ways to the other members.
#[derive(Debug, Default)]
pub(super) struct Quorum {
    lines: RowLines,
    /// Guards what is known of how soon they answer.
    nearness: Mutex<Nearness>,
}

/// What is asked of every member at a time.
struct Asked {
    /// Which keys of the read these are.
    numbers: Vec<usize>,
    keys: RowKeys,
    /// The rows held here.
    held: Vec<KeyedRow>,
    /// What the rows must hold.
    seen: VersionVector,
}

impl Asked {
    fn of(
        numbers: impl Iterator<Item = usize>,
        rows: &[KeyedRow],
        seen: Option<&VersionVector>,
    ) -> Asked {
        let mut asked = Asked {
            numbers: Vec::new(),
            keys: RowKeys::default(),
            held: Vec::new(),
            seen: seen.cloned().unwrap_or_default(),
        };
        for (number, row) in numbers.filter_map(|number| Some((number, rows.get(number)?))) {
            asked.numbers.push(number);
            asked.keys.push_key(row.key());
            asked.held.push(row.clone());
        }
        asked
    }
}

impl Serving {
    /// The rows of some keys that a majority names, or of the first of them if they are large. They hold what is `seen`.
    pub(super) async fn agreed_rows(
        &self,
        keys: RowKeys,
        seen: Option<&VersionVector>,
        deadline: Deadline,
        spent: &mut Spent,
    ) -> Result<Vec<KeyedRow>, Error> {
        let held = self.rows_left(keys, spent).await?;
        let begun = now_monotonic();
        let mut gather = Gather::new(held.len());
        let mut plan = Plan::new(HEDGE, RETRY);
        let (mut waiting, mut answers) = (BTreeSet::new(), FuturesUnordered::new());
        let mut answered = BTreeSet::new();
        while gather.undecided().next().is_some() {
            let members = self.nearest_members();
            let next = plan.ask(begun.elapsed(), &members);
            let asked = Arc::new(Asked::of(gather.undecided(), &held, seen));
            for member in next.into_iter().filter(|member| waiting.insert(*member)) {
                answers.push(self.named_by(member, Arc::clone(&asked)));
            }
            let left = deadline.left();
            if left.is_zero() {
                let (answered, members) = (answered.len(), members.len());
                return Err(Error::RowsNotAgreed { answered, members });
            }
            let until_due = plan.due().saturating_sub(begun.elapsed());
            tokio::select! {
                Some((member, asked, named)) = answers.next() => {
                    waiting.remove(&member);
                    plan.on_answer(member);
                    if let Some((vouched, rows)) = named {
                        answered.insert(member);
                        let named = rows.into_iter().map(|row| row.row().is_some().then_some(row));
                        gather.on_answer(member, vouched, asked.numbers.iter().copied().zip(named));
                    }
                }
                () = sleep(until_due.min(left)) => {}
            }
        }
        spent.waiting += begun.elapsed();
        let decided = held.iter().enumerate().map(|(number, held)| {
            let decided = gather.decided(number).flatten();
            decided.map_or_else(|| KeyedRow::new(held.key(), None), KeyedRow::clone)
        });
        Ok(decided.collect())
    }

    /// The data members, this one first and then those that answer soonest.
    fn nearest_members(&self) -> Vec<IncarnationId> {
        let standing = self.member.standing();
        let open = standing.control.open.as_ref();
        let members = open.map(|open| &open.members).into_iter().flatten();
        let mut members: Vec<IncarnationId> = members.copied().collect();
        self.nearness().sort(&mut members);
        members.sort_by_key(|member| *member != self.identity.incarnation);
        members
    }

    fn nearness(&self) -> std::sync::MutexGuard<'_, Nearness> {
        let nearness = self.quorum.nearness.lock();
        nearness.unwrap_or_else(PoisonError::into_inner)
    }

    /// A member's rows, and in whose name it gives them. `None`: it does not.
    async fn named_by(
        &self,
        member: IncarnationId,
        asked: Arc<Asked>,
    ) -> (IncarnationId, Arc<Asked>, Option<(Vouched, Vec<KeyedRow>)>) {
        let named = if member == self.identity.incarnation {
            let mut spent = Spent::default();
            let (keys, seen) = (asked.keys.clone(), &asked.seen);
            let named = self.vouched_rows(keys, seen, &mut spent).await;
            // Others may do without.
            named
                .inspect_err(|cause| debug!(%cause, "cannot name rows"))
                .ok()
                .flatten()
        } else {
            let begun = now_monotonic();
            let named = self.ask_for_rows(member, &asked).await;
            let took = if named.is_some() {
                begun.elapsed()
            } else {
                ANSWER_LIMIT
            };
            self.nearness().note(member, took);
            named
        };
        (member, asked, named)
    }

    async fn ask_for_rows(
        &self,
        member: IncarnationId,
        asked: &Asked,
    ) -> Option<(Vouched, Vec<KeyedRow>)> {
        let standing = self.member.standing();
        let address = &standing.control.members.get(&member)?.addresses.peer;
        let question = RowsAsked {
            hello: self.wires.hello(member),
            keys: asked.keys.clone(),
            held: asked.held.iter().map(digest).collect(),
            seen: asked.seen.clone(),
        };
        let answer = self.quorum.lines.ask(member, address, question.into());
        let answer = timeout(ANSWER_LIMIT, answer).await.ok()?;
        let answer = answer
            .inspect_err(|cause| debug!(%cause, "a member is asked in vain"))
            .ok()?;
        let named = rows_named_of_proto(&answer);
        let named = named.inspect_err(|cause| debug!(%member, %cause, "an answer makes no sense"));
        let RowsNamed { vouched, rows } = named.ok()??;
        let rows = asked
            .held
            .iter()
            .zip(rows)
            .map(|(held, named)| match named {
                NamedRow::Absent => KeyedRow::new(held.key(), None),
                NamedRow::Same => held.clone(),
                NamedRow::Other(row) => KeyedRow::new(held.key(), Some(&row)),
            });
        Some((vouched, rows.collect()))
    }

    /// Answers another member's question. `None`: not in anybody's name.
    pub(super) async fn name_rows(
        &self,
        asked: RowsAsked,
        memory: &mut Held,
    ) -> Result<Option<RowsNamed>, Error> {
        let mut spent = Spent::default();
        let RowsAsked {
            keys, held, seen, ..
        } = asked;
        let Some((vouched, rows)) = self.vouched_rows(keys, &seen, &mut spent).await? else {
            return Ok(None);
        };
        let named = rows.iter().zip(held).map(|(row, held)| match row.row() {
            None => NamedRow::Absent,
            Some(_) if digest(row) == held => NamedRow::Same,
            Some(row) => NamedRow::Other(row.to_vec().into()),
        });
        let rows: Vec<NamedRow> = named.collect();
        let bytes = rows.iter().map(|row| match row {
            NamedRow::Other(row) => row.len(),
            NamedRow::Absent | NamedRow::Same => 1,
        });
        memory.grow(bytes.sum())?;
        Ok(Some(RowsNamed { vouched, rows }))
    }

    async fn vouched_rows(
        &self,
        keys: RowKeys,
        seen: &VersionVector,
        spent: &mut Spent,
    ) -> Result<Option<(Vouched, Vec<KeyedRow>)>, Error> {
        let mut read = self.member.read_for_quorum().await?;
        if read.ready().await.is_none() {
            return Ok(None);
        }
        let control = &self.member.standing().control;
        if !control.covers(&self.engine.state().applied.0, seen) {
            return Ok(None);
        }
        let rows = self.rows_left(keys, spent).await?;
        Ok(self.member.vouch().map(|vouched| (vouched, rows)))
    }

    /// What is left of the rows of some keys, or of the first of them if they are large, once what may go is gone.
    async fn rows_left(&self, keys: RowKeys, spent: &mut Spent) -> Result<Vec<KeyedRow>, Error> {
        let purge = self.engine.purge();
        let rows = self.rows(keys, spent).await?;
        let left = rows.into_iter().flatten().map(|keyed| {
            let Some(row) = keyed.row() else {
                return Ok(keyed);
            };
            let view = view_of(keyed.key());
            let left = purge.of(view).left_of(row);
            let damaged = |source| Error::Read(engine::Error::BadRow { view, source });
            Ok(match left.map_err(damaged)? {
                Left::All => keyed,
                Left::Part(left, _) => KeyedRow::new(keyed.key(), Some(&left)),
                Left::Nothing => KeyedRow::new(keyed.key(), None),
            })
        });
        left.collect()
    }
}

/// Names a row; [`Digest::EMPTY`] if there is none.
fn digest(row: &KeyedRow) -> Digest {
    row.row()
        .map_or(Digest::EMPTY, |bytes| Digest::of_row(row.key(), bytes))
}
