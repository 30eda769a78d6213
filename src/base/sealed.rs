//! Small files of text that are replaced as a whole: readable by people, checked by machines.
//!
//! ```text
//! steadfast KIND VERSION CRC32 (eight hexadecimal digits, over everything after this line)
//! body
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, read_all, write_atomic};

/// Which file, in which version.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What the file is, in its first line.
    pub name: &'static str,
    /// The version written, and the last one read.
    pub version: u32,
}

/// Why a sealed file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// Read or write.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is no {kind} file: its first line should begin with \"steadfast {kind}\"")]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
    },
    /// The file was written by a later version of this program.
    #[error("{path} has version {found}, this program knows versions up to {known}")]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The last version known here.
        known: u32,
    },
    /// The contents are not what was written.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Kind {
    /// Replaces the file by one with this body, durably.
    ///
    /// # Errors
    /// [`Error::Io`]; the old file is then still there, or, if only the last sync failed, perhaps the new one.
    pub fn write(self, disk: &dyn Disk, path: &Path, body: &str) -> Result<(), Error> {
        write_atomic(disk, path, self.seal(body).as_bytes()).map_err(|source| Error::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// The whole text of a file with this body.
    #[must_use]
    pub fn seal(self, body: &str) -> String {
        let crc = crc32fast::hash(body.as_bytes());
        format!("steadfast {} {} {crc:08x}\n{body}", self.name, self.version)
    }

    /// The body of the file; `None` if it does not exist.
    ///
    /// # Errors
    /// If it cannot be read, is something else, newer or damaged.
    pub fn read(self, disk: &dyn Disk, path: &Path) -> Result<Option<String>, Error> {
        let bytes = match read_all(disk, path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Error::Io {
                    action: "read",
                    path: path.to_owned(),
                    source,
                });
            }
        };
        self.open(path, &bytes).map(Some)
    }

    /// The body of a file with these contents; `path` is for the error.
    ///
    /// # Errors
    /// If it is something else, newer or damaged.
    pub fn open(self, path: &Path, bytes: &[u8]) -> Result<String, Error> {
        let path = path.to_owned();
        let damaged = |problem: &str| Error::Damaged {
            path: path.clone(),
            problem: problem.to_owned(),
        };
        let wrong = || Error::WrongKind {
            path: path.clone(),
            kind: self.name,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not valid UTF-8"))?;
        let (head, body) = text.split_once('\n').ok_or_else(wrong)?;
        let rest = head
            .strip_prefix("steadfast ")
            .and_then(|rest| rest.strip_prefix(self.name));
        let (version, crc) = rest
            .and_then(|rest| rest.trim_start().split_once(' '))
            .ok_or_else(wrong)?;
        let found: u32 = version
            .parse()
            .map_err(|_| damaged("its version is no number"))?;
        if found > self.version {
            return Err(Error::NewerVersion {
                path: path.clone(),
                found,
                known: self.version,
            });
        }
        let computed = crc32fast::hash(body.as_bytes());
        if u32::from_str_radix(crc, 16) != Ok(computed) {
            return Err(damaged(&format!(
                "checksum is {crc}, computed {computed:08x}"
            )));
        }
        Ok(body.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::RealDisk;

    const KIND: Kind = Kind {
        name: "identity",
        version: 2,
    };

    fn read_back(bytes: &[u8]) -> Result<Option<String>, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        KIND.read(&RealDisk, &path)
    }

    #[test]
    fn a_body_reads_back_and_a_missing_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(KIND.read(&RealDisk, &path).unwrap().is_none());
        KIND.write(&RealDisk, &path, "{\n\"a\": 1}\n").unwrap();
        assert_eq!(
            KIND.read(&RealDisk, &path).unwrap().unwrap(),
            "{\n\"a\": 1}\n"
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        KIND.write(&RealDisk, &path, "{\"promise\": 7}").unwrap();
        let sound = std::fs::read(&path).unwrap();
        for at in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            // Hexadecimal digits read the same in both cases, and an older version is still read.
            let same = String::from_utf8_lossy(&bytes).to_lowercase()
                == String::from_utf8_lossy(&sound).to_lowercase();
            let body = read_back(&bytes).ok().flatten();
            assert!(
                same || body.is_none_or(|body| body == "{\"promise\": 7}"),
                "bit {at}"
            );
        }
    }

    #[test]
    fn other_kinds_and_newer_versions_are_refused_by_name() {
        assert!(matches!(
            read_back(b"steadfast control 1 0\n"),
            Err(Error::WrongKind {
                kind: "identity",
                ..
            })
        ));
        assert!(matches!(read_back(b"RIFF"), Err(Error::WrongKind { .. })));
        assert!(matches!(
            read_back(b"steadfast identity 3 00000000\n"),
            Err(Error::NewerVersion {
                found: 3,
                known: 2,
                ..
            })
        ));
    }
}
