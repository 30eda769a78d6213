//! Pure: in which order a call tries the nodes of a set.
//!
//! Nodes that failed lately come last, arbiters after those that hold rows, other zones after the own one. Of the rest the
//! near ones share the load: near are those whose round trip is not much longer than the shortest (as the drivers of MongoDB
//! choose), and of two of them, taken at random, the one with fewer calls under way comes first ("the power of two choices",
//! Mitzenmacher 2001). Round trips are measured by asking nodes how the set is, not by lookups, which are of many sizes.
//!
//! **Invariants.** Every node is in every order, so that no wrong belief keeps a call from being answered. A node of which
//! nothing is known any more is asked again after a while.

use std::time::Duration;

/// How long a node is asked last after it failed once; twice as long after each further failure, up to the limit.
const SHUN: Duration = Duration::from_millis(100);
const SHUN_LIMIT: Duration = Duration::from_secs(5);
/// Near is what is at most twice as far as the nearest, and this.
const NEAR: Duration = Duration::from_millis(1);
/// How much of a new round trip counts.
const WEIGHT: f64 = 0.2;

/// The nodes of one set, as one client knows them. Times are monotonic, since any fixed moment.
#[derive(Debug)]
pub struct Routes {
    /// Those that the client was given come first, and stay.
    nodes: Vec<Node>,
    given: usize,
    zone: Option<String>,
    epoch: u64,
    primary: Option<String>,
    /// Who answered last.
    last: Option<String>,
}

#[derive(Debug, Clone)]
struct Node {
    endpoint: String,
    is_arbiter: bool,
    zone: Option<String>,
    round_trip: Option<Duration>,
    under_way: u32,
    /// Failures since it last answered.
    failures: u32,
    shunned_until: Duration,
}

/// Who can answer a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Any node.
    Anyone,
    /// The primary; others send the call on.
    Primary,
}

/// What a node says of its set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The open epoch.
    pub epoch: u64,
    /// The address of its primary, if there is one.
    pub primary: Option<String>,
    /// The address of each member, and whether it is an arbiter.
    pub members: Vec<(String, bool)>,
}

impl Routes {
    /// The nodes given, of which nothing is known. Those of `zone` are near.
    #[must_use]
    pub fn new(given: &[String], zone: Option<String>) -> Routes {
        let mut nodes: Vec<Node> = Vec::new();
        for endpoint in given {
            if nodes.iter().all(|node| node.endpoint != *endpoint) {
                nodes.push(Node::new(endpoint.clone()));
            }
        }
        Routes {
            given: nodes.len(),
            nodes,
            zone,
            epoch: 0,
            primary: None,
            last: None,
        }
    }

    /// All of them.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &String> {
        self.nodes.iter().map(|node| &node.endpoint)
    }

    /// Who answered last; at first the first.
    #[must_use]
    pub fn last(&self) -> Option<&String> {
        self.last.as_ref().or_else(|| self.endpoints().next())
    }

    /// The order in which a call tries them. `chances` are from 0 to 1.
    #[must_use]
    pub fn order(&self, wish: Wish, now: Duration, chances: [f64; 2]) -> Vec<String> {
        let nearest = self.nodes.iter().filter_map(|node| node.round_trip).min();
        let class = |node: &&Node| {
            (
                now < node.shunned_until,
                node.is_arbiter,
                self.zone.is_some() && node.zone != self.zone,
                !node.is_near(nearest),
                // Without measurements the one that answered last is as good as any, and connected.
                nearest.is_none() && self.last.as_ref() != Some(&node.endpoint),
            )
        };
        let mut nodes: Vec<&Node> = self.nodes.iter().collect();
        nodes.sort_by_key(class);
        let best = nodes.first().map(class);
        let near = nodes
            .iter()
            .take_while(|node| Some(class(node)) == best)
            .count();
        if nearest.is_some() && near > 1 {
            let [one, other] = two_of(near, chances);
            let under_way = |at: usize| nodes.get(at).map(|node| node.under_way);
            let chosen = if under_way(other) < under_way(one) {
                other
            } else {
                one
            };
            nodes.swap(0, chosen);
        }
        let mut order: Vec<String> = nodes.iter().map(|node| node.endpoint.clone()).collect();
        if let (Wish::Primary, Some(primary)) = (wish, &self.primary) {
            order.retain(|endpoint| endpoint != primary);
            order.insert(0, primary.clone());
        }
        order
    }

    /// A call to a node begins.
    pub fn begun(&mut self, endpoint: &str) {
        if let Some(node) = self.node(endpoint) {
            node.under_way += 1;
        }
    }

    /// It is over, one way or the other.
    pub fn ended(&mut self, endpoint: &str) {
        if let Some(node) = self.node(endpoint) {
            node.under_way = node.under_way.saturating_sub(1);
        }
    }

    /// A node answered.
    pub fn answered(&mut self, endpoint: &str) {
        if self.last.as_deref() != Some(endpoint) {
            self.last = Some(endpoint.to_owned());
        }
        if let Some(node) = self.node(endpoint) {
            node.failures = 0;
            node.shunned_until = Duration::ZERO;
        }
    }

    /// A node could not be reached, or does not answer now.
    pub fn failed(&mut self, endpoint: &str, now: Duration) {
        if self.primary.as_deref() == Some(endpoint) {
            self.primary = None;
        }
        if let Some(node) = self.node(endpoint) {
            node.fail(now);
        }
    }

    /// Another node was asked later and answered sooner. That happens to everyone at times.
    pub fn overtaken(&mut self, endpoint: &str, now: Duration) {
        if let Some(node) = self.node(endpoint) {
            node.failures += 1;
            if node.failures > 1 {
                node.fail(now);
            }
        }
    }

    /// A node is not primary, and may have named who is.
    pub fn not_primary(&mut self, endpoint: &str, named: Option<&String>) {
        if let Some(named) = named {
            self.primary = Some(named.clone());
        } else if self.primary.as_deref() == Some(endpoint) {
            self.primary = None;
        }
    }

    /// How long a node took to say how the set is, and where it stands.
    pub fn measured(&mut self, endpoint: &str, round_trip: Duration, zone: &str) {
        if let Some(node) = self.node(endpoint) {
            node.round_trip = Some(match node.round_trip {
                Some(before) => before
                    .mul_f64(1.0 - WEIGHT)
                    .saturating_add(round_trip.mul_f64(WEIGHT)),
                None => round_trip,
            });
            node.zone = (!zone.is_empty()).then(|| zone.to_owned());
        }
    }

    /// What a node said of the set. Of an earlier epoch than what is known it changes nothing.
    pub fn told(&mut self, told: Told) {
        if told.epoch < self.epoch {
            return;
        }
        self.epoch = told.epoch;
        self.primary = told.primary;
        let is_member = |node: &Node| {
            told.members
                .iter()
                .any(|(member, _)| *member == node.endpoint)
        };
        let mut at = 0..;
        let given = self.given;
        self.nodes
            .retain(|node| at.next().is_some_and(|at| at < given) || is_member(node));
        for (endpoint, is_arbiter) in told.members {
            match self.node(&endpoint) {
                Some(node) => node.is_arbiter = is_arbiter,
                None => self.nodes.push(Node {
                    is_arbiter,
                    ..Node::new(endpoint)
                }),
            }
        }
    }

    fn node(&mut self, endpoint: &str) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.endpoint == endpoint)
    }
}

impl Node {
    fn new(endpoint: String) -> Node {
        Node {
            endpoint,
            is_arbiter: false,
            zone: None,
            round_trip: None,
            under_way: 0,
            failures: 0,
            shunned_until: Duration::ZERO,
        }
    }

    fn fail(&mut self, now: Duration) {
        let span = SHUN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.shunned_until = now.saturating_add(span.min(SHUN_LIMIT));
    }

    fn is_near(&self, nearest: Option<Duration>) -> bool {
        match (self.round_trip, nearest) {
            (Some(own), Some(nearest)) => own <= nearest.saturating_mul(2).saturating_add(NEAR),
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }
}

/// Two different ones of the first `count`, which are two at least.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a chance from 0 to 1 of a small count is a small count"
)]
fn two_of(count: usize, [first, second]: [f64; 2]) -> [usize; 2] {
    let of = |count: usize, chance: f64| ((count as f64 * chance) as usize).min(count - 1);
    let one = of(count, first);
    let other = of(count - 1, second);
    [one, other + usize::from(other >= one)]
}

#[cfg(test)]
#[path = "routes_test.rs"]
mod tests;
