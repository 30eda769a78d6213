//! `steadfast backup create`

use serde_json::json;

use super::super::connection::Connection;
use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json};
use super::super::progress::megabytes;
use super::moving::Moving;
use crate::backup::bucket::BucketUrl;
use crate::client::Client;
use crate::proto::v1;
use v1::create_backup_response::What;

const DETAILS: &str = "\
A member makes a checkpoint of its store and sends the files that are not in the bucket yet, then the manifest that \
names them all: a restore point. Files are called by what they hold, so after the first one each restore point of the \
same member sends only what has changed. With --full all files are sent again, and later restore points share those: \
a file that went bad in the bucket then spoils only the restore points before.

The member that does it is the one with the least number that is not the primary and lags no more than others; --member \
names another one. It reaches the bucket by credentials of its own, from its environment. How fast it sends is its \
setting backup.bytes_per_second.

Interrupted, the command gives the backup up; what was sent is not sent again by the next one; of a full \
backup, unless another restore point was made meanwhile.

Examples:
  steadfast backup create s3://backups/prod?region=eu-central-1
  steadfast backup create file:///mnt/backups --member 3 --full";

/// Make a restore point of the set in a bucket
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX or file:///DIRECTORY.
    url: String,
    /// Send all files, whatever is in the bucket.
    #[arg(long)]
    full: bool,
    /// The number of the member that does it.
    #[arg(long, value_name = "N")]
    member: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

/// Has a member make a restore point, and prints it.
///
/// # Errors
/// If there is no such member, or it makes none.
pub async fn run(args: Args) -> Result<(), CliError> {
    let bucket: BucketUrl = super::parse_url(&args.url)?;
    let set = args.connection.client().await?.replica_set().await?;
    let member = choose(&set, args.member)?;
    let client = Client::to(&[&member.client_address]).await?;
    let request = v1::CreateBackupRequest {
        url: bucket.to_string(),
        full: args.full,
    };
    let mut stages = client.create_backup(request).await?;
    let mut moving = Moving::new("sent");
    while let Some(stage) = stages.next().await? {
        match stage.what {
            Some(What::Progress(progress)) => {
                moving.update(progress.done_bytes, progress.total_bytes, &sent(&progress));
            }
            Some(What::Done(point)) => {
                moving.finish();
                return report(&point, member.number, &bucket, args.connection.output);
            }
            None => {}
        }
    }
    Err(CliError::failed(
        "CUT_OFF",
        "the member ended the stream before the restore point was made: repeat it",
    ))
}

fn sent(progress: &v1::BackupProgress) -> String {
    format!(", {} MB of it new", megabytes(progress.sent_bytes))
}

/// The member that was named; else a data member that lags least, the primary last.
fn choose(set: &v1::GetReplicaSetResponse, named: Option<u64>) -> Result<&v1::Member, CliError> {
    let mut members = set.members.iter();
    if let Some(number) = named {
        let member = members.find(|member| member.number == number);
        let none = || CliError::wrong("NO_SUCH_MEMBER", format!("no member has number {number}"));
        return member.ok_or_else(none);
    }
    let holds_rows = |member: &&v1::Member| member.role() != v1::MemberRole::Arbiter;
    let is_well = |member: &&v1::Member| member.in_contact && member.trouble.is_none();
    let rank = |member: &&v1::Member| {
        let lag = member.lag_records.unwrap_or(0);
        (member.serves, lag, member.number)
    };
    let fit = members.filter(holds_rows).filter(is_well);
    fit.min_by_key(rank)
        .ok_or_else(|| CliError::failed("NO_MEMBER", "no member that holds rows is in contact"))
}

fn report(
    point: &v1::RestorePoint,
    member: u64,
    bucket: &BucketUrl,
    output: Output,
) -> Result<(), CliError> {
    if output == Output::Json {
        return print_json(&json!({
            "point": point.point,
            "lineage": point.lineage,
            "generation": point.generation,
            "member": member,
            "bucket": bucket.to_string(),
            "files": point.files,
            "bytes": point.bytes,
            "sent_bytes": point.sent_bytes,
            "newest_us": point.newest_us,
        }));
    }
    print(&format!(
        "{} of member {member}: {} files, {} MB, of which {} MB were sent; restore it with\n  \
         steadfast backup restore '{bucket}' --to {} --into DIR",
        point.point,
        grouped(point.files),
        megabytes(point.bytes),
        megabytes(point.sent_bytes),
        point.point,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u64, serves: bool, lag: u64) -> v1::Member {
        v1::Member {
            number,
            serves,
            lag_records: Some(lag),
            role: v1::MemberRole::Data.into(),
            in_contact: true,
            ..v1::Member::default()
        }
    }

    fn chosen(members: Vec<v1::Member>) -> Option<u64> {
        let set = v1::GetReplicaSetResponse {
            members,
            ..v1::GetReplicaSetResponse::default()
        };
        choose(&set, None).ok().map(|member| member.number)
    }

    #[test]
    fn who_does_it_lags_least_and_is_the_primary_only_if_nobody_else_can() {
        let members = [member(1, true, 0), member(2, false, 9), member(3, false, 0)];
        assert_eq!(chosen(members.to_vec()), Some(3));
        let absent = v1::Member {
            in_contact: false,
            ..member(3, false, 0)
        };
        let [one, two, _] = members.clone();
        assert_eq!(chosen(vec![one.clone(), two, absent.clone()]), Some(2));
        assert_eq!(chosen(vec![one, absent]), Some(1));
        let arbiter = v1::Member {
            role: v1::MemberRole::Arbiter.into(),
            ..member(4, false, 0)
        };
        assert_eq!(chosen(vec![arbiter]), None);
    }

    #[test]
    fn a_member_that_is_named_must_be_there() {
        let set = v1::GetReplicaSetResponse {
            members: vec![member(1, true, 0)],
            ..v1::GetReplicaSetResponse::default()
        };
        assert_eq!(choose(&set, Some(1)).unwrap().number, 1);
        assert!(choose(&set, Some(2)).is_err());
    }
}
