//! Forgetting an entity: its rows are deleted, then the values they had are erased from the log and from the store's
//! files.
//!
//! The log is let go of as a whole: its segment is ended, a record is written behind it, and the flushed store no longer
//! needs what lies before. In the store a deletion overwrites a row, but the files keep what was overwritten until they
//! are merged, so those that hold the entity are merged at once.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::Serving;
use super::request::{Error, WriteRequest};
use crate::base::clock::timeout;
use crate::base::{CommitLevel, Lsn, Micros};
use crate::engine::{self, Engine, Need};
use crate::model::row::{BodyRef, RowRef};
use crate::model::{Batch, Change, EntityKey, RowChange, Version, View, ViewRows};
use crate::storage::RowKeys;

/// How long the record behind the end of a segment may take.
const RECORD_WITHIN: Duration = Duration::from_secs(30);

/// As whose the node's own writes count: nobody connects from there.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// An entity in one view; the view may have been dropped.
#[derive(Debug, Clone)]
pub struct Entity {
    /// The view.
    pub view: Arc<View>,
    /// The entity's key in it.
    pub key: EntityKey,
}

/// What became of an entity in one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The view's name.
    pub view: String,
    /// Were there values to delete?
    pub deleted: bool,
    /// The deletion, which names the entity.
    pub tombstone: Tombstone,
}

/// How long a deletion is kept, and the entity's key with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tombstone {
    /// There is none.
    None,
    /// Until the purge horizon has passed what must be awaited, and a sweep after that: not before this time.
    Until(Micros),
    /// For ever: without it a late write would bring the row back.
    ForEver,
}

impl Serving {
    pub(super) async fn forget(
        &self,
        entities: &[Entity],
        deadline: Duration,
    ) -> Result<Vec<Forgotten>, Error> {
        let stored = self.stored(entities).await?;
        let deletes = entities.iter().zip(&stored).filter(|(_, row)| row.is_live);
        let groups: Vec<ViewRows> = deletes.map(|(entity, _)| delete(entity)).collect();
        if !groups.is_empty() {
            self.log(groups, deadline).await?;
        }
        let left = self.stored(entities).await?;
        let forgotten = entities.iter().zip(stored.iter().zip(left));
        forgotten
            .map(|(entity, (was, now))| {
                if now.is_live && self.engine.catalogue().is_dropped(entity.view.id) {
                    let view = entity.view.spec.name.clone();
                    return Err(Error::BeingSwept { view });
                }
                Ok(Forgotten {
                    view: entity.view.spec.name.clone(),
                    deleted: was.is_live,
                    tombstone: self.tombstone(&entity.view, now.tombstone),
                })
            })
            .collect()
    }

    pub(super) async fn erase_from_log(&self) -> Result<(), Error> {
        let engine = Arc::clone(&self.engine);
        let end = self.blocking(move || Ok(engine.wal().seal()?)).await?;
        // What lies behind the segment's end, so that all before it is no longer needed.
        self.log(Vec::new(), RECORD_WITHIN).await?;
        self.archiving.hurry();
        let released = timeout(RECORD_WITHIN, self.release_below(end)).await;
        let limit = RECORD_WITHIN;
        released.map_err(|_| Error::DeadlineExceeded { limit })?
    }

    /// Lets go of the log below a place, as soon as all of it is known to be on enough members, and archived.
    async fn release_below(&self, place: Lsn) -> Result<(), Error> {
        loop {
            let (engine, standing) = (Arc::clone(&self.engine), self.member.standing());
            let index = standing.control.index;
            let only_copies = move |log, seq| {
                let control = &standing.control;
                if control.is_spread(log, seq) && !control.is_to_be_archived(log, seq) {
                    Need::Nobody
                } else {
                    Need::OnlyCopy
                }
            };
            self.blocking(move || engine.flush_keeping(only_copies))
                .await?;
            if self.engine.wal().first() >= place {
                return Ok(());
            }
            self.member.agreed().reached(index + 1).await?;
        }
    }

    pub(super) async fn erase_from_store(&self, entities: &[Entity]) -> Result<(), Error> {
        let mut keys = RowKeys::default();
        for entity in entities {
            keys.push(entity.view.id, entity.key.as_bytes());
        }
        let engine = Arc::clone(&self.engine);
        self.blocking(move || engine.rewrite_rows(&keys)).await
    }

    async fn log(&self, groups: Vec<ViewRows>, deadline: Duration) -> Result<(), Error> {
        let batch = Batch {
            groups,
            is_override: false,
        };
        let request = WriteRequest {
            batch,
            level: Some(CommitLevel::All),
            request_id: None,
            deadline,
            memory: self.budgets.writes.account(OWN).hold(),
        };
        self.write(request).await.map(drop)
    }

    async fn stored(&self, entities: &[Entity]) -> Result<Vec<Stored>, Error> {
        let engine = Arc::clone(&self.engine);
        let entities = entities.to_vec();
        self.blocking(move || {
            entities
                .iter()
                .map(|entity| stored(&engine, entity))
                .collect()
        })
        .await
    }

    fn tombstone(&self, view: &View, version: Option<Version>) -> Tombstone {
        let Some(version) = version else {
            return Tombstone::None;
        };
        let goes = if self.engine.catalogue().is_dropped(view.id) {
            Some(version.stamp.hlc.micros())
        } else {
            view.tombstone_goes(&version)
        };
        let lag = self.config.purge.horizon_lag();
        goes.map_or(Tombstone::ForEver, |at| Tombstone::Until(at.plus(lag)))
    }
}

/// What is stored of an entity.
#[derive(Debug, Clone, Copy, Default)]
struct Stored {
    is_live: bool,
    tombstone: Option<Version>,
}

fn stored(engine: &Engine, entity: &Entity) -> Result<Stored, engine::Error> {
    let view = entity.view.id;
    let row = engine.row(view, &entity.key)?;
    let Some(row) = row.row() else {
        return Ok(Stored::default());
    };
    let row = RowRef::parse(row).map_err(|source| engine::Error::BadRow { view, source })?;
    let tombstone = match row.body {
        BodyRef::Whole { version, cells } => cells.is_none().then_some(version),
        BodyRef::Cells { tombstone, .. } => tombstone,
    };
    Ok(Stored {
        is_live: row.is_live(),
        tombstone,
    })
}

fn delete(entity: &Entity) -> ViewRows {
    let row = RowChange {
        key: entity.key.clone(),
        event_time: None,
        change: Change::Delete,
    };
    ViewRows {
        view: Arc::clone(&entity.view),
        rows: vec![row],
    }
}
