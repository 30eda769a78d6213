//! `steadfast scan`

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::connection::Connection;
use super::error::CliError;
use super::keys::prefix_of;
use super::output::{Output, print, print_json};
use super::rows::Rows;
use super::session::SessionArgs;
use crate::base::ReadLevel;
use crate::client::{Column, Error, Pages, key_to_wire, keys_from_wire, read_level_to_wire};
use crate::model::{JoinKey, KeyValue};
use crate::proto::v1;

const EXAMPLES: &str = "\
Examples:
  steadfast scan aircraft_stats --limit 10
  steadfast scan route_stats --prefix carrier=UA,origin=EWR --feature flights_total
  steadfast scan aircraft_stats --limit 1000 --resume 01a4…
  steadfast scan aircraft_stats --limit 0 --output json > all.json
  steadfast scan aircraft_stats --level primary

Rows come in key order. If the limit was reached, a token is printed with which --resume goes on.";

/// Print rows of a view in key order
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The view.
    view: String,
    /// Only entities whose first join keys have these values.
    #[arg(long, value_name = "NAME=VALUE,…")]
    prefix: Option<String>,
    /// A feature to print; repeat it for more. All of the view if not given.
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<String>,
    /// At most so many rows; 0 is without limit.
    #[arg(long, default_value_t = 100)]
    limit: u64,
    /// Go on after the row that this token came with.
    #[arg(long, value_name = "TOKEN", value_parser = parse_token)]
    resume: Option<Bytes>,
    /// Show event times in the table; JSON always holds them.
    #[arg(long)]
    event_times: bool,
    /// How current each row must be: local, bounded:500ms, quorum or primary.
    #[arg(long)]
    level: Option<ReadLevel>,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    connection: Connection,
}

fn parse_token(text: &str) -> Result<Bytes, String> {
    hex::decode(text)
        .map(Bytes::from)
        .map_err(|_| "expected hexadecimal digits, as a scan prints them".to_owned())
}

/// Scans and prints.
///
/// # Errors
/// If the prefix does not fit the view or the scan fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    let client = args.connection.client().await?;
    let view = client.view(&args.view).await?;
    let prefix = args
        .prefix
        .as_deref()
        .map(|text| prefix_of(text, &view))
        .transpose()?;
    let (level, max_staleness_ms) = read_level_to_wire(args.level);
    let request = v1::ScanFeaturesRequest {
        view: args.view.clone(),
        features: args.features.clone(),
        prefix: prefix
            .unwrap_or_default()
            .into_iter()
            .map(key_to_wire)
            .collect(),
        resume_token: args.resume.clone().unwrap_or_default(),
        limit: args.limit,
        include_event_times: true,
        level: level.into(),
        max_staleness_ms,
        session: args.session.token()?,
    };
    let pages = client.scan(request).await?;
    print_pages(pages, &args, &view.spec.entity).await
}

async fn print_pages(mut pages: Pages, args: &Args, entity: &[JoinKey]) -> Result<(), CliError> {
    let mut json_rows: Vec<Json> = Vec::new();
    let mut count = 0;
    let mut token = Bytes::new();
    while let Some(page) = pages.next().await? {
        token = page.resume_token.clone();
        args.session.keep(&page.session)?;
        let (keys, columns) = unpack(page)?;
        count += u64::try_from(keys.len()).unwrap_or(u64::MAX);
        let rows = Rows {
            entity,
            keys: &keys,
            columns: &columns,
        };
        match args.connection.output {
            Output::Json => json_rows.extend(rows.to_json()),
            Output::Table if keys.is_empty() => {}
            Output::Table => print(&rows.to_table(args.event_times).to_string())?,
        }
    }
    let next = (args.limit != 0 && count >= args.limit).then(|| hex::encode(&token));
    match args.connection.output {
        Output::Json => print_json(&json!({ "rows": json_rows, "resume_token": next })),
        Output::Table => print(&match next {
            Some(token) => format!("rows: {count}; --resume {token} goes on"),
            None => format!("rows: {count}"),
        }),
    }
}

/// The entities of a page and its columns.
///
/// # Errors
/// If the page makes no sense.
pub fn unpack(page: v1::ScanFeaturesResponse) -> Result<(Vec<Vec<KeyValue>>, Vec<Column>), Error> {
    let mut keys: Vec<Vec<KeyValue>> = Vec::new();
    for column in page.entities {
        let name = column.join_key.clone();
        let bad = || Error::bad_answer(format!("column of join key {name:?} does not fit"));
        let values = keys_from_wire(column).ok_or_else(bad)?;
        if keys.is_empty() {
            keys = values.into_iter().map(|value| vec![value]).collect();
        } else if keys.len() == values.len() {
            keys.iter_mut()
                .zip(values)
                .for_each(|(key, value)| key.push(value));
        } else {
            return Err(bad());
        }
    }
    let columns = page.columns.into_iter();
    let columns: Result<Vec<Column>, _> = columns.map(Column::from_wire).collect();
    Ok((keys, columns.map_err(Error::bad_answer)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::key_columns;
    use crate::model::KeyType;

    fn page(columns: Vec<v1::KeyColumn>) -> v1::ScanFeaturesResponse {
        v1::ScanFeaturesResponse {
            entities: columns,
            ..v1::ScanFeaturesResponse::default()
        }
    }

    #[test]
    fn a_page_gives_each_entity_all_its_join_keys() {
        let join_key = |name: &str, key_type| JoinKey {
            name: name.into(),
            key_type,
        };
        let entity = [
            join_key("carrier", KeyType::String),
            join_key("number", KeyType::Int32),
        ];
        let key =
            |carrier: &str, number| vec![KeyValue::String(carrier.into()), KeyValue::Int32(number)];
        let keys = vec![key("UA", 1), key("B6", 2)];
        assert_eq!(unpack(page(key_columns(&entity, &keys))).unwrap().0, keys);
    }

    #[test]
    fn key_columns_of_different_lengths_are_refused() {
        let join_key = JoinKey {
            name: "n".into(),
            key_type: KeyType::Bool,
        };
        let one = [join_key];
        let mut columns = key_columns(&one, &[vec![KeyValue::Bool(true)]]);
        columns.extend(key_columns(
            &one,
            &[vec![KeyValue::Bool(true)], vec![KeyValue::Bool(false)]],
        ));
        assert!(
            unpack(page(columns))
                .unwrap_err()
                .to_string()
                .contains("does not fit")
        );
    }
}
