//! Pure: a look at rows between what the node takes and says and what goes over the wire.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{LogId, Seq};
use crate::engine::{Span, SpanSeen};
use crate::model::Catalogue;
use crate::model::comparison::SeenRow;
use crate::model::describe::entity_to_json;
use crate::proto::v1;
use crate::storage::split_row_key;

/// Rows of one look at the most.
const MAX_ROWS: usize = 65_536;

/// The span that is asked for.
pub(super) fn span(request: v1::CompareRowsRequest) -> Span {
    let max_rows = usize::try_from(request.max_rows).unwrap_or(MAX_ROWS);
    Span {
        from: request.from.into(),
        until: Some(request.until)
            .filter(|until| !until.is_empty())
            .map(Into::into),
        max_rows: match max_rows {
            1..=MAX_ROWS => max_rows,
            _ => MAX_ROWS,
        },
        each: request.each,
    }
}

/// What was seen, as an answer.
pub(super) fn seen_to_proto(seen: SpanSeen, catalogue: &Catalogue) -> v1::CompareRowsResponse {
    let mut applied = Vec::new();
    seen.applied.encode(&mut applied);
    let each = seen.each.into_iter();
    v1::CompareRowsResponse {
        applied: applied.into(),
        horizon: seen.horizon.0,
        rows: seen.rows,
        digest: Bytes::copy_from_slice(&seen.digest.0.to_le_bytes()),
        next: seen.next.unwrap_or_default().into(),
        each: each
            .map(|(key, row)| row_to_proto(key, row, catalogue))
            .collect(),
    }
}

fn row_to_proto(key: Vec<u8>, row: SeenRow, catalogue: &Catalogue) -> v1::ComparedRow {
    let (view, entity) = if let Ok((id, entity)) = split_row_key(&key) {
        let known = catalogue.by_id(id);
        let view = known.map_or_else(String::new, |view| view.spec.name.clone());
        (view, entity_to_json(known.map(Arc::as_ref), &entity))
    } else {
        // What a damaged disk made of a key has no other name.
        (String::new(), hex::encode(&key).into())
    };
    let name = |(log, seq): (LogId, Seq)| v1::RecordName {
        region: log.region.0,
        epoch: log.epoch.0,
        seq: seq.0,
    };
    v1::ComparedRow {
        key: key.into(),
        view,
        entity_json: entity.to_string(),
        digest: Bytes::copy_from_slice(&row.digest.0.to_le_bytes()),
        records: row.records.into_iter().map(name).collect(),
    }
}
