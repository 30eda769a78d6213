//! Pure: the layout of keys in the store.
//!
//! ```text
//! family rows      view u64 big-endian | entity key            -> row
//! family requests  00 | caller length u32 | caller | id        -> request entry
//!                  01 | stamp time u64 big-endian | the above  -> nothing; finds entries by age
//! family meta      "identity" | "state" | "definition/" stamp  -> as named
//! ```

use bytes::{BufMut, Bytes};

use crate::base::codec::put_blob;
use crate::base::{Hlc, PackedBytes, Stamp};
use crate::model::{EntityKey, ViewId};

/// The key of a row: view and entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(Bytes);

impl RowKey {
    const VIEW_BYTES: usize = 8;

    /// The key of `entity`'s row in `view`.
    #[must_use]
    pub fn new(view: ViewId, entity: &EntityKey) -> RowKey {
        let mut key = Vec::with_capacity(Self::VIEW_BYTES + entity.as_bytes().len());
        key.put_u64(view.0);
        key.extend_from_slice(entity.as_bytes());
        RowKey(key.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoded entity key within the key of a row.
    pub(super) fn entity_bytes(key: &[u8]) -> &[u8] {
        key.get(Self::VIEW_BYTES..).unwrap_or_default()
    }
}

/// What a key of a row may take.
const USUAL_BYTES: usize = 24;

/// The keys of many rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowKeys(PackedBytes);

impl RowKeys {
    /// With room for so many keys, more or less.
    #[must_use]
    pub fn with_capacity(keys: usize) -> RowKeys {
        RowKeys(PackedBytes::with_capacity(keys, keys * USUAL_BYTES))
    }

    /// Appends the key of a row in `view`, given its entity's encoded key.
    pub fn push(&mut self, view: ViewId, entity: &[u8]) {
        self.0.push_with(|out| {
            out.put_u64(view.0);
            out.extend_from_slice(entity);
        });
    }

    /// Appends the key of a row, as it is in the store.
    pub fn push_key(&mut self, row_key: &[u8]) {
        self.0.push_with(|out| out.extend_from_slice(row_key));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key at an index, if there are so many.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        self.0.get(at)
    }

    /// All keys, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.0.iter()
    }
}

/// The view of a row, by its key; a key of a row begins with it.
#[must_use]
pub fn view_of(row_key: &[u8]) -> ViewId {
    let bytes = row_key.first_chunk::<{ RowKey::VIEW_BYTES }>();
    ViewId(u64::from_be_bytes(bytes.copied().unwrap_or_default()))
}

/// The least key of the rows of all views behind `view`; `None` if there can be none.
#[must_use]
pub fn behind_view(view: ViewId) -> Option<Vec<u8>> {
    let next = view.0.checked_add(1)?;
    Some(next.to_be_bytes().to_vec())
}

/// The least key above all that begin with `prefix`; `None` if there is none.
pub(super) fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}

pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const STATE: &[u8] = b"state";
pub(super) const DEFINITION: &[u8] = b"definition/";

pub(super) fn definition(stamp: &Stamp) -> Vec<u8> {
    let mut key = DEFINITION.to_vec();
    for part in [stamp.hlc.0, stamp.region.0, stamp.epoch.0, stamp.seq.0] {
        key.put_u64(part);
    }
    key
}

const BY_NAME: u8 = 0;
const BY_AGE: u8 = 1;

pub(super) fn request(caller: &str, id: &str) -> Vec<u8> {
    let mut key = vec![BY_NAME];
    put_blob(&mut key, caller.as_bytes());
    key.extend_from_slice(id.as_bytes());
    key
}

pub(super) fn request_by_age(at: Hlc, request: &[u8]) -> Vec<u8> {
    let mut key = requests_from(at);
    key.extend_from_slice(request);
    key
}

/// The first key by age of requests written at `at`.
pub(super) fn requests_from(at: Hlc) -> Vec<u8> {
    let mut key = vec![BY_AGE];
    key.put_u64(at.0);
    key
}

/// The request's key within its key by age.
pub(super) fn request_of_age_key(key: &[u8]) -> Option<&[u8]> {
    key.get(1 + 8..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_end_of_a_prefix_lies_above_exactly_the_keys_that_begin_with_it(
            prefix in proptest::collection::vec(prop_oneof![Just(0xffu8), Just(0xfe), Just(0)], 0..4),
            key in proptest::collection::vec(prop_oneof![Just(0xffu8), Just(0xfe), Just(0)], 0..6),
        ) {
            let below_end = end_of_prefix(&prefix).is_none_or(|end| key < end);
            prop_assert_eq!(key >= prefix && below_end, key.starts_with(&prefix));
        }
    }
}
