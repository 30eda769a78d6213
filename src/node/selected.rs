//! Pure: the rows of all views of a lookup in one line, and the columns that become of them.
//!
//! A page is of as many views as it takes: a lookup of few entities in many views waits once for files or members, not once
//! for each view.
//!
//! **Invariant.** Rows come in the order of the keys that were asked for; each key of a selection becomes one item of its
//! columns.

use super::reads::{Columns, Sources, note_sources, resolve};
use super::request::{Error, Selection};
use crate::base::{Held, Micros, PackedBytes};
use crate::engine::KeyedRow;
use crate::model::resolve::{Resolver, Wanted};
use crate::model::{Purge, limits};
use crate::storage::RowKeys;

/// What a lookup selects, resolved so far.
#[derive(Debug)]
pub(super) struct Selected {
    views: Vec<Resolving>,
    /// The view of the row that comes next.
    at: usize,
    payload_bytes: usize,
}

/// The columns of one selection.
#[derive(Debug)]
struct Resolving {
    resolver: Resolver,
    keys: PackedBytes,
    resolved: usize,
}

impl Selected {
    /// Nothing resolved yet; as of `now`, leaving out what may go. `memory` holds what blank columns take.
    ///
    /// # Errors
    /// If that is more than there is.
    pub fn new(
        selections: Vec<Selection>,
        wanted: Wanted,
        now: Micros,
        purge: &Purge,
        memory: &mut Held,
    ) -> Result<Selected, Error> {
        let mut views = Vec::with_capacity(selections.len());
        for selection in selections {
            let Selection {
                view,
                features,
                keys,
            } = selection;
            let purge = purge.of(view.id);
            let resolver =
                Resolver::new(view, features, keys.len(), wanted, now).leaving_out(purge);
            memory.grow(resolver.blank_bytes(keys.len()))?;
            views.push(Resolving {
                resolver,
                keys,
                resolved: 0,
            });
        }
        Ok(Selected {
            views,
            at: 0,
            payload_bytes: 0,
        })
    }

    /// The keys of the rows that come next, at most so many; none once all are resolved.
    pub fn next_keys(&self, most: usize) -> RowKeys {
        let left = self.views.iter().skip(self.at);
        let left = left.map(|view| view.keys.len() - view.resolved).sum();
        let mut keys = RowKeys::with_capacity(most.min(left));
        for view in self.views.iter().skip(self.at) {
            let id = view.resolver.view().id;
            let left = (view.resolved..view.keys.len()).filter_map(|at| view.keys.get(at));
            let room = most - keys.len();
            left.take(room).for_each(|key| keys.push(id, key));
        }
        keys
    }

    /// Resolves the rows of the keys that came next, or of the first of them. From which records they come is noted in
    /// `sources`, where that is asked for.
    ///
    /// # Errors
    /// If a row is damaged, or the answer grows too large.
    pub fn resolve(
        &mut self,
        rows: &[Option<KeyedRow>],
        mut sources: Option<&mut Sources>,
    ) -> Result<(), Error> {
        let mut rows = rows.iter();
        while let (Some(view), false) = (self.views.get_mut(self.at), rows.as_slice().is_empty()) {
            let before = view.resolver.payload_bytes();
            let left = view.keys.len() - view.resolved;
            for row in rows.by_ref().take(left) {
                let row = row.as_ref().and_then(KeyedRow::row);
                if let (Some(sources), Some(row)) = (&mut sources, row) {
                    note_sources(view.resolver.view().id, row, sources)?;
                }
                resolve(&mut view.resolver, row)?;
                view.resolved += 1;
                let bytes = self.payload_bytes + view.resolver.payload_bytes() - before;
                let max = limits::ANSWER_BYTES;
                if bytes > max {
                    return Err(Error::AnswerTooLarge { max });
                }
            }
            self.payload_bytes += view.resolver.payload_bytes() - before;
            if view.resolved == view.keys.len() {
                self.at += 1;
            }
        }
        Ok(())
    }

    /// Bytes of the stored values resolved so far.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The columns, in the order of the selections.
    pub fn finish(self) -> Columns {
        let views = self.views.into_iter();
        views.map(|view| view.resolver.finish()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::{Budget, Epoch, Hlc, RegionId, Seq, Stamp};
    use crate::model::cells::put_cell;
    use crate::model::row::Write;
    use crate::model::value::{Items, Value};
    use crate::model::view_file::parse_view;
    use crate::model::{Catalogue, MergeMode, Order, Version};

    fn stamp(seq: u64) -> Stamp {
        Stamp {
            hlc: Hlc::from_millis(seq),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(seq),
        }
    }

    fn catalogue(views: usize) -> Catalogue {
        let mut catalogue = Catalogue::new();
        for view in 0..views {
            let text = format!(
                r#"
                name = "v{view}"
                entity = [{{ name = "id", type = "int64" }}]
                feature = [{{ name = "f", type = "int64" }}]
                "#
            );
            let create = catalogue.create(parse_view(&text).unwrap()).unwrap();
            catalogue.apply(stamp(1), &create);
        }
        catalogue
    }

    proptest! {
        /// However many rows are asked for at once, and however few of them are read.
        #[test]
        fn each_selection_gets_the_rows_of_its_keys_in_order(
            entities in prop::collection::vec(prop::collection::vec(any::<Option<i64>>(), 0..8), 1..6),
            most in 1_usize..12,
            read in prop::collection::vec(1_usize..12, 40),
        ) {
            let catalogue = catalogue(entities.len());
            let selection = |(view, values): (usize, &Vec<Option<i64>>)| {
                let view = catalogue.view(&format!("v{view}")).unwrap().clone();
                let mut keys = PackedBytes::default();
                for number in 0..values.len() {
                    keys.push_with(|out| out.extend_from_slice(&number.to_be_bytes()));
                }
                Selection { features: view.spec.features.clone(), view, keys }
            };
            let selections: Vec<Selection> = entities.iter().enumerate().map(selection).collect();
            let views: Vec<_> = selections.iter().map(|selection| selection.view.clone()).collect();
            let row = |key: &[u8]| {
                let (view, number) = key.split_at(8);
                let at = views.iter().position(|known| known.id.0.to_be_bytes() == view).unwrap();
                let number = usize::from_be_bytes(number.try_into().unwrap());
                let value = entities[at][number]?;
                let feature = &views[at].spec.features[0];
                let mut cells = Vec::new();
                put_cell(&mut cells, feature.id, feature.value_type, &Value::Int64(value));
                let write = Write {
                    merge: MergeMode::Row,
                    order: Order::EventTime,
                    version: Version { event_time: Micros(1), stamp: stamp(2) },
                    cells: Some(&cells),
                };
                Some(write.row().unwrap().encode())
            };
            let mut memory = Budget::new(1 << 20).account([127, 0, 0, 1].into()).hold();
            let purge = Purge::new(Hlc::default(), catalogue.clone());
            let selected = Selected::new(selections, Wanted::default(), Micros(2), &purge, &mut memory);
            let (mut selected, mut sources) = (selected.unwrap(), Sources::default());
            let mut read = read.into_iter().cycle();
            loop {
                let keys = selected.next_keys(most);
                if keys.is_empty() {
                    break;
                }
                prop_assert!(keys.len() <= most);
                let keyed = keys.iter().map(|key| Some(KeyedRow::new(key, row(key).as_deref())));
                let rows: Vec<_> = keyed.take(read.next().unwrap()).collect();
                selected.resolve(&rows, Some(&mut sources)).unwrap();
            }
            let is_any = entities.iter().flatten().any(Option::is_some);
            prop_assert_eq!(sources.len(), usize::from(is_any));
            for (columns, values) in selected.finish().into_iter().zip(&entities) {
                let found: Vec<bool> = columns[0].statuses.iter().map(|status| *status == 1).collect();
                let expected: Vec<bool> = values.iter().map(Option::is_some).collect();
                prop_assert_eq!(found, expected);
                let Items::Int64(items) = &columns[0].values else { panic!("it is an int64") };
                let expected: Vec<i64> = values.iter().map(|value| value.unwrap_or(0)).collect();
                prop_assert_eq!(items, &expected);
            }
        }
    }
}
