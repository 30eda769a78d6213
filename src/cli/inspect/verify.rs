//! `steadfast inspect verify`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json};
use super::chains::Chains;
use super::directory::{Directory, disk};
use crate::base::{LineageId, Lsn, explained};
use crate::control::LocalControl;
use crate::model::Record;
use crate::node::IdentityFile;
use crate::storage::{Contents, Error as StoreError, State, Store};
use crate::wal::{Error as WalError, Frame, Segment, Survey};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    file: PathBuf,
    /// Where in the file, if that is known.
    offset: Option<u64>,
    problem: String,
}

/// What was checked and found.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
    notes: Vec<String>,
    segments: u64,
    records: u64,
    rows: u64,
    requests: u64,
}

/// Checks a directory and prints what was found.
///
/// # Errors
/// If a node uses the directory or it cannot be listed; `DAMAGED` if there are findings.
pub fn run(dir: &Path, output: Output) -> Result<(), CliError> {
    let directory = Directory::open(dir)?;
    let mut report = Report::default();
    report.check(&directory);
    report.print(output)?;
    match report.findings.len() {
        0 => Ok(()),
        count => Err(CliError::failed(
            "DAMAGED",
            format!("{} has {count} findings", dir.display()),
        )),
    }
}

impl Report {
    fn check(&mut self, directory: &Directory) {
        let lineages = [
            self.identity(&directory.part("IDENTITY")),
            self.control(&directory.part("CONTROL")),
        ];
        let path = directory.part("store");
        let (state, of_store) = match Store::open_read_only(&path) {
            Ok(store) => (self.store(&path, &store), store.lineage().ok().flatten()),
            Err(StoreError::Missing { .. }) => (Some(State::default()), None),
            Err(error) => {
                self.store_error(&path, &error);
                (None, None)
            }
        };
        if let Some(lineage) = self.lineage(&path, lineages, of_store) {
            self.wal(directory, lineage, state.as_ref());
        }
    }

    fn finding(&mut self, file: &Path, offset: Option<u64>, problem: impl Into<String>) {
        self.findings.push(Finding {
            file: file.to_owned(),
            offset,
            problem: problem.into(),
        });
    }

    fn identity(&mut self, path: &Path) -> Option<LineageId> {
        match IdentityFile::open(disk(), path) {
            Ok(Some(file)) => return Some(file.get().lineage),
            Ok(None) => self.finding(path, None, "the file is missing"),
            Err(error) => self.finding(path, None, explained(&error)),
        }
        None
    }

    fn control(&mut self, path: &Path) -> Option<LineageId> {
        match LocalControl::open(disk(), path) {
            Ok(Some(control)) => return Some(control.state().lineage),
            Ok(None) => self.finding(path, None, "the file is missing"),
            Err(error) => self.finding(path, None, explained(&error)),
        }
        None
    }

    /// The lineage that all parts agree upon, or the first that is known.
    fn lineage(
        &mut self,
        store: &Path,
        [identity, control]: [Option<LineageId>; 2],
        of_store: Option<LineageId>,
    ) -> Option<LineageId> {
        let known = identity.or(control).or(of_store)?;
        for (file, found) in [
            (store.with_file_name("CONTROL"), control),
            (store.to_owned(), of_store),
        ] {
            if let Some(found) = found.filter(|found| *found != known) {
                self.finding(
                    &file,
                    None,
                    format!("belongs to lineage {found}, expected {known}"),
                );
            }
        }
        Some(known)
    }

    /// Checks the store; returns its state if that can be read.
    fn store(&mut self, path: &Path, store: &Store) -> Option<State> {
        for outcome in [store.lineage().map(|_| ()), store.catalogue().map(|_| ())] {
            if let Err(error) = outcome {
                self.store_error(path, &error);
            }
        }
        let state = match store.state() {
            Ok(state) => Some(state),
            Err(error) => {
                self.store_error(path, &error);
                None
            }
        };
        match store.contents() {
            Ok(contents) => self.contents(path, &contents, state.as_ref()),
            Err(error) => self.store_error(path, &error),
        }
        self.strange_files(path, store, state.as_ref());
        state
    }

    /// A `MANIFEST` whose end is lost reads as a sound one of an earlier time; the files made since then remain.
    fn strange_files(&mut self, path: &Path, store: &Store, state: Option<&State>) {
        let names = disk().list(path).unwrap_or_default();
        let strange = match store.strange_files(&names) {
            Ok(strange) => strange,
            Err(error) => return self.store_error(path, &error),
        };
        let place = state.map_or(Lsn::ZERO, |state| state.lsn);
        for name in strange {
            let file = path.join(name);
            let note = format!(
                "{}: not named by the MANIFEST, which ends before it: a crash came between, or its end is lost; the \
                 store is what it was at position {place} of the WAL, from which the next start replays",
                file.display()
            );
            self.notes.push(note);
        }
    }

    fn contents(&mut self, path: &Path, contents: &Contents, state: Option<&State>) {
        self.rows = contents.rows;
        self.requests = contents.requests;
        for error in &contents.damaged {
            self.store_error(path, error);
        }
        let Some(state) = state else {
            return;
        };
        if contents.digest != state.digest {
            let (found, expected) = (contents.digest, state.digest);
            self.finding(
                path,
                None,
                format!("the rows have digest {found}, the state expects {expected}"),
            );
        }
        let views = state.rows.keys().chain(contents.live.keys());
        let views: BTreeSet<_> = views.copied().collect();
        for view in views {
            let count = |rows: &BTreeMap<_, u64>| rows.get(&view).copied().unwrap_or(0);
            let (found, expected) = (count(&contents.live), count(&state.rows));
            if found != expected {
                let problem = format!("view {view} has {found} rows, the state expects {expected}");
                self.finding(path, None, problem);
            }
        }
    }

    /// RocksDB names the file in its message.
    fn store_error(&mut self, path: &Path, error: &StoreError) {
        let problem = explained(error);
        let names = disk().list(path).unwrap_or_default();
        let named = names.iter().find(|name| problem.contains(name.as_str()));
        let file = named.map_or_else(|| path.to_owned(), |name| path.join(name));
        self.finding(&file, None, problem);
    }

    /// Checks the WAL, beside the state of the store if that is known.
    fn wal(&mut self, directory: &Directory, lineage: LineageId, state: Option<&State>) {
        let path = directory.part("wal");
        let lsn = state.map_or(Lsn::ZERO, |state| state.lsn);
        let survey = match Survey::new(disk(), &path, lineage) {
            Ok(survey) => survey,
            Err(_) if lsn == Lsn::ZERO && !path.exists() => return,
            Err(error) => return self.finding(&path, None, explained(&error)),
        };
        for error in survey.findings() {
            self.wal_error(&path, error);
        }
        let Some(first) = survey.first() else {
            if lsn > Lsn::ZERO {
                self.finding(
                    &path,
                    None,
                    format!("there is no segment, the store needs position {lsn}"),
                );
            }
            return;
        };
        if state.is_some() && first > lsn {
            let problem =
                format!("the log begins at position {first}, the store needs it from {lsn} on");
            self.finding(&path, None, problem);
        }
        let mut chains = state.map(|state| Chains::new(state, first));
        for segment in survey.segments(lsn) {
            match segment {
                Ok(segment) => self.segment(&segment, chains.as_mut()),
                Err(error) => self.wal_error(&path, &error),
            }
        }
    }

    fn wal_error(&mut self, path: &Path, error: &WalError) {
        match error {
            WalError::Corrupt { path, offset, .. } => {
                self.finding(path, Some(*offset), explained(error))
            }
            WalError::NotASegment { path }
            | WalError::NewerVersion { path, .. }
            | WalError::OtherLineage { path, .. }
            | WalError::MissingSegment { path, .. } => self.finding(path, None, explained(error)),
            WalError::Io(failure) => self.finding(&failure.path, None, explained(error)),
            WalError::Poisoned(_)
            | WalError::TooLarge { .. }
            | WalError::Released { .. }
            | WalError::Beyond { .. } => self.finding(path, None, explained(error)),
        }
    }

    fn segment(&mut self, segment: &Segment, mut chains: Option<&mut Chains<'_>>) {
        self.segments += 1;
        for frame in &segment.frames {
            self.frame(segment, frame, chains.as_deref_mut());
        }
        if segment.torn_bytes > 0 {
            let (file, end, torn) = (segment.path.display(), segment.end, segment.torn_bytes);
            let note = format!(
                "{file}: a torn tail of {torn} bytes behind position {end}, which the next start cuts"
            );
            self.notes.push(note);
        }
        if let Some(damage) = &segment.damage {
            self.wal_error(&segment.path, damage);
            if let Some(chains) = chains {
                chains.skip();
            }
        }
    }

    fn frame(&mut self, segment: &Segment, frame: &Frame, chains: Option<&mut Chains<'_>>) {
        let Some(payload) = &frame.payload else {
            return;
        };
        self.records += 1;
        let offset = Some(frame.offset);
        match Record::decode(payload) {
            Ok(record) => {
                let after = Record::chain_after(payload);
                let taken =
                    chains.map_or(Ok(()), |chains| chains.take(frame.begin, &record, after));
                if let Err(problem) = taken {
                    self.finding(&segment.path, offset, problem);
                }
            }
            Err(error) => self.finding(&segment.path, offset, explained(&error)),
        }
    }

    fn print(&self, output: Output) -> Result<(), CliError> {
        let findings = self.findings.iter();
        if output == Output::Json {
            let findings = findings.map(|finding| {
                json!({ "file": finding.file.display().to_string(), "offset": finding.offset, "problem": finding.problem })
            });
            return print_json(&json!({
                "segments": self.segments,
                "records": self.records,
                "rows": self.rows,
                "requests": self.requests,
                "findings": findings.collect::<Vec<Json>>(),
                "notes": self.notes,
            }));
        }
        for Finding {
            file,
            offset,
            problem,
        } in findings
        {
            let place = offset.map_or_else(String::new, |offset| format!(" at offset {offset}"));
            print(&format!("{}{place}: {problem}", file.display()))?;
        }
        for note in &self.notes {
            print(&format!("note: {note}"))?;
        }
        print(&format!(
            "{} segments, {} records, {} rows, {} requests checked: {} findings",
            self.segments,
            grouped(self.records),
            grouped(self.rows),
            grouped(self.requests),
            self.findings.len()
        ))
    }
}
