//! `steadfast put`

use std::collections::BTreeSet;
use std::io::BufRead;

use serde_json::{Map, Value as Json, json};

use super::connection::Connection;
use super::error::CliError;
use super::output::{Output, print, print_json};
use super::session::SessionArgs;
use crate::base::{CommitLevel, Micros};
use crate::client::{commit_level_name, commit_level_to_wire, key_to_wire, value_to_wire};
use crate::model::View;
use crate::model::json::{key_from_json, time_from_text, value_from_json};
use crate::proto::v1;

const EXAMPLES: &str = r#"Examples:
  steadfast put aircraft_stats --json '{"tailnum":"N1","flights_total":7,"last_on_time":null}'
  steadfast put airports --json '{"origin":"EWR","temp":39.0}' --event-time 2013-01-31T12:00:00Z
  steadfast put airports --json '{"origin":"EWR","temp":38.5}' --request-id retry-me-safely
  steadfast put airports --json '{"origin":"EWR","temp":38.5}' --override
  cat rows.jsonl | steadfast put aircraft_stats --json -

All rows of one command are written, or none. A row older than what is stored stays without
effect and is counted as older. Bytes are written in base64, timestamps as RFC 3339."#;

/// Write rows
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The view.
    view: String,
    /// A row: join keys and features in one JSON object; repeat it for more. - reads JSON lines from standard input.
    #[arg(long = "json", value_name = "ROW", required = true)]
    rows: Vec<String>,
    /// When the rows became true (RFC 3339); the time of the write if not given.
    #[arg(long, value_parser = parse_time)]
    event_time: Option<Micros>,
    /// Win against whatever is stored, even a row with a wrong event time far in the future. The rows take its event
    /// time, so ordinary puts stay older until then.
    #[arg(long = "override", conflicts_with = "event_time")]
    override_stored: bool,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    connection: Connection,
}

/// How a write is to be acknowledged.
#[derive(Debug, Clone, clap::Args)]
pub struct WriteArgs {
    /// How many copies must be durable: async, quorum or all. The server's default if not given.
    #[arg(long)]
    level: Option<CommitLevel>,
    /// Names the write, so that repeating it is harmless: a repetition returns the first result.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub request_id: String,
    /// The session.
    #[command(flatten)]
    pub session: SessionArgs,
}

impl WriteArgs {
    /// The level as the wire names it.
    #[must_use]
    pub fn level(&self) -> i32 {
        commit_level_to_wire(self.level).into()
    }
}

/// Writes rows and prints the write's fate.
///
/// # Errors
/// If a row does not fit the view or the write fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    let client = args.connection.client().await?;
    let view = client.view(&args.view).await?;
    let rows = parse_rows(&args.rows)?;
    let request = v1::PutFeaturesRequest {
        writes: vec![view_rows(&view, &rows, args.event_time)?],
        level: args.write.level(),
        request_id: args.write.request_id,
        override_stored: args.override_stored,
        session: args.write.session.token()?,
    };
    let written = client.put(request).await?;
    args.write.session.keep(&written.session)?;
    report(&written, args.connection.output)
}

/// Reads an RFC 3339 text.
///
/// # Errors
/// If it is none.
pub fn parse_time(text: &str) -> Result<Micros, String> {
    time_from_text(text).ok_or_else(|| "expected RFC 3339, such as 2013-01-31T12:00:00Z".to_owned())
}

/// Prints the fate of a write.
///
/// # Errors
/// If it cannot be printed.
pub fn report(written: &v1::WriteResponse, output: Output) -> Result<(), CliError> {
    let level = commit_level_name(written.level());
    match output {
        Output::Json => print_json(&json!({
            "applied": written.applied,
            "older": written.older,
            "folded": written.folded,
            "level": level,
            "copies": written.copies,
            "epoch": written.epoch,
            "stamp": written.stamp,
            "repeated": written.repeated,
        })),
        Output::Table => {
            let repeated = if written.repeated {
                " (written before, under this request id)"
            } else {
                ""
            };
            print(&format!(
                "applied {}, older {}, folded {}; level {level}, copies {}, epoch {}, stamp {}{repeated}",
                written.applied,
                written.older,
                written.folded,
                written.copies,
                written.epoch,
                written.stamp
            ))
        }
    }
}

type JsonRow = Map<String, Json>;

fn parse_rows(arguments: &[String]) -> Result<Vec<JsonRow>, CliError> {
    let mut rows = Vec::new();
    for argument in arguments {
        if argument != "-" {
            rows.push(parse_row(argument, || format!("--json {argument:?}"))?);
            continue;
        }
        for (at, line) in std::io::stdin().lock().lines().enumerate() {
            let place = || format!("standard input, line {}", at + 1);
            let line = line.map_err(|error| invalid(&place(), &error.to_string()))?;
            if !line.trim().is_empty() {
                rows.push(parse_row(&line, place)?);
            }
        }
    }
    Ok(rows)
}

fn parse_row(text: &str, place: impl Fn() -> String) -> Result<JsonRow, CliError> {
    serde_json::from_str(text)
        .map_err(|error| invalid(&place(), &format!("no JSON object: {error}")))
}

fn invalid(place: &str, problem: &str) -> CliError {
    CliError::wrong("INVALID_ARGUMENT", format!("{place}: {problem}"))
}

/// Rows for the wire. The features are those that any row names; a row is silent on the others.
fn view_rows(
    view: &View,
    rows: &[JsonRow],
    event_time: Option<Micros>,
) -> Result<v1::ViewRows, CliError> {
    let is_key = |name: &str| {
        view.spec
            .entity
            .iter()
            .any(|join_key| join_key.name == name)
    };
    let named: BTreeSet<&String> = rows
        .iter()
        .flat_map(Map::keys)
        .filter(|name| !is_key(name))
        .collect();
    if let Some(unknown) = named.iter().find(|name| view.feature(name).is_none()) {
        let message = format!(
            "view {:?} has no feature or join key {unknown:?}",
            view.spec.name
        );
        return Err(CliError::wrong("UNKNOWN_FEATURE", message));
    }
    let features: Vec<String> = named.into_iter().cloned().collect();
    let rows = rows.iter().enumerate();
    Ok(v1::ViewRows {
        view: view.spec.name.clone(),
        rows: rows
            .map(|(at, row)| wire_row(view, &features, row, at + 1, event_time))
            .collect::<Result<_, _>>()?,
        features,
    })
}

fn wire_row(
    view: &View,
    features: &[String],
    row: &JsonRow,
    number: usize,
    event_time: Option<Micros>,
) -> Result<v1::Row, CliError> {
    if !features.iter().any(|name| row.contains_key(name)) {
        return Err(invalid(
            &format!("row {number}"),
            "no feature is named; null writes that a feature has no value",
        ));
    }
    let mut key = Vec::with_capacity(view.spec.entity.len());
    for join_key in &view.spec.entity {
        let name = &join_key.name;
        let json = row.get(name).ok_or_else(|| {
            invalid(
                &format!("row {number}"),
                &format!("join key {name:?} is missing"),
            )
        })?;
        let value = key_from_json(json, join_key.key_type)
            .map_err(|error| wrong_type(number, "join key", name, &error))?;
        key.push(key_to_wire(value));
    }
    let mut values = Vec::with_capacity(features.len());
    for name in features {
        let typed = row.get(name).zip(view.feature(name));
        let value = typed
            .map(|(json, feature)| value_from_json(json, feature.value_type))
            .transpose()
            .map_err(|error| wrong_type(number, "feature", name, &error))?;
        values.push(value_to_wire(value));
    }
    Ok(v1::Row {
        key,
        values,
        event_time_us: event_time.map(|time| time.0),
    })
}

fn wrong_type(row: usize, what: &str, name: &str, error: &impl ToString) -> CliError {
    let problem = error.to_string();
    CliError::wrong(
        "WRONG_TYPE",
        format!("row {row}, {what} {name:?}: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view_file::parse_view;

    fn view() -> View {
        let text = r#"
            name = "aircraft"
            entity = [{ name = "tailnum", type = "string" }]
            feature = [{ name = "flights", type = "int64" }, { name = "seats", type = "int32" }]"#;
        View::new(parse_view(text).unwrap(), 0)
    }

    fn wire(rows: &[&str]) -> Result<v1::ViewRows, CliError> {
        let rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
        view_rows(&view(), &parse_rows(&rows)?, Some(Micros(5)))
    }

    #[test]
    fn rows_name_the_features_of_any_and_are_silent_on_others() {
        let rows = wire(&[
            r#"{"tailnum":"N1","flights":7}"#,
            r#"{"seats":null,"tailnum":"N2"}"#,
        ])
        .unwrap();
        assert_eq!(rows.features, ["flights", "seats"]);
        let kinds: Vec<_> = rows.rows[1]
            .values
            .iter()
            .map(|value| value.kind.clone())
            .collect();
        assert_eq!(kinds, [None, Some(v1::value::Kind::Null(true))]);
        assert_eq!(rows.rows[0].event_time_us, Some(5));
    }

    #[test]
    fn each_mistake_is_named_with_its_row() {
        for (row, message) in [
            ("[1]", "INVALID_ARGUMENT: --json \"[1]\": no JSON object"),
            (
                r#"{"seats":1}"#,
                "INVALID_ARGUMENT: row 1: join key \"tailnum\" is missing",
            ),
            (
                r#"{"tailnum":"N1"}"#,
                "INVALID_ARGUMENT: row 1: no feature is named",
            ),
            (
                r#"{"tailnum":7,"seats":1}"#,
                "WRONG_TYPE: row 1, join key \"tailnum\": 7 is not of type string",
            ),
            (
                r#"{"tailnum":"N1","seats":1.5}"#,
                "WRONG_TYPE: row 1, feature \"seats\": 1.5 is not of type int32",
            ),
            (
                r#"{"tailnum":"N1","wings":2}"#,
                "UNKNOWN_FEATURE: view \"aircraft\" has no feature or join key \"wings\"",
            ),
        ] {
            let error = wire(&[row]).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
