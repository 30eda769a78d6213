//! A disk in memory that loses what was not synced, in every way a real one may.
//!
//! - Contents reach the disk sector by sector, in any order, each in any version it has had since the last sync.
//! - Names are durable once their directory is synced; until then each change may be kept or lost by itself.
//! - A failed sync of contents forgets what it was to write, though it can still be read until the power goes.
//! - Any call can fail, once or for ever; a write may have done a part, a change of names all of its work.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::SeedableRng;
use rand::rngs::StdRng;
use steadfast::base::disk::{Disk, DiskFile};

use super::media::{Media, Rename};

/// What can be asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    CreateDir,
    List,
    Create,
    Open,
    Rename,
    Remove,
    SyncDir,
    Size,
    Read,
    Write,
    Allocate,
    SyncData,
    SyncAll,
}

pub const CALLS: [Call; 13] = [
    Call::CreateDir,
    Call::List,
    Call::Create,
    Call::Open,
    Call::Rename,
    Call::Remove,
    Call::SyncDir,
    Call::Size,
    Call::Read,
    Call::Write,
    Call::Allocate,
    Call::SyncData,
    Call::SyncAll,
];

impl Call {
    /// Does it change anything on the disk?
    pub fn changes(self) -> bool {
        !matches!(self, Call::List | Call::Open | Call::Size | Call::Read)
    }
}

/// A failure to come.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub call: Call,
    /// Which of these calls fails, counted from 0.
    pub nth: u64,
    /// The operating system's error number.
    pub errno: i32,
    /// Do all later ones fail too?
    pub forever: bool,
    /// Does the failing call do its work, or a part of it, nevertheless?
    pub works: bool,
}

#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Clone)]
struct State {
    media: Media,
    counts: BTreeMap<Call, u64>,
    fault: Option<Fault>,
    /// After how many more changing calls the power goes.
    power: Option<u64>,
    chance: StdRng,
}

impl SimDisk {
    pub fn new(sector: usize, seed: u64) -> SimDisk {
        SimDisk::with(Media::new(sector), StdRng::seed_from_u64(seed))
    }

    fn with(media: Media, chance: StdRng) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            media,
            counts: BTreeMap::new(),
            fault: None,
            power: None,
            chance,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// An independent disk in the same state.
    pub fn copy(&self) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The power goes after `calls` more calls that change something.
    pub fn cut_power_after(&self, calls: u64) {
        self.state().power = Some(calls);
    }

    pub fn fail(&self, fault: Fault) {
        let mut state = self.state();
        state.counts.clear();
        state.fault = Some(fault);
    }

    /// Everything works again.
    pub fn repair(&self) {
        self.state().fault = None;
    }

    /// How many calls have been made that change something.
    pub fn changes(&self) -> u64 {
        let state = self.state();
        let counts = state.counts.iter().filter(|(call, _)| call.changes());
        counts.map(|(_, count)| count).sum()
    }

    /// How many calls of this kind have been made.
    pub fn count(&self, call: Call) -> u64 {
        self.state().counts.get(&call).copied().unwrap_or(0)
    }

    /// The names and contents of all files, as they can be read now.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let media = &self.state().media;
        let files = media.names.iter();
        files
            .map(|(name, at)| (name.clone(), media.files[*at].seen.clone()))
            .collect()
    }

    /// Puts a file there, or with `None` takes it away, durably.
    pub fn set(&self, name: &str, contents: Option<Vec<u8>>) {
        self.state().media.set(name, contents);
    }

    /// For each thing that is not synced, how many outcomes a loss of power may have.
    pub fn outcomes(&self) -> Vec<usize> {
        self.state().media.outcomes()
    }

    /// The disk after a loss of power; `picks` chooses one outcome for each thing that is not synced, 0 being its loss.
    pub fn after_power_loss(&self, picks: &[usize]) -> SimDisk {
        let state = self.state();
        SimDisk::with(state.media.after_power_loss(picks), state.chance.clone())
    }

    /// Counts a call; an error if it is not to be answered. The fault that is due now comes along.
    fn enter(&self, call: Call) -> io::Result<(MutexGuard<'_, State>, Option<Fault>)> {
        let mut state = self.state();
        if state.power == Some(0) {
            return Err(io::Error::other("the power is off"));
        }
        if call.changes() {
            state.power = state.power.map(|left| left - 1);
        }
        let count = state.counts.entry(call).or_insert(0);
        let nth = *count;
        *count += 1;
        let due = state.fault.filter(|fault| {
            fault.call == call && (fault.nth == nth || fault.forever && nth > fault.nth)
        });
        match due {
            Some(fault) if !fault.works => {
                state.fail(call);
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            due => Ok((state, due)),
        }
    }
}

impl State {
    /// A failing sync of contents does harm even where it does none of its work.
    fn fail(&mut self, call: Call) {
        if matches!(call, Call::SyncData | Call::SyncAll) {
            self.media.fail_sync(&mut self.chance);
        }
    }
}

fn failed(fault: Option<Fault>) -> io::Result<()> {
    fault.map_or(Ok(()), |fault| {
        Err(io::Error::from_raw_os_error(fault.errno))
    })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Disk for SimDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        failed(self.enter(Call::CreateDir)?.1)
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<String>> {
        let (state, fault) = self.enter(Call::List)?;
        failed(fault)?;
        Ok(state.media.names.keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (mut state, fault) = self.enter(Call::Create)?;
        if state.media.find(&name(path)).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let at = state.media.create(name(path));
        failed(fault)?;
        Ok(Box::new(SimFile(self.clone(), at)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (state, fault) = self.enter(Call::Open)?;
        failed(fault)?;
        Ok(Box::new(SimFile(
            self.clone(),
            state.media.find(&name(path))?,
        )))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::Rename)?;
        let file = state.media.find(&name(from))?;
        state.media.change_names(Rename {
            from: Some(name(from)),
            to: Some((name(to), file)),
        });
        failed(fault)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::Remove)?;
        state.media.find(&name(path))?;
        state.media.change_names(Rename {
            from: Some(name(path)),
            to: None,
        });
        failed(fault)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::SyncDir)?;
        state.media.sync_names();
        failed(fault)
    }

    fn available_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[derive(Debug)]
struct SimFile(SimDisk, usize);

impl SimFile {
    fn enter(&self, call: Call) -> io::Result<(MutexGuard<'_, State>, Option<Fault>)> {
        self.0.enter(call)
    }

    fn sync(&self, call: Call) -> io::Result<()> {
        let (mut state, fault) = self.enter(call)?;
        state.media.sync(self.1);
        failed(fault)
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let (state, fault) = self.enter(Call::Size)?;
        failed(fault)?;
        Ok(state.media.files[self.1].seen.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (state, fault) = self.enter(Call::Read)?;
        failed(fault)?;
        let begin = usize::try_from(offset).unwrap();
        let bytes = state.media.files[self.1]
            .seen
            .get(begin..begin + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::Write)?;
        let done = match fault {
            Some(_) => bytes.len() / 2,
            None => bytes.len(),
        };
        let offset = usize::try_from(offset).unwrap();
        state.media.write(self.1, offset, &bytes[..done]);
        failed(fault)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::Allocate)?;
        state.media.files[self.1].resize(usize::try_from(bytes).unwrap());
        failed(fault)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(Call::SyncData)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(Call::SyncAll)
    }
}
