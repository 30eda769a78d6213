//! Pure: lookups, from a request's columns of join keys to entity keys, and from resolved columns to the answer's.

use std::sync::Arc;

use super::invalid::{Invalid, Problem, check_count};
use super::keys::EntityColumns;
use super::names::{find_view, wanted_count, wanted_features};
use super::v1;
use super::values::items_to_proto;
use crate::base::{PackedBytes, ReadLevel};
use crate::model::resolve::{Column, Wanted};
use crate::model::{Catalogue, Feature, View, limits};

/// A lookup as a client asks for it, names and types checked.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// What to look up, view by view.
    pub selections: Vec<Selection>,
    /// How current the answer must be.
    pub level: ReadLevel,
    /// How to answer.
    pub wanted: Wanted,
    /// The text of a session's token.
    pub session: Option<String>,
}

/// Features of many entities in one view.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The view.
    pub view: Arc<View>,
    /// The features, in the order of the request.
    pub features: Vec<Feature>,
    /// The encoded keys of the entities, in the order of the request, duplicates included.
    pub keys: PackedBytes,
}

/// Checks a lookup that is to be answered at this level.
///
/// # Errors
/// What is wrong first, and where.
pub fn lookup_of_get(
    request: v1::GetFeaturesRequest,
    level: ReadLevel,
    catalogue: &Catalogue,
) -> Result<Lookup, Invalid> {
    if request.views.is_empty() {
        return Err(Problem::Nothing { what: "views" }.at("views"));
    }
    check_count("views", request.views.len(), limits::LOOKUP_VIEWS)
        .map_err(|problem| problem.at("views"))?;
    let mut entities = EntityColumns::new(request.entities)?;
    let mut selections = Vec::with_capacity(request.views.len());
    let mut values = 0;
    for (at, selection) in request.views.into_iter().enumerate() {
        let field = || format!("views[{at}]");
        let view = find_view(catalogue, &selection.view)
            .map_err(|problem| problem.at(format!("{}.view", field())))?;
        // Before anything is built for them.
        values += wanted_count(view, &selection.features) * entities.entities();
        check_count("values asked for", values, limits::LOOKUP_VALUES)
            .map_err(|problem| problem.at(field()))?;
        selections.push(select(view, &mut entities, &selection.features, field)?);
    }
    entities.check_all_used()?;
    let wanted = Wanted {
        defaults: request.use_defaults,
        event_times: request.include_event_times,
    };
    Ok(Lookup {
        selections,
        level,
        wanted,
        session: request.session,
    })
}

fn select(
    view: &Arc<View>,
    entities: &mut EntityColumns,
    names: &[String],
    field: impl Fn() -> String,
) -> Result<Selection, Invalid> {
    let features = wanted_features(view, names, || format!("{}.features", field()))?;
    let keys = entities.keys(view, || format!("{}.view", field()))?;
    Ok(Selection {
        view: Arc::clone(view),
        features,
        keys,
    })
}

/// The answer's columns of one view.
#[must_use]
pub fn view_columns(view: String, columns: Vec<Column>) -> v1::ViewColumns {
    v1::ViewColumns {
        view,
        columns: columns.into_iter().map(column_to_proto).collect(),
    }
}

/// The message of a column. Everything moves, nothing is copied.
#[must_use]
pub fn column_to_proto(column: Column) -> v1::FeatureColumn {
    v1::FeatureColumn {
        r#type: column.feature.value_type.to_string(),
        feature: column.feature.name,
        values: Some(items_to_proto(column.values)),
        statuses: column.statuses.into(),
        list_lengths: column.list_lengths,
        event_times_us: column.event_times,
    }
}

#[cfg(test)]
#[path = "lookup_test.rs"]
mod tests;
