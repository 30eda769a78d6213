//! A replica set of child processes on this machine: formed, hurt and healed as an operator would.
//!
//! It knows of its nodes what they tell every client, nothing of their inside.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value as Json;

use super::child::{Home, Invitation, Node};
use super::error::CliError;
use super::network::Network;
use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::client::{Client, Error};
use crate::proto::v1;

/// Whatever a set does takes less long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a set.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A node that says nothing for so long is not waited for.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// For how long a token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(900);
/// A member that lacks no more records than a primary under load has on their way to it keeps up with it.
const KEEPS_UP: u64 = 200;

/// The processes, in the order of their numbers. Dropping it kills them.
#[derive(Debug)]
pub struct ProcessSet {
    binary: PathBuf,
    members: Vec<Member>,
    /// Between them; without one they reach each other directly, and nothing can be cut.
    network: Option<Network>,
}

#[derive(Debug)]
struct Member {
    home: Home,
    /// While it runs.
    node: Option<Node>,
    client: Client,
}

/// Who is primary, and of which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Primary {
    /// Which of the processes.
    pub at: usize,
    /// Of which epoch.
    pub epoch: u64,
}

impl ProcessSet {
    /// Starts so many nodes in directories under `scratch`: the first alone, and each other one joins.
    ///
    /// # Errors
    /// If one does not start or does not become a member.
    pub async fn form(
        binary: &Path,
        scratch: &Path,
        size: u8,
        network: Option<Network>,
    ) -> Result<ProcessSet, CliError> {
        let mut set = ProcessSet {
            binary: binary.to_owned(),
            members: Vec::new(),
            network,
        };
        for number in 1..=size {
            let mut home = Home::new(scratch.join(format!("node{number}")))?;
            if let Some(network) = &set.network {
                let host = Ipv4Addr::new(127, 77, 0, number);
                home.advertised = Some(host);
                network.pass_on(host, &home.peer).await?;
                network.pass_on(host, &home.client).await?;
            }
            let invitation = set.invite(scratch).await?;
            let node = Node::start(binary, &home, invitation.as_ref()).await?;
            let client = Client::connect(&[&home.client]).await?;
            let node = Some(node);
            set.members.push(Member { home, node, client });
            set.whole().await?;
        }
        Ok(set)
    }

    /// A token for one more member, from the first one. `None` if there is none yet.
    async fn invite(&self, scratch: &Path) -> Result<Option<Invitation>, CliError> {
        let Some(first) = self.members.first() else {
            return Ok(None);
        };
        let issued = first
            .client
            .issue_join_token(v1::MemberRole::Data, TOKEN_LIFE);
        let token = scratch.join("token");
        let written = std::fs::write(&token, issued.await?);
        written.map_err(|error| CliError::file("write", &token, &error))?;
        Ok(Some(Invitation {
            member: first.home.peer.clone(),
            token,
        }))
    }

    /// Where clients connect to the members.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let members = self.members.iter();
        members.map(|member| member.home.client.clone()).collect()
    }

    /// A connection to a member.
    ///
    /// # Errors
    /// If there is none of this place.
    pub fn client(&self, at: usize) -> Result<&Client, CliError> {
        Ok(&self.members.get(at).ok_or_else(no_member)?.client)
    }

    /// The digest of all rows of each member.
    ///
    /// # Errors
    /// If one does not say.
    pub async fn digests(&self) -> Result<Vec<String>, CliError> {
        let mut digests = Vec::new();
        for member in &self.members {
            let text = member.client.status().await?;
            let status: Json = serde_json::from_str(&text).map_err(Error::bad_answer)?;
            let digest = status.get("digest").and_then(Json::as_str);
            let digest = digest.ok_or_else(|| Error::bad_answer("a status without a digest"))?;
            digests.push(digest.to_owned());
        }
        Ok(digests)
    }

    /// What each member has logged.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        let logs = self.members.iter().map(|member| member.home.log());
        logs.map(|log| std::fs::read_to_string(log).unwrap_or_default())
            .collect()
    }

    /// Where the members live.
    pub fn homes(&self) -> impl Iterator<Item = &Home> {
        self.members.iter().map(|member| &member.home)
    }

    /// Waits until all members have ended by themselves, at most so long for each.
    pub async fn wait(&mut self, limit: Duration) {
        for node in self
            .members
            .iter_mut()
            .filter_map(|member| member.node.as_mut())
        {
            node.wait(limit).await;
        }
    }

    /// Kills a member: SIGKILL.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill(&mut self, at: usize) -> Result<(), CliError> {
        let mut node = self.member(at)?.node.take().ok_or_else(no_member)?;
        node.kill().await
    }

    /// Starts a member that was killed, where it was.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(&mut self, at: usize) -> Result<(), CliError> {
        let home = self.member(at)?.home.clone();
        let node = Node::start(&self.binary, &home, None).await?;
        self.member(at)?.node = Some(node);
        Ok(())
    }

    /// Stops a member's process where it is: SIGSTOP.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&mut self, at: usize) -> Result<(), CliError> {
        self.member(at)?
            .node
            .as_ref()
            .ok_or_else(no_member)?
            .pause()
    }

    /// Lets a member that was paused go on: SIGCONT.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&mut self, at: usize) -> Result<(), CliError> {
        self.member(at)?
            .node
            .as_ref()
            .ok_or_else(no_member)?
            .resume()
    }

    /// Cuts a member off from the others; clients still reach it.
    ///
    /// # Errors
    /// If there is no network between them, or it does not run.
    pub fn cut_off(&self, at: usize) -> Result<(), CliError> {
        let member = self.members.get(at).ok_or_else(no_member)?;
        let node = member.node.as_ref().ok_or_else(no_member)?;
        match (&self.network, member.home.advertised) {
            (Some(network), Some(host)) => network.cut_off(host, node.process()?),
            (None, _) | (_, None) => return Err(no_network()),
        }
        Ok(())
    }

    /// Ends the cut.
    ///
    /// # Errors
    /// If there is no network between the members.
    pub fn heal(&self) -> Result<(), CliError> {
        self.network.as_ref().ok_or_else(no_network)?.heal();
        Ok(())
    }

    fn member(&mut self, at: usize) -> Result<&mut Member, CliError> {
        self.members.get_mut(at).ok_or_else(no_member)
    }

    /// Waits until somebody is primary, every member counts, votes and keeps up, and no change is under way.
    ///
    /// # Errors
    /// If that takes too long; says what is missing.
    pub async fn whole(&self) -> Result<Primary, CliError> {
        self.until(whole).await
    }

    /// Waits until all members hold and show the same records. Nothing may be written meanwhile.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn equal(&self) -> Result<Primary, CliError> {
        self.until(|views| {
            let primary = whole(views)?;
            let applied = views
                .iter()
                .map(|view| own(view).and_then(|own| own.applied.clone()));
            let applied: Vec<_> = applied.collect();
            match applied
                .iter()
                .all(|one| one.is_some() && applied.first() == Some(one))
            {
                true => Ok(primary),
                false => Err(format!("the members hold {applied:?}")),
            }
        })
        .await
    }

    async fn until<T>(&self, is_so: impl Fn(&[View]) -> Result<T, String>) -> Result<T, CliError> {
        let begun = now_monotonic();
        loop {
            match is_so(&self.look().await) {
                Ok(found) => return Ok(found),
                Err(missing) if begun.elapsed() > PATIENCE => {
                    return Err(CliError::failed("NODE_FAILED", missing));
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// What each member says of the set.
    async fn look(&self) -> Vec<View> {
        let looks = self.members.iter().map(async |member| {
            match timeout(ANSWER_LIMIT, member.client.replica_set()).await {
                Ok(answered) => answered,
                Err(_) => Err(Error::unavailable("it does not answer".to_owned())),
            }
        });
        join_all(looks).await
    }
}

/// What a member says of the set.
type View = Result<v1::GetReplicaSetResponse, Error>;

/// What a member says of itself.
fn own(view: &View) -> Option<&v1::Member> {
    let view = view.as_ref().ok()?;
    let mut members = view.members.iter();
    members.find(|member| member.number == view.answered_by)
}

fn whole(views: &[View]) -> Result<Primary, String> {
    for (number, view) in (1..).zip(views) {
        if let Err(cause) = view {
            return Err(format!("member {number}: {cause}"));
        }
    }
    let serves = |view: &View| own(view).is_some_and(|member| member.serves);
    let at = views.iter().position(serves).ok_or("nobody is primary")?;
    let view = views.get(at).and_then(|view| view.as_ref().ok());
    let view = view.ok_or("nobody is primary")?;
    let size = views.len();
    let voters = view
        .agreement
        .as_ref()
        .map_or(1, |agreement| agreement.voters.len());
    if view.members.len() != size || voters != size || !view.changes.is_empty() {
        return Err(format!(
            "{} of {size} members, of which {voters} vote",
            view.members.len()
        ));
    }
    let others = || {
        view.members
            .iter()
            .filter(|member| member.number != view.answered_by)
    };
    for member in others() {
        let keeps_up = member.lag_records.is_some_and(|lag| lag <= KEEPS_UP);
        if !member.counts || member.promise != Some(view.epoch) || !keeps_up {
            return Err(format!(
                "member {} does not keep up: {member:?}",
                member.number
            ));
        }
    }
    let epochs = views.iter().flatten().map(|view| view.epoch);
    if !epochs.clone().all(|epoch| epoch == view.epoch) {
        return Err(format!(
            "members see the epochs {:?}",
            epochs.collect::<Vec<_>>()
        ));
    }
    // Of two voters none is a majority.
    if size > 2 && !view.can_fail_over {
        return Err(format!("nobody could take over: {}", view.why_not));
    }
    Ok(Primary {
        at,
        epoch: view.epoch,
    })
}

fn no_network() -> CliError {
    CliError::failed("NODE_FAILED", "the members reach each other directly")
}

fn no_member() -> CliError {
    CliError::failed("NODE_FAILED", "there is no such member, or it does not run")
}
