//! A disk that fails, fills up or does not answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use steadfast::base::disk::{Disk, DiskFile, RealDisk};

/// A real disk that refuses from some call on, all calls or only those on paths that contain a word.
#[derive(Debug)]
pub struct FaultyDisk {
    word: &'static str,
    /// Calls until the first refusal; `u64::MAX` is never.
    pub left: Arc<AtomicU64>,
    pub available: AtomicU64,
    /// Whoever writes to a file goes through here. Held by a test, it is a disk that does not answer.
    pub gate: Arc<RwLock<()>>,
}

impl FaultyDisk {
    pub fn new(word: &'static str, calls: u64) -> Arc<FaultyDisk> {
        let (left, available) = (Arc::new(AtomicU64::new(calls)), AtomicU64::new(u64::MAX));
        Arc::new(FaultyDisk {
            word,
            left,
            available,
            gate: Arc::default(),
        })
    }

    fn call(&self, path: &Path) -> io::Result<()> {
        spend(&self.left, self.word, path)
    }

    fn wrap(&self, path: &Path, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let (left, path) = (Arc::clone(&self.left), path.to_owned());
        Box::new(FaultyFile {
            file,
            word: self.word,
            left,
            path,
            gate: Arc::clone(&self.gate),
        })
    }
}

fn spend(left: &AtomicU64, word: &str, path: &Path) -> io::Result<()> {
    if !path.to_string_lossy().contains(word) {
        return Ok(());
    }
    let spent = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
        u64::MAX => Some(u64::MAX),
        left => left.checked_sub(1),
    });
    spent.map(drop).map_err(|_| io::Error::from_raw_os_error(5))
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(dir)?;
        RealDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call(dir)?;
        RealDisk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.call(path)?;
        Ok(self.wrap(path, RealDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.call(path)?;
        Ok(self.wrap(path, RealDisk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(to)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(path)?;
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(dir)?;
        RealDisk.sync_dir(dir)
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        Ok(self
            .available
            .load(Ordering::SeqCst)
            .min(RealDisk.available_bytes(dir)?))
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    word: &'static str,
    left: Arc<AtomicU64>,
    path: PathBuf,
    gate: Arc<RwLock<()>>,
}

impl FaultyFile {
    fn call(&self) -> io::Result<()> {
        drop(self.gate.read());
        spend(&self.left, self.word, &self.path)
    }
}

impl DiskFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call()?;
        self.file.write_all_at(bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.call()?;
        self.file.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call()?;
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.call()?;
        self.file.sync_all()
    }
}
