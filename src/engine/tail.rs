//! The records that go with a checkpoint because they may be on no other disk: whoever takes the store into use must be
//! able to give them on, as the sender could.
//!
//! ```text
//! TAIL := (length u32, record)* | BLAKE3 of all that
//! ```
//! **Invariants.** They stand in the order of the sender's WAL, which is the order of each log. They are part of what the
//! store beside them has applied, so they come before its place in the WAL and are never applied again.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable::Durable;
use super::error::Error;
use super::records;
use crate::base::{Lsn, Missing};
use crate::storage::FileName;
use crate::wal::{MAX_PAYLOAD_BYTES, Wal};

/// About how many bytes of records are read at once.
const BATCH_BYTES: usize = 4 << 20;
const LENGTH_BYTES: usize = 4;

/// Where they are in the directory of a checkpoint, or of a store that came as one.
pub(super) fn path_in(store: &Path) -> PathBuf {
    store.join(FileName::TAIL)
}

/// Writes what is named, all of which the WAL holds; durable on return.
pub(super) fn write(
    path: &Path,
    wal: &Wal,
    durable: &Durable,
    mut wanted: Vec<Missing>,
) -> Result<(), Error> {
    let failed = |cause| failed("write", path, cause);
    let mut out = Hashing::new(BufWriter::new(File::create(path).map_err(failed)?));
    while !wanted.is_empty() {
        let read = records::read(wal, durable, &wanted, BATCH_BYTES)?;
        let Some(read) = read.filter(|read| !read.is_empty()) else {
            return Err(Error::TailReleased);
        };
        for record in read {
            let length = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
            out.write_all(&length.to_le_bytes()).map_err(failed)?;
            out.write_all(&record.bytes).map_err(failed)?;
            let is_of = |wanted: &&mut Missing| wanted.log == record.log();
            if let Some(wanted) = wanted.iter_mut().find(is_of) {
                wanted.after = record.seq();
            }
        }
        wanted.retain(|wanted| wanted.after < wanted.through);
    }
    let Hashing { mut inner, hasher } = out;
    let digest = hasher.finalize();
    inner.write_all(digest.as_bytes()).map_err(failed)?;
    let file = inner
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// Appends them to the WAL, whose end is returned and durable; `None` if there is no such file. Nothing is appended of a
/// file that is damaged.
pub(super) fn append_all(path: &Path, wal: &Wal) -> Result<Option<Lsn>, Error> {
    let failed = |cause| failed("read", path, cause);
    let file = match File::open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let bytes = file.metadata().map_err(failed)?.len();
    visit(file, bytes, |_| Ok(())).map_err(|cause| flatten(path, cause))?;
    let file = File::open(path).map_err(failed)?;
    let mut end = wal.durable().get();
    let append = |record: Vec<u8>| {
        end = wal.append(record)?;
        Ok(())
    };
    visit(file, bytes, append).map_err(|cause| flatten(path, cause))?;
    Ok(Some(wal.durable().reached_blocking(end)?))
}

/// Why a file was not read to its end.
enum Stopped {
    File(io::Error),
    Wal(Error),
}

impl From<io::Error> for Stopped {
    fn from(cause: io::Error) -> Stopped {
        Stopped::File(cause)
    }
}

fn flatten(path: &Path, stopped: Stopped) -> Error {
    match stopped {
        Stopped::File(cause) => failed("read", path, cause),
        Stopped::Wal(cause) => cause,
    }
}

/// Visits the records of a file of so many bytes; at the end it is known whether they are what was written.
fn visit(
    file: File,
    bytes: u64,
    mut visit: impl FnMut(Vec<u8>) -> Result<(), Error>,
) -> Result<(), Stopped> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let digest_bytes = u64::try_from(blake3::OUT_LEN).unwrap_or(u64::MAX);
    let mut left = bytes
        .checked_sub(digest_bytes)
        .ok_or_else(|| damaged("it is shorter than a digest"))?;
    let mut from = Hashing::new(BufReader::new(file));
    while left > 0 {
        let mut length = [0; LENGTH_BYTES];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        let taken = u64::from(length) + LENGTH_BYTES as u64;
        let fits = taken <= left && usize::try_from(length).is_ok_and(|n| n <= MAX_PAYLOAD_BYTES);
        if !fits {
            return Err(damaged("a record is longer than what is left").into());
        }
        let mut record = vec![0; usize::try_from(length).unwrap_or(0)];
        from.read_exact(&mut record)?;
        visit(record).map_err(Stopped::Wal)?;
        left -= taken;
    }
    let Hashing { mut inner, hasher } = from;
    let mut digest = [0; blake3::OUT_LEN];
    inner.read_exact(&mut digest)?;
    if hasher.finalize() != digest {
        return Err(damaged("it does not have the digest that it ends with").into());
    }
    Ok(())
}

/// Passes bytes on and computes their digest.
struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Hashing<T> {
        Hashing {
            inner,
            hasher: blake3::Hasher::new(),
        }
    }
}

impl<T: Write> Hashing<T> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Hashing<T> {
    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path, cause: io::Error) -> Error {
    Error::Directory {
        action,
        path: path.to_owned(),
        cause: Arc::new(cause),
    }
}
