//! Pure: which rows the answers to a quorum read decide.
//!
//! **Invariants.** Q2, Q3 (I15): a key is decided by the row that W data members of one epoch name as their own, "no row"
//! included. Who is no data member of the epoch it answers for does not count. What is decided stays so.
//!
//! Answers given at different moments count together, a member's first one with another's second, provided that each was
//! given after the read began. Let W members of D_e name row v.
//! - *Nothing newer had been acknowledged before.* Had e acknowledged a newer row before the read began, one of these W
//!   would have held it by then, and a member's row only rises. Had a later epoch, R members of D_e would have been sealed
//!   by then, and any one of these W among them could not have answered for e any more.
//! - *Nothing older is read after.* A later read in e meets one of these W, whose row is not older than v. A later epoch
//!   seals R members of D_e, one of these W among them, which holds v: if it had been sealed before it answered, it would
//!   not have answered for e.
//!
//! Neither looks at the moments between the beginning and the end of the read. But answers kept from an earlier read must
//! not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::IncarnationId;
use crate::base::rule::Rule;
use crate::control::commit_size;
use crate::replication::Vouched;

/// The answers to one quorum read of several keys. `R` names a row: what is equal must be the same row.
#[derive(Debug)]
pub struct Gather<R> {
    keys: Vec<Key<R>>,
}

#[derive(Debug)]
enum Key<R> {
    /// What each member named last.
    Undecided(BTreeMap<IncarnationId, Named<R>>),
    Decided(Option<R>),
}

#[derive(Debug)]
struct Named<R> {
    vouched: Arc<Vouched>,
    row: Option<R>,
}

impl<R: Eq + Clone> Gather<R> {
    /// A read of so many keys, numbered from 0.
    #[must_use]
    pub fn new(keys: usize) -> Gather<R> {
        let undecided = || Key::Undecided(BTreeMap::new());
        Gather {
            keys: std::iter::repeat_with(undecided).take(keys).collect(),
        }
    }

    /// A member names its rows of some keys, in answer to a question asked after the read began. A later answer replaces
    /// an earlier one; numbers of no key are passed over.
    pub fn on_answer(
        &mut self,
        from: IncarnationId,
        vouched: Vouched,
        rows: impl IntoIterator<Item = (usize, Option<R>)>,
    ) {
        let vouched = Arc::new(vouched);
        for (number, row) in rows {
            if let Some(key) = self.keys.get_mut(number) {
                let vouched = Arc::clone(&vouched);
                key.name(from, Named { vouched, row });
            }
        }
    }

    /// The row of this key, `Some(None)` if there is none; `None` as long as it is undecided.
    #[must_use]
    pub fn decided(&self, key: usize) -> Option<Option<&R>> {
        match self.keys.get(key)? {
            Key::Decided(row) => Some(row.as_ref()),
            Key::Undecided(_) => None,
        }
    }

    /// The keys still to be asked for.
    pub fn undecided(&self) -> impl Iterator<Item = usize> + '_ {
        let is_open = |key: &Key<R>| matches!(key, Key::Undecided(_));
        let keys = self.keys.iter().enumerate();
        keys.filter(move |(_, key)| is_open(key))
            .map(|(number, _)| number)
    }
}

impl<R: Eq + Clone> Key<R> {
    fn name(&mut self, from: IncarnationId, named: Named<R>) {
        let Key::Undecided(names) = self else {
            return;
        };
        names.insert(from, named);
        let agreed = names.values().find(|named| is_agreed(names, named));
        if let Some(row) = agreed.map(|named| named.row.clone()) {
            *self = Key::Decided(row);
        }
    }
}

/// Do W data members of this one's epoch name this row?
fn is_agreed<R: Eq>(names: &BTreeMap<IncarnationId, Named<R>>, named: &Named<R>) -> bool {
    let Vouched { epoch, members } = named.vouched.as_ref();
    let agrees = |(from, other): &(&IncarnationId, &Named<R>)| {
        let is_member = members.contains(from) || !Rule::ReadMembers.holds();
        let is_same_epoch = other.vouched.epoch == *epoch || !Rule::ReadSize.holds();
        is_member && is_same_epoch && (other.row == named.row || !Rule::ReadAgree.holds())
    };
    let needed = if Rule::ReadSize.holds() {
        commit_size(members.len())
    } else {
        1
    };
    names.iter().filter(agrees).count() >= needed
}

#[cfg(test)]
#[path = "gather_test.rs"]
mod tests;
