//! Pure: which faults a round brings, when and for how long. A seed decides that; whom they hit is decided when they come.

use std::fmt;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// After so long without a sign a primary is suspected.
pub const SILENCE: Duration = Duration::from_secs(1);
/// Pauses last around these multiples of the silence.
const PAUSES: [f64; 5] = [0.5, 0.99, 1.01, 4.0, 10.0];
/// Faults in a lane follow one another; so many overlap at the most.
pub const LANES: usize = 2;

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Primary,
    /// Which of those that run, if they are counted on and on.
    Any(usize),
    All,
}

/// What cannot reach what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A member from all others.
    Off,
    /// A member from one of the others.
    Pair,
    /// What a member sends is lost.
    Mute,
    /// What is sent to a member is lost.
    Deaf,
    /// What each member sends to the next one is lost.
    Ring,
    /// The members fall into two parts.
    Split,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again at the end.
    Kill(Victim),
    /// SIGTERM; started again at the end.
    Terminate(Victim),
    /// SIGSTOP; SIGCONT at the end.
    Pause(Victim),
    Cut(Shape, Victim),
    /// Each sync takes so many milliseconds longer.
    SlowDisk(Victim, u64),
    /// No sync ends before the fault does.
    StallDisk(Victim),
    SwitchOver,
    /// One more member joins.
    Add,
    Remove(Victim),
    /// A new member joins, and at the end it takes the place of another.
    Replace(Victim),
    /// Killed, its directory wiped; at the end an empty one joins at the same address.
    LoseDirectory(Victim),
}

/// What can be done to a set of processes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// Packets can be lost, and disks be slow.
    pub is_rooted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Since the beginning of the round.
    pub from: Duration,
    pub until: Duration,
    pub fault: Fault,
}

/// The faults of a round in the order in which they begin. All begin within `span`, and some end after it.
pub fn plan(random: &mut StdRng, means: Means, span: Duration) -> Vec<Planned> {
    let mut planned = Vec::new();
    for lane in 0..LANES {
        // What the operators do, they do one after the other.
        let mut may_change_members = lane == 0;
        let mut at = millis(random, 0, 1_500);
        while at < span {
            let fault = fault(random, means, may_change_members);
            may_change_members &= !matches!(fault, Fault::LoseDirectory(_));
            let until = at + duration(random, fault);
            planned.push(Planned {
                from: at,
                until,
                fault,
            });
            at = until + millis(random, 100, 4_000);
        }
    }
    planned.sort_by_key(|planned| planned.from);
    planned
}

fn fault(random: &mut StdRng, means: Means, may_change_members: bool) -> Fault {
    loop {
        let fault = match random.random_range(0..100) {
            0..14 => Fault::Kill(Victim::Primary),
            14..20 => Fault::Kill(any(random)),
            20..25 => Fault::Kill(Victim::All),
            25..30 => Fault::Terminate(victim(random)),
            30..42 => Fault::Pause(victim(random)),
            42..68 => Fault::Cut(shape(random), victim(random)),
            68..74 => Fault::SlowDisk(victim(random), random.random_range(20..400)),
            74..79 => Fault::StallDisk(victim(random)),
            79..86 => Fault::SwitchOver,
            86..89 => Fault::Add,
            89..93 => Fault::Remove(victim(random)),
            93..96 => Fault::Replace(victim(random)),
            _ => Fault::LoseDirectory(victim(random)),
        };
        let is_rooted = matches!(
            fault,
            Fault::Cut(..) | Fault::SlowDisk(..) | Fault::StallDisk(_)
        );
        if (means.is_rooted || !is_rooted) && (may_change_members || !fault.changes_members()) {
            return fault;
        }
    }
}

fn duration(random: &mut StdRng, fault: Fault) -> Duration {
    match fault {
        Fault::Kill(_) => millis(random, 0, 4_000),
        Fault::Terminate(_) => millis(random, 500, 4_000),
        Fault::Pause(_) => SILENCE.mul_f64(*PAUSES.choose(random).expect("there are some")),
        Fault::Cut(..) => millis(random, 200, 8_000),
        Fault::SlowDisk(..) => millis(random, 1_000, 6_000),
        // Now and then for longer than a process waits.
        Fault::StallDisk(_) if random.random_ratio(1, 6) => millis(random, 10_500, 13_000),
        Fault::StallDisk(_) => millis(random, 500, 6_000),
        Fault::SwitchOver | Fault::Add | Fault::Remove(_) => Duration::ZERO,
        Fault::Replace(_) | Fault::LoseDirectory(_) => millis(random, 1_000, 8_000),
    }
}

fn shape(random: &mut StdRng) -> Shape {
    let shapes = [
        Shape::Off,
        Shape::Off,
        Shape::Pair,
        Shape::Mute,
        Shape::Deaf,
        Shape::Ring,
        Shape::Split,
    ];
    *shapes.choose(random).expect("there are some")
}

fn victim(random: &mut StdRng) -> Victim {
    if random.random() {
        Victim::Primary
    } else {
        any(random)
    }
}

fn any(random: &mut StdRng) -> Victim {
    Victim::Any(random.random_range(0..60))
}

fn millis(random: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.random_range(from..to))
}

impl Fault {
    pub fn changes_members(self) -> bool {
        match self {
            Fault::Add | Fault::Remove(_) | Fault::Replace(_) | Fault::LoseDirectory(_) => true,
            Fault::Kill(_)
            | Fault::Terminate(_)
            | Fault::Pause(_)
            | Fault::Cut(..)
            | Fault::SlowDisk(..)
            | Fault::StallDisk(_)
            | Fault::SwitchOver => false,
        }
    }

    /// Whom it hits.
    pub fn victim(self) -> Option<Victim> {
        match self {
            Fault::Kill(victim)
            | Fault::Terminate(victim)
            | Fault::Pause(victim)
            | Fault::Cut(_, victim)
            | Fault::SlowDisk(victim, _)
            | Fault::StallDisk(victim)
            | Fault::Remove(victim)
            | Fault::Replace(victim)
            | Fault::LoseDirectory(victim) => Some(victim),
            Fault::SwitchOver | Fault::Add => None,
        }
    }
}

/// What it is counted as.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Fault::Kill(_) => "kill",
            Fault::Terminate(_) => "terminate",
            Fault::Pause(_) => "pause",
            Fault::Cut(Shape::Off, _) => "cut off",
            Fault::Cut(Shape::Pair, _) => "cut from one",
            Fault::Cut(Shape::Mute, _) => "not heard",
            Fault::Cut(Shape::Deaf, _) => "hears nothing",
            Fault::Cut(Shape::Ring, _) => return f.write_str("one-way ring"),
            Fault::Cut(Shape::Split, _) => return f.write_str("split"),
            Fault::SlowDisk(..) => "slow disk",
            Fault::StallDisk(_) => "disk stalls",
            Fault::SwitchOver => "switch over",
            Fault::Add => "add",
            Fault::Remove(_) => "remove",
            Fault::Replace(_) => "replace",
            Fault::LoseDirectory(_) => "directory lost",
        };
        f.write_str(what)?;
        match self.victim() {
            Some(Victim::Primary) => f.write_str(", primary"),
            Some(Victim::All) => f.write_str(", all"),
            Some(Victim::Any(_)) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use std::collections::BTreeSet;

    const SPAN: Duration = Duration::from_secs(40);

    fn plans(is_rooted: bool) -> impl Iterator<Item = Vec<Planned>> {
        let means = Means { is_rooted };
        (0..500).map(move |seed| plan(&mut StdRng::seed_from_u64(seed), means, SPAN))
    }

    #[test]
    fn a_plan_follows_from_its_seed() {
        assert!(plans(true).eq(plans(true)));
        let differ = plans(true).zip(plans(true).skip(1));
        assert!(differ.filter(|(one, next)| one == next).count() == 0);
    }

    #[test]
    fn two_faults_overlap_and_never_three() {
        let mut most = 0;
        for plan in plans(true) {
            for at in &plan {
                let under_way = plan
                    .iter()
                    .filter(|other| other.from <= at.from && at.from < other.until);
                most = most.max(under_way.count());
            }
        }
        assert_eq!(most, LANES);
    }

    #[test]
    fn a_lost_directory_is_the_last_change_of_members_of_its_round() {
        for plan in plans(true) {
            let changes: Vec<_> = plan
                .iter()
                .filter(|planned| planned.fault.changes_members())
                .collect();
            for pair in changes.windows(2) {
                assert!(pair[0].until <= pair[1].from, "{plan:?}");
                assert!(
                    !matches!(pair[0].fault, Fault::LoseDirectory(_)),
                    "{plan:?}"
                );
            }
        }
    }

    #[test]
    fn every_kind_of_fault_is_planned_where_there_are_means_for_it() {
        let kinds = |is_rooted| -> BTreeSet<String> {
            let faults = plans(is_rooted).flatten();
            faults.map(|planned| planned.fault.to_string()).collect()
        };
        assert_eq!(kinds(true).len(), 29, "{:?}", kinds(true));
        assert_eq!(kinds(false).len(), 15, "{:?}", kinds(false));
    }
}
