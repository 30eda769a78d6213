//! Pure: a member's promise and logs: what it takes from whom, and what it may answer.
//!
//! ```text
//!   promise P        ── from an epoch below P: fenced
//!                    ── from P: taken if it follows; the opening record of P only if its primary holds all that is held here
//!                    ── from an epoch above P, or a seal: P rises, durably, before anything is answered
//! ```
//! **Invariants.** I3: what is held is an unbroken prefix of each log. I4: the promise never goes back. I10: nothing is
//! answered below it. I27: see [`crate::replication`].

use super::message::{Append, Vouched};
use crate::base::rule::Rule;
use crate::base::{Epoch, RegionId, Seq, VersionVector};
use crate::control::ControlState;
use crate::model::{Fork, Heads, HeldOpening, Logged, Place};

/// What became of an [`Append`].
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// Its epoch lies below this promise.
    Fenced(Epoch),
    /// These of its records are new and follow what is held; they are to be appended in this order.
    Records(Vec<Logged>),
}

/// A member's part of the protocol.
#[derive(Debug)]
pub struct Member {
    promise: Epoch,
    appended: Heads,
    durable: VersionVector,
    opening: Option<HeldOpening>,
}

impl Member {
    /// A member that has just started, with what it found on its disk: all of it durable.
    #[must_use]
    pub fn new(promise: Epoch, held: Heads, opening: Option<HeldOpening>) -> Member {
        Member {
            promise,
            durable: held.vector().clone(),
            appended: held,
            opening,
        }
    }

    /// The epoch promised: nothing below it is obeyed.
    #[must_use]
    pub fn promise(&self) -> Epoch {
        self.promise
    }

    /// What is appended, durable or not yet.
    #[must_use]
    pub fn appended(&self) -> &Heads {
        &self.appended
    }

    /// What is durable; of what is only appended nothing is ever acknowledged (R3).
    #[must_use]
    pub fn durable(&self) -> &VersionVector {
        if Rule::AckDurable.holds() {
            &self.durable
        } else {
            self.appended.vector()
        }
    }

    /// The greatest epoch's opening record that is appended.
    #[must_use]
    pub fn opening(&self) -> Option<&HeldOpening> {
        self.opening.as_ref()
    }

    /// Raises the promise; says whether it rose, and must be made durable before anything is answered.
    pub fn promise_to(&mut self, epoch: Epoch) -> bool {
        let rises = epoch > self.promise || !Rule::Fence.holds() && epoch != self.promise;
        if rises {
            self.promise = epoch;
        }
        rises
    }

    /// Takes what an [`Append`] brings. The promise has been raised to its epoch before if that is greater.
    ///
    /// # Errors
    /// If a record is not chained to what is held.
    pub fn take(&mut self, control: &ControlState, append: &Append) -> Result<Taken, Fork> {
        if Rule::Fence.holds() && append.epoch < self.promise {
            return Ok(Taken::Fenced(self.promise));
        }
        let mut taken = Vec::new();
        for record in &append.records {
            match self.appended.place(record)? {
                Place::Held => continue,
                Place::Ahead => break,
                Place::Next => {}
            }
            let covers = || control.covers(&append.vector, self.appended.vector());
            if record.opening.is_some() && Rule::OpenCovers.holds() && !covers() {
                break;
            }
            self.append(record);
            taken.push(record.clone());
        }
        Ok(Taken::Records(taken))
    }

    /// Takes records that were fetched from another holder, whatever epoch they are of.
    ///
    /// # Errors
    /// If a record is not chained to what is held.
    pub fn merge(&mut self, records: Vec<Logged>) -> Result<Vec<Logged>, Fork> {
        let mut taken = Vec::new();
        for record in records {
            if self.appended.place(&record)? == Place::Next {
                self.append(&record);
                taken.push(record);
            }
        }
        Ok(taken)
    }

    /// Notes a record that is appended, by whomever.
    pub fn append(&mut self, record: &Logged) {
        self.appended.advance(record);
        let opening = HeldOpening::of(record);
        if let Some(opening) = opening
            && self
                .opening
                .as_ref()
                .is_none_or(|held| held.log.epoch < opening.log.epoch)
        {
            self.opening = Some(opening);
        }
    }

    /// More is durable.
    pub fn sync(&mut self, durable: &VersionVector) {
        self.durable.join(durable);
    }

    /// Folds the logs up to `epoch`, which are closed and held to their end.
    pub fn fold(&mut self, region: RegionId, epoch: Epoch) {
        self.durable.fold(region, epoch);
        self.appended.fold(region, epoch);
    }

    /// In whose name the member answers a quorum read (Q1): the promised epoch, if its opening record is applied. The
    /// rows must have been read before.
    #[must_use]
    pub fn vouch(&self, applied: &VersionVector) -> Option<Vouched> {
        let opening = self.opening.as_ref()?;
        let is_promised = opening.log.epoch == self.promise || !Rule::ReadOpening.holds();
        (is_promised && applied.contains(opening.log, Seq(1))).then(|| Vouched {
            epoch: opening.log.epoch,
            members: opening.members.clone(),
        })
    }

    /// Would the store of another member do in place of this one's? Only if it holds everything held here, and has folded as
    /// much: the ends of what all have folded are forgotten.
    #[must_use]
    pub fn accepts_snapshot(&self, control: &ControlState, offered: &VersionVector) -> bool {
        let held = self.appended.vector();
        let is_folded = offered.base(control.region) >= held.base(control.region);
        is_folded && (!Rule::SnapshotCovers.holds() || control.covers(offered, held))
    }
}

#[cfg(test)]
#[path = "member_test.rs"]
mod tests;
