//! What is on a simulated disk, what can be read, and what of it a loss of power may take.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rand::Rng;
use rand::rngs::StdRng;

/// The files of one directory.
#[derive(Debug, Clone)]
pub struct Media {
    sector: usize,
    pub files: Vec<File>,
    /// Which file each name stands for, as can be seen now.
    pub names: BTreeMap<String, usize>,
    stored_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of the directory.
    unsynced: Vec<Rename>,
}

/// A change of names: `from` stands for nothing any more, `to` for a file.
#[derive(Debug, Clone)]
pub struct Rename {
    pub from: Option<String>,
    pub to: Option<(String, usize)>,
}

#[derive(Debug, Clone, Default)]
pub struct File {
    /// What can be read now.
    pub seen: Vec<u8>,
    /// What is there if the power goes, besides some of what is unsynced.
    stored: Vec<u8>,
    /// The contents that each written sector has had since the last sync.
    sectors: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The lengths the file has had since the last sync.
    lengths: Vec<usize>,
}

impl Media {
    pub fn new(sector: usize) -> Media {
        Media {
            sector,
            files: Vec::new(),
            names: BTreeMap::new(),
            stored_names: BTreeMap::new(),
            unsynced: Vec::new(),
        }
    }

    pub fn find(&self, name: &str) -> io::Result<usize> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    pub fn create(&mut self, name: String) -> usize {
        let at = self.files.len();
        self.files.push(File::default());
        self.change_names(Rename {
            from: None,
            to: Some((name, at)),
        });
        at
    }

    pub fn change_names(&mut self, change: Rename) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    pub fn sync_names(&mut self) {
        self.stored_names.clone_from(&self.names);
        self.unsynced.clear();
    }

    pub fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        self.files[file].write(self.sector, offset, bytes);
    }

    pub fn sync(&mut self, file: usize) {
        self.files[file].sync(self.sector);
    }

    /// A sync of contents that fails. Which file it was for does not matter to what is tested: all of them lose.
    pub fn fail_sync(&mut self, chance: &mut StdRng) {
        for file in &mut self.files {
            file.lose(self.sector, chance);
        }
    }

    /// Puts a file there, or with `None` takes it away, durably.
    pub fn set(&mut self, name: &str, contents: Option<Vec<u8>>) {
        match contents {
            Some(bytes) => {
                let at = self.create(name.to_owned());
                self.write(at, 0, &bytes);
                self.sync(at);
            }
            None => self.change_names(Rename {
                from: Some(name.to_owned()),
                to: None,
            }),
        }
        self.sync_names();
    }

    /// For each thing that is not synced, how many outcomes a loss of power may have.
    pub fn outcomes(&self) -> Vec<usize> {
        let slots = self.slots();
        slots.into_iter().map(|(_, outcomes)| outcomes).collect()
    }

    /// What is left by a loss of power; `picks` chooses one outcome for each thing that is not synced, 0 being its loss.
    pub fn after_power_loss(&self, picks: &[usize]) -> Media {
        let mut left = self.clone();
        for ((slot, _), pick) in self.slots().into_iter().zip(picks) {
            if *pick > 0 {
                slot.keep(self, *pick - 1, &mut left);
            }
        }
        left.names.clone_from(&left.stored_names);
        left.unsynced.clear();
        for file in &mut left.files {
            *file = File {
                seen: file.stored.clone(),
                stored: std::mem::take(&mut file.stored),
                ..File::default()
            };
        }
        left
    }

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
}

/// Something that is not synced.
enum Slot {
    Name(usize),
    Length(usize),
    Sector(usize, usize),
}

impl Slot {
    fn keep(&self, media: &Media, version: usize, left: &mut Media) {
        match *self {
            Slot::Name(at) => media.unsynced[at].apply(&mut left.stored_names),
            Slot::Length(file) => left.files[file]
                .stored
                .resize(media.files[file].lengths[version], 0),
            Slot::Sector(file, sector) => {
                let contents = &media.files[file].sectors[&sector][version];
                left.files[file].store(sector * media.sector, contents);
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

    pub fn resize(&mut self, length: usize) {
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

    /// Stores what has been written since the last sync, and only that.
    fn sync(&mut self, sector: usize) {
        self.store_some(sector, || true);
    }

    /// A sync that fails: some of it is stored, and none of it will ever be again.
    fn lose(&mut self, sector: usize, chance: &mut StdRng) {
        self.store_some(sector, || chance.random());
    }

    fn store_some(&mut self, sector: usize, mut chosen: impl FnMut() -> bool) {
        if let Some(length) = std::mem::take(&mut self.lengths).last()
            && chosen()
        {
            self.stored.resize(*length, 0);
        }
        for (number, versions) in std::mem::take(&mut self.sectors) {
            if chosen() {
                self.store(number * sector, versions.last().unwrap());
            }
        }
    }
}
