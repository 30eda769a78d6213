//! Pure: which keys lie ahead of a scan at a quorum, and how far that is known.
//!
//! A member *lists* its keys behind the place where a page begins: every key of which it has a row, a tombstone included, up to
//! a key that it names as the end of what it says, or to the end of all. Once W data members of one epoch have listed theirs,
//! the page reaches to the least of these ends, and of each key in it is known:
//! - *Who lists it not names "no row" for it.* If none lists a key, W members of one epoch name "no row", each in answer to a
//!   question asked after the page began, and that decides it (Q2, Q3), as in [`Gather`].
//! - *Whatever anybody lists is undecided*, and is to be read at a quorum like the keys of a lookup.
//!
//! So every key of the page is decided by what W members name, and the proof in [`Gather`] holds for each. In particular, what
//! was acknowledged at quorum before the page began is held by one of any W members, is listed by it, and is read. A key that
//! is listed for nothing costs a read and changes nothing, so that of lists beyond the W all keys count, too.
//!
//! Tombstones must be listed: a member with one names another row than a member with none, and a deletion that W members do
//! not hold has not happened yet.

use std::collections::{BTreeMap, BTreeSet};

use super::Gather;
use crate::base::IncarnationId;
use crate::replication::Vouched;

/// Some keys, in order, and how far there are no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<K> {
    /// The keys.
    pub keys: Vec<K>,
    /// Up to this key there are no others; `None`: up to the end of all.
    pub until: Option<K>,
}

/// The lists of several members.
#[derive(Debug)]
pub struct Ahead<K> {
    /// Of one key, which everybody names alike: it is decided once W data members of one epoch have answered.
    answered: Gather<()>,
    lists: BTreeMap<IncarnationId, Listed<K>>,
}

impl<K> Default for Ahead<K> {
    fn default() -> Ahead<K> {
        Ahead {
            answered: Gather::new(1),
            lists: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Ahead<K> {
    /// A member lists its keys, in answer to a question asked after the page began. A later list replaces an earlier one, but
    /// none on which the answer rests already.
    pub fn on_list(&mut self, from: IncarnationId, vouched: Vouched, listed: Listed<K>) {
        if self.lacks_lists() {
            self.answered.on_answer(from, vouched, [(0, None)]);
            self.lists.insert(from, listed);
        }
    }

    /// Have too few members listed their keys?
    #[must_use]
    pub fn lacks_lists(&self) -> bool {
        self.answered.decided(0).is_none()
    }

    /// The keys that may have a row, and how far there are no others; `None` as long as too few have listed theirs.
    #[must_use]
    pub fn listed(&self) -> Option<Listed<K>> {
        if self.lacks_lists() {
            return None;
        }
        let ends = self.lists.values().filter_map(|list| list.until.as_ref());
        let until = ends.min();
        let keys = self.lists.values().flat_map(|list| &list.keys);
        let within = keys.filter(|key| until.is_none_or(|until| *key <= until));
        let keys: BTreeSet<&K> = within.collect();
        Some(Listed {
            keys: keys.into_iter().cloned().collect(),
            until: until.cloned(),
        })
    }
}

impl<K: Clone> Listed<K> {
    /// So many keys at the most.
    #[must_use]
    pub fn at_most(mut self, keys: usize) -> Listed<K> {
        if self.keys.len() > keys {
            self.keys.truncate(keys);
            self.until = self.keys.last().cloned();
        }
        self
    }
}

#[cfg(test)]
#[path = "ahead_test.rs"]
mod tests;
