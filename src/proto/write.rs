//! Pure: puts and deletes as batches. Cells are encoded straight from the values of the message.

use super::invalid::{Invalid, Problem, check_bytes, check_count};
use super::keys::entity_key;
use super::names::{commit_level, find_features, find_view};
use super::v1;
use super::values::{type_name, value_from_proto};
use crate::base::{CommitLevel, Micros};
use crate::model::batch::{Batch, Change, RowChange, ViewRows};
use crate::model::{Catalogue, Feature, MergeMode, View, cells, limits};

/// A write as a client asks for it, names and types checked.
#[derive(Debug, Clone)]
pub struct Write {
    /// What to write.
    pub batch: Batch,
    /// How many copies to wait for, if the client says so.
    pub level: Option<CommitLevel>,
    /// The write's name, if the client gave one.
    pub request_id: Option<String>,
    /// The text of a session's token.
    pub session: Option<String>,
}

/// Checks a put.
///
/// # Errors
/// What is wrong first, and where.
pub fn write_of_put(
    request: v1::PutFeaturesRequest,
    catalogue: &Catalogue,
) -> Result<Write, Invalid> {
    check_groups(
        "writes",
        request.writes.iter().map(|group| group.rows.len()),
    )?;
    if request.override_stored {
        check_untimed(&request.writes)?;
    }
    let mut groups = Vec::with_capacity(request.writes.len());
    let mut bytes = 0;
    for (at, group) in request.writes.into_iter().enumerate() {
        groups.push(put_group(
            catalogue,
            group,
            &format!("writes[{at}]"),
            &mut bytes,
        )?);
    }
    let batch = Batch {
        groups,
        is_override: request.override_stored,
    };
    finish(batch, request.level, request.request_id, request.session)
}

fn check_untimed(groups: &[v1::ViewRows]) -> Result<(), Invalid> {
    for (group_at, group) in groups.iter().enumerate() {
        let mut rows = group.rows.iter();
        if let Some(row_at) = rows.position(|row| row.event_time_us.is_some()) {
            let field = format!("writes[{group_at}].rows[{row_at}].event_time_us");
            return Err(Problem::TimedOverride.at(field));
        }
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// What is wrong first, and where.
pub fn write_of_delete(
    request: v1::DeleteFeaturesRequest,
    catalogue: &Catalogue,
) -> Result<Write, Invalid> {
    let rows = request.deletes.iter().map(|group| group.keys.len());
    check_groups("deletes", rows)?;
    let mut groups = Vec::with_capacity(request.deletes.len());
    for (at, group) in request.deletes.into_iter().enumerate() {
        groups.push(delete_group(catalogue, group, &format!("deletes[{at}]"))?);
    }
    let batch = Batch {
        groups,
        is_override: false,
    };
    finish(batch, request.level, request.request_id, request.session)
}

fn check_groups(
    field: &'static str,
    rows: impl ExactSizeIterator<Item = usize>,
) -> Result<(), Invalid> {
    let groups = rows.len();
    let rows: usize = rows.sum();
    let checked = if rows == 0 {
        Err(Problem::Nothing { what: "rows" })
    } else {
        check_count("groups of rows", groups, limits::BATCH_GROUPS)
            .and_then(|()| check_count("rows", rows, limits::BATCH_ROWS))
    };
    checked.map_err(|problem| problem.at(field))
}

fn finish(
    batch: Batch,
    level: i32,
    request_id: String,
    session: Option<String>,
) -> Result<Write, Invalid> {
    check_bytes("request id", request_id.len(), limits::REQUEST_ID_BYTES)
        .map_err(|problem| problem.at("request_id"))?;
    Ok(Write {
        batch,
        level: commit_level(level)?,
        request_id: (!request_id.is_empty()).then_some(request_id),
        session,
    })
}

/// `bytes` sums up keys and cells over the groups of a batch.
fn put_group(
    catalogue: &Catalogue,
    group: v1::ViewRows,
    field: &str,
    bytes: &mut usize,
) -> Result<ViewRows, Invalid> {
    let view =
        find_view(catalogue, &group.view).map_err(|problem| problem.at(format!("{field}.view")))?;
    let features = find_features(view, &group.features, || format!("{field}.features"))?;
    let by_id = sorted_by_id(&features);
    let mut rows = Vec::with_capacity(group.rows.len());
    for (at, row) in group.rows.into_iter().enumerate() {
        let row = put_row(view, &by_id, row, || format!("{field}.rows[{at}]"))?;
        *bytes += row.key.as_bytes().len() + cells_of(&row).len();
        check_bytes("batch", *bytes, limits::BATCH_BYTES)
            .map_err(|problem| problem.at(format!("{field}.rows[{at}]")))?;
        rows.push(row);
    }
    Ok(ViewRows {
        view: view.clone(),
        rows,
    })
}

fn cells_of(row: &RowChange) -> &[u8] {
    match &row.change {
        Change::Put(cells) => cells,
        Change::Delete => &[],
    }
}

/// The order in which cells are encoded: each feature with the place of its value in the rows.
fn sorted_by_id<'a>(features: &[&'a Feature]) -> Vec<(usize, &'a Feature)> {
    let mut by_id: Vec<_> = features.iter().copied().enumerate().collect();
    by_id.sort_by_key(|(_, feature)| feature.id);
    by_id
}

/// Of a number of 64 bits, with feature id and tag.
const TYPICAL_CELL_BYTES: usize = 13;

fn put_row(
    view: &View,
    by_id: &[(usize, &Feature)],
    mut row: v1::Row,
    field: impl Fn() -> String,
) -> Result<RowChange, Invalid> {
    let key = entity_key(view, row.key, || format!("{}.key", field()))?;
    let (expected, found) = (by_id.len(), row.values.len());
    if expected != found {
        let what = "values";
        return Err(Problem::Count {
            what,
            expected,
            found,
        }
        .at(format!("{}.values", field())));
    }
    let mut encoded = Vec::with_capacity(TYPICAL_CELL_BYTES * by_id.len());
    for (at, feature) in by_id {
        let value = row
            .values
            .get_mut(*at)
            .map(std::mem::take)
            .unwrap_or_default();
        put_value(&mut encoded, feature, value)
            .map_err(|problem| problem.at(format!("{}.values[{at}]", field())))?;
    }
    if encoded.is_empty() && view.spec.merge == MergeMode::Cell {
        // It would replace nothing and say nothing; in a row view it clears the row.
        return Err(Problem::Nothing { what: "value" }.at(format!("{}.values", field())));
    }
    check_bytes("row", encoded.len(), limits::ROW_BYTES).map_err(|problem| problem.at(field()))?;
    Ok(RowChange {
        key,
        event_time: row.event_time_us.map(Micros),
        change: Change::Put(encoded.into()),
    })
}

/// Appends the cell of a value; nothing if it is absent.
fn put_value(out: &mut Vec<u8>, feature: &Feature, value: v1::Value) -> Result<(), Problem> {
    let Some(value) = value_from_proto(value)? else {
        return Ok(());
    };
    if !value.is_of(feature.value_type) {
        return Err(Problem::WrongType {
            what: "feature",
            name: feature.name.clone(),
            expected: feature.value_type.to_string(),
            found: type_name(Some(&value)),
        });
    }
    let before = out.len();
    cells::put_cell(out, feature.id, feature.value_type, &value);
    check_bytes("value", out.len() - before, limits::VALUE_BYTES)
}

fn delete_group(
    catalogue: &Catalogue,
    group: v1::ViewKeys,
    field: &str,
) -> Result<ViewRows, Invalid> {
    let view =
        find_view(catalogue, &group.view).map_err(|problem| problem.at(format!("{field}.view")))?;
    let mut rows = Vec::with_capacity(group.keys.len());
    for (at, key) in group.keys.into_iter().enumerate() {
        rows.push(RowChange {
            key: entity_key(view, key.key, || format!("{field}.keys[{at}].key"))?,
            event_time: key.event_time_us.map(Micros),
            change: Change::Delete,
        });
    }
    Ok(ViewRows {
        view: view.clone(),
        rows,
    })
}

#[cfg(test)]
#[path = "write_test.rs"]
mod tests;
