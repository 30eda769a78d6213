//! A bucket: where backups are kept, in an S3-style store or a directory.
//!
//! ```text
//!   BucketUrl ── open ──► Bucket: put_new, put_new_file, replace │ read, get │ stored, list │ remove
//!                            │ each attempt anew (retry), within limits of time (Patience, Pace)
//!                            ▼
//!                 object_store: S3 over http::Way │ files │ memory
//! ```
//! Requests go through one place (`http`), answers are read in one (`answer`), and what fails is told as one closed list
//! of kinds ([`Kind`]), always with the bucket, the object and what was attempted.
//!
//! **Invariants.** Only this module names `object_store`. What the operations return as created was created by one of their
//! attempts, if the store keeps create-only puts; whether yours does, `backup::trial` finds out. What is already there is
//! never read or compared here: an attempt whose answer was lost finds its own object, so whoever meets
//! [`Put::AlreadyThere`] compares contents. Names that a listing returns are names of ours or told as foreign.
//!
//! **Not here.** What the objects mean, in which order they are written, and how fast.

mod answer;
mod credentials;
mod error;
mod http;
mod listing;
mod name;
mod pace;
mod parts;
mod profile;
mod reading;
mod retry;
mod s3;
mod upload;
mod url;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};

use self::error::{Shown, Trouble};
use self::url::Place;
use crate::base::clock::timeout;
use crate::base::disk::{Disk, RealDisk};
use crate::base::{Micros, Pace};

pub use self::credentials::Environment;
pub use self::error::{Error, Kind};
pub use self::listing::{Listed, Listing};
pub use self::name::{BadName, ObjectName};
pub use self::reading::Reading;
pub use self::retry::Patience;
pub use self::url::{BadUrl, BucketUrl};

/// A bucket, as far as its URL's prefix reaches. Copies share their connections.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// Uploads in parts that the store itself puts together; without it they are put together beside their place.
    parts: Option<Arc<dyn MultipartStore>>,
    prefix: Option<ObjectName>,
    /// Does the store list names in order?
    is_sorted: bool,
    shown: Shown,
    patience: Patience,
    /// How fast files are sent.
    pace: Option<Arc<Pace>>,
}

/// What came of creating an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is there now, and was not before.
    Created,
    /// There is one of that name, which stays. It may be of an attempt of this very call.
    AlreadyThere(Stored),
}

/// An object, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its length.
    pub bytes: u64,
    /// The store's name for this content, if it has one: equal ones mean equal contents of one object.
    pub etag: Option<String>,
    /// When it was written, by the store's clock.
    pub modified: Micros,
}

impl From<ObjectMeta> for Stored {
    fn from(meta: ObjectMeta) -> Stored {
        Stored {
            bytes: meta.size,
            etag: meta.e_tag,
            modified: Micros(meta.last_modified.timestamp_micros()),
        }
    }
}

impl Bucket {
    /// Opens a bucket. A directory must be there; of an S3-style store nothing is asked yet.
    ///
    /// # Errors
    /// [`Kind::Misconfigured`] if URL and environment do not say enough, contradict themselves, or name no directory.
    pub fn open(
        url: &BucketUrl,
        environment: &Environment,
        patience: Patience,
    ) -> Result<Bucket, Error> {
        let shown = Shown(url.to_string().into());
        let opened = match url.place() {
            Place::Directory(path) => directory(path, shown.clone(), patience),
            Place::S3(place) => s3::open(place, environment).map(|store| {
                let store = Arc::new(store);
                Bucket {
                    parts: Some(Arc::clone(&store) as Arc<dyn MultipartStore>),
                    store,
                    prefix: place.prefix.clone(),
                    is_sorted: true,
                    shown: shown.clone(),
                    patience,
                    pace: None,
                }
            }),
        };
        opened.map_err(|trouble| Error::new("open", shown.bucket(), trouble, 1))
    }

    /// Opens a bucket that is to be written to: a directory that is missing is made, with those above it.
    ///
    /// # Errors
    /// As [`open`](Self::open), or if the directory cannot be made.
    pub fn create(
        url: &BucketUrl,
        environment: &Environment,
        patience: Patience,
    ) -> Result<Bucket, Error> {
        if let Place::Directory(path) = url.place() {
            RealDisk
                .create_dir(path)
                .map_err(|error| Error::new("make", url.to_string(), Trouble::from(&error), 1))?;
        }
        Bucket::open(url, environment, patience)
    }

    /// The same bucket, into which files are sent no faster than this.
    #[must_use]
    pub fn paced(self, pace: Arc<Pace>) -> Bucket {
        let pace = Some(pace);
        Bucket { pace, ..self }
    }

    /// A bucket that ends with its last copy, for tests.
    #[must_use]
    pub fn in_memory() -> Bucket {
        Bucket {
            store: Arc::new(InMemory::new()),
            parts: None,
            prefix: None,
            is_sorted: true,
            shown: Shown("memory".into()),
            patience: Patience::default(),
            pace: None,
        }
    }

    /// Creates an object of this content, unless there is one of that name.
    ///
    /// # Errors
    /// If it is not known to be there afterwards.
    pub async fn put_new(&self, name: &ObjectName, content: Bytes) -> Result<Put, Error> {
        let key = self.key(name);
        let attempt = || self.create_object(&key, content.clone());
        self.persist("put", name, attempt).await
    }

    async fn create_object(&self, key: &Key, content: Bytes) -> Result<Put, Trouble> {
        let bytes = length(&content);
        let put = self
            .store
            .put_opts(key, content.into(), PutMode::Create.into());
        match self.once(bytes, put).await {
            Err(trouble) if trouble.kind == Kind::AlreadyThere => self.already_there(key).await,
            put => put.map(|_| Put::Created),
        }
    }

    /// What is there, where something is said to be.
    async fn already_there(&self, key: &Key) -> Result<Put, Trouble> {
        match self.look(key).await {
            Err(trouble) if trouble.kind == Kind::Missing => Err(Trouble::new(
                Kind::Conflict,
                "it is said to be there already, and then not to be there",
            )),
            stored => stored.map(Put::AlreadyThere),
        }
    }

    /// Puts an object of this content in the place of whatever has its name.
    ///
    /// # Errors
    /// If it is not known to be there afterwards.
    pub async fn replace(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        let key = self.key(name);
        let attempt = || async {
            let put = self.store.put(&key, content.clone().into());
            self.once(length(&content), put).await.map(|_| ())
        };
        self.persist("replace", name, attempt).await
    }

    /// The content of an object that is small enough to be held in memory.
    ///
    /// # Errors
    /// [`Kind::Missing`] if there is none, [`Kind::TooLarge`] if it is longer than `max_bytes`, or if it cannot be read.
    pub async fn get(&self, name: &ObjectName, max_bytes: u64) -> Result<Bytes, Error> {
        self.read(name, 0).await?.collect(max_bytes).await
    }

    /// An object without its content.
    ///
    /// # Errors
    /// [`Kind::Missing`] if there is none; some stores say [`Kind::Denied`] to those who may not list.
    pub async fn stored(&self, name: &ObjectName) -> Result<Stored, Error> {
        let key = self.key(name);
        self.persist("look at", name, || self.look(&key)).await
    }

    async fn look(&self, key: &Key) -> Result<Stored, Trouble> {
        let found = self.once(0, self.store.head(key)).await?;
        Ok(found.into())
    }

    /// Removes an object; it is fine if there is none.
    ///
    /// # Errors
    /// If it may still be there.
    pub async fn remove(&self, name: &ObjectName) -> Result<(), Error> {
        let key = self.key(name);
        let attempt = || async {
            match self.once(0, self.store.delete(&key)).await {
                Err(trouble) if trouble.kind == Kind::Missing => Ok(()),
                removed => removed,
            }
        };
        self.persist("remove", name, attempt).await
    }

    fn key(&self, name: &ObjectName) -> Key {
        match &self.prefix {
            Some(prefix) => Key::from(format!("{prefix}/{name}")),
            None => Key::from(name.as_str()),
        }
    }

    /// One attempt that sends so many bytes.
    async fn once<T>(
        &self,
        bytes: u64,
        attempt: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Trouble> {
        let limit = self.patience.limit(bytes);
        match timeout(limit, attempt).await {
            Ok(outcome) => outcome.map_err(Trouble::from),
            Err(_) => Err(Trouble::new(
                Kind::Unavailable,
                format!("there is no answer within {} s", limit.as_secs()),
            )),
        }
    }

    async fn persist<T, F>(
        &self,
        attempted: &'static str,
        name: &ObjectName,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        retry::persist(self.patience, attempt)
            .await
            .map_err(|(trouble, attempts)| self.error(attempted, name, trouble, attempts))
    }

    fn error(
        &self,
        attempted: &'static str,
        name: &ObjectName,
        trouble: Trouble,
        attempts: u32,
    ) -> Error {
        Error::new(
            attempted,
            self.shown.object(name.as_str()),
            trouble,
            attempts,
        )
    }
}

/// What is written to it is synced, with the directories that hold it; directories that become empty are removed.
fn directory(path: &Path, shown: Shown, patience: Patience) -> Result<Bucket, Trouble> {
    let missing = |_| {
        let said = "there is no such directory, or it cannot be entered";
        Trouble::new(Kind::Misconfigured, said)
    };
    let store = LocalFileSystem::new_with_prefix(path)
        .map_err(missing)?
        .with_fsync(true)
        .with_automatic_cleanup(true);
    Ok(Bucket {
        store: Arc::new(store),
        parts: None,
        prefix: None,
        is_sorted: false,
        shown,
        patience,
        pace: None,
    })
}

fn length(content: &Bytes) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.0)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.shown.0).finish()
    }
}

#[cfg(test)]
#[path = "bucket_test.rs"]
mod tests;
