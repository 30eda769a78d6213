//! Quorum reads: rows that a majority of the data members name as theirs, whoever is primary.
//!
//! ```text
//!  asker:   its own rows ── keys, digests ──► member: all that was durable then applied ── rows read ── vouched (Q1)
//!           Plan, Gather ◄── none | the same | another, for each key; epoch, data members ──┘
//! ```
//! Only rows that differ from the asker's travel.
//!
//! **Invariant.** Q2 and Q3 stand with [`Gather`]: only answers to questions asked after the read began are given to it.

mod naming;
mod wire;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tracing::debug;

pub use self::wire::{NamedRow, RowsAnswer, RowsAsked, RowsNamed, rows_answer_to_proto};

use self::naming::digest;
use self::wire::rows_answer_of_proto;
use super::Serving;
use super::reads::Deadline;
use super::request::{Error, Spent};
use crate::base::IncarnationId;
use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::engine::KeyedRow;
use crate::net::RowLines;
use crate::read::{Gather, Nearness, Plan, Token};
use crate::replication::Vouched;
use crate::storage::RowKeys;

/// After this long the members are asked, too, that are not among the nearest.
const HEDGE: Duration = Duration::from_millis(10);
/// When all are asked again for the first time, if they do not agree.
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
    session: Option<Token>,
}

/// What came of asking a member.
enum Answer {
    Rows(Vouched, Vec<KeyedRow>),
    /// None, or none in anybody's name.
    Nothing,
    Unrecovered,
}

/// How long a member is waited for is noted, whether it answers or is waited for no longer.
struct Waiting<'a> {
    quorum: &'a Quorum,
    member: IncarnationId,
    begun: Instant,
    /// What it answered is of no use.
    is_useless: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let took = if self.is_useless {
            took.max(ANSWER_LIMIT)
        } else {
            took
        };
        self.quorum.nearness().note(self.member, took);
    }
}

impl Quorum {
    fn nearness(&self) -> MutexGuard<'_, Nearness> {
        self.nearness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    fn of(
        numbers: impl Iterator<Item = usize>,
        rows: &[KeyedRow],
        session: Option<&Token>,
    ) -> Asked {
        let mut asked = Asked {
            numbers: Vec::new(),
            keys: RowKeys::default(),
            held: Vec::new(),
            session: session.cloned(),
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
    /// The rows of some keys that a majority names, or of the first of them if they are large. They hold what the session has
    /// seen.
    pub(super) async fn agreed_rows(
        &self,
        keys: RowKeys,
        session: Option<&Token>,
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
            let asked = Arc::new(Asked::of(gather.undecided(), &held, session));
            for member in next.into_iter().filter(|member| waiting.insert(*member)) {
                answers.push(self.named_by(member, Arc::clone(&asked)));
            }
            let left = deadline.left();
            self.check_views(&held)?;
            if left.is_zero() {
                let (answered, members) = (answered.len(), members.len());
                return Err(Error::RowsNotAgreed { answered, members });
            }
            let until_due = plan.due().saturating_sub(begun.elapsed());
            tokio::select! {
                Some((member, asked, named)) = answers.next() => {
                    waiting.remove(&member);
                    plan.on_answer(member);
                    match named {
                        Answer::Nothing => {}
                        Answer::Unrecovered => return Err(Error::Unrecovered),
                        Answer::Rows(vouched, rows) => {
                            answered.insert(member);
                            let named = rows.into_iter().map(|row| row.row().is_some().then_some(row));
                            let named = asked.numbers.iter().copied().zip(named);
                            gather.on_answer(member, vouched, named);
                        }
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
        self.quorum.nearness().sort(&mut members);
        members.sort_by_key(|member| *member != self.identity.incarnation);
        members
    }

    /// What a member answers.
    async fn named_by(
        &self,
        member: IncarnationId,
        asked: Arc<Asked>,
    ) -> (IncarnationId, Arc<Asked>, Answer) {
        let named = if member == self.identity.incarnation {
            let mut spent = Spent::default();
            let (keys, session) = (asked.keys.clone(), asked.session.as_ref());
            let named = self.vouched_rows(keys, session, &mut spent).await;
            // Others may do without.
            named.unwrap_or_else(|cause| {
                debug!(%cause, "cannot name rows");
                Answer::Nothing
            })
        } else {
            let mut waiting = Waiting {
                quorum: &self.quorum,
                member,
                begun: now_monotonic(),
                is_useless: false,
            };
            let named = self.ask_for_rows(member, &asked).await;
            waiting.is_useless = named.is_none();
            named.unwrap_or(Answer::Nothing)
        };
        (member, asked, named)
    }

    /// `None`: nothing of use.
    async fn ask_for_rows(&self, member: IncarnationId, asked: &Asked) -> Option<Answer> {
        let standing = self.member.standing();
        let address = &standing.control.members.get(&member)?.addresses.peer;
        let question = RowsAsked {
            hello: self.wires.hello(member),
            keys: asked.keys.clone(),
            held: asked.held.iter().map(digest).collect(),
            session: asked.session.clone(),
        };
        let answer = self.quorum.lines.ask(member, address, question.into());
        let answer = timeout(ANSWER_LIMIT, answer).await.ok()?;
        let answer = answer
            .inspect_err(|cause| debug!(%cause, "a member is asked in vain"))
            .ok()?;
        let answer = rows_answer_of_proto(&answer);
        let answer = answer.inspect_err(|cause| debug!(%member, %cause, "it makes no sense"));
        let RowsNamed { vouched, rows } = match answer.ok()? {
            RowsAnswer::Named(named) => named,
            RowsAnswer::NotNow => return None,
            RowsAnswer::Unrecovered => return Some(Answer::Unrecovered),
        };
        let rows = asked.held.iter().zip(rows);
        let rows = rows.map(|(held, named)| match named {
            NamedRow::Absent => KeyedRow::new(held.key(), None),
            NamedRow::Same => held.clone(),
            NamedRow::Other(row) => KeyedRow::new(held.key(), Some(&row)),
        });
        Some(Answer::Rows(vouched, rows.collect()))
    }
}
