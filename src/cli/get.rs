//! `steadfast get`

use serde_json::json;

use super::connection::Connection;
use super::error::CliError;
use super::keys::KeyArgs;
use super::output::{Output, print, print_json, readable};
use super::rows::Rows;
use super::session::SessionArgs;
use crate::base::ReadLevel;
use crate::base::clock::now_monotonic;
use crate::client::{Client, Column, Error, key_columns, read_level_name, read_level_to_wire};
use crate::model::{JoinKey, KeyValue, limits};
use crate::proto::v1;

const EXAMPLES: &str = "\
Examples:
  steadfast get aircraft_stats --key tailnum=N14228
  steadfast get aircraft_stats --key tailnum=N14228 --key tailnum=N24211 --feature flights_total
  steadfast get route_stats --key carrier=UA,origin=EWR,dest=IAH --event-times
  steadfast get aircraft_stats --keys-file tails.txt --defaults --output json
  steadfast get aircraft_stats --key tailnum=N14228 --level quorum --or-local
  steadfast get aircraft_stats --key tailnum=N14228 --session /tmp/mine

A value is PRESENT, NULL (written as null), NOT_FOUND (never written or deleted) or EXPIRED (older than its time to \
live). With --defaults the feature's default takes the place of a value that is not present.";

/// Look features up
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The view.
    view: String,
    #[command(flatten)]
    keys: KeyArgs,
    /// A feature to look up; repeat it for more. All of the view if not given.
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<String>,
    /// Fill in the features' defaults.
    #[arg(long)]
    defaults: bool,
    /// Show event times in the table; JSON always holds them.
    #[arg(long)]
    event_times: bool,
    /// How current the answer must be: local, bounded:500ms, quorum or primary.
    #[arg(long)]
    level: Option<ReadLevel>,
    /// If it cannot be answered at that level, answer at level local and say so.
    #[arg(long)]
    or_local: bool,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    connection: Connection,
}

/// Looks features up and prints them.
///
/// # Errors
/// If the keys do not fit the view or the lookup fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    let client = args.connection.client().await?;
    let view = client.view(&args.view).await?;
    let keys = args.keys.read(&view)?;
    let start = now_monotonic();
    let mut found = Vec::new();
    for keys in keys.chunks(limits::LOOKUP_ENTITIES) {
        found.push((
            keys,
            look_up(&client, &args, &view.spec.entity, keys).await?,
        ));
    }
    let took = start.elapsed();
    let rows = |keys, columns| Rows {
        entity: &view.spec.entity,
        keys,
        columns,
    };
    let info = found
        .last()
        .map(|(_, (_, info))| info.clone())
        .unwrap_or_default();
    match args.connection.output {
        Output::Json => {
            let all = found
                .iter()
                .flat_map(|(keys, (columns, _))| rows(keys, columns).to_json());
            print_json(&json!({
                "rows": all.collect::<Vec<_>>(),
                "level": read_level_name(info.level()),
                "node": info.node,
                "epoch": info.epoch,
                "staleness_ms": found.iter().map(|(_, (_, info))| info.staleness_ms).max(),
                "degraded": found.iter().any(|(_, (_, info))| info.degraded),
            }))
        }
        Output::Table => {
            for (keys, (columns, _)) in &found {
                print(&rows(keys, columns).to_table(args.event_times).to_string())?;
            }
            let is_degraded = found.iter().any(|(_, (_, info))| info.degraded);
            let degraded = if is_degraded { " (degraded)" } else { "" };
            print(&format!(
                "{} level{degraded}, epoch {}, node {}, {}",
                read_level_name(info.level()),
                info.epoch,
                info.node,
                readable(took)
            ))
        }
    }
}

async fn look_up(
    client: &Client,
    args: &Args,
    entity: &[JoinKey],
    keys: &[Vec<KeyValue>],
) -> Result<(Vec<Column>, v1::AnswerInfo), CliError> {
    let (level, max_staleness_ms) = read_level_to_wire(args.level);
    let on_unavailable = if args.or_local {
        v1::OnUnavailable::Local
    } else {
        v1::OnUnavailable::Fail
    };
    let request = v1::GetFeaturesRequest {
        entities: key_columns(entity, keys),
        views: vec![v1::ViewSelection {
            view: args.view.clone(),
            features: args.features.clone(),
        }],
        level: level.into(),
        max_staleness_ms,
        use_defaults: args.defaults,
        include_event_times: true,
        session: args.session.token()?,
        on_unavailable: on_unavailable.into(),
    };
    let answer = client.get(request).await?;
    let info = answer.info.unwrap_or_default();
    args.session.keep(&info.session)?;
    Ok((columns(answer.views)?, info))
}

/// The columns of an answer to a lookup in one view.
///
/// # Errors
/// If the answer makes no sense.
pub fn columns(views: Vec<v1::ViewColumns>) -> Result<Vec<Column>, Error> {
    let columns = views.into_iter().flat_map(|view| view.columns);
    columns
        .map(|column| Column::from_wire(column).map_err(Error::bad_answer))
        .collect()
}
