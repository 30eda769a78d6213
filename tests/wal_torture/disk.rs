//! A disk in memory that loses what was not synced, in every way a real one may.
//!
//! - Contents reach the disk sector by sector, in any order, each in any version it has had since the last sync.
//! - Names are durable once their directory is synced; until then each change may be kept or lost by itself.
//! - A failed sync of contents forgets what it was to write, though it can still be read until the power goes.
//! - Any call can fail, once or for ever; a write may have done a part, a change of names all of its work.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use steadfast::base::disk::{Disk, DiskFile};

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
    sector: usize,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    stored_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of the directory.
    unsynced: Vec<Rename>,
    counts: BTreeMap<Call, u64>,
    fault: Option<Fault>,
    /// After how many more changing calls the power goes.
    power: Option<u64>,
    chance: StdRng,
}

/// A change of names: `from` stands for nothing any more, `to` for a file.
#[derive(Debug, Clone)]
struct Rename {
    from: Option<String>,
    to: Option<(String, usize)>,
}

#[derive(Debug, Clone, Default)]
struct File {
    /// What can be read now.
    seen: Vec<u8>,
    /// What is there if the power goes, besides some of what is unsynced.
    stored: Vec<u8>,
    /// The contents that each written sector has had since the last sync.
    sectors: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The lengths the file has had since the last sync.
    lengths: Vec<usize>,
}

impl SimDisk {
    pub fn new(sector: usize, seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            sector,
            files: Vec::new(),
            names: BTreeMap::new(),
            stored_names: BTreeMap::new(),
            unsynced: Vec::new(),
            counts: BTreeMap::new(),
            fault: None,
            power: None,
            chance: StdRng::seed_from_u64(seed),
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
        let state = self.state();
        let files = state.names.iter();
        files
            .map(|(name, at)| (name.clone(), state.files[*at].seen.clone()))
            .collect()
    }

    /// Puts a file there, or with `None` takes it away, durably.
    pub fn set(&self, name: &str, contents: Option<Vec<u8>>) {
        let mut state = self.state();
        let at = state.files.len();
        state.files.extend(contents.clone().map(|bytes| File {
            seen: bytes.clone(),
            stored: bytes,
            ..File::default()
        }));
        for stored in [false, true] {
            let names = if stored {
                &mut state.stored_names
            } else {
                &mut state.names
            };
            match contents {
                Some(_) => names.insert(name.to_owned(), at),
                None => names.remove(name),
            };
        }
    }

    /// For each thing that is not synced, how many outcomes a loss of power may have.
    pub fn outcomes(&self) -> Vec<usize> {
        self.state()
            .slots()
            .into_iter()
            .map(|(_, outcomes)| outcomes)
            .collect()
    }

    /// The disk after a loss of power; `picks` chooses one outcome for each thing that is not synced, 0 being its loss.
    pub fn after_power_loss(&self, picks: &[usize]) -> SimDisk {
        let state = self.state();
        let (mut files, mut names) = (state.files.clone(), state.stored_names.clone());
        for ((slot, _), pick) in state.slots().into_iter().zip(picks) {
            if *pick > 0 {
                slot.keep(&state, *pick - 1, &mut files, &mut names);
            }
        }
        for file in &mut files {
            *file = File {
                seen: file.stored.clone(),
                stored: std::mem::take(&mut file.stored),
                ..File::default()
            };
        }
        SimDisk(Arc::new(Mutex::new(State {
            files,
            names: names.clone(),
            stored_names: names,
            unsynced: Vec::new(),
            counts: BTreeMap::new(),
            fault: None,
            power: None,
            sector: state.sector,
            chance: state.chance.clone(),
        })))
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
                state.fail_silently(call);
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            due => Ok((state, due)),
        }
    }
}

/// Something that is not synced.
enum Slot {
    Name(usize),
    Length(usize),
    Sector(usize, usize),
}

impl Slot {
    fn keep(
        &self,
        state: &State,
        version: usize,
        files: &mut [File],
        names: &mut BTreeMap<String, usize>,
    ) {
        match *self {
            Slot::Name(at) => state.unsynced[at].apply(names),
            Slot::Length(file) => files[file]
                .stored
                .resize(state.files[file].lengths[version], 0),
            Slot::Sector(file, sector) => {
                let contents = &state.files[file].sectors[&sector][version];
                files[file].store(sector * state.sector, contents);
            }
        }
    }
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        if let Some(from) = &self.from {
            names.remove(from);
        }
        if let Some((to, file)) = &self.to {
            names.insert(to.clone(), *file);
        }
    }
}

impl File {
    /// Puts bytes where they belong on the disk, as far as the file reaches there.
    fn store(&mut self, offset: usize, bytes: &[u8]) {
        let end = self.stored.len().min(offset + bytes.len());
        if offset < end {
            self.stored[offset..end].copy_from_slice(&bytes[..end - offset]);
        }
    }

    fn resize(&mut self, length: usize) {
        if length > self.seen.len() {
            self.seen.resize(length, 0);
            self.lengths.push(length);
        }
    }

    fn write(&mut self, sector: usize, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.resize(end);
        self.seen[offset..end].copy_from_slice(bytes);
        for number in offset / sector..=(end - 1) / sector {
            let begin = number * sector;
            let until = self.seen.len().min(begin + sector);
            let contents = self.seen[begin..until].to_vec();
            self.sectors.entry(number).or_default().push(contents);
        }
    }

    fn sync(&mut self) {
        self.stored.clone_from(&self.seen);
        self.sectors.clear();
        self.lengths.clear();
    }

    /// A sync that fails: some of it is written, and none of it will ever be again.
    fn lose(&mut self, sector: usize, chance: &mut StdRng) {
        if let Some(length) = std::mem::take(&mut self.lengths).last()
            && chance.random()
        {
            self.stored.resize(*length, 0);
        }
        for (number, versions) in std::mem::take(&mut self.sectors) {
            if chance.random() {
                self.store(number * sector, versions.last().unwrap());
            }
        }
    }
}

impl State {
    /// Everything that is not synced, with the number of outcomes for each: lengths before the sectors they bound.
    fn slots(&self) -> Vec<(Slot, usize)> {
        let mut slots: Vec<_> = (0..self.unsynced.len())
            .map(|at| (Slot::Name(at), 2))
            .collect();
        for at in self.reachable() {
            let file = &self.files[at];
            if !file.lengths.is_empty() {
                slots.push((Slot::Length(at), 1 + file.lengths.len()));
            }
            for (sector, versions) in &file.sectors {
                slots.push((Slot::Sector(at, *sector), 1 + versions.len()));
            }
        }
        slots
    }

    /// The files that may have a name after a loss of power.
    fn reachable(&self) -> BTreeSet<usize> {
        let changed = self.unsynced.iter().filter_map(|change| change.to.as_ref());
        let stored = self.stored_names.values().copied();
        stored.chain(changed.map(|(_, file)| *file)).collect()
    }

    fn change_names(&mut self, change: Rename) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// A failing sync of contents does harm even where it does none of its work. Which file does not matter to what is
    /// tested: all of them lose.
    fn fail_silently(&mut self, call: Call) {
        if matches!(call, Call::SyncData | Call::SyncAll) {
            for file in &mut self.files {
                file.lose(self.sector, &mut self.chance);
            }
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
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (mut state, fault) = self.enter(Call::Create)?;
        if state.find(&name(path)).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let at = state.files.len();
        state.files.push(File::default());
        state.change_names(Rename {
            from: None,
            to: Some((name(path), at)),
        });
        failed(fault)?;
        Ok(Box::new(SimFile(self.clone(), at)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (state, fault) = self.enter(Call::Open)?;
        failed(fault)?;
        Ok(Box::new(SimFile(self.clone(), state.find(&name(path))?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::Rename)?;
        let file = state.find(&name(from))?;
        state.change_names(Rename {
            from: Some(name(from)),
            to: Some((name(to), file)),
        });
        failed(fault)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::Remove)?;
        state.find(&name(path))?;
        state.change_names(Rename {
            from: Some(name(path)),
            to: None,
        });
        failed(fault)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::SyncDir)?;
        state.stored_names = state.names.clone();
        state.unsynced.clear();
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
        state.files[self.1].sync();
        failed(fault)
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let (state, fault) = self.enter(Call::Size)?;
        failed(fault)?;
        Ok(state.files[self.1].seen.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (state, fault) = self.enter(Call::Read)?;
        failed(fault)?;
        let begin = usize::try_from(offset).unwrap();
        let bytes = state.files[self.1].seen.get(begin..begin + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::Write)?;
        let done = match fault {
            Some(_) => bytes.len() / 2,
            None => bytes.len(),
        };
        let sector = state.sector;
        let offset = usize::try_from(offset).unwrap();
        state.files[self.1].write(sector, offset, &bytes[..done]);
        failed(fault)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let (mut state, fault) = self.enter(Call::Allocate)?;
        state.files[self.1].resize(usize::try_from(bytes).unwrap());
        failed(fault)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(Call::SyncData)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(Call::SyncAll)
    }
}
