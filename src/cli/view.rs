//! `steadfast view`

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::connection::Connection;
use super::error::CliError;
use super::keys::read_text;
use super::output::{Output, grouped, plain, print, print_json, table};
use crate::base::ReadLevel;
use crate::client::{Error, view_from_wire};
use crate::model::json::value_to_json;
use crate::model::view_file::NODE_DEFAULT;
use crate::model::{Feature, JoinKey, View};
use crate::proto::v1;

const ALTER_EXAMPLES: &str = r#"Examples:
  steadfast view alter aircraft_stats --ttl 60d --max-lateness 3d
  steadfast view alter aircraft_stats --default flights_total=0 --default last_origin='"EWR"'
  steadfast view alter aircraft_stats --drop-feature cancelled_total"#;

const EXAMPLES: &str = r#"Examples:
  steadfast view create aircraft_stats.toml
  steadfast view list
  steadfast view describe aircraft_stats
  steadfast view add-feature aircraft_stats feature.toml
  steadfast view drop aircraft_stats

A view file:
  name = "aircraft_stats"
  entity = [{ name = "tailnum", type = "string" }]
  ttl = "30d"           # how long after its event time a row lives; "0" (the default) is for ever
  max_lateness = "2d"   # how late a write is still taken; "0" (the default) is without bound
  merge = "row"         # a write replaces the row; "cell": only the features it names
  order = "event_time"  # the newest event time wins; "arrival": the last write wins
  read_level = "quorum" # of lookups that name none; "default" (the default) is what each node is configured to
  [[feature]]
  name = "mean_arr_delay_last10"
  type = "double"       # bool int32 int64 float double string bytes timestamp, list<...> of one
  default = 0.0         # for readers that ask for defaults
  max_age = "12h"       # older values are EXPIRED"#;

/// Create, list, describe, extend and drop views
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a view from a view file
    Create {
        /// The view file (TOML); - is standard input.
        file: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
    /// List the views
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Print a view's definition
    Describe {
        /// The view.
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Change settings of a view
    ///
    /// A longer ttl keeps what still lives and revives nothing. `max_lateness` only grows. Values of a dropped feature
    /// are no longer answered, and its name cannot be taken again with the same type.
    #[command(after_help = ALTER_EXAMPLES)]
    Alter {
        /// The view.
        name: String,
        /// How long after its event time a row lives; 0 is for ever.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<String>,
        /// How long after its event time a write is still taken; 0 is without bound.
        #[arg(long, value_name = "DURATION")]
        max_lateness: Option<String>,
        /// The level of lookups that name none: local, bounded:500ms, quorum, primary, or default, which is what each node is
        /// configured to.
        #[arg(long, value_name = "LEVEL")]
        read_level: Option<String>,
        /// A new default, its value as JSON; null takes the default away. Repeat it for more.
        #[arg(long = "default", value_name = "FEATURE=JSON")]
        defaults: Vec<String>,
        /// A feature to drop; repeat it for more.
        #[arg(long = "drop-feature", value_name = "FEATURE")]
        drop_features: Vec<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Drop a view with all its rows
    Drop {
        /// The view.
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Add a feature to a view
    AddFeature {
        /// The view.
        name: String,
        /// A file with one [[feature]] table (TOML); - is standard input.
        file: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
}

/// Runs one of the view commands.
///
/// # Errors
/// If a file cannot be read or the call fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Create { file, connection } => {
            let text = read_text(&file)?;
            let view = connection.client().await?.create_view(text).await?;
            describe(&view, connection.output)
        }
        Command::List { connection } => {
            let views = connection.client().await?.list_views().await?;
            list(&views, connection.output)
        }
        Command::Describe { name, connection } => {
            let view = connection.client().await?.describe_view(&name).await?;
            describe(&view, connection.output)
        }
        Command::Alter {
            name,
            ttl,
            max_lateness,
            read_level,
            defaults,
            drop_features,
            connection,
        } => {
            let settings = [
                ("ttl", ttl),
                ("max_lateness", max_lateness),
                ("read_level", read_level),
            ];
            let text = alteration(settings, &defaults, drop_features)?;
            let view = connection.client().await?.alter_view(&name, text).await?;
            describe(&view, connection.output)
        }
        Command::Drop { name, connection } => {
            connection.client().await?.drop_view(&name).await?;
            match connection.output {
                Output::Json => print_json(&json!({ "dropped": name })),
                Output::Table => print(&format!("dropped view {name}")),
            }
        }
        Command::AddFeature {
            name,
            file,
            connection,
        } => {
            let text = read_text(&file)?;
            let view = connection.client().await?.add_feature(&name, text).await?;
            describe(&view, connection.output)
        }
    }
}

/// The alteration as TOML, as the service takes it.
fn alteration(
    settings: [(&str, Option<String>); 3],
    defaults: &[String],
    drop_features: Vec<String>,
) -> Result<String, CliError> {
    let mut table = toml::Table::new();
    for (key, setting) in settings {
        if let Some(setting) = setting {
            table.insert(key.to_owned(), setting.into());
        }
    }
    let mut removed = Vec::new();
    let mut set = toml::Table::new();
    for default in defaults {
        let wrong = |problem: &str| CliError::usage(format!("--default {default}: {problem}"));
        let (feature, text) = default
            .split_once('=')
            .ok_or_else(|| wrong("expected FEATURE=JSON"))?;
        let json: Json = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        if json.is_null() {
            removed.push(feature.to_owned());
        } else {
            let value = toml::Value::try_from(json).map_err(|error| wrong(&error.to_string()))?;
            set.insert(feature.to_owned(), value);
        }
    }
    table.insert("remove_default".to_owned(), removed.into());
    table.insert("drop_feature".to_owned(), drop_features.into());
    table.insert("default".to_owned(), set.into());
    Ok(table.to_string())
}

fn list(views: &[v1::View], output: Output) -> Result<(), CliError> {
    if output == Output::Json {
        let views: Result<Vec<Json>, Error> = views.iter().map(to_json).collect();
        return print_json(&json!({ "views": views? }));
    }
    let mut out = table([
        "view", "entity", "features", "merge", "order", "ttl", "rows",
    ]);
    for wire in views {
        let view = view_from_wire(wire).map_err(Error::bad_answer)?;
        out.add_row([
            view.spec.name.clone(),
            entity_text(&view.spec.entity),
            view.spec.features.len().to_string(),
            wire.merge.clone(),
            wire.order.clone(),
            span_text(view.spec.ttl),
            grouped(wire.rows),
        ]);
    }
    print(&out.to_string())
}

fn describe(wire: &v1::View, output: Output) -> Result<(), CliError> {
    if output == Output::Json {
        return print_json(&to_json(wire)?);
    }
    let view = view_from_wire(wire).map_err(Error::bad_answer)?;
    print(&format!(
        "view {}   entity {}   merge {}   order {}   ttl {}   max_lateness {}   read level {}   rows {}   id {} generation {}",
        view.spec.name,
        entity_text(&view.spec.entity),
        wire.merge,
        wire.order,
        span_text(view.spec.ttl),
        span_text(view.spec.max_lateness),
        level_text(view.spec.read_level),
        grouped(wire.rows),
        view.id,
        view.generation,
    ))?;
    let mut out = table(["feature", "type", "default", "max_age", "id"]);
    for feature in &view.spec.features {
        out.add_row([
            feature.name.clone(),
            feature.value_type.to_string(),
            plain(&default_json(feature)),
            span_text(feature.max_age),
            feature.id.to_string(),
        ]);
    }
    print(&out.to_string())
}

fn to_json(wire: &v1::View) -> Result<Json, Error> {
    let view: View = view_from_wire(wire).map_err(Error::bad_answer)?;
    let join_key = |key: &JoinKey| json!({ "name": key.name, "type": key.key_type.name() });
    let feature = |feature: &Feature| {
        json!({
            "name": feature.name,
            "type": feature.value_type.to_string(),
            "default": default_json(feature),
            "max_age": span_text(feature.max_age),
            "id": feature.id.to_string(),
        })
    };
    Ok(json!({
        "name": view.spec.name,
        "entity": view.spec.entity.iter().map(join_key).collect::<Vec<_>>(),
        "features": view.spec.features.iter().map(feature).collect::<Vec<_>>(),
        "merge": wire.merge,
        "order": wire.order,
        "ttl": span_text(view.spec.ttl),
        "max_lateness": span_text(view.spec.max_lateness),
        "read_level": level_text(view.spec.read_level),
        "id": view.id.to_string(),
        "generation": view.generation,
        "rows": wire.rows,
    }))
}

fn default_json(feature: &Feature) -> Json {
    feature.default.as_ref().map_or(Json::Null, value_to_json)
}

fn entity_text(entity: &[JoinKey]) -> String {
    let parts = entity
        .iter()
        .map(|key| format!("{} {}", key.name, key.key_type));
    parts.collect::<Vec<_>>().join(", ")
}

/// As view files write it.
fn level_text(level: Option<ReadLevel>) -> String {
    level.map_or_else(|| NODE_DEFAULT.to_owned(), |level| level.to_string())
}

/// As view files write it; `0` is for ever or without bound.
fn span_text(span: Option<Duration>) -> String {
    const UNITS: [(&str, u64); 3] = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let Some(span) = span else {
        return "0".to_owned();
    };
    let whole = UNITS
        .iter()
        .find(|(_, seconds)| span.subsec_nanos() == 0 && span.as_secs().is_multiple_of(*seconds));
    match whole {
        Some((unit, seconds)) => format!("{}{unit}", span.as_secs() / seconds),
        None => humantime::format_duration(span).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_in_the_largest_unit_that_fits() {
        for (text, shown) in [
            ("60d", "60d"),
            ("36h", "36h"),
            ("24h", "1d"),
            ("90m", "90m"),
            ("90s", "1m 30s"),
            ("1500ms", "1s 500ms"),
        ] {
            assert_eq!(
                span_text(Some(humantime::parse_duration(text).unwrap())),
                shown
            );
        }
        assert_eq!(span_text(None), "0");
    }

    #[test]
    fn a_view_as_json_names_types_and_spans_as_view_files_do() {
        let view = v1::View {
            name: "v".into(),
            entity: vec![v1::JoinKey {
                name: "k".into(),
                r#type: "int64".into(),
            }],
            features: vec![v1::Feature {
                name: "f".into(),
                r#type: "list<double>".into(),
                max_age_us: 3_600_000_000,
                ..v1::Feature::default()
            }],
            merge: "row".into(),
            order: "event_time".into(),
            rows: 3,
            ..v1::View::default()
        };
        let json = to_json(&view).unwrap();
        assert_eq!(json["entity"], json!([{ "name": "k", "type": "int64" }]));
        assert_eq!(json["features"][0]["type"], "list<double>");
        assert_eq!(
            (&json["features"][0]["max_age"], &json["ttl"]),
            (&json!("1h"), &json!("0"))
        );
        assert_eq!(
            (&json["rows"], &json["features"][0]["default"]),
            (&json!(3), &Json::Null)
        );
    }
}
