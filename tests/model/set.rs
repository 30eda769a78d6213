//! Sets of up to eight small numbers: nodes, epochs (number less one) or records.

/// One bit for each element.
pub type Set = u8;

pub fn one(i: usize) -> Set {
    1 << i
}

pub fn has(set: Set, i: usize) -> bool {
    set >> i & 1 == 1
}

pub fn size(set: Set) -> usize {
    set.count_ones() as usize
}

/// W: how many of `members` commit.
pub fn commit_size(members: Set) -> usize {
    size(members) / 2 + 1
}

/// R: how many of `members` seal, so that they meet every commit set.
pub fn seal_size(members: Set) -> usize {
    (size(members) + 1).saturating_sub(commit_size(members))
}

/// The elements, least first.
pub fn each(set: Set) -> Each {
    Each(set)
}

pub struct Each(Set);

impl Iterator for Each {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let least = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (least < 8).then_some(least)
    }
}
