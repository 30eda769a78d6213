//! The project's own functions as the steps of the model: each distinct question is asked once, the answer compared with
//! that of the reference and kept. Where a rule that the answer hangs on is left out, only the reference can answer.

use std::collections::HashMap;

use steadfast::base::codec::DecodeError;
use steadfast::base::{Hlc, Micros};
use steadfast::model::batch::Moment;
use steadfast::model::purge::Left;
use steadfast::model::resolve::{Resolver, Status, Wanted};
use steadfast::model::row::{Merged, merge_write};
use steadfast::model::{
    Batch, Catalogue, Change, Purge, Row as ModelRow, RowChange, View, ViewRows,
};

use super::reference::{self, Answer, Answers, Decision, Request};
use super::rules::Rule;
use super::setup::Setup;
use super::state::{Kind, Record, Row, State, Write};
use super::translate::{Translator, micros, millis};

const MERGE: [Rule; 2] = [Rule::Greater, Rule::Stays];
const NAMES: [Rule; 2] = [Rule::Mark, Rule::Generation];
const FLOORS: [Rule; 4] = [
    Rule::ExpiryFloor,
    Rule::LatenessFloor,
    Rule::LatenessGrows,
    Rule::CreatedOnce,
];
const ADMISSION: [Rule; 5] = [
    Rule::DeleteTime,
    Rule::TombstoneTime,
    Rule::Override,
    Rule::TooLate,
    Rule::Expired,
];
const PURGE: [Rule; 4] = [
    Rule::ViewTtl,
    Rule::Below,
    Rule::LateTombstone,
    Rule::Strict,
];

/// Names a set of definitions.
pub type DefinitionsId = u16;

/// What some definitions make.
struct Definitions {
    records: Vec<Record>,
    catalogue: Catalogue,
}

/// Answers by question.
struct Memo<V>(HashMap<u128, V>);

impl<V: Copy + PartialEq + std::fmt::Debug> Memo<V> {
    fn new() -> Memo<V> {
        Memo(HashMap::new())
    }

    fn get(&self, question: u128) -> Option<V> {
        self.0.get(&question).copied()
    }
}

/// The functions of one setup, with what they have answered.
pub struct Cores {
    pub setup: Setup,
    translator: Translator,
    definitions: Vec<Definitions>,
    ids: HashMap<Vec<u8>, DefinitionsId>,
    merges: Memo<Row>,
    lefts: Memo<Row>,
    goes: Memo<bool>,
    decisions: Memo<Decision>,
    reads: Memo<Answers>,
}

fn question(parts: &[&[u8]]) -> u128 {
    let mut bytes = [0; 16];
    let all = parts.iter().flat_map(|part| part.iter());
    bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
    u128::from_le_bytes(bytes)
}

impl Cores {
    pub fn new(setup: &Setup) -> Cores {
        Cores {
            setup: setup.clone(),
            translator: Translator::new(setup),
            definitions: Vec::new(),
            ids: HashMap::new(),
            merges: Memo::new(),
            lefts: Memo::new(),
            goes: Memo::new(),
            decisions: Memo::new(),
            reads: Memo::new(),
        }
    }

    /// How many distinct questions there were.
    pub fn questions(&self) -> usize {
        self.merges.0.len()
            + self.lefts.0.len()
            + self.goes.0.len()
            + self.decisions.0.len()
            + self.reads.0.len()
    }

    /// The definitions that a version vector covers, stamped at or below a time.
    pub fn definitions(&mut self, state: &State, applied: [u8; 2], until: u8) -> DefinitionsId {
        let first = Record {
            kind: Kind::Create,
            arg: self.setup.ttl,
            event_time: self.setup.lateness as i8,
            ..Record::default()
        };
        let covered = state
            .covered(applied)
            .filter(|record| record.is_definition());
        let mut key = Vec::new();
        for record in covered
            .clone()
            .filter(|record| record.stamp.time() <= until)
        {
            key.extend_from_slice(&record.bytes());
        }
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let mut records = vec![first];
        records.extend(covered.filter(|record| record.stamp.time() <= until));
        records.sort_by_key(|record| record.stamp);
        let id = DefinitionsId::try_from(self.definitions.len()).unwrap();
        let catalogue = self.translator.catalogue(&records);
        self.definitions.push(Definitions { records, catalogue });
        self.ids.insert(key, id);
        id
    }

    /// The definitions' records, the first creation before all others.
    pub fn records(&self, definitions: DefinitionsId) -> &[Record] {
        &self.definitions[usize::from(definitions)].records
    }

    /// The generation that owns the name.
    pub fn in_force(&self, definitions: DefinitionsId, forgotten: u8) -> Option<u8> {
        let rules = self.setup.rules;
        let known = &self.definitions[usize::from(definitions)];
        let expected = reference::in_force(rules, &known.records, forgotten);
        if rules.all_hold(&NAMES) {
            let view = known.catalogue.view(self.translator.name());
            let found = view.map(|view| u8::try_from(view.generation).unwrap());
            assert_eq!(
                found,
                expected,
                "the view in force by {:?}",
                self.translator.name()
            );
        }
        expected
    }

    /// May this alteration be logged?
    pub fn admits_lateness(&self, definitions: DefinitionsId, span: u8) -> bool {
        let catalogue = &self.definitions[usize::from(definitions)].catalogue;
        !self.setup.rules.hold(Rule::LatenessGrows)
            || self.translator.may_set_lateness(catalogue, span)
    }

    /// The row after a write (M1).
    pub fn merge(&mut self, row: Row, write: Write) -> Row {
        let asked = question(&[&row.bytes(), &write.row().bytes(), &[write.features]]);
        if let Some(known) = self.merges.get(asked) {
            return known;
        }
        let merged = reference::merge(&self.setup, row, write);
        if self.setup.rules.all_hold(&MERGE) {
            assert_eq!(
                self.merge_by_project(row, write),
                merged,
                "{row:?} and {:?}",
                write.row()
            );
        }
        self.merges.0.insert(asked, merged);
        merged
    }

    fn merge_by_project(&self, row: Row, write: Write) -> Row {
        let held = self.translator.row(row);
        let new = self.translator.write(write);
        let stored = held.as_ref().map(ModelRow::encode);
        let merged = match merge_write(stored.as_deref(), &new.borrowed()).unwrap() {
            Merged::Older => stored.clone().unwrap(),
            Merged::Applied(bytes) => bytes,
        };
        let merged = ModelRow::decode(&merged).unwrap();
        if let Some(held) = held {
            let new = new.borrowed().row().unwrap();
            assert_eq!(
                held.clone().merge(new.clone()),
                merged,
                "the two forms of merge"
            );
            assert_eq!(new.merge(held.clone()), merged, "merge commutes");
            assert_eq!(merged.clone().merge(held), merged, "merge is idempotent");
        }
        self.translator.read_row(Some(&merged))
    }

    fn view(&self, definitions: DefinitionsId, generation: u8) -> std::sync::Arc<View> {
        let catalogue = &self.definitions[usize::from(definitions)].catalogue;
        let view = catalogue.by_id(self.translator.view_id(generation));
        view.cloned().expect("a view in force")
    }

    /// What is left of a row at a horizon (P5, P6).
    pub fn left(
        &mut self,
        definitions: DefinitionsId,
        generation: u8,
        horizon: u8,
        row: Row,
    ) -> Row {
        if horizon == 0 || row.is_empty() {
            return row;
        }
        let asked = question(&[
            &definitions.to_le_bytes(),
            &[generation, horizon],
            &row.bytes(),
        ]);
        if let Some(known) = self.lefts.get(asked) {
            return known;
        }
        let records = self.records(definitions);
        let left = reference::left(&self.setup, records, generation, horizon, row);
        if self.purges_by_project() {
            let purge = self
                .purge(definitions, horizon)
                .of(self.translator.view_id(generation));
            let held = self.translator.row(row).unwrap();
            let by_project = match purge.left_of(&held.encode()).unwrap() {
                Left::All => row,
                Left::Part(bytes, _) => self
                    .translator
                    .read_row(Some(&ModelRow::decode(&bytes).unwrap())),
                Left::Nothing => Row::default(),
            };
            assert_eq!(
                by_project,
                left,
                "what is left of {row:?} at {horizon} by {:?}",
                self.texts(definitions)
            );
        }
        self.lefts.0.insert(asked, left);
        left
    }

    /// May a write go at a horizon before it is applied (P4)?
    pub fn goes(
        &mut self,
        definitions: DefinitionsId,
        generation: u8,
        horizon: u8,
        write: Write,
    ) -> bool {
        let row = write.row().bytes();
        let asked = question(&[&definitions.to_le_bytes(), &[generation, horizon], &row]);
        if let Some(known) = self.goes.get(asked) {
            return known;
        }
        let records = self.records(definitions);
        let left = reference::left(&self.setup, records, generation, horizon, write.row());
        let goes = left.is_empty();
        if self.purges_by_project() {
            let purge = self
                .purge(definitions, horizon)
                .of(self.translator.view_id(generation));
            let new = self.translator.write(write);
            let by_project = purge.lets_go(new.order, &new.version, new.cells.is_none());
            assert_eq!(
                by_project,
                goes,
                "{:?} at {horizon} by {:?}",
                write.row(),
                self.texts(definitions)
            );
        }
        self.goes.0.insert(asked, goes);
        goes
    }

    fn purges_by_project(&self) -> bool {
        [&NAMES[..], &FLOORS, &PURGE]
            .iter()
            .all(|rules| self.setup.rules.all_hold(rules))
    }

    fn purge(&self, definitions: DefinitionsId, horizon: u8) -> Purge {
        let catalogue = self.definitions[usize::from(definitions)].catalogue.clone();
        Purge::new(Hlc::from_millis(millis(horizon)), catalogue)
    }

    /// What the primary logs (M3 to M6).
    pub fn decide(
        &mut self,
        definitions: DefinitionsId,
        generation: u8,
        at: u8,
        request: Request,
        stored: Row,
    ) -> Decision {
        let event_time = request.event_time.unwrap_or(i8::MIN) as u8;
        let shape = [
            generation,
            at,
            request.features,
            event_time,
            u8::from(request.is_override),
        ];
        let asked = question(&[&definitions.to_le_bytes(), &shape, &stored.bytes()]);
        if let Some(known) = self.decisions.get(asked) {
            return known;
        }
        let records = self.records(definitions);
        let decision = reference::decide(&self.setup, records, generation, at, request, stored);
        if [&NAMES[..], &FLOORS, &ADMISSION]
            .iter()
            .all(|rules| self.setup.rules.all_hold(rules))
        {
            let by_project = self.decide_by_project(definitions, generation, at, request, stored);
            assert_eq!(
                by_project,
                decision,
                "{request:?} on {stored:?} at {at} by {:?}",
                self.texts(definitions)
            );
        }
        self.decisions.0.insert(asked, decision);
        decision
    }

    fn decide_by_project(
        &self,
        definitions: DefinitionsId,
        generation: u8,
        at: u8,
        request: Request,
        stored: Row,
    ) -> Decision {
        let change = match request.features {
            0 => Change::Delete,
            features => Change::Put(self.translator.cells(features, 1)),
        };
        let row = RowChange {
            key: self.translator.key(),
            event_time: request.event_time.map(|at| micros(at.into())),
            change,
        };
        let group = ViewRows {
            view: self.view(definitions, generation),
            rows: vec![row],
        };
        let batch = Batch {
            groups: vec![group],
            is_override: request.is_override,
        };
        let moment = Moment {
            at: micros(at.into()),
            bound_ahead: std::time::Duration::from_secs(1),
        };
        let held = self
            .translator
            .row(stored)
            .and_then(|row| row.max_event_time());
        let decided = batch
            .decide(moment, |_, _| Ok::<Option<Micros>, DecodeError>(held))
            .unwrap();
        match decided {
            Err(_) => Decision::TooLate,
            Ok(rows) => match rows.groups.first() {
                Some(group) => {
                    Decision::Logged(self.translator.event_time(group.rows[0].event_time))
                }
                None => Decision::Expired,
            },
        }
    }

    /// What a reader is told at `at` of a row, of which what may go at `horizon` by `purging` is left out (M7, M9, P4).
    pub fn read(
        &mut self,
        definitions: DefinitionsId,
        generation: u8,
        purge: (DefinitionsId, u8),
        row: Row,
        at: u8,
    ) -> Answers {
        let (purging, horizon) = purge;
        let ids = [definitions.to_le_bytes(), purging.to_le_bytes()].concat();
        let asked = question(&[&ids, &[generation, horizon, at], &row.bytes()]);
        if let Some(known) = self.reads.get(asked) {
            return known;
        }
        let left = self.left(purging, generation, horizon, row);
        let answers = reference::read(&self.setup, self.records(definitions), generation, left, at);
        if self.purges_by_project() {
            let by_project = self.read_by_project(definitions, generation, purge, row, at);
            assert_eq!(
                by_project,
                answers,
                "{row:?} read at {at}, horizon {horizon}, by {:?}",
                self.texts(definitions)
            );
        }
        self.reads.0.insert(asked, answers);
        answers
    }

    fn read_by_project(
        &self,
        definitions: DefinitionsId,
        generation: u8,
        purge: (DefinitionsId, u8),
        row: Row,
        at: u8,
    ) -> Answers {
        let view = self.view(definitions, generation);
        let (purging, horizon) = purge;
        let features = self.translator.features();
        let mut resolver = Resolver::new(view, features, 1, Wanted::default(), micros(at.into()));
        if horizon > 0 {
            resolver = resolver.leaving_out(
                self.purge(purging, horizon)
                    .of(self.translator.view_id(generation)),
            );
        }
        let stored = self.translator.row(row).map(|row| row.encode());
        resolver.push(stored.as_deref()).unwrap();
        let columns = resolver.finish();
        [0, 1].map(
            |feature| match Status::from_code(columns[feature].statuses[0]).unwrap() {
                Status::NotFound => Answer::NotFound,
                Status::Expired => Answer::Expired,
                Status::Present => Answer::Value(self.translator.value(&columns[feature])),
                Status::Null => panic!("no null was written"),
            },
        )
    }

    fn texts(&self, definitions: DefinitionsId) -> Vec<String> {
        self.records(definitions)
            .iter()
            .map(Record::to_string)
            .collect()
    }
}
