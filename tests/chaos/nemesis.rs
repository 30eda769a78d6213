//! Hurts a set of processes as planned, and notes what it does.
//!
//! It knows of the members what they say to everybody. A fault that makes no sense as the set is when it comes is left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::time::Duration;

use anyhow::Context as _;
use steadfast::base::clock::{now_monotonic, sleep, timeout};
use steadfast::cli::process_set::{ProcessSet, own};
use steadfast::client::{Client, Error};

use crate::ground::Ground;
use crate::history::Fact;
use crate::plan::{Fault, Planned, Shape, Victim};
use crate::timeline::Timeline;

/// So long the set is asked for something; what it comes to then is seen later.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// A fault takes members away only from more than this.
pub const LEAST_MEMBERS: usize = 3;
/// And adds one only to fewer than this.
const MOST_MEMBERS: usize = 4;
/// A stalled disk waits until it is told to go on.
const STALL_MS: u64 = 3_600_000;
/// What takes longer may make a process end by itself: it takes its disk for stalled.
const STALL: Duration = Duration::from_secs(9);

pub struct Nemesis {
    pub set: ProcessSet,
    pub ground: Ground,
    pub timeline: Timeline,
    /// How often each kind of fault was brought.
    pub counts: BTreeMap<String, u64>,
    /// The numbers that those have that answered since they joined, by host.
    pub numbers: BTreeMap<usize, u64>,
    /// The members that counted when one was heard last, and those of them that have been asked to leave in this round.
    counting: BTreeSet<u64>,
    leaving: BTreeSet<u64>,
    pub facts: Vec<Fact>,
    /// Processes that ended by themselves, by host.
    pub ended: BTreeMap<usize, String>,
    /// Hosts whose processes may end by themselves.
    pub may_end: BTreeSet<usize>,
    /// Hosts whose processes were told to end and have not yet, and whether they are to be started once they have.
    pub terminated: BTreeMap<usize, bool>,
}

/// A fault under way: when it ends, and whom it has hit.
struct Ongoing {
    until: Duration,
    fault: Fault,
    hosts: Vec<usize>,
    ways: Vec<(usize, usize)>,
}

impl Nemesis {
    pub fn new(set: ProcessSet, ground: Ground, timeline: Timeline) -> Nemesis {
        Nemesis {
            set,
            ground,
            timeline,
            counts: BTreeMap::new(),
            numbers: BTreeMap::new(),
            counting: BTreeSet::new(),
            leaving: BTreeSet::new(),
            facts: Vec::new(),
            ended: BTreeMap::new(),
            may_end: BTreeSet::new(),
            terminated: BTreeMap::new(),
        }
    }

    /// Brings the faults of a round. What has not ended by then, healing ends.
    pub async fn carry_out(&mut self, plan: Vec<Planned>, span: Duration) -> anyhow::Result<()> {
        let begun = now_monotonic();
        let mut planned = VecDeque::from(plan);
        let mut ongoing: Vec<Ongoing> = Vec::new();
        self.leaving.clear();
        loop {
            let first = ongoing.iter().enumerate().min_by_key(|(_, one)| one.until);
            let ends = first.map(|(at, one)| (one.until, at));
            let begins = planned.front().map(|next| next.from);
            let next = [ends.map(|(until, _)| until), begins];
            let next = next.into_iter().flatten().min().unwrap_or(span).min(span);
            sleep(next.saturating_sub(begun.elapsed())).await;
            self.note_ended()?;
            match ends {
                _ if next == span => return Ok(()),
                Some((until, at)) if until == next => self.end(ongoing.swap_remove(at)).await?,
                Some(_) | None => {
                    let fault = planned.pop_front().context("it is its turn")?;
                    ongoing.extend(self.begin(fault).await?);
                }
            }
        }
    }

    async fn begin(&mut self, planned: Planned) -> anyhow::Result<Option<Ongoing>> {
        let Planned { from, until, fault } = planned;
        let primary = self.look().await;
        let hosts = self.hit(fault, primary);
        if self.is_senseless(fault, &hosts) {
            return Ok(None);
        }
        let takes = until - from;
        let mut ways = Vec::new();
        if let Fault::Cut(shape, _) = fault {
            ways = self.ways(shape, hosts[0]);
        }
        self.note(fault, &hosts, takes);
        *self.counts.entry(fault.to_string()).or_default() += 1;
        if let Err(cause) = self.bring(fault, &hosts, &ways, takes).await {
            self.note_failure(fault, &cause);
            return Ok(None);
        }
        Ok(Some(Ongoing {
            until,
            fault,
            hosts,
            ways,
        }))
    }

    fn is_senseless(&self, fault: Fault, hosts: &[usize]) -> bool {
        let processes = self.set.homes().count();
        let is_joining = processes > self.numbers.len();
        // A process may be of a member that has left.
        let members = self.counting.difference(&self.leaving).count();
        match fault {
            Fault::Add => processes >= MOST_MEMBERS,
            Fault::Remove(_) => members <= LEAST_MEMBERS || is_joining,
            Fault::Replace(_) | Fault::LoseDirectory(_) => {
                let is_unknown = |host| !self.numbers.contains_key(host);
                members < LEAST_MEMBERS || is_joining || hosts.iter().any(is_unknown)
            }
            Fault::SwitchOver => hosts.is_empty(),
            Fault::Kill(_)
            | Fault::Terminate(_)
            | Fault::Pause(_)
            | Fault::Cut(..)
            | Fault::SlowDisk(..)
            | Fault::StallDisk(_) => hosts.is_empty(),
        }
    }

    async fn bring(
        &mut self,
        fault: Fault,
        hosts: &[usize],
        ways: &[(usize, usize)],
        takes: Duration,
    ) -> anyhow::Result<()> {
        for host in hosts.iter().copied() {
            let at = self.at(host)?;
            match fault {
                Fault::Kill(_) => self.set.kill(at).await?,
                Fault::Terminate(_) => {
                    self.may_end.insert(host);
                    self.terminated.insert(host, false);
                    self.set.terminate(at)?;
                }
                Fault::Pause(_) => {
                    self.bears(host, takes);
                    self.set.pause(at)?;
                }
                Fault::SlowDisk(_, milliseconds) => self.ground.slow_down(host, milliseconds)?,
                Fault::StallDisk(_) => {
                    self.bears(host, takes);
                    self.ground.slow_down(host, STALL_MS)?;
                }
                Fault::Remove(_) => {
                    let number = self.numbers[&host];
                    self.leaving.insert(number);
                    self.ask("remove", async |client| client.remove_member(number).await)
                        .await?;
                }
                Fault::LoseDirectory(_) => self.lose(host).await?,
                Fault::SwitchOver => {
                    let client = self.set.client(at)?;
                    timeout(ASK_LIMIT, client.switch_over(None)).await??;
                }
                Fault::Cut(..) | Fault::Add | Fault::Replace(_) => {}
            }
        }
        match fault {
            Fault::Cut(..) => self.network()?.cut(ways),
            Fault::Add | Fault::Replace(_) => self.join_spare().await,
            _ => Ok(()),
        }
    }

    async fn end(&mut self, ongoing: Ongoing) -> anyhow::Result<()> {
        let Ongoing {
            fault, hosts, ways, ..
        } = ongoing;
        match fault {
            Fault::Cut(..) => self.network()?.mend(&ways)?,
            Fault::SwitchOver | Fault::Add | Fault::Remove(_) => return Ok(()),
            _ => {}
        }
        for host in hosts.iter().copied() {
            if let Err(cause) = self.make_good(fault, host).await {
                self.note_failure(fault, &cause);
            }
        }
        self.note_end(fault, &hosts);
        Ok(())
    }

    async fn make_good(&mut self, fault: Fault, host: usize) -> anyhow::Result<()> {
        if let Fault::LoseDirectory(_) = fault {
            let home = self.ground.homes()[host].clone();
            return Ok(self.set.enlist(home).await?);
        }
        // It may have left the set meanwhile.
        let Ok(at) = self.at(host) else {
            return Ok(());
        };
        match fault {
            Fault::Kill(_) | Fault::Terminate(_) if !self.set.runs(at) => {
                self.terminated.remove(&host);
                self.set.launch(at)?;
            }
            Fault::Terminate(_) => {
                let is_restarted = self.terminated.get_mut(&host);
                is_restarted.into_iter().for_each(|starts| *starts = true);
            }
            Fault::Pause(_) if self.set.runs(at) => self.set.resume(at)?,
            Fault::SlowDisk(..) | Fault::StallDisk(_) => {
                self.ground.slow_down(host, 0)?;
                if !self.set.runs(at) {
                    self.set.launch(at)?;
                }
            }
            Fault::Replace(_) => self.replace(host).await?,
            _ => {}
        }
        Ok(())
    }

    /// The directory of a host is gone for ever.
    async fn lose(&mut self, host: usize) -> anyhow::Result<()> {
        let number = self.numbers.remove(&host).context("it has a number")?;
        let home = self.set.dismiss(self.at(host)?).await?;
        std::fs::remove_dir_all(home.directory())?;
        let time = self.timeline.now();
        self.facts.push(Fact::DiskLost { node: number, time });
        Ok(())
    }

    pub async fn join_spare(&mut self) -> anyhow::Result<()> {
        let taken: Vec<usize> = self.hosts();
        let mut spare = (0..self.ground.homes().len()).filter(|host| !taken.contains(host));
        let spare = spare.next().context("no host is free")?;
        let home = self.ground.homes()[spare].clone();
        Ok(self.set.enlist(home).await?)
    }

    /// Whoever came last takes the place of a member.
    async fn replace(&mut self, host: usize) -> anyhow::Result<()> {
        let old = *self.numbers.get(&host).context("it has no number")?;
        self.look().await;
        let newest = self.hosts().pop().filter(|newest| *newest != host);
        let new = newest.and_then(|newest| self.numbers.get(&newest).copied());
        let new = new.context("nobody has come")?;
        self.leaving.insert(old);
        self.ask("replace", async |client| {
            client.replace_member(old, new).await
        })
        .await
    }

    /// Asks the members one after the other until one agrees.
    pub async fn ask(
        &self,
        what: &str,
        call: impl AsyncFn(&Client) -> Result<(), Error>,
    ) -> anyhow::Result<()> {
        let mut refused = anyhow::anyhow!("nobody runs");
        for at in (0..self.set.homes().count()).filter(|at| self.set.runs(*at)) {
            match timeout(ASK_LIMIT, call(self.set.client(at)?)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => refused = error.into(),
                Err(_) => refused = anyhow::anyhow!("{what}: nobody answers"),
            }
        }
        Err(refused)
    }

    /// Looks at the set, and says which host is primary, if one is.
    pub async fn look(&mut self) -> Option<usize> {
        let views = self.set.look().await;
        let hosts = self.hosts();
        let latest = views.iter().flatten().max_by_key(|view| view.epoch);
        if let Some(view) = latest {
            let counting = view.members.iter().filter(|member| member.counts);
            self.counting = counting.map(|member| member.number).collect();
        }
        let mut primary = None;
        for (host, view) in hosts.into_iter().zip(&views) {
            if let Ok(view) = view {
                self.numbers.insert(host, view.answered_by);
            }
            if own(view).is_some_and(|own| own.serves) {
                primary = Some(host);
            }
        }
        primary
    }

    /// The hosts of the members, in their order.
    pub fn hosts(&self) -> Vec<usize> {
        let homes = self.set.homes();
        homes.map(|home| self.ground.host(home)).collect()
    }

    /// The place of a host's process among all.
    pub fn at(&self, host: usize) -> anyhow::Result<usize> {
        let at = self.hosts().iter().position(|other| *other == host);
        at.with_context(|| format!("host {} is of no member", host + 1))
    }

    fn hit(&self, fault: Fault, primary: Option<usize>) -> Vec<usize> {
        let hosts = self.hosts();
        let running: Vec<usize> = (0..hosts.len())
            .filter(|at| self.set.runs(*at))
            .map(|at| hosts[at])
            .collect();
        if running.is_empty() {
            return Vec::new();
        }
        match fault.victim() {
            Some(Victim::Primary) => vec![primary.unwrap_or(running[0])],
            Some(Victim::Any(count)) => vec![running[count % running.len()]],
            Some(Victim::All) => running,
            None if fault == Fault::SwitchOver => primary.into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn ways(&self, shape: Shape, host: usize) -> Vec<(usize, usize)> {
        let hosts = self.hosts();
        let others: Vec<usize> = hosts.iter().copied().filter(|one| *one != host).collect();
        let both = |one: usize, other: usize| [(one, other), (other, one)];
        match shape {
            Shape::Off => others.iter().flat_map(|other| both(host, *other)).collect(),
            Shape::Pair => others
                .first()
                .map_or(Vec::new(), |other| both(host, *other).into()),
            Shape::Mute => others.iter().map(|other| (host, *other)).collect(),
            Shape::Deaf => others.iter().map(|other| (*other, host)).collect(),
            Shape::Ring => {
                let next = hosts.iter().cycle().skip(1);
                hosts.iter().copied().zip(next.copied()).collect()
            }
            Shape::Split => {
                let one = [Some(&host), others.first().filter(|_| others.len() > 2)];
                let one: Vec<usize> = one.into_iter().flatten().copied().collect();
                let rest = others.iter().filter(|other| !one.contains(other));
                rest.flat_map(|other| one.iter().flat_map(|this| both(*this, *other)))
                    .collect()
            }
        }
    }

    /// Whoever is held up so long may take its disk for stalled.
    fn bears(&mut self, host: usize, takes: Duration) {
        if takes > STALL {
            self.may_end.insert(host);
        }
    }

    /// Sees which processes have ended by themselves, and starts those that wait for it.
    pub fn note_ended(&mut self) -> anyhow::Result<()> {
        for (at, host) in self.hosts().into_iter().enumerate() {
            if let Some(status) = self.set.ended(at) {
                let text = format!("node {} has ended: {status}", host + 1);
                self.timeline.note(&text);
                // Who has no number yet has not joined, and ends if nobody lets it in.
                if self.numbers.contains_key(&host) {
                    self.ended.insert(host, status.to_string());
                }
                if self.terminated.remove(&host) == Some(true) {
                    self.set.launch(at)?;
                }
            }
        }
        Ok(())
    }

    fn network(&mut self) -> anyhow::Result<&mut crate::network::Network> {
        self.ground.network().context("there is no network")
    }

    fn note(&mut self, fault: Fault, hosts: &[usize], takes: Duration) {
        let detail = match fault {
            Fault::SlowDisk(_, milliseconds) => format!(" by {milliseconds} ms"),
            _ => String::new(),
        };
        let text = format!(
            "{fault}{detail}: {} for {:.2} s",
            nodes(hosts),
            takes.as_secs_f64()
        );
        self.timeline.note(&text);
    }

    fn note_end(&mut self, fault: Fault, hosts: &[usize]) {
        let text = format!("{fault}: {} over", nodes(hosts));
        self.timeline.note(&text);
    }

    fn note_failure(&mut self, fault: Fault, cause: &anyhow::Error) {
        self.timeline.note(&format!("{fault}: {cause:#}"));
    }
}

fn nodes(hosts: &[usize]) -> impl Display {
    let numbers: Vec<String> = hosts.iter().map(|host| (host + 1).to_string()).collect();
    format!("node {}", numbers.join(" "))
}
