//! Pure: what is known of an entity, from a stored row of a restored set or from the columns that a live one answers.

use std::collections::HashMap;

use super::decide::{Fact, Facts};
use crate::base::Micros;
use crate::base::codec::DecodeError;
use crate::client::Column;
use crate::model::cells::decode_value;
use crate::model::resolve::Status;
use crate::model::row::RowRef;
use crate::model::{Feature, FeatureId, View};

/// How stored rows of a restored view are read as of one moment, for a live view.
#[derive(Debug)]
pub struct Reading {
    /// Where the features stand in the live view that the restored one has, too, and up to which event time they have expired.
    places: HashMap<FeatureId, (usize, Option<Micros>)>,
    /// How many features the live view has.
    features: usize,
}

impl Reading {
    /// What has expired is said by the live view, as for its own rows.
    #[must_use]
    pub fn new(restored: &View, live: &View, now: Micros) -> Reading {
        let floor = live.expiry_floor(now);
        let floor = |feature: &Feature| floor.max(feature.max_age.map(|age| now.minus(age)));
        let of_both = live.spec.features.iter().enumerate();
        let of_both = of_both.filter(|(_, feature)| restored.feature(&feature.name).is_some());
        let places = of_both.map(|(at, feature)| (feature.id, (at, floor(feature))));
        Reading {
            places: places.collect(),
            features: live.spec.features.len(),
        }
    }

    /// What a stored row says.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn facts(&self, row: &[u8]) -> Result<Facts, DecodeError> {
        let mut facts = vec![Fact::Absent; self.features];
        for cell in RowRef::parse(row)?.cells() {
            let (cell, version) = cell?;
            let place = self.places.get(&cell.feature);
            let Some((at, floor)) = place else {
                continue;
            };
            let time = version.event_time;
            if let Some(fact) = facts.get_mut(*at) {
                *fact = if Some(time) <= *floor {
                    Fact::Expired(time)
                } else {
                    Fact::Present(decode_value(&cell)?, time)
                };
            }
        }
        Ok(facts)
    }
}

/// What an answer says of one of its entities.
#[must_use]
pub fn facts_of(columns: &[Column], entity: usize) -> Facts {
    let fact = |column: &Column| {
        let cell = column.cells().get(entity)?;
        let time = cell.event_time?;
        match cell.status {
            Status::Present | Status::Null => Some(Fact::Present(cell.value.clone(), time)),
            Status::Expired => Some(Fact::Expired(time)),
            Status::NotFound => None,
        }
    };
    let facts = columns.iter();
    facts
        .map(|column| fact(column).unwrap_or(Fact::Absent))
        .collect()
}
