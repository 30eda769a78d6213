//! Asking the members until their answers decide what is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tracing::debug;

use super::super::Serving;
use super::super::reads::Deadline;
use super::super::request::Error;
use super::wire::Answer;
use super::{Quorum, Unanswered};
use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::base::{IncarnationId, explained};
use crate::model::ViewId;
use crate::read::Plan;
use crate::replication::Vouched;

/// After this long the members are asked, too, that are not among the nearest.
const HEDGE: Duration = Duration::from_millis(10);
/// When all are asked again for the first time, if they do not agree.
const RETRY: Duration = Duration::from_millis(25);
/// Who has not answered by then is asked anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// What is asked of members, and what their answers come to.
pub(super) trait Inquiry {
    /// What every member is asked at a time.
    type Question: Sync + Send;
    /// What it answers.
    type Told: Send;

    /// The views that it is about.
    fn views(&self) -> BTreeSet<ViewId>;

    /// What is to be asked now; `None` once everything is decided.
    fn question(&self) -> Option<Self::Question>;

    /// A member has answered, to a question asked after the inquiry began.
    fn on_answer(
        &mut self,
        from: IncarnationId,
        vouched: Vouched,
        question: &Self::Question,
        told: Self::Told,
    );

    /// What this node answers itself.
    fn own_answer(
        serving: &Serving,
        question: &Self::Question,
    ) -> impl Future<Output = Result<Answer<Self::Told>, Error>> + Send;

    /// What another member answers.
    fn answer_of(
        serving: &Serving,
        member: IncarnationId,
        question: &Self::Question,
    ) -> impl Future<Output = Result<Answer<Self::Told>, Unanswered>> + Send;
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

impl Serving {
    /// Asks members, the nearest first, until their answers decide everything.
    pub(super) async fn inquire<I: Inquiry>(
        &self,
        inquiry: &mut I,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let begun = now_monotonic();
        let mut plan = Plan::new(HEDGE, RETRY);
        let (mut waiting, mut answers) = (BTreeSet::new(), FuturesUnordered::new());
        let mut answered = BTreeSet::new();
        while let Some(question) = inquiry.question().map(Arc::new) {
            let members = self.nearest_members();
            let next = plan.ask(begun.elapsed(), &members);
            for member in next.into_iter().filter(|member| waiting.insert(*member)) {
                answers.push(self.ask::<I>(member, Arc::clone(&question)));
            }
            let left = deadline.left();
            self.check_views(inquiry.views())?;
            if left.is_zero() {
                let (answered, members) = (answered.len(), members.len());
                return Err(Error::RowsNotAgreed { answered, members });
            }
            let until_due = plan.due().saturating_sub(begun.elapsed());
            tokio::select! {
                Some((member, question, answer)) = answers.next() => {
                    waiting.remove(&member);
                    plan.on_answer(member);
                    match answer {
                        Answer::NotNow => {}
                        Answer::Unrecovered => return Err(Error::Unrecovered),
                        Answer::Vouched(vouched, told) => {
                            answered.insert(member);
                            inquiry.on_answer(member, vouched, &question, told);
                        }
                    }
                }
                () = sleep(until_due.min(left)) => {}
            }
        }
        Ok(())
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

    /// What a member answers; others may do without.
    async fn ask<I: Inquiry>(
        &self,
        member: IncarnationId,
        question: Arc<I::Question>,
    ) -> (IncarnationId, Arc<I::Question>, Answer<I::Told>) {
        let answer = if member == self.identity.incarnation {
            I::own_answer(self, &question)
                .await
                .unwrap_or_else(|cause| {
                    debug!(%cause, "cannot answer a quorum read");
                    Answer::NotNow
                })
        } else {
            self.ask_other::<I>(member, &question).await
        };
        (member, question, answer)
    }

    async fn ask_other<I: Inquiry>(
        &self,
        member: IncarnationId,
        question: &I::Question,
    ) -> Answer<I::Told> {
        let mut waiting = Waiting {
            quorum: &self.quorum,
            member,
            begun: now_monotonic(),
            is_useless: false,
        };
        let asked = timeout(ANSWER_LIMIT, I::answer_of(self, member, question)).await;
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(cause)) => {
                let cause = explained(&cause);
                debug!(%member, cause, "a member is asked in vain");
                Answer::NotNow
            }
            Err(_) => Answer::NotNow,
        };
        waiting.is_useless = matches!(answer, Answer::NotNow);
        answer
    }
}
