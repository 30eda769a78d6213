//! Pure: one part of the row cache: a hash table whose slots hold the rows themselves, bounded in bytes.
//!
//! Open addressing with linear probing, so that finding a row costs one access to the table and one to the row. When
//! it is full, the second-chance algorithm (Corbató, "A Paging Experiment with the Multics System", 1968) makes room: a
//! hand goes round over the slots and takes out the first row that nobody has looked up since it last came by.
//!
//! **Invariants.** Table and rows together take at most the bytes allowed. An entry lies in an unbroken run of taken
//! slots from the slot of its hash on. At least a quarter of the slots is free.

use std::sync::atomic::{AtomicU64, Ordering};

use super::keyed_row::KeyedRow;

/// The smallest table; a power of two, as all are.
const LEAST_SLOTS: usize = 8;
/// So many that a reader is seldom kept from filling in a row because another one has changed.
const CHANGE_COUNTS: usize = 64;

#[derive(Debug)]
pub(super) struct Shard {
    slots: Vec<Slot>,
    entries: usize,
    rows_bytes: usize,
    max_bytes: usize,
    /// The slot that is looked at next when room is needed.
    hand: usize,
    /// How often rows have been changed, by a part of their hash.
    changes: [u64; CHANGE_COUNTS],
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The hash but for its highest bit, which says: looked up since the hand was here.
    mark: AtomicU64,
    /// `None` if the slot is free.
    row: Option<KeyedRow>,
}

/// The bit of a slot's mark that is not of the hash.
const USED: u64 = 1 << 63;

impl Slot {
    fn hash(&self) -> u64 {
        self.mark.load(Ordering::Relaxed) & !USED
    }

    /// Says whether it was looked up since it was asked this.
    fn take_used(&mut self) -> bool {
        let mark = self.mark.get_mut();
        let was_used = *mark & USED != 0;
        *mark &= !USED;
        was_used
    }

    /// The row of a key, if it is this one.
    pub(super) fn look_up(&self, key: &[u8]) -> Option<KeyedRow> {
        let row = self.row.as_ref().filter(|row| row.key() == key)?;
        let mark = self.mark.load(Ordering::Relaxed);
        if mark & USED == 0 {
            self.mark.store(mark | USED, Ordering::Relaxed);
        }
        Some(row.clone())
    }

    /// See [`KeyedRow::touch`].
    pub(super) fn touch(&self) -> u8 {
        self.row.as_ref().map_or(0, KeyedRow::touch)
    }
}

impl Shard {
    pub(super) fn new(max_bytes: usize) -> Shard {
        Shard {
            slots: free_slots(LEAST_SLOTS),
            entries: 0,
            rows_bytes: 0,
            max_bytes,
            hand: 0,
            changes: [0; CHANGE_COUNTS],
        }
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        table_bytes(self.slots.len()) + self.rows_bytes
    }

    /// The slot of the row whose key has this hash.
    pub(super) fn find(&self, hash: u64) -> Option<&Slot> {
        let slot = self.slots.get(self.place(hash)?)?;
        slot.row.is_some().then_some(slot)
    }

    /// Puts a row in, in the place of another one whose key has the same hash.
    pub(super) fn insert(&mut self, hash: u64, row: KeyedRow) {
        let bytes = row.memory_bytes();
        self.remove(hash);
        if !self.make_room(bytes) {
            return;
        }
        let Some(slot) = self.place(hash).and_then(|at| self.slots.get_mut(at)) else {
            return;
        };
        *slot = Slot {
            mark: AtomicU64::new(hash & !USED),
            row: Some(row),
        };
        self.entries += 1;
        self.rows_bytes += bytes;
    }

    /// A number that is another one after each change of the row whose key has this hash.
    pub(super) fn changes(&self, hash: u64) -> u64 {
        self.changes
            .get(count_of(hash))
            .copied()
            .unwrap_or_default()
    }

    /// Changes the row whose key has this hash, if there is one.
    pub(super) fn update(&mut self, hash: u64, row: KeyedRow) {
        if let Some(changes) = self.changes.get_mut(count_of(hash)) {
            *changes += 1;
        }
        let at = self.place(hash);
        let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) else {
            return;
        };
        let Some(held) = &mut slot.row else {
            return;
        };
        self.rows_bytes = self.rows_bytes - held.memory_bytes() + row.memory_bytes();
        *held = row;
        while self.bytes() > self.max_bytes {
            self.evict_one();
        }
    }

    /// The slot of this hash: the one that holds it, or the free one at the end of its run.
    fn place(&self, hash: u64) -> Option<usize> {
        let first = self.home(hash);
        let mask = self.slots.len() - 1;
        let mut at = first;
        loop {
            let slot = self.slots.get(at)?;
            if slot.row.is_none() || slot.hash() == hash & !USED {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Where the run of a hash begins.
    fn home(&self, hash: u64) -> usize {
        // The low bits choose the shard.
        let high = usize::try_from(hash >> 16).unwrap_or_default();
        high & (self.slots.len() - 1)
    }

    /// Sees to it that an entry of so many bytes fits in; says whether it can.
    fn make_room(&mut self, bytes: usize) -> bool {
        if (self.entries + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        if table_bytes(self.slots.len()) + bytes > self.max_bytes {
            return false;
        }
        while self.bytes() + bytes > self.max_bytes || (self.entries + 1) * 4 > self.slots.len() * 3
        {
            self.evict_one();
        }
        true
    }

    /// Doubles the table, unless that would leave less than half of the bytes to the rows.
    fn grow(&mut self) {
        let slots = self.slots.len() * 2;
        if table_bytes(slots) > self.max_bytes / 2 {
            return;
        }
        let held = std::mem::replace(&mut self.slots, free_slots(slots));
        self.hand = 0;
        for slot in held {
            if slot.row.is_some()
                && let Some(at) = self.place(slot.hash())
                && let Some(free) = self.slots.get_mut(at)
            {
                *free = slot;
            }
        }
        while self.bytes() > self.max_bytes {
            self.evict_one();
        }
    }

    /// Takes out the first row that was not looked up since the hand came by. There must be one row at least.
    fn evict_one(&mut self) {
        loop {
            let at = self.hand;
            self.hand = (at + 1) & (self.slots.len() - 1);
            let Some(slot) = self.slots.get_mut(at) else {
                return;
            };
            if slot.row.is_some() && !slot.take_used() {
                // What moves up into this slot is not passed over.
                self.hand = at;
                return self.remove_at(at);
            }
        }
    }

    fn remove(&mut self, hash: u64) {
        if let Some(at) = self.place(hash)
            && self.slots.get(at).is_some_and(|slot| slot.row.is_some())
        {
            self.remove_at(at);
        }
    }

    /// Frees a slot and moves up the entries behind it that belong before it, so that their runs stay unbroken.
    fn remove_at(&mut self, at: usize) {
        let mask = self.slots.len() - 1;
        let gone = self.slots.get_mut(at).map(std::mem::take);
        let Some(row) = gone.and_then(|slot| slot.row) else {
            return;
        };
        self.entries -= 1;
        self.rows_bytes -= row.memory_bytes();
        let (mut free, mut next) = (at, (at + 1) & mask);
        while let Some(slot) = self.slots.get(next).filter(|slot| slot.row.is_some()) {
            let from_home = next.wrapping_sub(self.home(slot.hash())) & mask;
            let from_free = next.wrapping_sub(free) & mask;
            if from_home >= from_free {
                self.slots.swap(free, next);
                free = next;
            }
            next = (next + 1) & mask;
        }
    }
}

fn count_of(hash: u64) -> usize {
    usize::try_from(hash >> 8).unwrap_or_default() % CHANGE_COUNTS
}

fn free_slots(count: usize) -> Vec<Slot> {
    std::iter::repeat_with(Slot::default).take(count).collect()
}

fn table_bytes(slots: usize) -> usize {
    slots * size_of::<Slot>()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, usize),
        Update(u64, usize),
        LookUp(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Hashes that crowd into few places of a small table.
        let hash = || (0..40u64).prop_map(|at| (at % 5) << 60 | (at % 8) << 16 | at);
        let step = prop_oneof![
            (hash(), 1..400usize).prop_map(|(hash, bytes)| Step::Insert(hash, bytes)),
            (hash(), 1..400usize).prop_map(|(hash, bytes)| Step::Update(hash, bytes)),
            hash().prop_map(Step::LookUp),
        ];
        proptest::collection::vec(step, 0..300)
    }

    fn row(hash: u64, at: usize, bytes: usize) -> KeyedRow {
        let mut row = at.to_le_bytes().to_vec();
        row.resize(8 + bytes, 7);
        KeyedRow::new(&hash.to_le_bytes(), Some(&row))
    }

    fn look_up(shard: &Shard, hash: u64) -> Option<KeyedRow> {
        shard.find(hash)?.look_up(&hash.to_le_bytes())
    }

    fn check(shard: &Shard) {
        let held: Vec<_> = shard
            .slots
            .iter()
            .filter(|slot| slot.row.is_some())
            .collect();
        let bytes = held
            .iter()
            .map(|slot| slot.row.as_ref().unwrap().memory_bytes());
        assert_eq!((shard.entries, shard.rows_bytes), (held.len(), bytes.sum()));
        assert!(shard.bytes() <= shard.max_bytes);
        assert!(shard.entries * 4 <= shard.slots.len() * 3);
        for slot in held {
            assert!(
                shard
                    .find(slot.hash())
                    .is_some_and(|found| found.hash() == slot.hash())
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_put_last_and_the_bytes_keep_their_bound(
            max_bytes in 300..20_000usize,
            steps in steps(),
        ) {
            let mut shard = Shard::new(max_bytes);
            let mut last = HashMap::new();
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(hash, bytes) => {
                        last.insert(hash, row(hash, at, bytes));
                        shard.insert(hash, last[&hash].clone());
                    }
                    Step::Update(hash, bytes) => {
                        last.insert(hash, row(hash, at, bytes));
                        shard.update(hash, last[&hash].clone());
                    }
                    Step::LookUp(hash) => {
                        let found = look_up(&shard, hash);
                        prop_assert!(found.is_none() || found.as_ref() == last.get(&hash));
                    }
                }
                check(&shard);
            }
        }
    }

    #[test]
    fn everything_stays_while_there_is_room() {
        let mut shard = Shard::new(1 << 20);
        let hash = |at: u64| at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..2_000).for_each(|at| shard.insert(hash(at), row(hash(at), 0, 100)));
        assert!((0..2_000).all(|at| look_up(&shard, hash(at)).is_some()));
        check(&shard);
    }

    #[test]
    fn what_is_looked_up_stays_and_what_is_not_goes() {
        let mut shard = Shard::new(64 << 10);
        let hash = |at: u64| at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for at in 0..10_000 {
            shard.insert(hash(at), row(hash(at), 0, 200));
            (0..50.min(at)).for_each(|hot| drop(look_up(&shard, hash(hot))));
        }
        assert!((0..50).all(|hot| look_up(&shard, hash(hot)).is_some()));
        assert!(look_up(&shard, hash(5_000)).is_none());
        assert!(shard.bytes() > 60 << 10, "room is not wasted");
    }
}
