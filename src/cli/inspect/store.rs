//! `steadfast inspect store`

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::keys::prefix_of;
use super::super::output::{Output, grouped, plain, print, print_json, table};
use super::directory::{Directory, damaged};
use crate::base::explained;
use crate::model::describe::row_to_json;
use crate::model::{Catalogue, EntityKey, View};
use crate::storage::{ScanStart, State, Store};

/// What to print of a store.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data directory.
    dir: PathBuf,
    /// Print rows of this view; as JSON, one object per line.
    #[arg(long)]
    view: Option<String>,
    /// Only the row of this entity, or rows whose first join keys have these values.
    #[arg(long, value_name = "NAME=VALUE,…", requires = "view")]
    key: Option<String>,
    /// At most so many rows; 0 is without limit.
    #[arg(long, default_value_t = 100)]
    limit: u64,
    /// How to print the result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// Prints the store.
///
/// # Errors
/// If a node uses the directory, or the store cannot be read.
pub fn run(args: &Args) -> Result<(), CliError> {
    let directory = Directory::open(&args.dir)?;
    let store = directory.store()?;
    let catalogue = store.catalogue().map_err(|error| damaged(&error))?;
    match &args.view {
        Some(name) => {
            let view = catalogue.view(name).ok_or_else(|| {
                CliError::wrong(
                    "UNKNOWN_VIEW",
                    format!("there is no view {name:?} in the store"),
                )
            })?;
            rows(&store, &catalogue, view, args)
        }
        None => {
            let state = store.state().map_err(|error| damaged(&error))?;
            summary(&store, &state, &catalogue, args.output)
        }
    }
}

fn rows(store: &Store, catalogue: &Catalogue, view: &View, args: &Args) -> Result<(), CliError> {
    let prefix = args
        .key
        .as_deref()
        .map(|text| prefix_of(text, view))
        .transpose()?;
    let prefix = EntityKey::encode(&prefix.unwrap_or_default());
    let mut left = if args.limit == 0 {
        u64::MAX
    } else {
        args.limit
    };
    let visit = |key: EntityKey, row: &[u8]| {
        if left == 0 {
            return ControlFlow::Break(Ok(()));
        }
        left -= 1;
        let shown = row_to_json(view.id, &key, row, catalogue);
        let shown = shown.unwrap_or_else(
            |error| json!({ "key": hex::encode(key.as_bytes()), "damage": explained(&error) }),
        );
        let printed = match args.output {
            Output::Json => print_json(&shown),
            Output::Table => print(&line_of(&shown)),
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    };
    let ended = store.scan(view.id, &prefix, &ScanStart::First, visit);
    ended.map_err(|error| damaged(&error))?.unwrap_or(Ok(()))
}

fn line_of(row: &Json) -> String {
    let features = row["features"].as_object().into_iter().flatten();
    let features = features.map(|(name, cell)| {
        format!(
            "\n    {name} = {}   at {}, written {}",
            plain(&cell["value"]),
            plain(&cell["event_time"]),
            plain(&cell["stamp"])
        )
    });
    let deleted = row.get("deleted").filter(|version| !version.is_null());
    let deleted = deleted.map(|version| {
        let (at, stamp) = (plain(&version["event_time"]), plain(&version["stamp"]));
        format!("   deleted at {at}, written {stamp}")
    });
    let damage = row
        .get("damage")
        .map(|problem| format!("   damaged: {}", plain(problem)));
    let (deleted, damage) = (deleted.unwrap_or_default(), damage.unwrap_or_default());
    format!(
        "{}{deleted}{damage}{}",
        plain(&row["key"]),
        features.collect::<String>()
    )
}

fn summary(
    store: &Store,
    state: &State,
    catalogue: &Catalogue,
    output: Output,
) -> Result<(), CliError> {
    let lineage = store.lineage().map_err(|error| damaged(&error))?;
    let chains = state.chains.iter();
    let chains = chains.map(|(log, digest)| (log.to_string(), digest.to_string().into()));
    let state_json = json!({
        "lineage": lineage,
        "lsn": state.lsn.0,
        "applied": state.applied.0,
        "newest": state.newest.to_string(),
        "digest": state.digest.to_string(),
        "swept": state.swept.to_string(),
        "sweep": state.sweep.as_ref().map(|sweep| json!({ "horizon": sweep.horizon.to_string(), "next": hex::encode(&sweep.next) })),
        "horizon": state.horizon.as_ref().map(|horizon| horizon.horizon.to_string()),
        "opening": state.opening.as_ref().map(|opening| opening.log.to_string()),
        "chains": chains.collect::<serde_json::Map<_, Json>>(),
    });
    let name = |id| {
        catalogue
            .defined(id)
            .map_or_else(|| "-".to_owned(), |view| view.spec.name.clone())
    };
    let views = state.rows.iter().map(|(id, rows)| {
        let dropped = catalogue.is_dropped(*id);
        (name(*id), id.to_string(), dropped, *rows)
    });
    if output == Output::Json {
        let views = views.map(|(name, id, dropped, rows)| json!({ "view": name, "id": id, "dropped": dropped, "rows": rows }));
        return print_json(&json!({ "state": state_json, "views": views.collect::<Vec<_>>() }));
    }
    let mut out = table(["state", ""]);
    for (name, value) in state_json.as_object().into_iter().flatten() {
        out.add_row([name.clone(), plain(value)]);
    }
    print(&out.to_string())?;
    let mut out = table(["view", "id", "", "rows"]);
    for (name, id, dropped, rows) in views {
        let dropped = if dropped { "dropped" } else { "" };
        out.add_row([name, id, dropped.to_owned(), grouped(rows)]);
    }
    print(&out.to_string())
}
