//! A disk in memory that keeps what is written, as a log needs it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use steadfast::base::disk::{Disk, DiskFile};

/// Files by their paths; directories are not told apart.
#[derive(Debug, Default)]
pub struct MemoryDisk(Mutex<BTreeMap<PathBuf, File>>);

/// One file; its handles share the bytes.
#[derive(Debug, Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl MemoryDisk {
    /// Puts a file on the disk.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let file = File(Arc::new(Mutex::new(bytes.to_vec())));
        self.0.lock().unwrap().insert(path.to_owned(), file);
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock().unwrap();
        let inside = files.keys().filter_map(|path| path.strip_prefix(dir).ok());
        Ok(inside
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::default();
        let mut files = self.0.lock().unwrap();
        if files.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        files.insert(path.to_owned(), file.clone());
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let files = self.0.lock().unwrap();
        let file = files.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(file.clone()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.lock().unwrap().remove(path);
        removed.map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn available_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let rest = bytes.get(at(offset)..).unwrap_or_default();
        let found = rest.get(..buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, new: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let end = at(offset) + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at(offset)..end].copy_from_slice(new);
        Ok(())
    }

    fn allocate(&self, wanted: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        if bytes.len() < at(wanted) {
            bytes.resize(at(wanted), 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}
