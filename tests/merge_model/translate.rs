//! Between the model's small values and the project's: rows, writes, definitions and times.

use std::time::Duration;

use bytes::Bytes;
use steadfast::base::{Epoch, Hlc, Micros, RegionId, Seq, Stamp as FullStamp};
use steadfast::model::cells::{self, Cells, put_cell};
use steadfast::model::definition::{Alteration, AlterationSpec, Definition};
use steadfast::model::resolve::Column;
use steadfast::model::row::{Content, Write as ModelWrite};
use steadfast::model::{
    Catalogue, EntityKey, Feature, Items, JoinKey, KeyType, KeyValue, MergeMode, Order,
    Row as ModelRow, Scalar, Value, ValueType, Version, View, ViewId, ViewSpec,
};

use super::setup::Setup;
use super::state::{GENERATIONS, Item, Kind, Record, Row, Stamp, Write};

/// Where the model's time 0 lies, so that event times before it are no special case.
const BEGINNING_MILLIS: u64 = 1_000;
const INT64: ValueType = ValueType::Scalar(Scalar::Int64);

/// A time of the model in milliseconds.
pub fn millis(time: u8) -> u64 {
    BEGINNING_MILLIS + u64::from(time)
}

/// A time of the model in microseconds.
pub fn micros(time: i64) -> Micros {
    Micros((i64::try_from(BEGINNING_MILLIS).unwrap() + time) * 1_000)
}

fn span(span: u8) -> Option<Duration> {
    (span > 0).then(|| Duration::from_millis(span.into()))
}

fn stamp(stamp: Stamp) -> FullStamp {
    FullStamp {
        hlc: Hlc::from_millis(millis(stamp.time())),
        region: RegionId(u64::try_from(stamp.region()).unwrap()),
        epoch: Epoch(1),
        seq: Seq(stamp.time().into()),
    }
}

/// A write of the project that owns its cells.
pub struct OwnedWrite {
    merge: MergeMode,
    pub order: Order,
    pub version: Version,
    pub cells: Option<Bytes>,
}

impl OwnedWrite {
    pub fn borrowed(&self) -> ModelWrite<'_> {
        ModelWrite {
            merge: self.merge,
            order: self.order,
            version: self.version,
            cells: self.cells.as_deref(),
        }
    }
}

/// Translates for one setup.
pub struct Translator {
    merge: MergeMode,
    order: Order,
    spec: ViewSpec,
    ids: Vec<ViewId>,
}

impl Translator {
    pub fn new(setup: &Setup) -> Translator {
        let merge = if setup.cells {
            MergeMode::Cell
        } else {
            MergeMode::Row
        };
        let order = if setup.arrival {
            Order::Arrival
        } else {
            Order::EventTime
        };
        let feature = |at: usize| {
            let max_age = span(setup.max_ages[at]);
            Feature::new(format!("f{at}"), INT64, None, max_age)
        };
        let join_key = JoinKey {
            name: "id".into(),
            key_type: KeyType::Int64,
        };
        let spec = ViewSpec {
            name: "view".into(),
            entity: vec![join_key],
            ttl: None,
            max_lateness: None,
            merge,
            order,
            read_level: None,
            features: vec![feature(0), feature(1)],
        };
        let generations = 0..u32::try_from(GENERATIONS).unwrap();
        let ids = generations
            .map(|generation| View::new(spec.clone(), generation).id)
            .collect();
        Translator {
            merge,
            order,
            spec,
            ids,
        }
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn view_id(&self, generation: u8) -> ViewId {
        self.ids[usize::from(generation)]
    }

    pub fn features(&self) -> Vec<Feature> {
        self.spec.features.clone()
    }

    pub fn key(&self) -> EntityKey {
        EntityKey::encode([&KeyValue::Int64(1)])
    }

    /// The catalogue that some definitions make, applied from the last to the first: their order must not matter.
    pub fn catalogue(&self, records: &[Record]) -> Catalogue {
        let mut catalogue = Catalogue::new();
        for record in records.iter().rev() {
            catalogue.apply(stamp(record.stamp), &self.definition(record));
        }
        catalogue
    }

    fn definition(&self, record: &Record) -> Definition {
        let view = self.view_id(record.generation);
        let altered = |alteration| Definition::Alter { view, alteration };
        match record.kind {
            Kind::Create => Definition::Create {
                generation: record.generation.into(),
                spec: ViewSpec {
                    ttl: span(record.arg),
                    max_lateness: span(record.event_time as u8),
                    ..self.spec.clone()
                },
            },
            Kind::Ttl => altered(Alteration {
                ttl: Some(span(record.arg)),
                ..Alteration::default()
            }),
            Kind::Lateness => altered(Alteration {
                max_lateness: Some(span(record.arg)),
                ..Alteration::default()
            }),
            Kind::Drop => Definition::Drop { view },
            Kind::Put | Kind::Delete | Kind::Horizon => panic!("no definition: {record}"),
        }
    }

    /// Would the catalogue let an owner set `max_lateness` so?
    pub fn may_set_lateness(&self, catalogue: &Catalogue, lateness: u8) -> bool {
        let wanted = AlterationSpec {
            max_lateness: Some(span(lateness)),
            ..AlterationSpec::default()
        };
        catalogue.alter(self.name(), wanted).is_ok()
    }

    /// The cells of a put of these features, each with its stamp as its value.
    pub fn cells(&self, features: u8, stamp: u8) -> Bytes {
        let named = self.spec.features.iter().enumerate();
        let named = named.filter(|(at, _)| features & 1 << at != 0);
        let mut ids: Vec<_> = named.map(|(_, feature)| feature.id).collect();
        ids.sort();
        let mut cells = Vec::new();
        for id in ids {
            put_cell(&mut cells, id, INT64, &Value::Int64(stamp.into()));
        }
        cells.into()
    }

    fn version(&self, item: Item) -> Version {
        Version {
            event_time: micros(item.event_time.into()),
            stamp: stamp(item.stamp),
        }
    }

    pub fn write(&self, write: Write) -> OwnedWrite {
        let cells = || self.cells(write.features, write.item.stamp.0);
        OwnedWrite {
            merge: self.merge,
            order: self.order,
            version: self.version(write.item),
            cells: (!write.is_delete()).then(cells),
        }
    }

    /// The project's row; none where nothing is held.
    pub fn row(&self, row: Row) -> Option<ModelRow> {
        let writes = row.items(self.merge == MergeMode::Cell);
        let mut rows = writes
            .into_iter()
            .map(|write| self.write(write).borrowed().row().unwrap());
        let Some(Content::Cells { .. }) = rows.clone().next().map(|row| row.content) else {
            return rows.next_back();
        };
        let (mut dead, mut all) = (None, std::collections::BTreeMap::new());
        for row in rows {
            if let Content::Cells { tombstone, cells } = row.content {
                dead = dead.or(tombstone);
                all.extend(cells);
            }
        }
        let (tombstone, cells) = (dead, all);
        Some(ModelRow {
            order: self.order,
            content: Content::Cells { tombstone, cells },
        })
    }

    /// The model's row of a project's row. Panics if the row holds what nobody wrote.
    pub fn read_row(&self, row: Option<&ModelRow>) -> Row {
        let mut read = Row::default();
        match row.map(|row| &row.content) {
            None => {}
            Some(Content::Whole {
                version,
                cells: None,
            }) => read.0[0] = self.item(version),
            Some(Content::Whole {
                version,
                cells: Some(cells),
            }) => self.read_cells(&mut read, version, cells),
            Some(Content::Cells { tombstone, cells }) => {
                read.0[0] = tombstone
                    .as_ref()
                    .map_or(Item::default(), |dead| self.item(dead));
                for cell in cells.values() {
                    self.read_cells(&mut read, &cell.version, &cell.encoded);
                }
            }
        }
        read
    }

    fn read_cells(&self, row: &mut Row, version: &Version, encoded: &[u8]) {
        let item = self.item(version);
        for cell in Cells::new(encoded) {
            let cell = cell.unwrap();
            let at = self
                .spec
                .features
                .iter()
                .position(|feature| feature.id == cell.feature);
            let value = cells::decode_value(&cell).unwrap();
            assert_eq!(
                value,
                Value::Int64(item.stamp.0.into()),
                "a value is that of its version"
            );
            row.0[at.unwrap() + 1] = item;
        }
    }

    fn item(&self, version: &Version) -> Item {
        let time = u8::try_from(version.stamp.hlc.millis() - BEGINNING_MILLIS).unwrap();
        let region = usize::try_from(version.stamp.region.0).unwrap();
        Item {
            event_time: self.event_time(version.event_time),
            stamp: Stamp::new(time, region),
        }
    }

    pub fn event_time(&self, at: Micros) -> i8 {
        i8::try_from((at.0 - micros(0).0) / 1_000).unwrap()
    }

    /// The value that a column answers for the only row.
    pub fn value(&self, column: &Column) -> u8 {
        match &column.values {
            Items::Int64(values) => u8::try_from(values[0]).unwrap(),
            other => panic!("{other:?} of an int64 feature"),
        }
    }
}
