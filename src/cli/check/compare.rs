//! Compares all rows of some members, part by part, while they go on working.
//!
//! A part whose digest is the same everywhere is equal. Of any other the rows are listed and compared one by one by
//! [`comparison`](crate::model::comparison); those that are being written are looked at again.
//!
//! **Invariants.** What is called different cannot become equal by waiting. What is neither called different nor unsettled was
//! equal when it was looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::Value as Json;

use super::super::error::CliError;
use crate::base::clock::{now_monotonic, sleep};
use crate::base::{Hlc, VersionVector};
use crate::model::Digest;
use crate::model::comparison::{SeenRow, Sight, Verdict, compare};

/// Rows of a part.
const PART_ROWS: u32 = 16_384;
/// Between two looks at rows that are being written.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(100);
/// For how long, in all, rows are looked at again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which rows, by their keys in the store, from the first one to before the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first key.
    pub from: Vec<u8>,
    /// The first key behind; `None` goes to the end.
    pub until: Option<Vec<u8>>,
    /// No more rows than that.
    pub max_rows: u32,
    /// List the rows.
    pub each: bool,
}

/// What a member says of a span.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it has applied.
    pub applied: VersionVector,
    /// What may go at this horizon is left out.
    pub horizon: Hlc,
    /// How many rows there are.
    pub rows: u64,
    /// The digest over them.
    pub digest: Digest,
    /// Where it stopped before the end of the span.
    pub next: Option<Vec<u8>>,
    /// The rows by key, if they are listed.
    pub each: BTreeMap<Vec<u8>, ListedRow>,
}

impl Seen {
    fn sight(&self, key: &[u8]) -> Sight<'_> {
        Sight {
            applied: &self.applied,
            horizon: self.horizon,
            row: self.each.get(key).map(|listed| &listed.row),
        }
    }
}

/// A row of a list.
#[derive(Debug, Clone)]
pub struct ListedRow {
    /// Whose row.
    pub name: RowName,
    /// What there is of it.
    pub row: SeenRow,
}

/// A row as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowName {
    /// The name of the view; empty if it is not known.
    pub view: String,
    /// The entity's join keys.
    pub entity: Json,
}

/// Whoever is asked for its rows.
pub trait Member {
    /// Looks at rows.
    async fn look_at(&self, span: &Span) -> Result<Seen, CliError>;
}

/// A row of which not all members hold the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which row.
    pub name: RowName,
    /// What each member holds, in their order; `None` is no row.
    pub held: Vec<Option<Digest>>,
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows that were compared.
    pub rows: u64,
    /// Those that differ.
    pub differences: Vec<Difference>,
    /// Rows that were written too often, or not yet applied everywhere, to say.
    pub unsettled: u64,
}

/// A comparison under way.
pub struct Comparison<'a, M> {
    members: &'a [M],
    report: Report,
    patience: Duration,
}

impl<'a, M: Member> Comparison<'a, M> {
    /// Of these members.
    pub fn new(members: &'a [M]) -> Self {
        Comparison {
            members,
            report: Report::default(),
            patience: PATIENCE,
        }
    }

    /// Compares everything; `progress` hears how many rows are done.
    ///
    /// # Errors
    /// If a member fails to answer.
    pub async fn run(mut self, mut progress: impl FnMut(u64)) -> Result<Report, CliError> {
        let mut from = Some(Vec::new());
        while let Some(start) = from {
            let span = Span {
                from: start,
                until: None,
                max_rows: PART_ROWS,
                each: false,
            };
            let (seen, span) = self.look_at(span).await?;
            if are_equal(&seen) {
                self.report.rows += most_rows(&seen);
            } else {
                self.list(&span).await?;
            }
            progress(self.report.rows);
            from = span.until;
        }
        Ok(self.report)
    }

    /// What all members say of the same keys: those of the span before the place where the first of them stopped. Returns the
    /// span that was looked at.
    async fn look_at(&self, mut span: Span) -> Result<(Vec<Seen>, Span), CliError> {
        let looks = self.members.iter().map(|member| member.look_at(&span));
        let mut seen = try_join_all(looks).await?;
        while let Some(least) = seen.iter().filter_map(|seen| seen.next.clone()).min() {
            span.until = Some(least);
            for (member, seen) in self.members.iter().zip(&mut seen) {
                if seen.next != span.until {
                    *seen = member.look_at(&span).await?;
                } else {
                    seen.next = None;
                }
            }
        }
        Ok((seen, span))
    }

    /// Compares the rows of a span one by one, and again those that cannot be judged yet.
    async fn list(&mut self, span: &Span) -> Result<(), CliError> {
        let mut open = self.judge(span, None).await?;
        while let Some(first) = open.first().filter(|_| !self.patience.is_zero()) {
            let begun = now_monotonic();
            sleep(LOOK_AGAIN_EVERY).await;
            let rest = Span {
                from: first.clone(),
                ..span.clone()
            };
            open = self.judge(&rest, Some(&open)).await?;
            self.patience = self.patience.saturating_sub(begun.elapsed());
        }
        self.report.unsettled += u64::try_from(open.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Judges the rows of a span: those of these keys, or all. Returns the keys of which nothing can be said yet.
    async fn judge(
        &mut self,
        span: &Span,
        wanted: Option<&BTreeSet<Vec<u8>>>,
    ) -> Result<BTreeSet<Vec<u8>>, CliError> {
        let mut open = BTreeSet::new();
        let mut from = Some(span.from.clone());
        while let Some(start) = from {
            let part = Span {
                from: start.clone(),
                each: true,
                ..span.clone()
            };
            let (seen, part) = self.look_at(part).await?;
            let is_before_end = |key: &Vec<u8>| part.until.as_ref().is_none_or(|until| key < until);
            let keys: BTreeSet<Vec<u8>> = if let Some(wanted) = wanted {
                let behind = wanted.range(start..);
                behind.filter(|key| is_before_end(key)).cloned().collect()
            } else {
                let keys = seen.iter().flat_map(|seen| seen.each.keys().cloned());
                let keys: BTreeSet<_> = keys.collect();
                self.report.rows += u64::try_from(keys.len()).unwrap_or(u64::MAX);
                keys
            };
            for key in keys {
                match verdict(&seen, &key) {
                    Verdict::Equal => {}
                    Verdict::Different => self.report.differences.extend(difference(&seen, &key)),
                    Verdict::Unsettled => {
                        open.insert(key);
                    }
                }
            }
            from = part
                .until
                .filter(|until| Some(until) != span.until.as_ref());
        }
        Ok(open)
    }
}

fn are_equal(seen: &[Seen]) -> bool {
    let what = |seen: &Seen| (seen.digest, seen.rows, seen.horizon);
    seen.windows(2).all(|pair| match pair {
        [one, other] => what(one) == what(other),
        _ => true,
    })
}

fn most_rows(seen: &[Seen]) -> u64 {
    seen.iter().map(|seen| seen.rows).max().unwrap_or_default()
}

/// The worst that is to be said of any two members' rows.
fn verdict(seen: &[Seen], key: &[u8]) -> Verdict {
    let sights: Vec<Sight<'_>> = seen.iter().map(|seen| seen.sight(key)).collect();
    let mut worst = Verdict::Equal;
    for (at, one) in sights.iter().enumerate() {
        for other in sights.iter().skip(at + 1) {
            match compare(*one, *other) {
                Verdict::Different => return Verdict::Different,
                Verdict::Unsettled => worst = Verdict::Unsettled,
                Verdict::Equal => {}
            }
        }
    }
    worst
}

fn difference(seen: &[Seen], key: &[u8]) -> Option<Difference> {
    let rows: Vec<Option<&ListedRow>> = seen.iter().map(|seen| seen.each.get(key)).collect();
    let named = rows.iter().flatten().next()?;
    Some(Difference {
        name: named.name.clone(),
        held: rows
            .iter()
            .map(|row| row.map(|row| row.row.digest))
            .collect(),
    })
}

#[cfg(test)]
#[path = "compare_test.rs"]
mod tests;
