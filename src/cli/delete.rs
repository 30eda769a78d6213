//! `steadfast delete`

use super::connection::Connection;
use super::error::CliError;
use super::keys::KeyArgs;
use super::put::{WriteArgs, parse_time, report};
use crate::base::Micros;
use crate::client::key_to_wire;
use crate::proto::v1;

const EXAMPLES: &str = "\
Examples:
  steadfast delete aircraft_stats --key tailnum=N14228
  steadfast delete airports --key origin=EWR --event-time 2013-02-01T00:00:00Z

All rows of one command are deleted, or none. A write that became true later than the \
deletion brings a row back.";

/// Delete rows
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The view.
    view: String,
    #[command(flatten)]
    keys: KeyArgs,
    /// From when on the rows are deleted (RFC 3339); the time of the write, or of the row if that is later, if not
    /// given.
    #[arg(long, value_parser = parse_time)]
    event_time: Option<Micros>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    connection: Connection,
}

/// Deletes rows and prints the write's fate.
///
/// # Errors
/// If the keys do not fit the view or the write fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    let client = args.connection.client().await?;
    let view = client.view(&args.view).await?;
    let keys = args.keys.read(&view)?.into_iter().map(|key| v1::Key {
        key: key.into_iter().map(key_to_wire).collect(),
        event_time_us: args.event_time.map(|time| time.0),
    });
    let request = v1::DeleteFeaturesRequest {
        deletes: vec![v1::ViewKeys {
            view: args.view,
            keys: keys.collect(),
        }],
        level: args.write.level(),
        request_id: args.write.request_id,
        session: args.write.session.token()?,
    };
    let written = client.delete(request).await?;
    args.write.session.keep(&written.session)?;
    report(&written, args.connection.output)
}
