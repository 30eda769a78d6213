//! The rules once more, in small numbers, with each of them removable; and the judge: what a reader must see once all
//! puts and deletes have happened in the order of their versions.

use super::rules::{Rule, Rules};
use super::setup::Setup;
use super::state::{Item, Kind, Record, Row, Write};

/// Of a row that a reader asks for: each feature's answer.
pub type Answers = [Answer; 2];

/// What is answered of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    NotFound,
    Expired,
    /// The value written with this stamp.
    Value(u8),
}

/// What the primary makes of a write before it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    TooLate,
    /// Counted as older, not logged.
    Expired,
    /// Logged with this event time.
    Logged(i8),
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// None is a delete.
    pub features: u8,
    pub event_time: Option<i8>,
    pub is_override: bool,
}

/// Is `a` greater than `b`? Nothing is the least.
pub fn is_newer(setup: &Setup, a: Item, b: Item) -> bool {
    let rank = |item: Item| {
        let event_time = if setup.arrival { 0 } else { item.event_time };
        item.is_some().then_some((event_time, item.stamp))
    };
    rank(a) > rank(b)
}

/// The judge: everything that was written to one row, in the order of versions, each on top of what was there.
pub fn in_version_order(setup: &Setup, writes: &mut [Write]) -> Row {
    writes.sort_by_key(|write| {
        let event_time = if setup.arrival {
            0
        } else {
            write.item.event_time
        };
        (event_time, write.item.stamp)
    });
    let mut row = Row::default();
    for write in writes.iter() {
        if write.is_delete() || !setup.cells {
            row = Row::default();
        }
        let new = write.row();
        for slot in 0..3 {
            if new.0[slot].is_some() {
                row.0[slot] = new.0[slot];
            }
        }
        if setup.cells && write.is_delete() {
            row.0[0] = write.item;
        }
    }
    row
}

/// The merge of a row and a write.
pub fn merge(setup: &Setup, mut row: Row, write: Write) -> Row {
    let rules = setup.rules;
    let wins = |held: Item| !rules.hold(Rule::Greater) || is_newer(setup, write.item, held);
    if !setup.cells {
        return if row.0.iter().all(|held| wins(*held)) {
            write.row()
        } else {
            row
        };
    }
    let new = write.row();
    for slot in 0..3 {
        if new.0[slot].is_some() && wins(row.0[slot]) {
            row.0[slot] = new.0[slot];
        }
    }
    let dead = row.0[0];
    for cell in &mut row.0[1..] {
        if is_newer(setup, dead, *cell) {
            *cell = Item::default();
        }
    }
    if !rules.hold(Rule::Stays) {
        row.0[0] = Item::default();
    }
    row
}

/// The generation in force that owns the name. Marks of drops at or below `forgotten` count for nothing where they
/// do not stay for ever.
pub fn in_force(rules: Rules, definitions: &[Record], forgotten: u8) -> Option<u8> {
    let generations = definitions.iter().map(|record| record.generation);
    let alive = |generation: &u8| is_alive(rules, definitions, *generation, forgotten);
    generations.filter(alive).max()
}

/// Is this generation in force, whoever owns the name?
pub fn is_alive(rules: Rules, definitions: &[Record], generation: u8, forgotten: u8) -> bool {
    let last = |kind| {
        let of_kind = |record: &&Record| record.kind == kind && record.generation == generation;
        definitions
            .iter()
            .filter(of_kind)
            .map(|record| record.stamp)
            .max()
    };
    let (created, dropped) = (last(Kind::Create), last(Kind::Drop));
    if !rules.hold(Rule::Generation) {
        return created.is_some() && created >= dropped;
    }
    let is_forgotten =
        |drop: super::state::Stamp| !rules.hold(Rule::Mark) && drop.time() <= forgotten;
    match dropped {
        Some(drop) if is_forgotten(drop) => created.is_some_and(|created| created > drop),
        Some(_) => false,
        None => created.is_some(),
    }
}

/// The generation that creating the name makes. A drop whose mark is gone is not known.
pub fn next_generation(rules: Rules, definitions: &[Record], forgotten: u8) -> u8 {
    if !rules.hold(Rule::Generation) {
        return 0;
    }
    let is_forgotten = |generation: u8| {
        let mut drops = definitions
            .iter()
            .filter(|record| record.kind == Kind::Drop);
        let of_this =
            |drop: &Record| drop.generation == generation && drop.stamp.time() <= forgotten;
        !rules.hold(Rule::Mark) && drops.any(of_this)
    };
    let created = definitions
        .iter()
        .filter(|record| record.kind == Kind::Create);
    let known = created.filter(|record| !is_forgotten(record.generation));
    known.map(|record| record.generation + 1).max().unwrap_or(0)
}

/// Which floor of event times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    Expiry,
    Lateness,
}

/// The floor of a generation at time `at`, by these definitions (in the order of stamps).
pub fn floor(
    rules: Rules,
    definitions: &[Record],
    generation: u8,
    which: Floor,
    at: i16,
) -> Option<i16> {
    let settings = settings(rules, definitions, generation, which);
    let (mut best, mut last) = (None, None);
    for (place, (from, span)) in settings.iter().enumerate() {
        if place > 0 && *from > at {
            break;
        }
        let until = settings
            .get(place + 1)
            .map_or(at, |(next, _)| at.min(*next));
        last = (*span > 0).then(|| until - i16::from(*span));
        best = best.max(last);
    }
    let never_falls = match which {
        Floor::Expiry => Rule::ExpiryFloor,
        Floor::Lateness => Rule::LatenessFloor,
    };
    if rules.hold(never_falls) { best } else { last }
}

/// The settings of a span with the times from which they count; the first counts from the beginning.
fn settings(rules: Rules, definitions: &[Record], generation: u8, which: Floor) -> Vec<(i16, u8)> {
    let of_view = definitions
        .iter()
        .filter(|record| record.generation == generation);
    let of_view: Vec<&Record> = of_view.collect();
    let creations = of_view.iter().filter(|record| record.kind == Kind::Create);
    let last_creation = creations.clone().map(|record| record.stamp).max();
    let altering = if which == Floor::Expiry {
        Kind::Ttl
    } else {
        Kind::Lateness
    };
    let first_alter = of_view.iter().find(|record| record.kind == altering);
    let mut settings: Vec<(i16, u8)> = Vec::new();
    if !rules.hold(Rule::CreatedOnce) {
        let last = creations
            .clone()
            .find(|record| Some(record.stamp) == last_creation);
        settings.extend(last.map(|record| (0, span_of(record, which))));
    }
    for record in &of_view {
        let counts = match record.kind {
            Kind::Create => {
                let is_altered = first_alter.is_some_and(|alter| alter.stamp < record.stamp);
                rules.hold(Rule::CreatedOnce) && (settings.is_empty() || !is_altered)
            }
            kind => kind == altering && (!settings.is_empty()),
        };
        if counts {
            let mut span = span_of(record, which);
            if which == Floor::Lateness && rules.hold(Rule::LatenessGrows) {
                span = settings
                    .last()
                    .map_or(span, |(_, held)| longer(*held, span));
            }
            settings.push((i16::from(record.stamp.time()), span));
        }
    }
    settings
}

fn span_of(record: &Record, which: Floor) -> u8 {
    if record.kind == Kind::Create && which == Floor::Lateness {
        record.event_time as u8
    } else {
        record.arg
    }
}

fn longer(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 { 0 } else { a.max(b) }
}

/// What the primary decides at `at`; `stored` is what the row holds.
pub fn decide(
    setup: &Setup,
    definitions: &[Record],
    generation: u8,
    at: u8,
    request: Request,
    stored: Row,
) -> Decision {
    let rules = setup.rules;
    let Request {
        features,
        event_time: given,
        is_override,
    } = request;
    let at = i16::from(at);
    let is_delete = features == 0;
    let hides = (is_delete || is_override) && !setup.arrival && rules.hold(Rule::DeleteTime);
    let counted = if rules.hold(Rule::TombstoneTime) {
        &stored.0[..]
    } else {
        &stored.0[1..]
    };
    let counted = counted.iter().filter(|item| item.is_some());
    let greatest = counted.map(|item| i16::from(item.event_time)).max();
    let own = if hides {
        greatest.map_or(at, |held| held.max(at))
    } else {
        at
    };
    let event_time = given.map_or(own, i16::from);
    let floor = |which| floor(rules, definitions, generation, which, at);
    let escapes = is_override && !rules.hold(Rule::Override);
    let is_late = floor(Floor::Lateness).is_some_and(|floor| event_time < floor);
    if given.is_some() && is_late && rules.hold(Rule::TooLate) && !escapes {
        return Decision::TooLate;
    }
    let is_expired = floor(Floor::Expiry).is_some_and(|floor| event_time <= floor);
    if !is_delete && is_expired && rules.hold(Rule::Expired) {
        return Decision::Expired;
    }
    Decision::Logged(i8::try_from(event_time).unwrap())
}

/// May this item go at `horizon`, by the definitions up to it? `slot` is its place in the row.
pub fn goes(
    setup: &Setup,
    definitions: &[Record],
    generation: u8,
    horizon: u8,
    slot: usize,
    item: Item,
) -> bool {
    let rules = setup.rules;
    if horizon == 0 || !item.is_some() {
        return false;
    }
    let is_dropped = definitions
        .iter()
        .any(|record| record.kind == Kind::Drop && record.generation == generation);
    if is_dropped && rules.hold(Rule::Mark) && !is_alive(rules, definitions, generation, horizon) {
        return true;
    }
    let (at, event_time) = (i16::from(horizon), i16::from(item.event_time));
    let floor = |which| floor(rules, definitions, generation, which, at);
    let max_age = if slot > 0 {
        setup.max_ages[slot - 1]
    } else {
        0
    };
    let is_aged =
        !rules.hold(Rule::ViewTtl) && max_age > 0 && event_time <= at - i16::from(max_age);
    let is_expired = is_aged || floor(Floor::Expiry).is_some_and(|floor| event_time <= floor);
    let is_below = item.stamp.time() <= horizon;
    if setup.arrival {
        return (is_below || !rules.hold(Rule::Below)) && (slot == 0 || is_expired);
    }
    if slot > 0 || is_expired {
        return is_expired;
    }
    if !rules.hold(Rule::LateTombstone) {
        return is_below;
    }
    floor(Floor::Lateness)
        .is_some_and(|floor| event_time < floor || event_time == floor && !rules.hold(Rule::Strict))
}

/// What is left of a row at `horizon`.
pub fn left(setup: &Setup, definitions: &[Record], generation: u8, horizon: u8, row: Row) -> Row {
    let mut left = row;
    for slot in 0..3 {
        if goes(setup, definitions, generation, horizon, slot, row.0[slot]) {
            left.0[slot] = Item::default();
        }
    }
    left
}

/// What a reader at time `at` is told of a row of which everything is still there.
pub fn read(setup: &Setup, definitions: &[Record], generation: u8, row: Row, at: u8) -> Answers {
    let at = i16::from(at);
    let floor = floor(setup.rules, definitions, generation, Floor::Expiry, at);
    [0, 1].map(|feature| {
        let item = row.0[feature + 1];
        let max_age = i16::from(setup.max_ages[feature]);
        let own = (max_age > 0).then(|| at - max_age);
        if !item.is_some() {
            Answer::NotFound
        } else if floor
            .max(own)
            .is_some_and(|floor| i16::from(item.event_time) <= floor)
        {
            Answer::Expired
        } else {
            Answer::Value(item.stamp.0)
        }
    })
}
