use std::cell::RefCell;
use std::ops::Bound;

use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, LogId, RegionId, Seq};

const LOG: LogId = LogId {
    region: RegionId(1),
    epoch: Epoch(1),
};

type Rows = BTreeMap<Vec<u8>, SeenRow>;

/// Holds these rows, and has applied so much of the log. At each listing it applies some more of what comes.
struct Fake {
    held: RefCell<(Rows, VersionVector)>,
    coming: RefCell<Vec<(Vec<u8>, SeenRow, Seq)>>,
    /// Rows of one answer.
    at_once: usize,
}

impl Member for Fake {
    async fn look_at(&self, span: &Span) -> Result<Seen, CliError> {
        if span.each
            && let Some((key, row, seq)) = self.coming.borrow_mut().pop()
        {
            let mut held = self.held.borrow_mut();
            held.0.insert(key, row);
            held.1.advance(LOG, seq);
        }
        let held = self.held.borrow();
        let until = span.until.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let from = Bound::Included(span.from.clone());
        let mut rows = held.0.range((from, until)).peekable();
        let mut seen = Seen {
            applied: held.1.clone(),
            horizon: Hlc(0),
            rows: 0,
            digest: Digest::EMPTY,
            next: None,
            each: BTreeMap::new(),
        };
        for (key, row) in rows.by_ref().take(self.at_once) {
            seen.rows += 1;
            seen.digest = seen.digest.plus(row.digest);
            let name = RowName {
                view: "v".to_owned(),
                entity: format!("{key:?}").into(),
            };
            let row = row.clone();
            if span.each {
                seen.each.insert(key.clone(), ListedRow { name, row });
            }
        }
        seen.next = rows.next().map(|(key, _)| key.clone());
        Ok(seen)
    }
}

fn row(value: u128, seq: u64) -> SeenRow {
    SeenRow {
        digest: Digest(value),
        records: vec![(LOG, Seq(seq))],
    }
}

fn upto(seq: u64) -> VersionVector {
    let mut applied = VersionVector::new();
    (1..=seq).for_each(|seq| applied.advance(LOG, Seq(seq)));
    applied
}

fn report_of(members: &[Fake]) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let comparison = Comparison {
        patience: 3 * LOOK_AGAIN_EVERY,
        ..Comparison::new(members)
    };
    runtime.block_on(comparison.run(|_| ())).unwrap()
}

proptest! {
    #[test]
    fn exactly_the_rows_that_differ_are_named(
        rows in prop::collection::btree_map(prop::collection::vec(0..4u8, 1..4), 1..u64::MAX, 0..40),
        altered in prop::collection::vec((any::<prop::sample::Index>(), 0..3usize, any::<bool>()), 0..5),
        at_once in prop::collection::vec(1..9usize, 3),
    ) {
        let keys: Vec<_> = rows.keys().cloned().collect();
        let sound: Rows = rows.iter().map(|(key, value)| (key.clone(), row(u128::from(*value), 1))).collect();
        let mut members = [sound.clone(), sound.clone(), sound];
        let mut expected = BTreeSet::new();
        for (which, member, is_gone) in altered.iter().filter(|_| !keys.is_empty()) {
            let key = which.get(&keys);
            // At one member only: no two cancel out.
            if !expected.insert(key.clone()) {
                continue;
            }
            if *is_gone {
                members[*member].remove(key);
            } else {
                let other = Digest::of(&[key.as_slice(), &[u8::try_from(*member).unwrap()]].concat());
                members[*member].get_mut(key).unwrap().digest = other;
            }
        }
        let fakes: Vec<Fake> = members
            .iter()
            .zip(&at_once)
            .map(|(rows, at_once)| Fake {
                held: RefCell::new((rows.clone(), upto(9))),
                coming: RefCell::default(),
                at_once: *at_once,
            })
            .collect();
        let report = report_of(&fakes);
        let entities = report.differences.iter().map(|found| found.name.entity.as_str().unwrap().to_owned());
        let found: BTreeSet<String> = entities.collect();
        let expected: BTreeSet<String> = expected.iter().map(|key| format!("{key:?}")).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!((report.rows, report.unsettled), (keys.len() as u64, 0));
        for found in &report.differences {
            let held = |at: usize| members[at].iter().find(|(key, _)| format!("{key:?}") == found.name.entity).map(|(_, row)| row.digest);
            prop_assert_eq!(&found.held, &(0..3).map(held).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_member_that_catches_up_is_equal_and_one_that_does_not_is_unsettled() {
    for (catches_up, at_once) in [(true, 9), (true, 1), (false, 9), (false, 1)] {
        let key = vec![7];
        let old = BTreeMap::from([(key.clone(), row(1, 1))]);
        let new = BTreeMap::from([(key.clone(), row(2, 2))]);
        let member = |rows, seq, coming| Fake {
            held: RefCell::new((rows, upto(seq))),
            coming: RefCell::new(coming),
            at_once,
        };
        // The second one to come is applied only when looked at again.
        let coming = vec![(key, row(2, 2), Seq(2)), (vec![8], row(5, 1), Seq(1))];
        let coming = if catches_up { coming } else { Vec::new() };
        let mut ahead = new;
        if catches_up {
            ahead.insert(vec![8], row(5, 1));
        }
        let report = report_of(&[member(ahead, 2, Vec::new()), member(old, 1, coming)]);
        assert_eq!(report.differences, Vec::new());
        assert_eq!(report.unsettled, u64::from(!catches_up));
    }
}
