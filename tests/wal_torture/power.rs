//! The power goes while many write at once through the writer thread.

use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use steadfast::base::Lsn;
use steadfast::wal::{Options, Wal};

use super::crash::combinations;
use super::disk::SimDisk;
use super::history::{DIR, LINEAGE, open, read_all};
use super::seeds;

const WRITERS: u8 = 3;
const SEGMENT_BYTES: u64 = 2000;

/// Writes until the power goes; returns what was reported durable, and where it ends.
fn write_until_dark(wal: &Wal, writer: u8) -> Vec<(Lsn, Vec<u8>)> {
    let mut durable = Vec::new();
    for number in 0u32.. {
        let payload = [&[writer], number.to_le_bytes().as_slice()].concat();
        let Ok(end) = wal.append(payload.clone()) else {
            break;
        };
        if wal.durable().reached_blocking(end).is_err() {
            break;
        }
        durable.push((end, payload));
    }
    durable
}

fn cut_power_under_load(disk: &SimDisk) -> Vec<(Lsn, Vec<u8>)> {
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    };
    let Ok(opened) = Wal::open(
        Arc::new(disk.clone()),
        Path::new(DIR),
        LINEAGE,
        options,
        Lsn::ZERO,
    ) else {
        return Vec::new();
    };
    let wal = &opened.wal;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write_until_dark(wal, writer)))
            .collect();
        let durable = writers.into_iter().map(|writer| writer.join().unwrap());
        durable.flatten().collect()
    })
}

#[test]
fn what_many_writers_were_told_is_durable_survives_a_power_cut() {
    for seed in seeds(100) {
        eprintln!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(512, seed);
        disk.cut_power_after(rng.random_range(0..300));
        let durable = cut_power_under_load(&disk);
        for picks in combinations(&disk.outcomes(), 6, &mut rng) {
            let disk = disk.after_power_loss(&picks);
            let (log, recovery) = open(&disk, SEGMENT_BYTES).unwrap();
            let there = read_all(&log, recovery.first).unwrap();
            for (end, payload) in &durable {
                let found = there.iter().find(|entry| entry.end == *end);
                assert_eq!(found.unwrap().payload, payload);
            }
        }
    }
}
