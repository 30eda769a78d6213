//! Reading an object: from an offset to its end, over as many connections as it takes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore};

use super::error::{Error, Kind, Trouble};
use super::pace::{Opinion, Pace};
use super::retry::Tries;
use super::{Bucket, ObjectName, Stored, length};
use crate::base::clock::{now_monotonic, timeout};

/// So much of a file is read at once.
const CHUNK: u64 = 1024 * 1024;

/// An object that is being read. A connection that breaks, or becomes too slow, is made anew and goes on where it was, as
/// long as it is still the same object.
#[derive(Debug)]
pub struct Reading {
    bucket: Bucket,
    name: ObjectName,
    stored: Stored,
    /// How far it is read.
    at: u64,
    body: Option<Body>,
    tries: Tries,
}

/// What the rest of an object comes from.
enum Body {
    Sent {
        bytes: BoxStream<'static, object_store::Result<Bytes>>,
        pace: Pace,
    },
    Kept(Arc<File>),
}

impl Bucket {
    /// Begins to read an object at an offset, which may be its end.
    ///
    /// # Errors
    /// [`Kind::Missing`] if there is none, [`Kind::Changed`] if it is shorter than that, or if it cannot be read.
    pub async fn read(&self, name: &ObjectName, from: u64) -> Result<Reading, Error> {
        let key = self.key(name);
        let attempt = || async {
            if from == 0 {
                let (stored, body) = self.body(&key, 0).await?;
                return Ok((stored, Some(body)));
            }
            // Stores answer differently to a range that begins at the end.
            let stored = self.look(&key).await?;
            if stored.bytes < from {
                let said = format!("it has only {} bytes of {from}", stored.bytes);
                return Err(Trouble::new(Kind::Changed, said));
            }
            Ok((stored, None))
        };
        let (stored, body) = self.persist("read", name, attempt).await?;
        Ok(Reading {
            bucket: self.clone(),
            name: name.clone(),
            stored,
            at: from,
            body,
            tries: Tries::new(self.patience),
        })
    }

    /// The rest of an object from an offset that is not its end, unless it is 0.
    async fn body(&self, key: &Key, from: u64) -> Result<(Stored, Body), Trouble> {
        let range = (from > 0).then_some(GetRange::Offset(from));
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let found = self.once(0, self.store.get_opts(key, options)).await?;
        let (range, stored) = (found.range, Stored::from(found.meta));
        let expected = from..stored.bytes;
        if range != expected {
            let said = format!("bytes {range:?} were sent for {expected:?}");
            return Err(Trouble::new(Kind::BadAnswer, said));
        }
        let body = match found.payload {
            GetResultPayload::File(file, _) => Body::Kept(Arc::new(file)),
            GetResultPayload::Stream(bytes) => Body::Sent {
                bytes,
                pace: Pace::new(self.patience.slowest, self.patience.answer_limit),
            },
        };
        Ok((stored, body))
    }
}

impl Reading {
    /// The object, without its content.
    #[must_use]
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// What follows, in pieces of the store's choice; `None` once all of it was returned. If the future is dropped nothing is
    /// lost.
    ///
    /// # Errors
    /// [`Kind::Changed`] if the object is another one now, or if it cannot be read on.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.at < self.stored.bytes {
            match self.advance().await {
                Ok(bytes) => {
                    self.at += length(&bytes);
                    return Ok(Some(bytes));
                }
                Err(trouble) => {
                    self.body = None;
                    if let Err((trouble, attempts)) = self.tries.after(trouble).await {
                        let name = &self.name;
                        return Err(self.bucket.error("read", name, trouble, attempts));
                    }
                }
            }
        }
        Ok(None)
    }

    /// All that follows, if the object is no longer than `max_bytes`.
    pub(super) async fn collect(mut self, max_bytes: u64) -> Result<Bytes, Error> {
        if self.stored.bytes > max_bytes {
            let said = format!("{} bytes are more than {max_bytes}", self.stored.bytes);
            let trouble = Trouble::new(Kind::TooLarge, said);
            return Err(self.bucket.error("read", &self.name, trouble, 1));
        }
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    async fn advance(&mut self) -> Result<Bytes, Trouble> {
        if self.body.is_none() {
            let key = self.bucket.key(&self.name);
            let (stored, body) = self.bucket.body(&key, self.at).await?;
            if (stored.bytes, &stored.etag) != (self.stored.bytes, &self.stored.etag) {
                let said = "it is not the object whose reading was begun";
                return Err(Trouble::new(Kind::Changed, said));
            }
            self.body = Some(body);
        }
        let left = self.at..self.stored.bytes;
        match &mut self.body {
            None => Err(ended()),
            Some(Body::Kept(file)) => read_chunk(Arc::clone(file), left).await,
            Some(Body::Sent { bytes, pace }) => {
                let limit = self.bucket.patience.answer_limit;
                let begun = now_monotonic();
                let bytes = match timeout(limit, bytes.next()).await {
                    Err(_) => return Err(Trouble::new(Kind::Interrupted, "nothing more comes")),
                    Ok(None) => return Err(ended()),
                    Ok(Some(bytes)) => bytes.map_err(broken)?,
                };
                match pace.arrived(length(&bytes), begun.elapsed()) {
                    Opinion::TooSlow => {
                        return Err(Trouble::new(Kind::Interrupted, "it comes too slowly"));
                    }
                    Opinion::Good => self.tries.progress(),
                    Opinion::None => {}
                }
                if length(&bytes) > left.end - left.start {
                    let said = "more bytes come than it has";
                    return Err(Trouble::new(Kind::BadAnswer, said));
                }
                Ok(bytes)
            }
        }
    }
}

fn ended() -> Trouble {
    Trouble::new(Kind::Interrupted, "the answer ended before the object did")
}

/// An answer that was going well until here can only have been cut off.
fn broken(error: object_store::Error) -> Trouble {
    Trouble {
        kind: Kind::Interrupted,
        ..Trouble::from(error)
    }
}

/// The next bytes of a file.
async fn read_chunk(file: Arc<File>, left: Range<u64>) -> Result<Bytes, Trouble> {
    let bytes = usize::try_from(CHUNK.min(left.end - left.start)).unwrap_or(usize::MAX);
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; bytes];
        file.read_exact_at(&mut chunk, left.start)?;
        Ok(Bytes::from(chunk))
    });
    match read.await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) if is_end(&error) => Err(Trouble::new(Kind::Changed, "it became shorter")),
        Ok(Err(error)) => Err(Trouble::from(&error)),
        Err(cause) => Err(Trouble::new(Kind::Failed, cause.to_string())),
    }
}

fn is_end(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Body::Sent { .. } => "Sent",
            Body::Kept(_) => "Kept",
        })
    }
}
