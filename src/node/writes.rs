//! Writes and definitions, from the check that they can be taken to the answer.
//!
//! What is decided and logged is decided by the [`writer`](super::writer) thread; here calls wait for it, for what became of the
//! record, and for its copies.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Serving;
use super::member::Awaited;
use super::request::{CatalogueChange, Error, Spent, WriteRequest, Written};
use super::writer::{Accepted, Job};
use crate::base::clock::timeout;
use crate::base::{CommitLevel, Stamp, explained};
use crate::model::{View, limits};
use crate::storage::RequestEntry;

/// A write under way is in memory as a batch for the applier and as a record for the log.
const COPIES_UNDER_WAY: usize = 2;

impl Serving {
    pub(super) async fn write(&self, request: WriteRequest) -> Result<Written, Error> {
        match self.check_writable() {
            Err(refusal @ Error::LowDisk { .. }) => {
                return self.written_before(&request).await.ok_or(refusal);
            }
            refused => refused?,
        }
        let WriteRequest {
            batch,
            level,
            request_id,
            deadline,
            mut memory,
        } = request;
        let bytes = batch.size_bytes();
        if bytes > limits::BATCH_BYTES {
            return Err(Error::BatchTooLarge {
                bytes,
                max: limits::BATCH_BYTES,
            });
        }
        memory.grow(bytes.saturating_mul(COPIES_UNDER_WAY))?;
        let level = self.agreement.state().settings.commit_level(level);
        let begun = self.clock.monotonic();
        let until = begun + deadline;
        let (reply, accepted) = oneshot::channel();
        self.submit(
            Job::Write {
                batch,
                level,
                request_id,
                memory,
                reply,
            },
            deadline,
        )
        .await?;

        let accepted = self.within(until, accepted, None).await??;
        let logged = self.clock.monotonic();
        let (stamp, fate, mut reached) = match accepted {
            Accepted::Logged {
                stamp,
                fate,
                reached,
            } => (stamp, fate, reached),
            Accepted::Repeated { entry, mut reached } => {
                let copies = self.copies(until, &mut reached, entry.stamp).await?;
                return Ok(repeated(&entry, level, copies));
            }
        };
        let outcome = self.within(until, fate, Some(stamp)).await?;
        let outcome = outcome.map_err(|cause| Error::Unknown {
            reason: explained(&cause),
            stamp: Some(stamp),
        })?;
        let copies = self.copies(until, &mut reached, stamp).await?;
        Ok(Written {
            applied: outcome.applied,
            older: outcome.older,
            folded: outcome.folded,
            stamp,
            copies,
            level,
            repeated: false,
            spent: Spent {
                waiting: logged.saturating_sub(begun),
                applying: self.clock.monotonic().saturating_sub(logged),
                ..Spent::default()
            },
        })
    }

    /// Waits until a write has reached its level; then says how many durable copies there are.
    async fn copies(
        &self,
        until: Duration,
        reached: &mut Awaited,
        stamp: Stamp,
    ) -> Result<u32, Error> {
        let left = until.saturating_sub(self.clock.monotonic());
        let unknown = |reason: &str| Error::Unknown {
            reason: reason.to_owned(),
            stamp: Some(stamp),
        };
        match timeout(left, reached.reached()).await {
            Ok(Some(copies)) => Ok(u32::try_from(copies).unwrap_or(u32::MAX)),
            Ok(None) => match &self.member.standing().halted {
                Some(halt) => Err(unknown(&explained(halt))),
                None => Err(unknown(
                    "this node ceased to be primary before it was acknowledged",
                )),
            },
            Err(_) => Err(unknown("its deadline passed")),
        }
    }

    /// The result of a named write that is applied, which can be told even if nothing more is written.
    async fn written_before(&self, request: &WriteRequest) -> Option<Written> {
        let until = self.clock.monotonic() + request.deadline;
        let (caller, id) = request.request_id.clone()?;
        let engine = Arc::clone(&self.engine);
        let found = self.blocking(move || engine.request(&caller, &id));
        let entry = timeout(request.deadline, found).await.ok()?.ok()??;
        if entry.body_hash != request.batch.digest() {
            return None;
        }
        let level = self.agreement.state().settings.commit_level(request.level);
        let mut reached = self.member.await_level(entry.stamp, level).ok()?;
        let copies = self.copies(until, &mut reached, entry.stamp).await.ok()?;
        Some(repeated(&entry, level, copies))
    }

    pub(super) async fn define(
        &self,
        change: CatalogueChange,
        deadline: Duration,
    ) -> Result<Option<Arc<View>>, Error> {
        self.check_writable()?;
        let control = self.agreement.state();
        if change.has_read_level() && !control.has_view_read_levels() {
            return Err(Error::NoViewReadLevels);
        }
        let until = self.clock.monotonic() + deadline;
        let (reply, answer) = oneshot::channel();
        let level = control.settings.commit_level(None);
        let job = Job::Define {
            change,
            level,
            reply,
        };
        self.submit(job, deadline).await?;
        let mut defined = self.within(until, answer, None).await??;
        self.copies(until, &mut defined.reached, defined.stamp)
            .await?;
        Ok(defined.view)
    }

    pub(super) fn check_writable(&self) -> Result<(), Error> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        if jobs.is_none() {
            return Err(Error::Stopping);
        }
        drop(jobs);
        if let Some(cause) = self.engine.ended() {
            return Err(Error::NotWritable {
                cause: explained(&cause),
            });
        }
        let standing = self.member.standing();
        if let Some(halt) = &standing.halted {
            return Err(halt.clone().into());
        }
        if standing.serves.is_none() {
            return Err(Error::NotPrimary {
                primary: standing.primary(),
            });
        }
        if self.disk_is_low.load(Ordering::Acquire) {
            let available = self.disk_available.load(Ordering::Acquire);
            return Err(Error::LowDisk {
                available,
                needed: self.config.disk.low_watermark_bytes,
            });
        }
        Ok(())
    }

    async fn submit(&self, job: Job, deadline: Duration) -> Result<(), Error> {
        let jobs = self
            .jobs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let jobs = jobs.ok_or(Error::Stopping)?;
        match timeout(deadline, jobs.send(job)).await {
            Ok(sent) => sent.map_err(|_| Error::Stopping),
            Err(_) => Err(Error::DeadlineExceeded { limit: deadline }),
        }
    }

    /// Waits for a reply that says what became of a write.
    async fn within<T>(
        &self,
        until: Duration,
        reply: oneshot::Receiver<T>,
        stamp: Option<Stamp>,
    ) -> Result<T, Error> {
        let left = until.saturating_sub(self.clock.monotonic());
        let unknown = |reason: &str| Error::Unknown {
            reason: reason.to_owned(),
            stamp,
        };
        match timeout(left, reply).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(unknown("the node stopped before it was answered")),
            Err(_) => Err(unknown("its deadline passed")),
        }
    }
}

fn repeated(entry: &RequestEntry, level: CommitLevel, copies: u32) -> Written {
    Written {
        applied: entry.applied,
        older: entry.older,
        folded: entry.folded,
        stamp: entry.stamp,
        copies,
        level,
        repeated: true,
        spent: Spent::default(),
    }
}
