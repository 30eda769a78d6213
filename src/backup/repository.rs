//! What is kept in a bucket, by what it is: manifests, files, archived records.
//!
//! **Invariants.** Nothing that is there is ever replaced. What is read is checked: it is what was written under its name, or
//! an error that says which object is not.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::bucket::{self, Bucket, Kind, Listed, ObjectName, Put, Reading};
use super::inventory::{Holdings, Inventory, Object};
use super::layout::{self, FileId, Named, PointId, Segment, StretchId};
use super::manifest::{self, MAX_MANIFEST_BYTES, Manifest};
use super::plan::Archive;
use super::records;
use super::stretch::{MAX_STRETCH_BYTES, Stretch};
use crate::base::sealed;
use crate::base::{LineageId, LogId, Micros, Seq};
use crate::model::Logged;
use crate::storage::StoreFile;

/// Why something in a bucket cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket does not do what it was asked.
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The beginning of a stretch of the archive cannot be used.
    #[error(transparent)]
    Stretch(#[from] sealed::Error),
    /// Archived records cannot be used.
    #[error(transparent)]
    Records(#[from] records::Error),
    /// Something else stands in its place.
    #[error("{name} is there already, and is not what is to be written: {found}, not {wanted}")]
    Occupied {
        /// The object.
        name: String,
        /// What is there.
        found: String,
        /// What should be.
        wanted: String,
    },
}

impl Error {
    /// Does it say what is wrong with an object that somebody has to do something about, rather than that it could not be read now?
    #[must_use]
    pub fn is_of_the_object(&self) -> bool {
        match self {
            Error::Bucket(cause) => matches!(
                cause.kind(),
                Kind::Missing | Kind::Changed | Kind::TooLarge | Kind::BadAnswer
            ),
            Error::Manifest(_) | Error::Stretch(_) | Error::Records(_) | Error::Occupied { .. } => {
                true
            }
        }
    }
}

/// Backups in a bucket.
#[derive(Debug, Clone)]
pub struct Repository {
    bucket: Bucket,
}

impl Repository {
    /// Those in this bucket.
    #[must_use]
    pub fn new(bucket: Bucket) -> Repository {
        Repository { bucket }
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// All that there is.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub async fn inventory(&self) -> Result<Inventory, Error> {
        let mut inventory = Inventory::default();
        self.list_into(&mut inventory, None).await?;
        Ok(inventory)
    }

    /// What there is of one lineage, but for what is archived.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub async fn points(&self, lineage: LineageId) -> Result<Holdings, Error> {
        let mut inventory = Inventory::default();
        for part in ["points", "dropped", "files"] {
            let under = object(&format!("{lineage}/{part}"));
            self.list_into(&mut inventory, Some(&under)).await?;
        }
        Ok(inventory.lineages.remove(&lineage).unwrap_or_default())
    }

    /// What there is of one lineage.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub async fn holdings(&self, lineage: LineageId) -> Result<Holdings, Error> {
        let mut inventory = Inventory::default();
        let under = object(&lineage.to_string());
        self.list_into(&mut inventory, Some(&under)).await?;
        Ok(inventory.lineages.remove(&lineage).unwrap_or_default())
    }

    /// The objects of one lineage, each with its length and age.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub async fn objects(&self, lineage: LineageId) -> Result<Vec<Object>, Error> {
        let under = object(&lineage.to_string());
        let mut listing = self.bucket.list(Some(&under), None);
        let mut objects = Vec::new();
        while let Some(listed) = listing.next().await? {
            let Listed::Object {
                name,
                bytes,
                modified,
            } = listed
            else {
                continue;
            };
            if let Some((_, named)) = Named::parse(name.as_str()) {
                objects.push(Object {
                    named,
                    bytes,
                    modified,
                });
            }
        }
        Ok(objects)
    }

    /// The time by the bucket's own clock, which says of each object when it was written. Found by a mark that is written for it
    /// and removed again: of a restore point that never was, so that one that is left behind is what prune removes.
    ///
    /// # Errors
    /// If the mark cannot be written, looked at or removed.
    pub async fn now(&self, lineage: LineageId) -> Result<Micros, Error> {
        let mark = Named::Dropped(PointId {
            begun_millis: 0,
            random: rand::random(),
        });
        self.mark(lineage, mark).await?;
        let stored = self.bucket.stored(&named(lineage, mark)).await;
        self.remove(lineage, mark).await?;
        Ok(stored?.modified)
    }

    async fn list_into(
        &self,
        inventory: &mut Inventory,
        under: Option<&ObjectName>,
    ) -> Result<(), Error> {
        let mut listing = self.bucket.list(under, None);
        while let Some(listed) = listing.next().await? {
            match listed {
                Listed::Object { name, bytes, .. } => inventory.add(name.as_str(), bytes),
                Listed::Foreign { key, .. } => inventory.strange.push(key),
            }
        }
        Ok(())
    }

    /// A manifest.
    ///
    /// # Errors
    /// If it is not there, or not what was written.
    pub async fn manifest(&self, lineage: LineageId, point: PointId) -> Result<Manifest, Error> {
        let name = named(lineage, Named::Point(point));
        let bytes = self.bucket.get(&name, MAX_MANIFEST_BYTES).await?;
        Ok(Manifest::open(lineage, point, &bytes)?)
    }

    /// Writes a manifest. All its files are there.
    ///
    /// # Errors
    /// [`Error::Occupied`] if there is another one of its name; otherwise if it is not known to be written.
    pub async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let name = object(&manifest.name());
        self.put_same(&name, manifest.seal().into()).await
    }

    /// Puts a file of a store. Returns whether it was not there before.
    ///
    /// # Errors
    /// [`Error::Occupied`] if there is one of another length in its place; otherwise if it is not known to be there.
    pub async fn put_file(
        &self,
        lineage: LineageId,
        id: FileId,
        file: &Arc<File>,
        bytes: u64,
    ) -> Result<bool, Error> {
        let name = named(lineage, Named::StoreFile(id));
        let put = self.bucket.put_new_file(&name, file, bytes).await?;
        match put {
            Put::Created => Ok(true),
            Put::AlreadyThere(stored) if stored.bytes == bytes => Ok(false),
            Put::AlreadyThere(stored) => {
                let says = |bytes| format!("{bytes} bytes");
                Err(occupied(&name, says(stored.bytes), says(bytes)))
            }
        }
    }

    /// Reads a file of a store from an offset on.
    ///
    /// # Errors
    /// If it is not there, or too short.
    pub async fn file(
        &self,
        manifest: &Manifest,
        file: &StoreFile,
        from: u64,
    ) -> Result<Reading, Error> {
        let id = manifest.object(file);
        let name = named(manifest.control.lineage, Named::StoreFile(id));
        Ok(self.bucket.read(&name, from).await?)
    }

    /// Archives records of one log that follow each other.
    ///
    /// # Errors
    /// If something else stands in their place, or they are not known to be written.
    pub async fn put_records(
        &self,
        lineage: LineageId,
        segment: Segment,
        encoded: Bytes,
    ) -> Result<(), Error> {
        let name = named(lineage, Named::Segment(segment));
        match self.bucket.put_new(&name, encoded).await? {
            Put::Created => Ok(()),
            // The name tells the records by their chain. Another version of the compressor may have made other bytes of them.
            Put::AlreadyThere(_) => self.records(lineage, &segment).await.map(drop),
        }
    }

    /// The archived objects of a log that begin with this record or a later one.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub async fn segments_from(
        &self,
        lineage: LineageId,
        log: LogId,
        from: Seq,
    ) -> Result<Vec<Segment>, Error> {
        let folder = format!("{lineage}/{}", layout::folder(log));
        let under = object(folder.trim_end_matches('/'));
        let after = object(&format!("{folder}{:020}", from.0));
        let mut listing = self.bucket.list(Some(&under), Some(&after));
        let mut segments = Vec::new();
        while let Some(listed) = listing.next().await? {
            let Listed::Object { name, .. } = listed else {
                continue;
            };
            if let Some((_, Named::Segment(segment))) = Named::parse(name.as_str()) {
                segments.push(segment);
            }
        }
        Ok(segments)
    }

    /// Archived records.
    ///
    /// # Errors
    /// If they are not there, or not what was written.
    pub async fn records(
        &self,
        lineage: LineageId,
        segment: &Segment,
    ) -> Result<Vec<Logged>, Error> {
        let name = named(lineage, Named::Segment(*segment));
        let bytes = self.bucket.get(&name, records::OBJECT_BYTES_MAX).await?;
        Ok(records::decode(lineage, segment, &bytes)?)
    }

    /// Writes the beginning of a stretch.
    ///
    /// # Errors
    /// [`Error::Occupied`] if there is another one of its name; otherwise if it is not known to be written.
    pub async fn put_stretch(&self, lineage: LineageId, stretch: &Stretch) -> Result<(), Error> {
        let name = object(&stretch.name(lineage));
        self.put_same(&name, stretch.seal().into()).await
    }

    /// The beginning of a stretch.
    ///
    /// # Errors
    /// If it is not there, or not what was written.
    pub async fn stretch(&self, lineage: LineageId, id: StretchId) -> Result<Stretch, Error> {
        let name = named(lineage, Named::Stretch(id));
        let bytes = self.bucket.get(&name, MAX_STRETCH_BYTES).await?;
        Ok(Stretch::open(lineage, id, &bytes)?)
    }

    /// What is archived, by what there is.
    ///
    /// # Errors
    /// If the beginning of a stretch cannot be read.
    pub async fn archive(&self, lineage: LineageId, of: &Holdings) -> Result<Archive, Error> {
        let mut stretches = Vec::new();
        for id in &of.stretches {
            stretches.push(self.stretch(lineage, *id).await?);
        }
        Ok(Archive {
            segments: of.segments.clone(),
            ends: of.ends.clone(),
            stretches,
        })
    }

    /// Marks where a log ends, or that a restore point is not kept: the name says it all.
    ///
    /// # Errors
    /// If it is not known to be written.
    pub async fn mark(&self, lineage: LineageId, mark: Named) -> Result<(), Error> {
        self.put_same(&named(lineage, mark), Bytes::new()).await
    }

    /// Removes an object; it is fine if there is none.
    ///
    /// # Errors
    /// If it may still be there.
    pub async fn remove(&self, lineage: LineageId, of: Named) -> Result<(), Error> {
        Ok(self.bucket.remove(&named(lineage, of)).await?)
    }

    /// Creates an object, or finds it as it should be.
    async fn put_same(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        let Put::AlreadyThere(stored) = self.bucket.put_new(name, content.clone()).await? else {
            return Ok(());
        };
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let says = |bytes: u64, digest: blake3::Hash| format!("{bytes} bytes with digest {digest}");
        let found = match self.bucket.get(name, bytes).await {
            Ok(found) => found,
            Err(cause) if cause.kind() == Kind::TooLarge => {
                let found = format!("{} bytes", stored.bytes);
                return Err(occupied(name, found, format!("{bytes} bytes")));
            }
            Err(cause) => return Err(cause.into()),
        };
        if found == content {
            return Ok(());
        }
        let found = says(stored.bytes, blake3::hash(&found));
        Err(occupied(name, found, says(bytes, blake3::hash(&content))))
    }
}

fn occupied(name: &ObjectName, found: String, wanted: String) -> Error {
    Error::Occupied {
        name: name.to_string(),
        found,
        wanted,
    }
}

fn named(lineage: LineageId, named: Named) -> ObjectName {
    object(&named.in_lineage(lineage))
}

fn object(name: &str) -> ObjectName {
    ObjectName::parse(name).expect("names of the layout are short, and made of what names may hold")
}
