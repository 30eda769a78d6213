//! Rows and their merge. An input is three rows, the first two behind their lengths (u16).

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use steadfast::base::Micros;
use steadfast::base::codec::Reader;
use steadfast::model::row::{Content, RowRef, Write, check as check_row};
use steadfast::model::version::{Order, Version};
use steadfast::model::{FeatureId, Items, MergeMode, Row, Scalar, Value, ValueType, cells};

use super::{bounded, stamp};

/// A cell of 7 bytes becomes an entry of a map and bytes of its own.
const MULTIPLE: u64 = 80;

pub fn check(bytes: &[u8]) {
    let Some(parts) = split(bytes) else {
        return;
    };
    let rows: Vec<Row> = parts.into_iter().filter_map(check_one).collect();
    for a in &rows {
        for b in &rows {
            check_two(a, b);
        }
    }
    if let [a, b, c] = &rows[..]
        && [(a, b), (a, c), (b, c)]
            .iter()
            .all(|(one, other)| may_meet(one, other))
    {
        let left = a.clone().merge(b.clone()).merge(c.clone());
        let right = a.clone().merge(b.clone().merge(c.clone()));
        assert_eq!(left, right, "not associative");
    }
}

fn split(bytes: &[u8]) -> Option<[&[u8]; 3]> {
    let mut reader = Reader::new(bytes);
    let mut part = || {
        let length = reader.u16("length").ok()?;
        reader.bytes("row", usize::from(length)).ok()
    };
    let (first, second) = (part()?, part()?);
    Some([first, second, reader.rest()])
}

/// The row, if it is one in canonical bytes.
fn check_one(bytes: &[u8]) -> Option<Row> {
    let decoded = bounded(bytes.len(), MULTIPLE, || Row::decode(bytes));
    let checked = check_row(bytes);
    let row = decoded.ok()?;
    let encoded = row.encode();
    assert_eq!(Row::decode(&encoded).as_ref(), Ok(&row));
    checked.ok()?;
    assert_eq!(encoded, bytes, "checked, but not canonical");
    let mut cells = RowRef::parse(bytes).expect("decoded before").cells();
    assert!(cells.all(|cell| cell.is_ok()));
    Some(row)
}

fn check_two(a: &Row, b: &Row) {
    if !may_meet(a, b) {
        return;
    }
    let merged = a.clone().merge(b.clone());
    check_row(&merged.encode()).expect("a merge is canonical");
    assert_eq!(b.clone().merge(a.clone()), merged, "not commutative");
    assert_eq!(a.clone().merge(a.clone()), *a, "not idempotent");
    assert_eq!(merged.clone().merge(a.clone()), merged, "not absorbing");
}

/// A stamp names one write, which says one thing of a row: no rows of a store contradict each other in that.
fn may_meet(a: &Row, b: &Row) -> bool {
    let mut said = BTreeMap::new();
    let mut facts = facts(a);
    facts.extend(self::facts(b));
    facts.into_iter().all(|((version, part), fact)| {
        let stamp = version.stamp;
        let whole = (version.event_time, Vec::new());
        *said.entry((stamp, None)).or_insert_with(|| whole.clone()) == whole
            && *said
                .entry((stamp, Some(part)))
                .or_insert_with(|| fact.clone())
                == fact
    })
}

type Fact = ((Version, Option<FeatureId>), (Micros, Vec<u8>));

/// What a row says under each stamp: of the whole row, of one feature, or (empty) its deletion.
fn facts(row: &Row) -> Vec<Fact> {
    let fact = |version: Version, part, bytes: Option<&[u8]>| {
        let mut said = vec![u8::from(bytes.is_some())];
        said.extend_from_slice(bytes.unwrap_or_default());
        ((version, part), (version.event_time, said))
    };
    match &row.content {
        Content::Whole { version, cells } => vec![fact(*version, None, cells.as_deref())],
        Content::Cells { tombstone, cells } => {
            let dead = tombstone.iter().map(|dead| fact(*dead, None, None));
            let live = cells.iter().flat_map(|(feature, cell)| {
                let put = fact(cell.version, None, Some(&[]));
                [put, fact(cell.version, Some(*feature), Some(&cell.encoded))]
            });
            dead.chain(live).collect()
        }
    }
}

/// Cells of every type, null among them.
pub fn all_types() -> Vec<u8> {
    let mut out = Vec::new();
    let mut feature = 0;
    for scalar in Scalar::ALL {
        let mut items = Items::with_capacity(scalar, 2);
        items.push_blank();
        items.push_blank();
        let single = items.get(0).expect("two were pushed");
        let list = (ValueType::List(scalar), Value::List(items));
        let null = (ValueType::List(scalar), Value::Null);
        for (value_type, value) in [(ValueType::Scalar(scalar), single), list, null] {
            cells::put_cell(&mut out, FeatureId(feature), value_type, &value);
            feature += 1;
        }
    }
    out
}

pub fn seeds() -> Vec<Vec<u8>> {
    let few = {
        let mut out = Vec::new();
        cells::put_cell(
            &mut out,
            FeatureId(1),
            ValueType::Scalar(Scalar::Int32),
            &Value::Int32(5),
        );
        out
    };
    let all = all_types();
    let write = |merge, order, seq: u64, cells: Option<&[u8]>| {
        let event_time = Micros(i64::try_from(seq % 3).expect("small"));
        let version = Version {
            event_time,
            stamp: stamp(seq),
        };
        Write {
            merge,
            order,
            version,
            cells,
        }
        .row()
        .expect("the cells are valid")
    };
    let mut seeds = Vec::new();
    for merge in [MergeMode::Row, MergeMode::Cell] {
        for order in [Order::EventTime, Order::Arrival] {
            let whole = write(merge, order, 1, Some(&all));
            let part = write(merge, order, 2, Some(&few));
            let dead = write(merge, order, 3, None);
            let mixed = dead.clone().merge(whole.clone()).merge(part.clone());
            seeds.push(joined(&whole, &part, &dead));
            seeds.push(joined(&mixed, &dead, &part));
        }
    }
    seeds
}

fn joined(a: &Row, b: &Row, c: &Row) -> Vec<u8> {
    let mut out = Vec::new();
    for row in [a, b] {
        let encoded = Bytes::from(row.encode());
        out.put_u16_le(u16::try_from(encoded.len()).expect("a short row"));
        out.put(encoded);
    }
    out.extend_from_slice(&c.encode());
    out
}
