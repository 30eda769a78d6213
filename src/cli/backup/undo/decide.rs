//! Pure: by which writes a live row says again what a restored one does.
//!
//! Where the newest version wins, an undo is a write. What counts is what readers get: of each feature a value, null or
//! nothing; what has expired is nothing, on both sides. Features that the restored definition does not know keep what they have.
//!
//! ```text
//!                      merge = "row"                        merge = "cell"
//!   readers get the    nothing is done                      nothing is done
//!   same
//!   nothing is wanted  the row is deleted                   the row is deleted
//!   else               one put of all that is wanted        a put of each feature that differs; if one is to have
//!                                                           nothing, the row is deleted, then all is put
//! ```
//! **Event times.** Where the last write wins, each keeps its own. Where the newest event time wins, a write takes its own or that
//! of what it replaces, whichever is later: of equal event times the later write wins, so this is the least by which it does, and a
//! write that others make meanwhile for a later time wins against it, as it should. What a view does not take any more
//! (`max_lateness`), or what loses to a deletion that cannot be seen, takes the time of the write.
//!
//! **Invariant.** Where readers got something else and nobody else writes, they get what is wanted once what was decided is written,
//! and once more what is then decided [as of now](Changes::now); then nothing is left to do.

use std::collections::BTreeMap;

use crate::base::Micros;
use crate::model::cells::put_value;
use crate::model::{MergeMode, Order, Value, ValueType};

/// Status and event time of one value.
const CELL_BYTES: usize = 9;

/// What is known of one feature of one entity.
#[derive(Debug, Clone)]
pub enum Fact {
    /// There is nothing.
    Absent,
    /// There was something of this event time, which has expired.
    Expired(Micros),
    /// A value, or null, with its event time.
    Present(Value, Micros),
}

/// What is known of one entity: a fact for each feature of the live view, in its order. All are absent of an entity that is not there.
pub type Facts = Vec<Fact>;

/// A feature of the live view.
#[derive(Debug, Clone, Copy)]
pub struct Sought {
    /// Its type.
    pub value_type: ValueType,
    /// Does the restored definition know it?
    pub is_restored: bool,
}

/// By what is decided.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The unit of last-write-wins.
    pub merge: MergeMode,
    /// By what versions are ordered.
    pub order: Order,
    /// Earlier event times are refused.
    pub floor: Option<Micros>,
    /// The features of the live view.
    pub features: Vec<Sought>,
}

/// What is to be written, in this order. If nothing is, readers get what they are to get.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// The row is deleted, as of then.
    pub delete: Option<When>,
    /// Then this is put.
    pub puts: Vec<Put>,
}

/// Values of one event time.
#[derive(Debug, Clone, PartialEq)]
pub struct Put {
    /// When they became true.
    pub at: When,
    /// One for each feature; `None` is not named.
    pub values: Vec<Option<Value>>,
}

/// The event time of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// This one.
    At(Micros),
    /// That of the write, so that it wins against whatever is stored.
    Now,
}

impl Fact {
    /// The event time, if there is something, expired or not.
    fn time(&self) -> Option<Micros> {
        match self {
            Fact::Absent => None,
            Fact::Expired(time) | Fact::Present(_, time) => Some(*time),
        }
    }

    fn value(&self) -> Option<&Value> {
        match self {
            Fact::Present(value, _) => Some(value),
            Fact::Absent | Fact::Expired(_) => None,
        }
    }
}

impl Changes {
    /// Is there nothing to do?
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.delete.is_none() && self.puts.is_empty()
    }

    /// Is the row to go?
    #[must_use]
    pub fn only_delete(&self) -> bool {
        self.delete.is_some() && self.puts.is_empty()
    }

    /// The same, but all wins against whatever is stored.
    #[must_use]
    pub fn now(mut self) -> Changes {
        self.delete = self.delete.map(|_| When::Now);
        for put in &mut self.puts {
            put.at = When::Now;
        }
        self
    }
}

/// Do readers get anything of an entity?
#[must_use]
pub fn is_there(facts: &[Fact]) -> bool {
    facts.iter().any(|fact| fact.value().is_some())
}

/// Has all that there was of an entity expired?
#[must_use]
pub fn has_expired(facts: &[Fact]) -> bool {
    let mut expired = facts.iter().filter(|fact| fact.time().is_some()).peekable();
    expired.peek().is_some() && expired.all(|fact| fact.value().is_none())
}

impl Terms {
    /// What readers are to get: of features that the restored definition does not know what they get now.
    #[must_use]
    pub fn wanted(&self, restored: &[Fact], live: &[Fact]) -> Facts {
        let facts = self.features.iter().zip(restored).zip(live);
        let wanted = |((of, restored), live): ((&Sought, &Fact), &Fact)| match (restored, live) {
            _ if !of.is_restored => live.clone(),
            // By the clock of the live set it has.
            (Fact::Present(_, time), Fact::Expired(expired)) if time <= expired => {
                Fact::Expired(*time)
            }
            _ => restored.clone(),
        };
        facts.map(wanted).collect()
    }

    /// What has to be written so that readers of the live row get what is wanted.
    #[must_use]
    pub fn decide(&self, wanted: &[Fact], live: &[Fact]) -> Changes {
        let places = self.places(wanted, live);
        if !places.iter().any(Place::differs) {
            return Changes::default();
        }
        let newest = live.iter().filter_map(Fact::time).max();
        let delete = Some(match (self.order, newest) {
            (Order::EventTime, Some(newest)) => self.taken(newest),
            (Order::EventTime, None) | (Order::Arrival, _) => When::Now,
        });
        if places.iter().all(|place| place.wanted.value().is_none()) {
            let puts = Vec::new();
            return Changes { delete, puts };
        }
        match self.merge {
            MergeMode::Row => {
                let present = wanted.iter().filter(|fact| fact.value().is_some());
                let own = present.filter_map(Fact::time).max();
                let at = |_: &Place<'_>, time: Micros| self.when(own.unwrap_or(time), newest);
                let puts = puts(&places, |_| true, at);
                Changes { delete: None, puts }
            }
            MergeMode::Cell if places.iter().any(Place::is_too_much) => {
                let at = |_: &Place<'_>, time| self.when(time, newest);
                let puts = puts(&places, |_| true, at);
                Changes { delete, puts }
            }
            MergeMode::Cell => {
                let at = |place: &Place<'_>, time| self.when(time, place.live.time());
                let puts = puts(&places, Place::differs, at);
                Changes { delete: None, puts }
            }
        }
    }

    /// Is nothing in a row but what was there `before` and what these `changes` were to put there? Else somebody else has
    /// written it.
    #[must_use]
    pub fn explain(
        &self,
        wanted: &[Fact],
        before: &[Fact],
        changes: &Changes,
        after: &[Fact],
    ) -> bool {
        let places = self.places(wanted, before);
        places.iter().zip(after).all(|(place, after)| {
            let is_written = is_same(place.of, place.wanted, after);
            let is_gone = after.value().is_none() && changes.delete.is_some();
            // What was there may have expired since.
            let has_expired = matches!(after, Fact::Expired(_));
            is_written || is_still(place.of, place.live, after) || is_gone || has_expired
        })
    }

    /// Is a row what it was, event times included, but for what has expired since?
    #[must_use]
    pub fn are_same(&self, before: &[Fact], now: &[Fact]) -> bool {
        let facts = self.features.iter().zip(before).zip(now);
        let mut facts = facts.map(|((of, before), now)| match (before, now) {
            (Fact::Present(_, time), Fact::Expired(expired)) => time == expired,
            _ => is_still(of, before, now),
        });
        facts.all(|is_same| is_same)
    }

    /// About how many bytes an entity takes in an answer or request.
    #[must_use]
    pub fn weight(&self, facts: &[Fact]) -> usize {
        let facts = self.features.iter().zip(facts);
        let weights = facts.map(|(of, fact)| {
            let value = fact
                .value()
                .map(|value| encoded(of.value_type, value).len());
            CELL_BYTES + value.unwrap_or(0)
        });
        weights.sum()
    }

    /// Each feature with what it is to have and what it has.
    fn places<'a>(&'a self, wanted: &'a [Fact], live: &'a [Fact]) -> Vec<Place<'a>> {
        let places = self.features.iter().zip(wanted).zip(live);
        let place = |((of, wanted), live)| Place { of, wanted, live };
        places.map(place).collect()
    }

    /// The event time of what became true at `own` and replaces what is of another time.
    fn when(&self, own: Micros, replaced: Option<Micros>) -> When {
        self.taken(match self.order {
            Order::EventTime => own.max(replaced.unwrap_or(own)),
            Order::Arrival => own,
        })
    }

    /// This time, if a write of it is taken.
    fn taken(&self, time: Micros) -> When {
        if self.floor.is_some_and(|floor| time < floor) {
            When::Now
        } else {
            When::At(time)
        }
    }
}

/// A feature of one entity.
struct Place<'a> {
    of: &'a Sought,
    wanted: &'a Fact,
    live: &'a Fact,
}

impl Place<'_> {
    fn differs(&self) -> bool {
        !is_same(self.of, self.wanted, self.live)
    }

    /// Is there something where nothing is to be?
    fn is_too_much(&self) -> bool {
        self.wanted.value().is_none() && self.live.value().is_some()
    }
}

/// Puts of what some places are to have, by event time.
fn puts<'a>(
    places: &[Place<'a>],
    is_named: impl Fn(&Place<'a>) -> bool,
    at: impl Fn(&Place<'a>, Micros) -> When,
) -> Vec<Put> {
    let mut by_time: BTreeMap<When, Vec<Option<Value>>> = BTreeMap::new();
    for (number, place) in places.iter().enumerate() {
        let Fact::Present(value, time) = place.wanted else {
            continue;
        };
        if !is_named(place) {
            continue;
        }
        let values = by_time.entry(at(place, *time));
        let values = values.or_insert_with(|| vec![None; places.len()]);
        if let Some(put) = values.get_mut(number) {
            *put = Some(value.clone());
        }
    }
    let puts = by_time.into_iter();
    puts.map(|(at, values)| Put { at, values }).collect()
}

/// Do readers get the same, to the last bit? NaN is the same as itself, and 0.0 is not -0.0.
fn is_same(of: &Sought, one: &Fact, other: &Fact) -> bool {
    let encoded = |value| encoded(of.value_type, value);
    one.value().map(encoded) == other.value().map(encoded)
}

fn is_still(of: &Sought, before: &Fact, now: &Fact) -> bool {
    before.time() == now.time() && is_same(of, before, now)
}

fn encoded(value_type: ValueType, value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_value(&mut bytes, value_type, value);
    bytes
}

#[cfg(test)]
#[path = "decide_test.rs"]
mod tests;
