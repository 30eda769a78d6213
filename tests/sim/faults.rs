//! What goes wrong, and the operator who mends it. Each seed switches on its own kinds of faults.

use std::collections::BTreeSet;

use steadfast::base::IncarnationId;
use steadfast::control::Command;

use crate::chance::Chance;
use crate::world::{Event, MILLI, World};

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub nodes: usize,
    pub shrink: bool,
    /// Without an operator's word a primary is replaced only if nothing acknowledged can be missing.
    pub hybrid: bool,
    /// Percent of messages lost.
    pub loss: u64,
    pub duplicates: bool,
    pub delays: bool,
    pub partitions: bool,
    pub agreement_cuts: bool,
    pub leader_changes: bool,
    pub pauses: bool,
    pub clocks: bool,
    pub crashes: bool,
    pub sync_errors: bool,
    pub disk_losses: bool,
    pub rollbacks: bool,
    pub slow_disks: bool,
    pub changes: bool,
    pub releases: bool,
    pub client_cuts: bool,
}

impl Plan {
    /// A random subset of all faults.
    pub fn random(seed: u64) -> Plan {
        let mut chance = Chance::new(seed ^ 0xfa17);
        let mut on = || chance.percent(50);
        let mut plan = Plan {
            nodes: 3,
            shrink: on(),
            hybrid: false,
            loss: 0,
            duplicates: on(),
            delays: on(),
            partitions: on(),
            agreement_cuts: on(),
            leader_changes: on(),
            pauses: on(),
            clocks: on(),
            crashes: on(),
            sync_errors: on(),
            disk_losses: on(),
            rollbacks: on(),
            slow_disks: on(),
            changes: on(),
            releases: on(),
            client_cuts: on(),
        };
        plan.nodes = [2, 3, 3, 3, 4, 5][chance.index(6)];
        plan.loss = [0, 0, 1, 5, 15][chance.index(5)];
        plan
    }

    /// Nothing goes wrong by itself.
    pub fn without_faults(nodes: usize) -> Plan {
        Plan {
            nodes,
            shrink: false,
            hybrid: false,
            loss: 0,
            duplicates: false,
            delays: false,
            partitions: false,
            agreement_cuts: false,
            leader_changes: false,
            pauses: false,
            clocks: false,
            crashes: false,
            sync_errors: false,
            disk_losses: false,
            rollbacks: false,
            slow_disks: false,
            changes: false,
            releases: false,
            client_cuts: false,
        }
    }
}

pub struct Faults {
    pub plan: Plan,
    pub is_over: bool,
    /// Nobody changes members.
    pub operator_is_away: bool,
    /// Nothing gets from one to the other.
    cuts: BTreeSet<(usize, usize)>,
    off_agreement: BTreeSet<usize>,
    /// No client reaches these.
    cut_from_clients: BTreeSet<usize>,
}

impl Faults {
    pub fn new(plan: Plan) -> Faults {
        Faults {
            plan,
            is_over: false,
            operator_is_away: false,
            cuts: BTreeSet::new(),
            off_agreement: BTreeSet::new(),
            cut_from_clients: BTreeSet::new(),
        }
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Nothing gets from one to the other any more.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub fn mend(&mut self, from: usize, to: usize) {
        self.cuts.remove(&(from, to));
    }

    pub fn cut_from_agreement(&mut self, at: usize) {
        self.off_agreement.insert(at);
    }

    pub fn is_off_agreement(&self, at: usize) -> bool {
        self.off_agreement.contains(&at)
    }

    pub fn releases(&self) -> bool {
        self.plan.releases
    }

    /// How long a message takes; `None` if it is lost.
    pub fn way(&self, from: usize, to: usize, chance: &mut Chance) -> Option<u64> {
        if self.is_cut(from, to) || !self.is_over && chance.percent(self.plan.loss) {
            return None;
        }
        let delay = chance.between(MILLI / 20, 2 * MILLI);
        if self.plan.delays && !self.is_over && chance.one_in(20) {
            return Some(delay + chance.below(1_500 * MILLI));
        }
        Some(delay)
    }

    /// Between a client and a node.
    pub fn way_to_client(&self, at: usize, chance: &mut Chance) -> Option<u64> {
        if self.cut_from_clients.contains(&at) {
            return None;
        }
        self.way_of_rows(chance)
    }

    /// Between nodes, for a quorum read.
    pub fn way_of_rows(&self, chance: &mut Chance) -> Option<u64> {
        if !self.is_over && chance.percent(self.plan.loss) {
            return None;
        }
        Some(chance.between(MILLI / 20, 2 * MILLI))
    }

    pub fn duplicates(&self, chance: &mut Chance) -> bool {
        self.plan.duplicates && !self.is_over && chance.one_in(10)
    }

    pub fn fails_sync(&self, chance: &mut Chance) -> bool {
        self.plan.sync_errors && !self.is_over && chance.one_in(800)
    }
}

impl World {
    /// Something goes wrong, and the next thing is due.
    pub fn on_fault(&mut self) {
        if self.faults.is_over {
            return;
        }
        let plan = self.faults.plan;
        let kinds = [
            ("partition", plan.partitions),
            ("isolate primary", plan.partitions),
            ("isolate primary wholly", plan.partitions),
            ("one-way cut", plan.partitions),
            ("ring", plan.partitions),
            ("cut from the agreement", plan.agreement_cuts),
            ("no leader of the agreement", plan.leader_changes),
            ("pause", plan.pauses),
            ("pause primary", plan.pauses),
            ("clock", plan.clocks),
            ("crash", plan.crashes),
            ("crash primary", plan.crashes),
            ("crash all", plan.crashes),
            ("disk loss", plan.disk_losses),
            ("roll back", plan.rollbacks),
            ("start a copy", plan.rollbacks),
            ("slow disk", plan.slow_disks),
            ("switch over", plan.changes),
            ("change members", plan.changes),
            ("cut from clients", plan.client_cuts),
        ];
        let on: Vec<&'static str> = kinds
            .iter()
            .filter(|(_, on)| *on)
            .map(|(kind, _)| *kind)
            .collect();
        if let Some(kind) = self.chance.pick(&on).copied()
            && self.go_wrong(kind)
        {
            *self.counts.faults.entry(kind).or_default() += 1;
            self.log(|| format!("fault: {kind}"));
        }
        let delay = self.chance.between(100 * MILLI, 1_500 * MILLI);
        self.push(delay, Event::Fault);
    }

    fn go_wrong(&mut self, kind: &str) -> bool {
        let nodes = self.nodes.len();
        let at = self.chance.index(nodes);
        let primary = self.primary().unwrap_or(at);
        let span = self.chance.between(50 * MILLI, 4_000 * MILLI);
        match kind {
            "partition" => {
                let side: BTreeSet<usize> = (0..nodes).filter(|_| self.chance.one_in(2)).collect();
                self.cut(span, |from, to| side.contains(&from) != side.contains(&to));
            }
            "isolate primary" => self.cut(span, |from, to| from == primary || to == primary),
            "isolate primary wholly" => {
                self.cut(span, |from, to| from == primary || to == primary);
                self.faults.cut_from_agreement(primary);
                self.push(span, Event::Ease(primary));
            }
            "one-way cut" => self.cut(span, |from, _| from == at),
            "ring" => self.cut(span, |from, to| {
                (from + 1) % nodes != to && (to + 1) % nodes != from
            }),
            "cut from the agreement" => {
                let whom = if self.chance.one_in(2) { primary } else { at };
                self.faults.cut_from_agreement(whom);
                self.push(span, Event::Ease(whom));
            }
            "no leader of the agreement" => self.agreement.leaderless_until = self.now + span / 3,
            "pause" | "pause primary" => {
                let whom = if kind == "pause" { at } else { primary };
                let times = [500, 990, 1_010, 3_000][self.chance.index(4)];
                self.nodes[whom].paused_until = self.now + times * MILLI;
            }
            "clock" => {
                self.nodes[at].skew = [3_600_000, -3_600_000, 400, -400, 0][self.chance.index(5)];
            }
            "crash" | "crash primary" | "crash all" => {
                let whom: Vec<usize> = match kind {
                    "crash" => vec![at],
                    "crash primary" => vec![primary],
                    _ => (0..nodes).collect(),
                };
                for at in whom {
                    self.crash(at);
                    let delay = self.chance.between(20 * MILLI, 3_000 * MILLI);
                    self.push(delay, Event::Start(at));
                }
            }
            "disk loss" => {
                if !self.may_lose(at) {
                    return false;
                }
                self.lose_disk(at);
                let delay = self.chance.between(20 * MILLI, 3_000 * MILLI);
                self.push(delay, Event::Start(at));
            }
            "roll back" => return self.roll_back(at),
            "start a copy" => {
                if !self.may_lose(at) || self.nodes[at].live.is_none() {
                    return false;
                }
                self.crash(at);
                self.nodes[at].backup = Some(self.nodes[at].disk.clone());
                self.push(MILLI, Event::Start(at));
                let delay = self.chance.between(20 * MILLI, 400 * MILLI);
                self.push(delay, Event::RollBack(at));
            }
            "slow disk" => {
                self.nodes[at].slowness = [1, 10, 100][self.chance.index(3)];
                self.push(span, Event::Ease(nodes + at));
            }
            "switch over" => {
                let now = self.clock();
                let to = self.nodes[at].disk.incarnation;
                let Some(live) = &mut self.nodes[primary].live else {
                    return false;
                };
                let members = live
                    .replica
                    .control()
                    .open
                    .as_ref()
                    .map(|open| open.members.clone());
                let Some(members) = members.filter(|members| members.contains(&to)) else {
                    return false;
                };
                let begun = live.replica.hand_over(now, to, members).is_ok();
                self.go_on(primary);
                return begun;
            }
            "cut from clients" => {
                let whom = if self.chance.one_in(2) { primary } else { at };
                self.faults.cut_from_clients.insert(whom);
                self.push(span, Event::Ease(2 * nodes + whom));
            }
            "change members" => return self.change_members(primary, at),
            other => panic!("no fault {other}"),
        }
        true
    }

    fn cut(&mut self, span: u64, is_cut: impl Fn(usize, usize) -> bool) {
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                if from != to && is_cut(from, to) {
                    self.faults.cut(from, to);
                }
            }
        }
        self.push(span, Event::Ease(usize::MAX));
    }

    /// Some fault passes.
    pub fn ease(&mut self, what: usize) {
        let nodes = self.nodes.len();
        if what == usize::MAX {
            self.faults.cuts.clear();
        } else if what >= 2 * nodes {
            self.faults.cut_from_clients.remove(&(what - 2 * nodes));
        } else if what >= nodes {
            self.nodes[what - nodes].slowness = 1;
        } else {
            self.faults.off_agreement.remove(&what);
            let index = self.agreement.states.len() - 1;
            self.push(MILLI, Event::Learn(what, index));
        }
    }

    /// One disk at a time may be lost, and only where others hold what was acknowledged.
    fn may_lose(&self, at: usize) -> bool {
        let control = self.agreement.now();
        let Some(open) = &control.open else {
            return false;
        };
        let attempt = control.attempt.as_ref().map(|attempt| &attempt.members);
        let gone =
            |member: &IncarnationId| self.is_unsound(*member) || self.node_of(*member).is_none();
        let involved = open.members.iter().chain(attempt.into_iter().flatten());
        let mut involved: BTreeSet<IncarnationId> = involved.copied().collect();
        if let Some(attempt) = &control.attempt {
            involved.extend(attempt.basis.iter().copied());
        }
        let is_settled = control.attempt_epoch() == control.open_epoch();
        let smallest = open
            .members
            .len()
            .min(attempt.map_or(9, |members| members.len()));
        is_settled && smallest >= 2 && !involved.iter().any(gone) && !self.nodes[at].is_dead
    }

    /// Will it be noticed that the backup is an older state, or lacks it no record? What was acknowledged after the last grant is not recorded
    /// anywhere else: the stated residual of detection.
    fn is_recorded(&self, at: usize) -> bool {
        let Some(backup) = &self.nodes[at].backup else {
            return false;
        };
        let control = self.agreement.now();
        let Some(member) = control.members.get(&backup.incarnation) else {
            return false;
        };
        let knows_boot = member
            .token
            .is_none_or(|token| backup.tokens.contains(&token));
        let held = backup.held();
        let lacks = |vector| !control.covers(&held, vector);
        !knows_boot || lacks(&member.acked) || !lacks(&self.nodes[at].disk.held())
    }

    pub fn roll_back(&mut self, at: usize) -> bool {
        let has_backup = self.nodes[at].backup.is_some();
        if !has_backup {
            if self.nodes[at].live.is_some() {
                self.nodes[at].backup = Some(self.nodes[at].disk.clone());
            }
            return false;
        }
        if !self.may_lose(at) || self.nodes[at].live.is_none() || !self.is_recorded(at) {
            return false;
        }
        self.crash(at);
        let mut backup = self.nodes[at].backup.take().unwrap();
        if backup.incarnation != self.nodes[at].disk.incarnation {
            return false;
        }
        backup.crash(&mut self.chance);
        self.unsound.insert(backup.incarnation, self.now);
        self.nodes[at].disk = backup;
        self.push(50 * MILLI, Event::Start(at));
        true
    }

    fn change_members(&mut self, primary: usize, at: usize) -> bool {
        let now = self.clock();
        let is_settled = self
            .agreement
            .now()
            .open
            .as_ref()
            .is_some_and(|open| open.members.iter().all(|m| !self.is_unsound(*m)));
        let out = self.nodes[at].disk.incarnation;
        let me = self.nodes[primary].disk.incarnation;
        let Some(live) = self.nodes[primary]
            .live
            .as_mut()
            .filter(|_| is_settled && at != primary)
        else {
            return false;
        };
        let Some(open) = live.replica.control().open.clone() else {
            return false;
        };
        let mut members = open.members;
        if !members.remove(&out) || members.len() < 2 {
            return false;
        }
        let begun = live.replica.hand_over(now, me, members).is_ok();
        self.go_on(primary);
        begun
    }

    /// The operator: brings back what crashed, replaces what is dead, and puts all nodes into the set.
    pub fn on_operator(&mut self) {
        self.push(300 * MILLI, Event::Operator);
        self.check_all();
        if self.faults.operator_is_away {
            return;
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_dead {
                self.lose_disk(at);
                self.push(100 * MILLI, Event::Start(at));
            } else if self.nodes[at].live.is_none() && self.faults.is_over {
                self.push(0, Event::Start(at));
            }
        }
        let control = std::sync::Arc::clone(self.agreement.now());
        if control.attempt_epoch() == control.open_epoch() {
            let members = control.open.iter().flat_map(|open| &open.members);
            let members: BTreeSet<IncarnationId> = members.copied().collect();
            let known = control.members.keys().copied();
            let gone: Vec<IncarnationId> = known
                .filter(|member| self.node_of(*member).is_none() && !members.contains(member))
                .collect();
            for incarnation in gone {
                let _in_use = self.agree(Command::Evict {
                    incarnation,
                    expected_open: None,
                });
            }
        }
        if self.faults.plan.hybrid {
            self.approve_now_and_then();
        }
        // Two that shrink and take back by themselves are left alone.
        let is_shrunk =
            self.faults.plan.shrink && control.members.len() == 2 && !self.faults.is_over;
        if self.chance.one_in(2) || is_shrunk {
            return;
        }
        let Some(primary) = self.primary() else {
            return;
        };
        let now = self.clock();
        let wanted: BTreeSet<IncarnationId> = self
            .nodes
            .iter()
            .map(|node| node.disk.incarnation)
            .collect();
        if let Some(at) = self.behind(primary) {
            self.log(|| format!("the operator waits for node {at}"));
            return;
        }
        let me = self.nodes[primary].disk.incarnation;
        let live = self.nodes[primary].live.as_mut().unwrap();
        let members = live
            .replica
            .control()
            .open
            .as_ref()
            .map(|open| open.members.clone());
        if members.as_ref() != Some(&wanted) {
            let begun = live.replica.hand_over(now, me, wanted);
            self.log(|| format!("the operator changes members: {begun:?}"));
            self.go_on(primary);
        }
    }

    /// A node that is not there, or lacks many of the primary's records.
    pub fn behind(&self, primary: usize) -> Option<usize> {
        let control = self.agreement.now();
        let replica = &self.nodes[primary].live.as_ref().unwrap().replica;
        let have = replica.member().durable();
        self.nodes.iter().position(|node| {
            let Some(live) = &node.live else { return true };
            let missing = control.missing(have, live.replica.member().durable());
            missing.is_none_or(|missing| {
                missing.iter().map(|m| m.through.0 - m.after.0).sum::<u64>() > 50
            })
        })
    }

    fn approve_now_and_then(&mut self) {
        let open = self.agreement.now().open_epoch();
        if !self.faults.is_over && !self.chance.one_in(20) {
            return;
        }
        self.seen.approve(open);
        for node in &mut self.nodes {
            if let Some(live) = &mut node.live {
                live.replica.approve(open);
            }
        }
    }

    /// Everything works again.
    pub fn heal(&mut self) {
        self.faults.is_over = true;
        self.faults.cut_from_clients.clear();
        self.faults.operator_is_away = false;
        self.faults.cuts.clear();
        self.agreement.leaderless_until = 0;
        for at in 0..self.nodes.len() {
            self.ease(at);
            let node = &mut self.nodes[at];
            (node.slowness, node.skew) = (1, 0);
            node.paused_until = self.now;
        }
    }
}
