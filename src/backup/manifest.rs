//! Pure: the manifest of a restore point: which files make its store, and what that store holds.
//!
//! It is a [sealed] text, so that people and tools can read it without this program. What it says of the
//! store, the store says of itself in its `state`; both must agree.
//!
//! **Invariants.** A manifest is written once, when all its files are there, and never changed. It holds no secret: neither the
//! set's, nor a token's, nor an address.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::{FileId, Named, PointId};
use crate::base::sealed::{self, Kind};
use crate::base::{Epoch, Hlc, LineageId, NodeNumber, VersionVector};
use crate::control::ControlState;
use crate::model::Digest;
use crate::storage::{FileName, Snapshot, State, StoreFile};

const KIND: Kind = Kind {
    name: "backup",
    version: 1,
};

/// A manifest's text and an object of files are no longer than this.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// What makes a restore point.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its name.
    pub point: PointId,
    /// The restore point whose files it shares: itself, if all of them were sent for it.
    pub generation: PointId,
    /// The restore point of the same generation that came before it.
    pub parent: Option<PointId>,
    /// Which version of the program wrote it.
    pub program: String,
    /// The member whose store it is.
    pub member: NodeNumber,
    /// What was agreed on then, without secrets, addresses and members.
    pub control: ControlState,
    /// The store.
    pub snapshot: Snapshot,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is none, damaged or of a later version.
    #[error(transparent)]
    Sealed(#[from] sealed::Error),
    /// It is not what a manifest is.
    #[error("the manifest {name} is damaged: {problem}")]
    Malformed {
        /// The object.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Its parts do not belong together.
    #[error("the manifest {name} says of {field} what its {other} does not say")]
    Disagrees {
        /// The object.
        name: String,
        /// What it says something of.
        field: &'static str,
        /// What says something else.
        other: &'static str,
    },
}

/// As it is written. What people look for comes first.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    point: PointId,
    lineage: LineageId,
    generation: PointId,
    parent: Option<PointId>,
    program: String,
    member: NodeNumber,
    epoch: Epoch,
    /// In milliseconds, for people.
    newest_millis: u64,
    newest: Hlc,
    horizon: Hlc,
    held: VersionVector,
    #[serde(with = "hex_digest")]
    digest: Digest,
    control: ControlState,
    /// As the store encodes it.
    #[serde(with = "hex")]
    state: Vec<u8>,
    files: Vec<FileText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    name: String,
    bytes: u64,
    digest: String,
}

mod hex_digest {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Digest;

    pub fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = u128::from_str_radix(&text, 16);
        digest.map(Digest).map_err(serde::de::Error::custom)
    }
}

impl Manifest {
    /// Its name in the bucket.
    #[must_use]
    pub fn name(&self) -> String {
        Named::Point(self.point).in_lineage(self.control.lineage)
    }

    /// Is it the first of its generation, so that all its files were sent for it?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.generation == self.point
    }

    /// The object that holds a file.
    #[must_use]
    pub fn object(&self, file: &StoreFile) -> FileId {
        FileId {
            generation: self.generation,
            digest: file.digest,
        }
    }

    /// Bytes of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.snapshot.files.iter().map(|file| file.bytes).sum()
    }

    /// Its text.
    #[must_use]
    pub fn seal(&self) -> String {
        let Snapshot { state, files } = &self.snapshot;
        let text = Text {
            point: self.point,
            lineage: self.control.lineage,
            generation: self.generation,
            parent: self.parent,
            program: self.program.clone(),
            member: self.member,
            epoch: self.control.open_epoch(),
            newest_millis: state.newest.millis(),
            newest: state.newest,
            horizon: state.purge_horizon(),
            held: state.applied.0.clone(),
            digest: state.digest,
            control: self.control.clone(),
            state: state.encode(),
            files: files.iter().map(FileText::of).collect(),
        };
        let body = serde_json::to_string_pretty(&text);
        KIND.seal(&body.expect("every part of a manifest is plain JSON"))
    }

    /// Reads the object of this name.
    ///
    /// # Errors
    /// If it is not what was written under this name.
    pub fn open(lineage: LineageId, point: PointId, bytes: &[u8]) -> Result<Manifest, Error> {
        let name = Named::Point(point).in_lineage(lineage);
        let body = KIND.open(Path::new(&name), bytes)?;
        let malformed = |problem: String| Error::Malformed {
            name: name.clone(),
            problem,
        };
        let text: Text =
            serde_json::from_str(&body).map_err(|cause| malformed(cause.to_string()))?;
        let state = State::decode(&text.state).map_err(|cause| malformed(cause.to_string()))?;
        let disagreement = text.disagreement(lineage, point, &state);
        if let Some((field, other)) = disagreement {
            return Err(Error::Disagrees { name, field, other });
        }
        let files: Result<Vec<StoreFile>, String> =
            text.files.iter().map(FileText::parse).collect();
        let files = files.map_err(malformed)?;
        let names: BTreeSet<&FileName> = files.iter().map(|file| &file.name).collect();
        if names.len() < files.len() {
            return Err(malformed("it names a file twice".to_owned()));
        }
        Ok(Manifest {
            point,
            generation: text.generation,
            parent: text.parent,
            program: text.program,
            member: text.member,
            control: text.control,
            snapshot: Snapshot { state, files },
        })
    }
}

impl Text {
    /// What two places say differently.
    fn disagreement(
        &self,
        lineage: LineageId,
        point: PointId,
        state: &State,
    ) -> Option<(&'static str, &'static str)> {
        let same = [
            (self.point == point, "the restore point", "name"),
            (self.lineage == lineage, "the lineage", "name"),
            (
                self.lineage == self.control.lineage,
                "the lineage",
                "control state",
            ),
            (
                self.epoch == self.control.open_epoch(),
                "the epoch",
                "control state",
            ),
            (self.newest == state.newest, "the newest stamp", "store"),
            (
                self.newest_millis == state.newest.millis(),
                "the newest stamp",
                "store",
            ),
            (
                self.horizon == state.purge_horizon(),
                "the horizon",
                "store",
            ),
            (self.held == state.applied.0, "what is held", "store"),
            (self.digest == state.digest, "the digest", "store"),
        ];
        let other = same.into_iter().find(|(is_same, ..)| !is_same);
        other.map(|(_, field, other)| (field, other))
    }
}

impl FileText {
    fn of(file: &StoreFile) -> FileText {
        FileText {
            name: file.name.to_string(),
            bytes: file.bytes,
            digest: file.digest.to_string(),
        }
    }

    fn parse(&self) -> Result<StoreFile, String> {
        let digest = blake3::Hash::from_hex(&self.digest);
        Ok(StoreFile {
            name: FileName::parse(&self.name).map_err(|cause| cause.to_string())?,
            bytes: self.bytes,
            digest: digest.map_err(|cause| format!("the digest of {}: {cause}", self.name))?,
        })
    }
}

#[cfg(test)]
#[path = "manifest_test.rs"]
mod tests;
