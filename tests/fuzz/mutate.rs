//! Random inputs: mostly valid ones with a few changes.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

const MAX_BYTES: usize = 8 << 10;

pub fn input(valid: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    if rng.random_ratio(1, 20) {
        let mut bytes = vec![0; rng.random_range(0..200)];
        rng.fill(&mut bytes[..]);
        return bytes;
    }
    let mut bytes = valid.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(1..=4) {
        change(&mut bytes, valid, rng);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, valid: &[Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=bytes.len());
    match rng.random_range(0..7) {
        0 => flip(bytes, at, rng),
        1 => bytes.truncate(at),
        2 => splice(bytes, at, valid.choose(rng).unwrap(), rng),
        3 => repeat(bytes, at, rng),
        4 => drop(bytes.drain(at..(at + rng.random_range(1..9)).min(bytes.len()))),
        _ => set_length(bytes, at, rng),
    }
}

fn flip(bytes: &mut [u8], at: usize, rng: &mut StdRng) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << rng.random_range(0..8);
    }
}

/// Goes on with another input from some place of it.
fn splice(bytes: &mut Vec<u8>, at: usize, other: &[u8], rng: &mut StdRng) {
    bytes.truncate(at);
    bytes.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
}

/// Says a few bytes many times.
fn repeat(bytes: &mut Vec<u8>, at: usize, rng: &mut StdRng) {
    let end = (at + rng.random_range(1..30)).min(bytes.len());
    let said = bytes[at..end].repeat(rng.random_range(1..50));
    bytes.splice(at..at, said);
}

/// Sets a field as lengths and counts are: to nothing, to what remains, to one more, to all there is.
fn set_length(bytes: &mut [u8], at: usize, rng: &mut StdRng) {
    let left = (bytes.len() - at) as u64;
    let extremes = [
        0,
        1,
        left.saturating_sub(4),
        left,
        left + 1,
        0x7f,
        0xff,
        1 << 31,
        u64::MAX >> 1,
        u64::MAX,
    ];
    let value = extremes.choose(rng).unwrap();
    let width = *[1, 2, 4, 8].choose(rng).unwrap();
    let field = if rng.random() {
        value.to_le_bytes()
    } else {
        value.rotate_right(width as u32 * 8).to_be_bytes()
    };
    for (byte, new) in bytes[at..].iter_mut().zip(&field[..width]) {
        *byte = *new;
    }
}
