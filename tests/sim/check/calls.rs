//! What the client library promises of each call: it ends by its deadline; what may have been carried out is sent again only
//! under its request id; what is acknowledged was written; second calls are a share of the first ones; and once everything
//! works, a call is answered.

use std::collections::BTreeSet;

use steadfast::client::retry::Attempt;

use crate::operation::{Ask, Outcome};
use crate::world::{MILLI, World};

/// So long after the set has become whole again clients have found its primary.
const SETTLED: u64 = 2_000 * MILLI;
/// A call that may take as long as this is answered then.
const PATIENT: u64 = 3_000 * MILLI;

impl World {
    pub fn check_sent(&mut self, op: usize, attempt: &Attempt) {
        let operation = &self.operations[op];
        let deadline = self.clients.callers[operation.client].deadline;
        let until = operation.begun + deadline.as_nanos() as u64;
        if self.now + attempt.limit.as_nanos() as u64 > until {
            self.fail(format!("a call goes on beyond its deadline: {attempt:?}"));
        }
    }

    /// A moment after its deadline.
    pub fn on_overdue(&mut self, op: usize) {
        if self.operations[op].outcome == Outcome::Open {
            let operation = format!("{:?}", self.operations[op]);
            self.fail(format!("a call is not over at its deadline: {operation}"));
        }
    }

    /// Before a node writes a record of an operation.
    pub fn check_carried_out(&mut self, op: usize, at: usize) {
        let operation = &self.operations[op];
        let Ask::Write { is_named, .. } = operation.ask else {
            return;
        };
        let node = &self.nodes[at];
        let applied = &node.disk.wal[..node.live.as_ref().unwrap().applied_at];
        let is_known = !operation.records.is_empty()
            && applied
                .iter()
                .any(|record| operation.records.contains(&record.stamp));
        if is_known || !operation.records.is_empty() && !is_named {
            let operation = format!("{operation:?}");
            self.fail(format!("carried out again at node {at}: {operation}"));
        }
    }

    pub fn check_beside(&mut self, op: usize) {
        let caller = &self.clients.callers[self.operations[op].client];
        let (calls, beside) = (caller.calls, caller.beside);
        if beside > 10 + calls.div_ceil(10) {
            self.fail(format!("{beside} second calls beside {calls} calls"));
        }
    }

    /// From time to time: nothing goes wrong any more, and one primary serves all nodes, of which none lags or waits for a
    /// snapshot.
    pub fn note_whole(&mut self) {
        let nodes = self.nodes.iter().map(|node| node.disk.incarnation);
        let nodes: BTreeSet<_> = nodes.collect();
        let open = self.agreement.now().open.as_ref();
        let is_open = open.is_some_and(|open| {
            let follows = self.nodes.iter().all(|node| {
                let live = node.live.as_ref();
                let opening = live.and_then(|live| live.replica.member().opening());
                opening.is_some_and(|held| held.log.epoch == open.epoch)
            });
            follows && open.members == nodes
        });
        let is_caught_up = |primary| self.behind(primary).is_none();
        let is_whole = self.faults.is_over && is_open && self.primary().is_some_and(is_caught_up);
        let since = self.seen.whole_since.unwrap_or(self.now);
        self.seen.whole_since = is_whole.then_some(since);
    }

    /// When a client is told what its call came to.
    pub fn check_told(&mut self, op: usize, outcome: &Outcome) {
        let operation = &self.operations[op];
        if let Outcome::Acknowledged { rank, .. } = outcome
            && !operation.records.contains(&rank.1)
        {
            let stamp = rank.1;
            self.fail(format!(
                "{stamp} is acknowledged to a write that is not its"
            ));
            return;
        }
        let deadline = self.clients.callers[operation.client].deadline;
        let is_patient = deadline.as_nanos() as u64 >= PATIENT;
        let is_settled = |whole: u64| operation.begun >= whole + SETTLED;
        let is_answered = !matches!(
            outcome,
            Outcome::Refused | Outcome::Unknown | Outcome::Failed
        );
        if is_patient && !is_answered && self.seen.whole_since.is_some_and(is_settled) {
            let operation = format!("{operation:?}");
            self.fail(format!(
                "everything works, and a call comes to {outcome:?}: {operation}"
            ));
        }
    }
}
