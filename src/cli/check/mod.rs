//! `steadfast check`

mod compare;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use self::compare::{Comparison, Difference, ListedRow, Member, Report, RowName, Seen, Span};
use super::connection::Connection;
use super::error::CliError;
use super::output::{Output, grouped, print, print_json, readable, table};
use super::progress::{Position, Progress};
use crate::base::codec::Reader;
use crate::base::{Epoch, Hlc, LogId, RegionId, Seq, VersionVector};
use crate::client::{Client, Error};
use crate::model::Digest;
use crate::model::comparison::SeenRow;
use crate::proto::v1;

const EXAMPLES: &str = "\
Examples:
  steadfast check
  steadfast check --endpoint node2:7400 --output json

Every row of every member that holds rows is read and compared, while the set goes on working: writes that are under way make \
no difference. It reads as fast as the slowest member answers, one part of the rows after another.

Members compare a digest of all their rows every ten seconds by themselves, and one that differs says so in `steadfast rs \
status`. This command also finds what has changed on a disk since a row was written, and says which rows they are. A member \
whose rows differ from those of the others is to be replaced: docs/OPERATIONS.md.

It fails with MEMBERS_DIFFER if rows differ, and with NOT_COMPARED if a member could not be asked or some rows could not be \
settled.";

/// Compare the rows of all members
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
}

/// A member and the connection to it.
struct Asked {
    number: u64,
    client: Client,
}

/// Compares and prints what differs.
///
/// # Errors
/// If rows differ, or not all could be compared.
pub async fn run(args: Args) -> Result<(), CliError> {
    let set = args.connection.client().await?.replica_set().await?;
    let (mut asked, mut absent) = (Vec::new(), Vec::new());
    for member in set
        .members
        .iter()
        .filter(|member| member.role() != v1::MemberRole::Arbiter)
    {
        match Client::to(&[&member.client_address]).await {
            Ok(client) => asked.push(Asked {
                number: member.number,
                client,
            }),
            Err(error) => absent.push((member.number, error.to_string())),
        }
    }
    if asked.len() < 2 {
        let who = absent
            .iter()
            .map(|(number, why)| format!("member {number}: {why}"));
        let who: Vec<String> = who.collect();
        let message = format!("there are no two members to compare; {}", who.join("; "));
        return Err(CliError::failed("NOT_COMPARED", message));
    }
    let mut progress = Progress::new("check".to_owned(), Position::of(None));
    let comparison = Comparison::new(&asked);
    let compared = comparison.run(|rows| progress.update(rows, 0)).await;
    progress.finish();
    let report = compared?;
    let numbers: Vec<u64> = asked.iter().map(|asked| asked.number).collect();
    match args.connection.output {
        Output::Json => print_json(&report_to_json(&report, &numbers, &absent))?,
        Output::Table => {
            if !report.differences.is_empty() {
                print(&differences(&report.differences, &numbers))?;
            }
            let rows = grouped(report.rows);
            let taken = readable(progress.elapsed());
            print(&format!(
                "compared {rows} rows of {} members in {taken}",
                numbers.len()
            ))?;
        }
    }
    verdict(&report, &absent)
}

fn verdict(report: &Report, absent: &[(u64, String)]) -> Result<(), CliError> {
    let count = report.differences.len();
    if count > 0 {
        let message = format!("{count} rows are not the same at all members");
        return Err(CliError::failed("MEMBERS_DIFFER", message));
    }
    if let Some((number, why)) = absent.first() {
        let message =
            format!("what could be compared is equal, but member {number} was not: {why}");
        return Err(CliError::failed("NOT_COMPARED", message));
    }
    if report.unsettled > 0 {
        let message = format!(
            "what could be compared is equal, but {} rows were written too fast, or a member is too far behind",
            report.unsettled
        );
        return Err(CliError::failed("NOT_COMPARED", message));
    }
    Ok(())
}

/// The first digits of a digest tell rows apart.
fn short(held: Option<Digest>) -> String {
    held.map_or("no row".to_owned(), |digest| {
        digest.to_string().chars().take(8).collect()
    })
}

fn differences(differences: &[Difference], numbers: &[u64]) -> String {
    let fixed = ["view".to_owned(), "entity".to_owned()];
    let members = numbers.iter().map(|number| format!("member {number}"));
    let mut out = table(fixed.into_iter().chain(members));
    for Difference { name, held } in differences {
        let held = held.iter().map(|held| short(*held));
        let named = [name.view.clone(), name.entity.to_string()];
        out.add_row(named.into_iter().chain(held));
    }
    out.to_string()
}

fn report_to_json(report: &Report, numbers: &[u64], absent: &[(u64, String)]) -> Json {
    let difference = |difference: &Difference| {
        let held = numbers.iter().zip(&difference.held);
        let held: serde_json::Map<String, Json> = held
            .map(|(number, held)| (number.to_string(), held.map(|held| held.to_string()).into()))
            .collect();
        json!({"view": difference.name.view, "entity": difference.name.entity, "members": held})
    };
    let absent: serde_json::Map<String, Json> = absent
        .iter()
        .map(|(number, why)| (number.to_string(), why.as_str().into()))
        .collect();
    json!({
        "members": numbers,
        "rows": report.rows,
        "differences": report.differences.iter().map(difference).collect::<Vec<_>>(),
        "unsettled": report.unsettled,
        "not_compared": absent,
    })
}

impl Member for Asked {
    async fn look_at(&self, span: &Span) -> Result<Seen, CliError> {
        let request = v1::CompareRowsRequest {
            from: span.from.clone().into(),
            until: span.until.clone().unwrap_or_default().into(),
            max_rows: span.max_rows,
            each: span.each,
        };
        let answer = self.client.compare_rows(request).await;
        let answer = answer.map_err(|error| {
            CliError::from(error).with(&format!("that was member {}", self.number))
        })?;
        Ok(seen_of_proto(answer)?)
    }
}

fn seen_of_proto(answer: v1::CompareRowsResponse) -> Result<Seen, Error> {
    let mut reader = Reader::new(&answer.applied);
    let applied = VersionVector::decode(&mut reader).map_err(Error::bad_answer)?;
    reader.finish("version vector").map_err(Error::bad_answer)?;
    let mut each = BTreeMap::new();
    for row in answer.each {
        let records = row.records.iter().map(|name| {
            let log = LogId {
                region: RegionId(name.region),
                epoch: Epoch(name.epoch),
            };
            (log, Seq(name.seq))
        });
        let listed = ListedRow {
            name: RowName {
                view: row.view,
                entity: serde_json::from_str(&row.entity_json).map_err(Error::bad_answer)?,
            },
            row: SeenRow {
                digest: digest(&row.digest)?,
                records: records.collect(),
            },
        };
        each.insert(row.key.into(), listed);
    }
    Ok(Seen {
        applied,
        horizon: Hlc(answer.horizon),
        rows: answer.rows,
        digest: digest(&answer.digest)?,
        next: Some(answer.next)
            .filter(|next| !next.is_empty())
            .map(Into::into),
        each,
    })
}

fn digest(bytes: &[u8]) -> Result<Digest, Error> {
    let bytes = Reader::new(bytes).array("digest");
    Ok(Digest(u128::from_le_bytes(
        bytes.map_err(Error::bad_answer)?,
    )))
}
