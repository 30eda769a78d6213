//! Pure: records and stored rows as JSON, for people who look at files.
//!
//! Keys and values are decoded as far as the catalogue knows the view, dropped or not; otherwise a key is hexadecimal and a feature goes
//! by its id. Cells carry their types, so values can always be shown.

use serde_json::{Map, Value as Json, json};

use super::catalogue::Catalogue;
use super::cells::{CellRef, Cells, decode_value};
use super::json::{key_to_json, time_to_json, value_to_json};
use super::key::EntityKey;
use super::record::{Body, Record, RowGroup, RowWrite};
use super::row::{BodyRef, RowRef};
use super::view::{View, ViewId};
use crate::base::codec::DecodeError;

/// The members of a record as JSON.
///
/// # Errors
/// If the cells of a write are damaged.
pub fn record_to_json(
    record: &Record,
    catalogue: &Catalogue,
) -> Result<Map<String, Json>, DecodeError> {
    let stamp = record.stamp;
    let (kind, body) = body_to_json(&record.body, catalogue)?;
    let request = record.request.as_ref().map(|request| {
        json!({ "caller": request.caller, "id": request.id, "body_hash": request.body_hash.to_string() })
    });
    let members = [
        ("log", stamp.log().to_string().into()),
        ("seq", stamp.seq.0.into()),
        ("stamp", stamp.to_string().into()),
        ("kind", kind.into()),
        ("request", request.into()),
        ("chain_before", record.chain_before.to_string().into()),
        ("body", body),
    ];
    let members = members.into_iter();
    Ok(members
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

fn body_to_json(body: &Body, catalogue: &Catalogue) -> Result<(&'static str, Json), DecodeError> {
    Ok(match body {
        Body::Opening(opening) => (
            "opening",
            json!({ "floor": opening.floor.to_string(), "members": opening.members, "recovered": opening.recovered }),
        ),
        Body::Rows(rows) => {
            let groups = rows.groups.iter();
            let writes = groups.flat_map(|group| group.rows.iter().map(move |row| (group, row)));
            let writes = writes.map(|(group, row)| write_to_json(group, row, catalogue));
            let writes = writes.collect::<Result<Vec<_>, _>>()?;
            (
                "rows",
                json!({ "older": rows.older, "folded": rows.folded, "writes": writes }),
            )
        }
        Body::Definition(definition) => {
            let text = definition.to_json();
            (
                "definition",
                serde_json::from_str(&text).unwrap_or(Json::String(text)),
            )
        }
        Body::Marker(marker) => (
            "marker",
            json!({
                "applied": marker.applied,
                "swept": marker.swept.to_string(),
                "digest": marker.digest.to_string(),
            }),
        ),
        Body::Horizon(horizon) => (
            "horizon",
            json!({ "horizon": horizon.horizon.to_string(), "covered": horizon.covered }),
        ),
    })
}

fn write_to_json(
    group: &RowGroup,
    write: &RowWrite,
    catalogue: &Catalogue,
) -> Result<Json, DecodeError> {
    let view = catalogue.defined(group.view).map(AsRef::as_ref);
    let values = write.cells.as_ref().map(|encoded| {
        let cells = Cells::new(encoded).map(|cell| named_value(view, &cell?));
        cells.collect::<Result<Map<_, _>, _>>()
    });
    Ok(json!({
        "view": view_name(view, group.view),
        "dropped": catalogue.is_dropped(group.view),
        "change": if write.cells.is_some() { "put" } else { "delete" },
        "key": entity_to_json(view, &write.key),
        "event_time": time_to_json(write.event_time),
        "values": values.transpose()?,
    }))
}

/// A stored row as a JSON object.
///
/// # Errors
/// If the row is damaged.
pub fn row_to_json(
    id: ViewId,
    key: &EntityKey,
    row: &[u8],
    catalogue: &Catalogue,
) -> Result<Json, DecodeError> {
    let view = catalogue.defined(id).map(AsRef::as_ref);
    let row = RowRef::parse(row)?;
    let tombstone = match row.body {
        BodyRef::Whole { version, cells } => cells.is_none().then_some(version),
        BodyRef::Cells { tombstone, .. } => tombstone,
    };
    let mut features = Map::new();
    for cell in row.cells() {
        let (cell, version) = cell?;
        let (name, value) = named_value(view, &cell)?;
        let (event_time, stamp) = (time_to_json(version.event_time), version.stamp.to_string());
        let cell = json!({ "value": value, "event_time": event_time, "stamp": stamp });
        features.insert(name, cell);
    }
    let deleted = tombstone.map(|version| {
        let (event_time, stamp) = (time_to_json(version.event_time), version.stamp.to_string());
        json!({ "event_time": event_time, "stamp": stamp })
    });
    Ok(json!({
        "view": view_name(view, id),
        "key": entity_to_json(view, key),
        "deleted": deleted,
        "features": features,
    }))
}

fn view_name(view: Option<&View>, id: ViewId) -> String {
    view.map_or_else(|| id.to_string(), |view| view.spec.name.clone())
}

fn named_value(view: Option<&View>, cell: &CellRef<'_>) -> Result<(String, Json), DecodeError> {
    let features = view.into_iter().flat_map(|view| &view.spec.features);
    let name = features
        .filter(|feature| feature.id == cell.feature)
        .map(|feature| feature.name.clone())
        .next();
    let name = name.unwrap_or_else(|| cell.feature.to_string());
    Ok((name, value_to_json(&decode_value(cell)?)))
}

/// The join keys by name; in hexadecimal if the view is not known or the key is not one of its keys.
pub fn entity_to_json(view: Option<&View>, key: &EntityKey) -> Json {
    let named = view.and_then(|view| {
        let values = key.decode(&view.key_types()).ok()?;
        let names = view
            .spec
            .entity
            .iter()
            .map(|join_key| join_key.name.clone());
        Some(
            names
                .zip(values.iter().map(key_to_json))
                .collect::<Map<_, _>>(),
        )
    });
    named.map_or_else(|| hex::encode(key.as_bytes()).into(), Json::Object)
}

#[cfg(test)]
#[path = "describe_test.rs"]
mod tests;
