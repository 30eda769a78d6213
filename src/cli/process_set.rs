//! A replica set of child processes on this machine: formed, hurt and healed as an operator would.
//!
//! It knows of its nodes what they tell every client, nothing of their inside.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value as Json;

use super::child::{Home, Invitation, Node, own_host};
use super::error::CliError;
use super::network::{Cut, End, Network};
use super::set_views::{equal, whole};
use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::client::{Client, Error};
use crate::proto::v1::MemberRole;

pub use super::set_views::{Primary, View, archived, own};

/// Whatever a set does takes less long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a set.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A node that says nothing for so long is not waited for.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Whoever does not give a token within this time is not asked further.
const TOKEN_LIMIT: Duration = Duration::from_secs(2);
/// For how long a token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(900);

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
    /// Shown at every start, for the first may not have come so far as to need no other.
    invitation: Option<Invitation>,
    /// While it runs.
    node: Option<Node>,
    client: Client,
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
        let mut set = ProcessSet::new(binary, network);
        for number in 1..=size {
            set.add(set.home(scratch, number).await?).await?;
        }
        Ok(set)
    }

    /// No processes yet.
    #[must_use]
    pub fn new(binary: &Path, network: Option<Network>) -> ProcessSet {
        ProcessSet {
            binary: binary.to_owned(),
            members: Vec::new(),
            network,
        }
    }

    /// A home under `scratch` for a node, which others reach by way of the network if there is one.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn home(&self, scratch: &Path, number: u8) -> Result<Home, CliError> {
        let mut home = Home::new(scratch.join(format!("node{number}")))?;
        if let Some(network) = &self.network {
            let host = own_host(100_u8.saturating_add(number));
            home.advertised = Some(host);
            network.pass_on(host, &home.peer).await?;
            network.pass_on(host, &home.client).await?;
        }
        Ok(home)
    }

    /// Starts one more node, the first one alone, and waits until it is a member as all others are.
    ///
    /// # Errors
    /// If it does not start or does not become a member.
    pub async fn add(&mut self, home: Home) -> Result<(), CliError> {
        self.enlist(home).await?;
        self.whole().await?;
        Ok(())
    }

    /// Starts one more node, which is to join the others, and waits until clients reach it, not until it has joined.
    ///
    /// # Errors
    /// If nobody lets it in, or it ends.
    pub async fn enlist(&mut self, home: Home) -> Result<(), CliError> {
        let invitation = self.invite(&home).await?;
        let mut node = Node::launch(&self.binary, &home, invitation.as_ref())?;
        let client = loop {
            match Client::to(&[&home.client]).await {
                Ok(client) => break client,
                Err(error) if node.ended().is_some() => return Err(error.into()),
                Err(_) => sleep(LOOK_EVERY).await,
            }
        };
        self.members.push(Member {
            home,
            invitation,
            node: Some(node),
            client,
        });
        Ok(())
    }

    /// A token for one more member, from the first one that gives one. `None` if there is no member yet.
    async fn invite(&self, home: &Home) -> Result<Option<Invitation>, CliError> {
        let mut refused = Ok(None);
        for member in &self.members {
            let issued = member.client.issue_join_token(home.role, TOKEN_LIFE);
            match timeout(TOKEN_LIMIT, issued).await {
                Ok(Ok(secret)) => {
                    let token = home.directory().with_extension("token");
                    let written = std::fs::write(&token, secret);
                    written.map_err(|error| CliError::file("write", &token, &error))?;
                    let member = member.home.peer.clone();
                    return Ok(Some(Invitation { member, token }));
                }
                Ok(Err(error)) => refused = Err(error.into()),
                Err(_) => refused = Err(Error::unavailable("no token".to_owned()).into()),
            }
        }
        refused
    }

    /// Kills a process and has nothing to do with it any more, but for what is left of it.
    ///
    /// # Errors
    /// If there is none of this place.
    pub async fn dismiss(&mut self, at: usize) -> Result<Home, CliError> {
        self.member(at)?;
        let member = self.members.remove(at);
        if let Some(mut node) = member.node {
            node.kill().await?;
        }
        Ok(member.home)
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

    /// Connections to the members that hold rows.
    pub fn holders(&self) -> impl Iterator<Item = &Client> {
        let holds = |member: &&Member| member.home.role != MemberRole::Arbiter;
        self.members
            .iter()
            .filter(holds)
            .map(|member| &member.client)
    }

    /// The digest of all rows of each member that holds any.
    ///
    /// # Errors
    /// If one does not say.
    pub async fn digests(&self) -> Result<Vec<String>, CliError> {
        let mut digests = Vec::new();
        for member in self.holders() {
            let text = member.status().await?;
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
        let Member {
            home, invitation, ..
        } = self.members.get(at).ok_or_else(no_member)?;
        let node = Node::start(&self.binary, home, invitation.as_ref()).await?;
        self.member(at)?.node = Some(node);
        Ok(())
    }

    /// The same without waiting until it is ready.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self, at: usize) -> Result<(), CliError> {
        let Member {
            home, invitation, ..
        } = self.members.get(at).ok_or_else(no_member)?;
        let node = Node::launch(&self.binary, home, invitation.as_ref())?;
        self.member(at)?.node = Some(node);
        Ok(())
    }

    /// Asks a member's process to end: SIGTERM.
    ///
    /// # Errors
    /// If it does not run.
    pub fn terminate(&mut self, at: usize) -> Result<(), CliError> {
        self.member(at)?
            .node
            .as_ref()
            .ok_or_else(no_member)?
            .terminate()
    }

    /// How a member's process has ended, if it has and was not killed here; `runs` says no from then on.
    pub fn ended(&mut self, at: usize) -> Option<ExitStatus> {
        let member = self.members.get_mut(at)?;
        let status = member.node.as_mut()?.ended()?;
        member.node = None;
        Some(status)
    }

    /// Does a member's process run, as far as is known?
    #[must_use]
    pub fn runs(&self, at: usize) -> bool {
        self.members
            .get(at)
            .is_some_and(|member| member.node.is_some())
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

    /// A member's process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn process(&self, at: usize) -> Result<u32, CliError> {
        let member = self.members.get(at).ok_or_else(no_member)?;
        member.node.as_ref().ok_or_else(no_member)?.process()
    }

    /// A member as the network between them knows it.
    ///
    /// # Errors
    /// If there is no network, or it does not run.
    pub fn end(&self, at: usize) -> Result<End, CliError> {
        let process = self.process(at)?;
        let member = self.members.get(at).ok_or_else(no_member)?;
        let host = member.home.advertised.ok_or_else(no_network)?;
        Ok(End { host, process })
    }

    /// Cuts a member off from the others; clients still reach it.
    ///
    /// # Errors
    /// If there is no network between them, or it does not run.
    pub fn cut_off(&self, at: usize) -> Result<(), CliError> {
        let ends = vec![self.end(at)?];
        let service = None;
        self.cut([Cut { ends, service }])
    }

    /// Ends all cuts.
    ///
    /// # Errors
    /// If there is no network between the members.
    pub fn heal(&self) -> Result<(), CliError> {
        self.cut([])
    }

    /// Lets everything pass between the members but this.
    ///
    /// # Errors
    /// If there is no network between them.
    pub fn cut(&self, cuts: impl IntoIterator<Item = Cut>) -> Result<(), CliError> {
        self.network.as_ref().ok_or_else(no_network)?.cut(cuts);
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
        self.until(equal).await
    }

    /// Waits until what the members say of the set is as it should be.
    ///
    /// # Errors
    /// If that takes too long; says what is missing.
    pub async fn until<T>(
        &self,
        is_so: impl Fn(&[View]) -> Result<T, String>,
    ) -> Result<T, CliError> {
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
    pub async fn look(&self) -> Vec<View> {
        let looks = self.members.iter().map(async |member| {
            match timeout(ANSWER_LIMIT, member.client.replica_set()).await {
                Ok(answered) => answered,
                Err(_) => Err(Error::unavailable("it does not answer".to_owned())),
            }
        });
        join_all(looks).await
    }
}

fn no_network() -> CliError {
    CliError::failed("NODE_FAILED", "the members reach each other directly")
}

fn no_member() -> CliError {
    CliError::failed("NODE_FAILED", "there is no such member, or it does not run")
}
