//! Putting a file that may be large: in parts, several of which are under way at once.
//!
//! ```text
//!   S3:        begin ─► parts ─► complete, unless there is an object meanwhile   (or abort)
//!   otherwise: beside its place, under a foreign name ─► move there, unless there is an object   (or remove)
//! ```
//! A process that dies meanwhile leaves what it has sent: a store removes it by a rule for incomplete uploads, if it has one;
//! in a directory it stands as a file whose name has a `+` or `#` in it, and nothing of ours looks at it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{MultipartId, MultipartUpload, ObjectStoreExt};

use super::error::{Error, Kind, Trouble};
use super::parts::{Part, Parts};
use super::{Bucket, ObjectName, Put, length};

impl Bucket {
    /// Creates an object of the content of a file, which is `bytes` long and does not change meanwhile, unless there is
    /// one of that name. At most 32 MiB of it are in memory at once, or one ten-thousandth of it if that is more.
    ///
    /// # Errors
    /// [`Kind::BadSource`] if the file cannot be read or has another length; or if the object is not known to be there
    /// afterwards.
    pub async fn put_new_file(
        &self,
        name: &ObjectName,
        file: &Arc<File>,
        bytes: u64,
    ) -> Result<Put, Error> {
        let refused = |trouble| self.error("put", name, trouble, 1);
        check_length(file, bytes).map_err(refused)?;
        let parts = match &self.parts {
            Some(_) => Parts::of(bytes),
            None => Some(Parts::pieces(bytes)).filter(|_| bytes > 0),
        };
        let Some(parts) = parts else {
            let all = Part::whole(bytes);
            let content = self.read_part(file, all).await.map_err(refused)?;
            return self.put_new(name, content).await;
        };
        // Sending all of it only to hear at the end that it is there would be a waste.
        match self.stored(name).await {
            Ok(stored) => Ok(Put::AlreadyThere(stored)),
            Err(error) if error.kind() == Kind::Missing => self.upload(name, file, parts).await,
            Err(error) => Err(error),
        }
    }

    /// Sends a file of more than 8 MiB in parts without looking first what is there, so that nothing but the store prevents
    /// it from replacing something.
    ///
    /// # Errors
    /// As [`put_new_file`](Self::put_new_file), or if it is smaller.
    pub(in crate::backup) async fn upload_unseen(
        &self,
        name: &ObjectName,
        file: &Arc<File>,
        bytes: u64,
    ) -> Result<Put, Error> {
        let refused = |trouble| self.error("put", name, trouble, 1);
        check_length(file, bytes).map_err(refused)?;
        let parts = Parts::of(bytes)
            .ok_or_else(|| Trouble::new(Kind::BadSource, "the file has but one part"))
            .map_err(refused)?;
        self.upload(name, file, parts).await
    }

    async fn upload(
        &self,
        name: &ObjectName,
        file: &Arc<File>,
        parts: Parts,
    ) -> Result<Put, Error> {
        let Some(store) = &self.parts else {
            let done = self.put_beside(&self.key(name), file, parts).await;
            return done.map_err(|trouble| self.error("put", name, trouble, 1));
        };
        let key = self.key(name);
        let begin = || self.once(0, store.create_multipart(&key));
        let id = self.persist("begin to upload", name, begin).await?;
        let upload = Upload {
            bucket: self,
            store: store.as_ref(),
            name,
            key,
            id,
        };
        let outcome = upload.send(file, parts).await;
        if !matches!(outcome, Ok(Put::Created)) {
            // If that fails, too, the store keeps the parts until its rule removes them; there is nothing else to do.
            let abort = store.abort_multipart(&upload.key, &upload.id);
            let _aborted = self.once(0, abort).await;
        }
        outcome
    }

    /// Reads a part that is about to be sent, once it may be.
    async fn read_part(&self, file: &Arc<File>, part: Part) -> Result<Bytes, Trouble> {
        if let Some(pace) = &self.pace {
            let bytes = u64::try_from(part.bytes).unwrap_or(u64::MAX);
            pace.wait(bytes).await;
        }
        read(Arc::clone(file), part).await
    }

    /// Writes a file under a name beside its place, then moves it there.
    async fn put_beside(&self, key: &Key, file: &Arc<File>, parts: Parts) -> Result<Put, Trouble> {
        let beside = Key::from(format!("{key}+{:08x}", rand::random::<u32>()));
        let mut upload = self.once(0, self.store.put_multipart(&beside)).await?;
        if let Err(trouble) = self.fill(upload.as_mut(), file, parts).await {
            // At once, so that a full disk has room for others. What is left if that fails is foreign to everything here.
            let _aborted = self.once(0, upload.abort()).await;
            return Err(trouble);
        }
        let moved = self.store.rename_if_not_exists(&beside, key);
        let Err(trouble) = self.once(0, moved).await else {
            return Ok(Put::Created);
        };
        let _removed = self.once(0, self.store.delete(&beside)).await;
        if trouble.kind == Kind::AlreadyThere {
            return self.already_there(key).await;
        }
        Err(trouble)
    }

    async fn fill(
        &self,
        upload: &mut dyn MultipartUpload,
        file: &Arc<File>,
        parts: Parts,
    ) -> Result<(), Trouble> {
        for part in parts.all() {
            let content = self.read_part(file, part).await?;
            let bytes = length(&content);
            self.once(bytes, upload.put_part(content.into())).await?;
        }
        self.once(parts.bytes(), upload.complete()).await?;
        Ok(())
    }
}

/// An upload that the store has begun.
struct Upload<'a> {
    bucket: &'a Bucket,
    store: &'a dyn MultipartStore,
    name: &'a ObjectName,
    key: Key,
    id: MultipartId,
}

impl Upload<'_> {
    async fn send(&self, file: &Arc<File>, parts: Parts) -> Result<Put, Error> {
        let sent: Vec<PartId> = stream::iter(parts.all())
            .map(|part| self.send_part(file, part))
            .buffered(parts.at_once())
            .try_collect()
            .await?;
        let complete = || self.complete(sent.clone(), parts.bytes());
        let bucket = self.bucket;
        bucket.persist("complete", self.name, complete).await
    }

    async fn send_part(&self, file: &Arc<File>, part: Part) -> Result<PartId, Error> {
        let (bucket, name) = (self.bucket, self.name);
        let content = bucket.read_part(file, part).await;
        let content = content.map_err(|trouble| bucket.error("put", name, trouble, 1))?;
        let attempt = || {
            let content = content.clone();
            let bytes = length(&content);
            let put = self
                .store
                .put_part(&self.key, &self.id, part.index, content.into());
            bucket.once(bytes, put)
        };
        bucket.persist("upload", name, attempt).await
    }

    /// The store works on it the longer, the larger the object is.
    async fn complete(&self, sent: Vec<PartId>, bytes: u64) -> Result<Put, Trouble> {
        let complete = self.store.complete_multipart(&self.key, &self.id, sent);
        match self.bucket.once(bytes, complete).await {
            Ok(_) => Ok(Put::Created),
            Err(trouble) if trouble.kind == Kind::AlreadyThere => {
                self.bucket.already_there(&self.key).await
            }
            // Either somebody else is creating it, or an attempt of ours has ended the upload and its answer was lost.
            Err(trouble) if trouble.kind == Kind::Conflict => {
                let there = self.bucket.look(&self.key).await;
                there.map(Put::AlreadyThere).map_err(|_| trouble)
            }
            Err(trouble) => Err(trouble),
        }
    }
}

fn check_length(file: &File, bytes: u64) -> Result<(), Trouble> {
    let found = file.metadata().map_err(unreadable)?.len();
    if found == bytes {
        return Ok(());
    }
    let said = format!("the file has {found} bytes, not {bytes}");
    Err(Trouble::new(Kind::BadSource, said))
}

async fn read(file: Arc<File>, part: Part) -> Result<Bytes, Trouble> {
    let read = tokio::task::spawn_blocking(move || {
        let mut content = vec![0; part.bytes];
        file.read_exact_at(&mut content, part.offset)?;
        Ok(Bytes::from(content))
    });
    match read.await {
        Ok(content) => content.map_err(unreadable),
        Err(cause) => Err(Trouble::new(Kind::BadSource, cause.to_string())),
    }
}

fn unreadable(error: std::io::Error) -> Trouble {
    Trouble::new(Kind::BadSource, format!("the file cannot be read: {error}"))
}
