//! Pure: names of views and features, and levels, looked up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::invalid::{Invalid, Problem, check_bytes, check_count, shown};
use super::v1;
use crate::base::{CommitLevel, ReadLevel};
use crate::model::limits;
use crate::model::{Catalogue, Feature, View};

/// The view in force of this name.
///
/// # Errors
/// If there is none, or the name is longer than names are.
pub fn find_view<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Arc<View>, Problem> {
    check_bytes("view name", name.len(), limits::NAME_BYTES)?;
    catalogue
        .view(name)
        .ok_or_else(|| Problem::UnknownView { name: shown(name) })
}

/// The features of these names, in order, each at most once, `field` being the path of the names.
pub(super) fn find_features<'a>(
    view: &'a View,
    names: &[String],
    field: impl Fn() -> String,
) -> Result<Vec<&'a Feature>, Invalid> {
    check_count("features", names.len(), limits::FEATURES)
        .map_err(|problem| problem.at(field()))?;
    let features = view.spec.features.iter();
    let by_name: HashMap<&str, &Feature> = features
        .map(|feature| (feature.name.as_str(), feature))
        .collect();
    let mut seen = HashSet::with_capacity(names.len());
    let mut found = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let feature = find_feature(view, &by_name, name).and_then(|feature| {
            if seen.insert(feature.id) {
                return Ok(feature);
            }
            Err(Problem::Duplicate {
                what: "feature",
                name: name.clone(),
            })
        });
        found.push(feature.map_err(|problem| problem.at(format!("{}[{at}]", field())))?);
    }
    Ok(found)
}

fn find_feature<'a>(
    view: &View,
    by_name: &HashMap<&str, &'a Feature>,
    name: &str,
) -> Result<&'a Feature, Problem> {
    check_bytes("feature name", name.len(), limits::NAME_BYTES)?;
    let found = by_name.get(name).copied();
    found.ok_or_else(|| Problem::UnknownFeature {
        view: view.spec.name.clone(),
        name: shown(name),
    })
}

/// The features a reader asks for; all of the view if none is named.
pub(super) fn wanted_features(
    view: &View,
    names: &[String],
    field: impl Fn() -> String,
) -> Result<Vec<Feature>, Invalid> {
    if names.is_empty() {
        return Ok(view.spec.features.clone());
    }
    Ok(find_features(view, names, field)?
        .into_iter()
        .cloned()
        .collect())
}

/// How many features [`wanted_features`] will find, if it finds all.
pub(super) fn wanted_count(view: &View, names: &[String]) -> usize {
    if names.is_empty() {
        view.spec.features.len()
    } else {
        names.len()
    }
}

/// The commit level of a request's field `level`; `None` leaves it to the set.
pub(super) fn commit_level(code: i32) -> Result<Option<CommitLevel>, Invalid> {
    match v1::CommitLevel::try_from(code) {
        Ok(v1::CommitLevel::Unspecified) => Ok(None),
        Ok(v1::CommitLevel::Async) => Ok(Some(CommitLevel::Async)),
        Ok(v1::CommitLevel::Quorum) => Ok(Some(CommitLevel::Quorum)),
        Ok(v1::CommitLevel::All) => Ok(Some(CommitLevel::All)),
        Err(_) => Err(no_level("commit level", code)),
    }
}

fn no_level(what: &'static str, code: i32) -> Invalid {
    Problem::UnknownCode { what, code }.at("level")
}

/// The message's code for a commit level.
#[must_use]
pub fn commit_level_to_proto(level: CommitLevel) -> v1::CommitLevel {
    match level {
        CommitLevel::Async => v1::CommitLevel::Async,
        CommitLevel::Quorum => v1::CommitLevel::Quorum,
        CommitLevel::All => v1::CommitLevel::All,
    }
}

/// The read level of a request's fields `level` and `max_staleness_ms`; `None` if it leaves that to the views.
///
/// # Errors
/// If it is none, or the bound belongs to another.
pub fn read_level(code: i32, max_staleness_ms: u32) -> Result<Option<ReadLevel>, Invalid> {
    let level = match v1::ReadLevel::try_from(code) {
        Ok(v1::ReadLevel::Bounded) => {
            let bound = Duration::from_millis(u64::from(max_staleness_ms));
            return Ok(Some(ReadLevel::Bounded(bound)));
        }
        Ok(v1::ReadLevel::Unspecified) => None,
        Ok(v1::ReadLevel::Local) => Some(ReadLevel::Local),
        Ok(v1::ReadLevel::Quorum) => Some(ReadLevel::Quorum),
        Ok(v1::ReadLevel::Primary) => Some(ReadLevel::Primary),
        Err(_) => return Err(no_level("read level", code)),
    };
    if max_staleness_ms != 0 {
        return Err(Problem::UnusedBound.at("max_staleness_ms"));
    }
    Ok(level)
}

/// The message's code for a read level.
#[must_use]
pub fn read_level_to_proto(level: ReadLevel) -> v1::ReadLevel {
    match level {
        ReadLevel::Local => v1::ReadLevel::Local,
        ReadLevel::Bounded(_) => v1::ReadLevel::Bounded,
        ReadLevel::Quorum => v1::ReadLevel::Quorum,
        ReadLevel::Primary => v1::ReadLevel::Primary,
    }
}
