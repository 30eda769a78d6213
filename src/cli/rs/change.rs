//! Changes of the members, and following them to their end.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::super::connection::Connection;
use super::super::error::CliError;
use super::{render, show};
use crate::base::clock::{now_monotonic, sleep};
use crate::client::{Client, Error};
use crate::proto::v1;

/// Between two looks at a change under way.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A set that does not answer for so long is not waited for.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// How a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(super) struct How {
    /// Do not ask; needed where there is no terminal to ask at.
    #[arg(long)]
    yes: bool,
    /// Return as soon as the change is agreed; it goes on.
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn remove(connection: &Connection, number: u64, how: How) -> Result<(), CliError> {
    let client = connection.client().await?;
    let set = client.replica_set().await?;
    confirm(
        &format!("{} leaves the set for good", named(&set, number)?),
        how.yes,
    )?;
    client.remove_member(number).await?;
    follow(connection, number, how).await
}

pub(super) async fn replace(
    connection: &Connection,
    old: u64,
    new: u64,
    how: How,
) -> Result<(), CliError> {
    let client = connection.client().await?;
    let set = client.replica_set().await?;
    let (goes, comes) = (named(&set, old)?, named(&set, new)?);
    confirm(
        &format!("{comes} takes the place of {goes}, which leaves the set for good"),
        how.yes,
    )?;
    client.replace_member(old, new).await?;
    follow(connection, old, how).await
}

/// Asks the primary, wherever it is, to hand over.
pub(super) async fn switch_over(connection: &Connection, to: Option<u64>) -> Result<(), CliError> {
    let client = connection.client().await?;
    let set = client.replica_set().await?;
    let client = of_primary(client, &set).await?;
    client.switch_over(to).await?;
    show(&client.replica_set().await?, connection.output)
}

/// A connection to the primary, wherever it is.
async fn of_primary(client: Client, set: &v1::GetReplicaSetResponse) -> Result<Client, CliError> {
    let primary = set.primary.filter(|primary| *primary != set.answered_by);
    match set
        .members
        .iter()
        .find(|member| Some(member.number) == primary)
    {
        Some(member) => Ok(Client::to(&[&member.client_address]).await?),
        None => Ok(client),
    }
}

/// Gives a member up at once.
pub(super) async fn evict(
    connection: &Connection,
    number: u64,
    epoch: u64,
    yes: bool,
) -> Result<(), CliError> {
    let client = connection.client().await?;
    let set = client.replica_set().await?;
    let who = named(&set, number)?;
    let mut members = set.members.iter();
    let alone = members.find(|member| member.number == number);
    let alone = alone
        .map(|member| member.alone.as_slice())
        .unwrap_or_default();
    let unproven = if alone.is_empty() {
        format!(
            "member {} knows of nothing that only it holds",
            set.answered_by
        )
    } else {
        format!(
            "it cannot be proven that others hold what it may hold alone: {}",
            alone.join("; ")
        )
    };
    confirm(
        &format!("{who} is given up at once, with all that it alone holds\n{unproven}"),
        yes,
    )?;
    client.evict_member(number, epoch).await?;
    show(&client.replica_set().await?, connection.output)
}

/// Has the primary go on without the data members that are not in contact.
pub(super) async fn shrink(connection: &Connection, epoch: u64, yes: bool) -> Result<(), CliError> {
    let client = connection.client().await?;
    let client = of_primary(client.clone(), &client.replica_set().await?).await?;
    let set = client.replica_set().await?;
    let (stay, go): (Vec<&v1::Member>, Vec<&v1::Member>) = set
        .members
        .iter()
        .filter(|member| member.counts)
        .partition(|member| member.in_contact);
    let numbers = |members: &[&v1::Member]| {
        let numbers = members.iter().map(|member| member.number.to_string());
        numbers.collect::<Vec<_>>().join(" ")
    };
    let unproven = go.iter().flat_map(|member| {
        let alone = member.alone.iter();
        alone.map(|what| format!("\nmember {} may hold alone {what}", member.number))
    });
    let what = format!(
        "writes are acknowledged by data members {} alone, at any level, until {} have caught up{}",
        numbers(&stay),
        numbers(&go),
        unproven.collect::<String>()
    );
    confirm(&what, yes)?;
    client.shrink(epoch).await?;
    show(&client.replica_set().await?, connection.output)
}

/// A member as a person knows it.
fn named(set: &v1::GetReplicaSetResponse, number: u64) -> Result<String, CliError> {
    let member = set.members.iter().find(|member| member.number == number);
    let member = member.ok_or_else(|| {
        let message =
            format!("no member of the set has number {number}: see `steadfast rs status`");
        CliError::wrong("NO_SUCH_MEMBER", message)
    })?;
    let (state, role) = (render::state(set, member), render::role(member));
    Ok(format!(
        "member {number} ({role}, {state}, {})",
        member.peer_address
    ))
}

pub(super) fn confirm(what: &str, yes: bool) -> Result<(), CliError> {
    eprintln!("{what}");
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("there is nobody to ask: say --yes"));
    }
    eprint!("go on? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CliError::failed("NOT_CONFIRMED", "nothing was changed")),
    }
}

/// Waits until a member is one no more, saying how far that is.
async fn follow(connection: &Connection, leaving: u64, how: How) -> Result<(), CliError> {
    let mut said = String::new();
    let mut heard: Instant = now_monotonic();
    loop {
        match look(connection).await {
            Ok(set) => {
                heard = now_monotonic();
                let member = set.members.iter().find(|member| member.number == leaving);
                let Some(member) = member.filter(|_| !how.no_wait) else {
                    return show(&set, connection.output);
                };
                let line = progress(&set, member);
                if line != said {
                    eprintln!("{line}");
                    said = line;
                }
            }
            // The change may be of the very node that was asked.
            Err(error) if heard.elapsed() >= SILENT_FOR => {
                let error = CliError::from(error);
                return Err(error.with("the change is agreed and goes on by itself"));
            }
            Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn look(connection: &Connection) -> Result<v1::GetReplicaSetResponse, Error> {
    Client::to(connection.endpoints())
        .await?
        .replica_set()
        .await
}

fn progress(set: &v1::GetReplicaSetResponse, leaving: &v1::Member) -> String {
    let voters = set.agreement.as_ref().map(|agreement| &agreement.voters);
    let votes = voters.is_some_and(|voters| voters.contains(&leaving.number));
    let number = leaving.number;
    let stage = if leaving.counts {
        format!("is a data member of epoch {} still", set.epoch)
    } else if votes {
        "votes still".to_owned()
    } else {
        "is about to be evicted".to_owned()
    };
    format!("waiting: member {number} {stage}")
}
