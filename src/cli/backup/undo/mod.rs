//! `steadfast backup restore --as-new-writes`: one view of a live set says again what it said at a moment.
//!
//! ```text
//!   bucket ── restore ──► scratch directory ──► rows as they were ─┐ both in key order
//!                         live set, primary ──► rows as they are ──┴─► Terms::decide
//!                                    ▲                                     │ what differs, batch by batch
//!                                    └── delete, put ◄── unchanged since? ◄┘
//! ```
//! **Invariants.** [`decide`] says what is written, and it is pure. The live set is only read and written as any client does. A row
//! that is not as it was when it was compared is left alone, and counted. What is written is looked at again. The same command
//! goes on where it was broken off, and finds nothing to do when all is done; nothing else remembers how far it was.

mod ahead;
mod decide;
mod definition;
mod facts;
mod live;
mod report;
mod restored;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::ahead::Ahead;
use self::decide::{Changes, Fact, Facts, Sought, Terms};
use self::live::{Live, LiveRows};
use self::report::Counts;
use self::restored::Restored;
use super::super::connection::Connection;
use super::super::error::CliError;
use super::super::progress::{Position, Progress};
use super::super::signals::Signals;
use super::restore;
use super::scratch::Scratch;
use crate::backup::repository::Repository;
use crate::backup::way::Way;
use crate::base::clock::{Clock, SystemClock};
use crate::client::{Client, Error, view_from_wire};
use crate::model::view_file::view_file;
use crate::model::{EntityKey, View};
use crate::proto::Reason;

/// A batch is written once it has so many rows, or so many bytes to be answered.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// How long a step of a restore that was given up may still take. Those that take longer only read.
const LAST_STEP: Duration = Duration::from_secs(10);

/// What becomes of a view.
#[derive(Debug, clap::Args)]
pub struct UndoArgs {
    /// Write what differs from that moment into a live set, one view of it; see below.
    #[arg(long, requires = "view", conflicts_with = "into")]
    as_new_writes: bool,
    /// The view to write.
    #[arg(long, value_name = "VIEW", requires = "as_new_writes")]
    view: Option<String>,
    /// Only count what would be written.
    #[arg(long, requires = "as_new_writes")]
    dry_run: bool,
    /// Where the moment is restored to for as long as it takes; if not given, the system's directory for temporary files.
    #[arg(long, value_name = "DIR", requires = "as_new_writes")]
    scratch: Option<PathBuf>,
}

impl UndoArgs {
    /// The view that is to be written, if one is.
    #[must_use]
    pub fn view(&self) -> Option<&str> {
        self.view.as_deref().filter(|_| self.as_new_writes)
    }
}

/// Restores a moment for as long as it takes to write what differs.
///
/// # Errors
/// If it cannot be restored, does not fit the live view, or the set cannot be read or written.
pub async fn run(
    repository: &Repository,
    way: &Way,
    view: &str,
    args: &UndoArgs,
    connection: &Connection,
) -> Result<(), CliError> {
    let client = connection.client().await?;
    if !args.dry_run {
        require_whole(&client, way).await?;
    }
    let mut signals = Signals::new()?;
    let scratch = Scratch::create(args.scratch.as_deref(), "undo")?;
    let set = scratch.path().join("set");
    let restored =
        tokio::task::block_in_place(|| restore_alone(repository, way, &set, &mut signals));
    let done = match restored {
        Ok(()) => {
            let work = async {
                let mut undo = Undo::begin(client, &set, view, args.dry_run).await?;
                undo.go().await?;
                undo.report(way, connection.output)
            };
            unless_told_to_stop(&mut signals, work).await
        }
        Err(failure) => Err(failure),
    };
    scratch.remove_after(done).await
}

/// Refuses a moment of the set's own history of which something may not be archived yet: that would be undone, too.
///
/// # Errors
/// `NOT_FINAL` if so; or if the set does not say who it is.
async fn require_whole(client: &Client, way: &Way) -> Result<(), CliError> {
    let is_own = client.replica_set().await?.lineage == way.manifest.control.lineage.to_string();
    if way.plan.is_final() || !is_own {
        return Ok(());
    }
    let whole = super::time(way.plan.final_through);
    let message = format!(
        "what was written after {whole} is not all archived yet, and would be undone, though it may be older than the moment: wait, or \
         name an earlier time or a restore point; --dry-run counts all the same"
    );
    Err(CliError::wrong("NOT_FINAL", message))
}

/// Restores on threads of its own: what was given up goes on there to the end of its step, and would make anew the directories that
/// are removed meanwhile.
fn restore_alone(
    repository: &Repository,
    way: &Way,
    set: &Path,
    signals: &mut Signals,
) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        CliError::failed("NO_RUNTIME", format!("cannot start threads: {error}"))
    })?;
    let restoring = restore::restore(repository, way, set);
    let restored = runtime.block_on(unless_told_to_stop(signals, restoring));
    runtime.shutdown_timeout(LAST_STEP);
    restored.map(|_| ())
}

async fn unless_told_to_stop<T>(
    signals: &mut Signals,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::select! {
        biased;
        name = signals.next() => {
            let message = format!("{name}; what was written stays, and the same command goes on");
            Err(CliError::failed("INTERRUPTED", message))
        }
        done = work => done,
    }
}

/// An undo under way.
struct Undo {
    restored: Restored,
    live: Live,
    terms: Terms,
    dry_run: bool,
    /// The view was not there.
    created: bool,
    batch: Vec<Differing>,
    batch_bytes: usize,
    counts: Counts,
}

/// An entity that says something else than it did.
struct Differing {
    key: EntityKey,
    wanted: Facts,
    live: Facts,
}

impl Undo {
    /// Finds the view on both sides; creates it in the live set, unless this is only to count.
    async fn begin(
        client: Client,
        set: &Path,
        name: &str,
        dry_run: bool,
    ) -> Result<Undo, CliError> {
        let restored = Restored::open(set, name)?;
        let spec = &restored.view.spec;
        let there = match client.view(name).await {
            Err(error) if error.reason == Reason::UnknownView.name() => None,
            there => Some(there?),
        };
        let created = there.is_none();
        let view = match there {
            Some(view) => view,
            None if dry_run => View::new(spec.clone(), 0),
            None => {
                let file = view_file(spec);
                let file = file.map_err(|error| CliError::failed("DAMAGED", error.to_string()))?;
                let made = client.create_view(file).await?;
                view_from_wire(&made).map_err(Error::bad_answer)?
            }
        };
        let misfits = definition::misfits(spec, &view.spec);
        if !misfits.is_empty() {
            let message = format!(
                "what view {name:?} was cannot be written into what it is now: {}",
                misfits.join("; ")
            );
            return Err(CliError::wrong("OTHER_DEFINITION", message));
        }
        let terms = terms(&restored.view, &view);
        Ok(Undo {
            restored,
            live: Live {
                client,
                view: Arc::new(view),
            },
            terms,
            dry_run,
            created,
            batch: Vec::new(),
            batch_bytes: 0,
            counts: Counts::default(),
        })
    }

    /// Compares both sides, entity by entity, and writes what differs.
    async fn go(&mut self) -> Result<(), CliError> {
        let is_there = !(self.created && self.dry_run);
        let mut total = self.restored.count()?;
        if is_there {
            let name = &self.live.view.spec.name;
            total += self.live.client.describe_view(name).await?.rows;
        }
        let position = Position::of(Some(total));
        let mut progress = Progress::new(self.live.view.spec.name.clone(), position.clone());
        let done = self.walk(is_there, &position, &mut progress).await;
        progress.finish();
        done
    }

    async fn walk(
        &mut self,
        is_there: bool,
        position: &Position,
        progress: &mut Progress,
    ) -> Result<(), CliError> {
        let live = self.live.clone();
        let mut live = Ahead::new(if is_there {
            live.rows()
        } else {
            LiveRows::none(live)
        });
        let rows = self.restored.clone().rows(Arc::clone(&self.live.view));
        let mut restored = Ahead::new(rows);
        let nothing = vec![Fact::Absent; self.terms.features.len()];
        loop {
            let next = live.key().await?.into_iter().chain(restored.key().await?);
            let Some(key) = next.min().cloned() else {
                break;
            };
            let sides = [live.take(&key), restored.take(&key)];
            position.advance(u64::try_from(sides.iter().flatten().count()).unwrap_or(0));
            let [live, restored] = sides.map(|side| side.unwrap_or_else(|| nothing.clone()));
            self.compare(key, &restored, live);
            if self.batch.len() >= BATCH_ROWS || self.batch_bytes >= BATCH_BYTES {
                self.settle().await?;
            }
            progress.update(position.done(), 0);
        }
        self.settle().await
    }

    /// Counts an entity, or has it wait for the others of its batch.
    fn compare(&mut self, key: EntityKey, restored: &[Fact], live: Facts) {
        self.counts.expired += u64::from(decide::has_expired(restored));
        let wanted = self.terms.wanted(restored, &live);
        let changes = self.terms.decide(&wanted, &live);
        if changes.are_none() {
            // What was deleted, and is not purged yet, is no row.
            let is_there = decide::is_there(&wanted) || decide::is_there(&live);
            self.counts.equal += u64::from(is_there);
        } else if self.dry_run {
            self.counts.written(&changes);
        } else {
            self.batch_bytes += self.terms.weight(&wanted) + self.terms.weight(&live);
            self.batch.push(Differing { key, wanted, live });
        }
    }

    /// Writes a batch, and once more, as of now, what lost to something that could not be seen.
    async fn settle(&mut self) -> Result<(), CliError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.terms.floor = self.live.view.lateness_floor(SystemClock::new().wall());
        let now = self.look(&batch).await?;
        let (same, changed): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .zip(now)
            .partition(|(row, now)| self.terms.are_same(&row.live, now));
        self.counts.changed += count(changed.len());
        let same = same.into_iter();
        let rows = same.map(|(row, live)| Differing { live, ..row }).collect();
        let rows = self.write(rows, |changes| changes).await?;
        let rows = self.write(rows, Changes::now).await?;
        // Others write them again and again.
        self.counts.changed += count(rows.len());
        Ok(())
    }

    /// Writes rows, each `as` this makes of what is decided, and returns those that do not say yet what they are to say, as they are
    /// now. Those that others have written meanwhile are left.
    async fn write(
        &mut self,
        rows: Vec<Differing>,
        how: impl Fn(Changes) -> Changes,
    ) -> Result<Vec<Differing>, CliError> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let decided = rows.iter();
        let decided = decided.map(|row| {
            let changes = self.terms.decide(&row.wanted, &row.live);
            (&row.key, how(changes))
        });
        let decided: Vec<_> = decided.collect();
        self.live.write(&decided).await?;
        let now = self.look(&rows).await?;
        let decided: Vec<_> = decided.into_iter().map(|(_, changes)| changes).collect();
        let mut left = Vec::new();
        for ((row, changes), now) in rows.into_iter().zip(decided).zip(now) {
            let rest = self.terms.decide(&row.wanted, &now);
            if rest.are_none() && changes.are_none() {
                // What was too much has expired.
                self.counts.equal += 1;
            } else if rest.are_none() {
                self.counts.written(&changes);
            } else if self.terms.explain(&row.wanted, &row.live, &changes, &now) {
                left.push(Differing { live: now, ..row });
            } else {
                self.counts.changed += 1;
            }
        }
        Ok(left)
    }

    async fn look(&self, rows: &[Differing]) -> Result<Vec<Facts>, CliError> {
        self.live.look(rows.iter().map(|row| &row.key)).await
    }
}

fn terms(restored: &View, live: &View) -> Terms {
    let features = live.spec.features.iter();
    let features = features.map(|feature| Sought {
        value_type: feature.value_type,
        is_restored: restored.feature(&feature.name).is_some(),
    });
    Terms {
        merge: live.spec.merge,
        order: live.spec.order,
        floor: live.lateness_floor(SystemClock::new().wall()),
        features: features.collect(),
    }
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}
