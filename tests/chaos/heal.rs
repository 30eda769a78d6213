//! Ends all faults and brings the set to where it is whole: every process runs, every member has one, none is on its way.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use rand::Rng as _;
use rand::rngs::StdRng;
use steadfast::base::clock::{now_monotonic, sleep, timeout};
use steadfast::cli::process_set::{Primary, own};
use steadfast::client::Client;
use steadfast::proto::v1::GetReplicaSetResponse;

use crate::history::Fact;
use crate::nemesis::{LEAST_MEMBERS, Nemesis};

/// Healing takes less long, and so does a process that was told to end.
const PATIENCE: Duration = Duration::from_secs(90);
/// A set of which all run is whole by then.
const WHOLE_SOON: Duration = Duration::from_secs(10);
/// Who has not joined by then will not: the member that let it in may be gone.
const JOIN_LIMIT: Duration = Duration::from_secs(20);
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Nemesis {
    /// Ends all faults and waits until the set is whole.
    pub async fn heal(&mut self, random: &mut StdRng) -> anyhow::Result<()> {
        self.timeline.note("all faults end");
        if let Some(network) = self.ground.network() {
            network.mend_all()?;
        }
        for host in 0..self.ground.homes().len() {
            self.ground.slow_down(host, 0)?;
        }
        for at in 0..self.set.homes().count() {
            if self.set.runs(at) {
                self.set.resume(at)?;
            }
        }
        self.start_all().await?;
        let (gone, primary) = self.become_whole(random).await?;
        let text = format!("the set is whole in epoch {}", primary.epoch);
        self.timeline.note(&text);
        for (host, status) in std::mem::take(&mut self.ended) {
            if !gone.contains(&host) && !self.may_end.contains(&host) {
                bail!("node {} ended by itself: {status}", host + 1);
            }
        }
        self.may_end.clear();
        Ok(())
    }

    /// Waits until the set is whole. Says whose processes are gone, and who is primary.
    async fn become_whole(
        &mut self,
        random: &mut StdRng,
    ) -> anyhow::Result<(BTreeSet<usize>, Primary)> {
        let begun = now_monotonic();
        let mut gone = BTreeSet::new();
        loop {
            gone.extend(self.settle(random).await?);
            // Who took its disk for stalled may be about to end, and is started again then.
            let is_late = begun.elapsed() > PATIENCE;
            match timeout(WHOLE_SOON, self.set.whole()).await {
                Ok(primary) => return Ok((gone, primary?)),
                Err(_) if is_late => return Ok((gone, self.set.whole().await?)),
                Err(_) => {}
            }
        }
    }

    /// Starts every process that does not run, once it has ended.
    async fn start_all(&mut self) -> anyhow::Result<()> {
        let begun = now_monotonic();
        let is_ending = |nemesis: &Nemesis| {
            let mut ending = nemesis.terminated.keys();
            ending.any(|host| nemesis.at(*host).is_ok_and(|at| nemesis.set.runs(at)))
        };
        while is_ending(self) {
            if begun.elapsed() > PATIENCE {
                bail!("nodes that were told to end do not: {:?}", self.terminated);
            }
            sleep(LOOK_EVERY).await;
            self.note_ended()?;
        }
        self.terminated.clear();
        self.restart_ended()
    }

    /// Waits until all changes of members are through, and makes some where that needs it. Says whose processes are gone.
    async fn settle(&mut self, random: &mut StdRng) -> anyhow::Result<BTreeSet<usize>> {
        let begun = now_monotonic();
        let mut gone = BTreeSet::new();
        let mut asked = BTreeSet::new();
        loop {
            self.look().await;
            self.note_ended()?;
            let waits = begun.elapsed();
            if let Some(view) = self.as_primary_sees_it().await {
                gone.extend(self.dismiss_strangers(&view, waits > JOIN_LIMIT).await?);
                self.give_up_lost(&view, &mut asked, random).await;
                let members = self.set.homes().count();
                if self.is_settled(&view) && members >= LEAST_MEMBERS {
                    return Ok(gone);
                }
                if self.is_settled(&view) {
                    self.join_spare().await?;
                }
            }
            self.restart_ended()?;
            if waits > PATIENCE {
                let views = self.set.look().await;
                bail!("the set does not settle: {views:#?}");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn as_primary_sees_it(&self) -> Option<GetReplicaSetResponse> {
        let views = self.set.look().await.into_iter();
        let serve = views.filter(|view| own(view).is_some_and(|own| own.serves));
        serve.flatten().max_by_key(|view| view.epoch)
    }

    fn is_settled(&self, view: &GetReplicaSetResponse) -> bool {
        let here: BTreeSet<u64> = self.numbers.values().copied().collect();
        let listed = view.members.iter().map(|member| member.number).collect();
        let processes = self.set.homes().count();
        let all_run = (0..processes).all(|at| self.set.runs(at));
        view.changes.is_empty() && here == listed && here.len() == processes && all_run
    }

    /// Ends the processes that are of no member, or not any more, and removes what they leave.
    async fn dismiss_strangers(
        &mut self,
        view: &GetReplicaSetResponse,
        is_late: bool,
    ) -> anyhow::Result<Vec<usize>> {
        let mut gone = Vec::new();
        for host in self.hosts() {
            let at = self.at(host)?;
            let number = self.numbers.get(&host).copied();
            let is_listed = |number| view.members.iter().any(|member| member.number == number);
            let is_stranger = match number {
                Some(number) => !is_listed(number),
                None => is_late || !self.set.runs(at),
            };
            if !is_stranger {
                continue;
            }
            let text = format!("node {} is no member: {number:?}", host + 1);
            self.timeline.note(&text);
            let home = self.set.dismiss(at).await?;
            std::fs::remove_dir_all(home.directory())?;
            self.numbers.remove(&host);
            if let Some(node) = number {
                let time = self.timeline.now();
                self.facts.push(Fact::Evicted { node, time });
            }
            gone.push(host);
        }
        Ok(gone)
    }

    /// Has members leave that have no process here, for their directories are lost; one that has joined takes the place of
    /// one of them, or not.
    async fn give_up_lost(
        &mut self,
        view: &GetReplicaSetResponse,
        asked: &mut BTreeSet<u64>,
        random: &mut StdRng,
    ) {
        if self.numbers.len() < self.set.homes().count() {
            return;
        }
        let here: BTreeSet<u64> = self.numbers.values().copied().collect();
        let (alive, lost): (Vec<_>, Vec<_>) = view
            .members
            .iter()
            .partition(|member| here.contains(&member.number));
        let new = alive.into_iter().find(|member| !member.counts);
        let takes_place = random.random();
        for old in lost.into_iter().map(|member| member.number) {
            if asked.contains(&old) {
                continue;
            }
            let told = match new.filter(|_| takes_place) {
                Some(new) => {
                    let new = new.number;
                    self.timeline
                        .note(&format!("member {new} replaces member {old}"));
                    let call = async |client: &Client| client.replace_member(old, new).await;
                    self.ask("replace", call).await
                }
                None => {
                    self.timeline.note(&format!("member {old} is removed"));
                    let call = async |client: &Client| client.remove_member(old).await;
                    self.ask("remove", call).await
                }
            };
            match told {
                Ok(()) => drop(asked.insert(old)),
                Err(cause) => self.timeline.note(&format!("{cause:#}")),
            }
        }
    }

    fn restart_ended(&mut self) -> anyhow::Result<()> {
        for at in 0..self.set.homes().count() {
            if !self.set.runs(at) {
                self.set.launch(at)?;
            }
        }
        Ok(())
    }
}
