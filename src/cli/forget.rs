//! `steadfast forget`

use serde_json::{Value as Json, json};

use super::connection::Connection;
use super::error::CliError;
use super::keys::parse_pairs;
use super::output::{Output, print, print_json, table};
use crate::base::Micros;
use crate::client::{Error, Stages};
use crate::proto::v1;
use v1::forgotten_row::KeyKept;

const EXAMPLES: &str = "\
Examples:
  steadfast forget --key user=4711
  steadfast forget --key carrier=UA,origin=EWR,dest=IAH --view route_stats
  steadfast forget --key user=4711 --no-wait --output json

An entity is forgotten in every view with exactly these join keys, dropped ones included. Its rows \
are deleted at once. Then the values they had are erased: the log that held them is let go of, and \
the files of the store that held them are rewritten, which takes seconds, or minutes in a large \
store. When the command ends, no file of the node holds them.

The key itself stays in the deletion for as long as late writes could bring the row back: in a view \
ordered by event time until its ttl or max_lateness has passed, or for ever if it has neither; in a \
view ordered by arrival until the purge horizon has passed it. The store may also name the key as \
the bound of a file until it is next opened. What is written of the entity later is new.

If the node stops before the command ends, repeat it.";

/// Forget an entity: delete it and erase its values from all files
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The entity's whole key, such as user=4711 or carrier=UA,origin=EWR. A value with commas goes in quotes:
    /// name="a,b".
    #[arg(long, value_name = "NAME=VALUE,…")]
    key: String,
    /// Forget it in this view only.
    #[arg(long, default_value = "", hide_default_value = true)]
    view: String,
    /// Return as soon as its rows are deleted; the node goes on to erase their values.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Forgets an entity and prints where its key stays.
///
/// # Errors
/// If no view has such an entity, or deleting or erasing fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    let parts = parse_pairs(&args.key).map_err(|problem| {
        CliError::wrong(
            "INVALID_ARGUMENT",
            format!("--key {:?}: {problem}", args.key),
        )
    })?;
    let part = |(join_key, value)| v1::KeyPart { join_key, value };
    let request = v1::ForgetRequest {
        key: parts.into_iter().map(part).collect(),
        view: args.view,
    };
    let mut stages = args.connection.client().await?.forget(request).await?;
    let deleted = stages.next().await?.ok_or_else(cut_off)?;
    if !args.no_wait {
        erased(&mut stages).await?;
    }
    report(&deleted.rows, !args.no_wait, args.connection.output)
}

async fn erased(stages: &mut Stages) -> Result<(), CliError> {
    eprintln!("deleted; erasing the values from the log");
    while let Some(stage) = stages.next().await? {
        match stage.stage() {
            v1::ForgetStage::ErasedFromLog => eprintln!("erased from the log; rewriting files"),
            v1::ForgetStage::ErasedFromStore => return Ok(()),
            v1::ForgetStage::Unspecified | v1::ForgetStage::Deleted => {}
        }
    }
    Err(cut_off())
}

fn cut_off() -> CliError {
    Error::unknown_outcome("the node ended the stream before everything was erased: repeat it")
        .into()
}

fn report(rows: &[v1::ForgottenRow], erased: bool, output: Output) -> Result<(), CliError> {
    match output {
        Output::Json => {
            let row = |row: &v1::ForgottenRow| json!({"view": row.view, "deleted": row.deleted, "key_kept": kept(row)});
            let rows: Vec<Json> = rows.iter().map(row).collect();
            print_json(&json!({"rows": rows, "erased": erased}))
        }
        Output::Table => {
            let mut out = table(["view", "values", "key kept"]);
            for row in rows {
                let values = match (row.deleted, erased) {
                    (false, _) => "there were none",
                    (true, true) => "erased",
                    (true, false) => "deleted, being erased",
                };
                let kept = match row.key_kept {
                    None => "no".to_owned(),
                    Some(KeyKept::UntilUs(time)) => {
                        format!("in the deletion until {}", Micros(time))
                    }
                    Some(KeyKept::ForEver(_)) => "in the deletion, for ever".to_owned(),
                };
                out.add_row([row.view.as_str(), values, &kept]);
            }
            print(&out.to_string())
        }
    }
}

/// Until when the key is kept: a time, `for_ever`, or null if it is not.
fn kept(row: &v1::ForgottenRow) -> Json {
    match row.key_kept {
        None => Json::Null,
        Some(KeyKept::UntilUs(time)) => Micros(time).to_string().into(),
        Some(KeyKept::ForEver(_)) => "for_ever".into(),
    }
}
