//! Listing the objects of a bucket, in the order of their names.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore};

use super::error::{Error, Kind, Trouble};
use super::retry::Tries;
use super::{Bucket, ObjectName};
use crate::base::Micros;
use crate::base::clock::timeout;

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object {
        /// Its name.
        name: ObjectName,
        /// Its length.
        bytes: u64,
        /// When it was written, by the store's clock.
        modified: Micros,
    },
    /// Something that is not ours, because its name is none: for people to look at, and for nothing else.
    Foreign {
        /// As the store names it, without the prefix of the bucket.
        key: String,
        /// Its length.
        bytes: u64,
    },
}

/// A listing under way. If a request fails it goes on behind the last name.
#[derive(Debug)]
pub struct Listing {
    bucket: Bucket,
    /// What all names begin with, as a whole segment.
    under: Option<Key>,
    /// The last one that was returned, or behind which to begin.
    last: Option<Key>,
    entries: Option<Entries>,
    tries: Tries,
}

struct Entries(BoxStream<'static, object_store::Result<ObjectMeta>>);

impl Bucket {
    /// Lists the objects whose names begin with `under` and a slash, or all; only those behind `after`, if given.
    ///
    /// Of a directory all entries are read and sorted first: some 200 bytes of memory each.
    #[must_use]
    pub fn list(&self, under: Option<&ObjectName>, after: Option<&ObjectName>) -> Listing {
        let whole = || {
            self.prefix
                .as_ref()
                .map(|prefix| Key::from(prefix.as_str()))
        };
        Listing {
            bucket: self.clone(),
            under: under.map(|under| self.key(under)).or_else(whole),
            last: after.map(|after| self.key(after)),
            entries: None,
            tries: Tries::new(self.patience),
        }
    }
}

impl Listing {
    /// The next entry; `None` once there is no more.
    ///
    /// # Errors
    /// [`Kind::BadAnswer`] if the store lists names out of order, or if it cannot list them.
    pub async fn next(&mut self) -> Result<Option<Listed>, Error> {
        loop {
            match self.advance().await {
                Ok(None) => return Ok(None),
                Ok(Some(meta)) => {
                    self.tries.progress();
                    self.last = Some(meta.location.clone());
                    return Ok(Some(self.listed(&meta)));
                }
                Err(trouble) => {
                    self.entries = None;
                    if let Err((trouble, attempts)) = self.tries.after(trouble).await {
                        return Err(Error::new("list", self.shown(), trouble, attempts));
                    }
                }
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<ObjectMeta>, Trouble> {
        let mut entries = match self.entries.take() {
            Some(entries) => entries,
            None => self.entries().await?,
        };
        let next = next_of(self.bucket.patience.answer_limit, &mut entries).await?;
        self.entries = Some(entries);
        if let (Some(last), Some(meta)) = (&self.last, &next)
            && meta.location.as_ref() <= last.as_ref()
        {
            let said = format!("{} is listed behind {last}", meta.location);
            return Err(Trouble::new(Kind::BadAnswer, said));
        }
        Ok(next)
    }

    /// All that follows the last one.
    async fn entries(&mut self) -> Result<Entries, Trouble> {
        let store = &self.bucket.store;
        let entries = match &self.last {
            Some(last) => store.list_with_offset(self.under.as_ref(), last),
            None => store.list(self.under.as_ref()),
        };
        let mut entries = Entries(entries);
        if self.bucket.is_sorted {
            return Ok(entries);
        }
        let mut all = Vec::new();
        let limit = self.bucket.patience.answer_limit;
        while let Some(meta) = next_of(limit, &mut entries).await? {
            all.push(meta);
        }
        all.sort_by(|one, other| one.location.as_ref().cmp(other.location.as_ref()));
        Ok(Entries(stream::iter(all.into_iter().map(Ok)).boxed()))
    }

    fn listed(&self, meta: &ObjectMeta) -> Listed {
        let key = meta.location.as_ref();
        let prefix = self.bucket.prefix.as_ref().map_or("", ObjectName::as_str);
        let inside = key.strip_prefix(prefix).unwrap_or(key);
        let inside = inside.strip_prefix('/').unwrap_or(inside);
        match ObjectName::parse(inside) {
            Ok(name) => Listed::Object {
                name,
                bytes: meta.size,
                modified: Micros(meta.last_modified.timestamp_micros()),
            },
            Err(_) => Listed::Foreign {
                key: inside.to_owned(),
                bytes: meta.size,
            },
        }
    }

    fn shown(&self) -> String {
        match &self.under {
            Some(under) => self.bucket.shown.object(under.as_ref()),
            None => self.bucket.shown.bucket(),
        }
    }
}

async fn next_of(limit: Duration, entries: &mut Entries) -> Result<Option<ObjectMeta>, Trouble> {
    match timeout(limit, entries.0.next()).await {
        Err(_) => Err(Trouble::new(Kind::Unavailable, "there is no answer")),
        Ok(None) => Ok(None),
        Ok(Some(meta)) => Ok(Some(meta.map_err(Trouble::from)?)),
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entries")
    }
}
