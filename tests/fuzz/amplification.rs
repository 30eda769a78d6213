//! What a hostile message takes while it is decoded: millions of empty messages, two bytes each, at every depth.

use prost::{Message, Name};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use steadfast::model::limits;
use steadfast::proto::{LIST_BYTES, LIST_BYTES_EACH, Shape, check_memory, v1};

/// As docs/OPERATIONS.md says: what decoding one message allocates at the most.
const DECODING_BYTES: u64 = 120 << 20;

/// The numbers of the fields that lead to a list, outermost first.
type Path = &'static [u8];

/// Columns, strings and bytes in one; selections, names of features in one.
const GET: &[Path] = &[&[1], &[1, 2, 6, 1], &[1, 2, 7, 1], &[2], &[2, 2]];
/// Groups; names of features; rows; their keys, values, lists of strings.
const PUT: &[Path] = &[
    &[1],
    &[1, 2],
    &[1, 3],
    &[1, 3, 1],
    &[1, 3, 2],
    &[1, 3, 2, 10, 6, 1],
];
const INGEST: &[Path] = &[&[2, 1], &[2, 1, 3], &[2, 1, 3, 2]];
const DELETE: &[Path] = &[&[1], &[1, 2], &[1, 2, 1]];
const SCAN: &[Path] = &[&[2], &[3]];
const FORGET: &[Path] = &[&[1]];

/// A field that holds a message or bytes.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encode_length_delimiter(body.len(), &mut out).unwrap();
    out.extend_from_slice(body);
    out
}

/// So many fields at the end of a path.
fn dense(path: &[u8], count: usize, content: &[u8]) -> Vec<u8> {
    let (last, around) = path.split_last().unwrap();
    let wrapped = around.iter().rev();
    let inmost = field(*last, content).repeat(count);
    wrapped.fold(inmost, |body, number| field(*number, &body))
}

/// Lists of random lengths, in and beside one another.
fn random(paths: &[Path], rng: &mut StdRng) -> Vec<u8> {
    let mut message = Vec::new();
    let bytes = 1 << rng.random_range(4..21);
    while message.len() < bytes {
        let path = paths.choose(rng).unwrap();
        let most = 1 << rng.random_range(0..20);
        let count = rng.random_range(1..=most);
        let split = rng.random_range(0..path.len());
        let (outer, inner) = path.split_at(split);
        let content = if rng.random() { &[][..] } else { &[0x0a, 0] };
        let each = rng.random_range(1..20);
        let body = dense(inner, each, content).repeat(count / each + 1);
        let wrapped = outer
            .iter()
            .rev()
            .fold(body, |body, number| field(*number, &body));
        message.extend_from_slice(&wrapped);
    }
    message.truncate(limits::REQUEST_BYTES);
    message
}

/// Decodes a message if it is let in; returns what that allocated at once.
fn peak<M: Message + Name + Default>(message: &[u8]) -> Option<u64> {
    let counting = allocation_counter::measure(|| {
        let _counted = check_memory(M::NAME, message);
    });
    // Beside what says that it is refused.
    assert!(counting.bytes_total < 4096, "{counting:?}");
    check_memory(M::NAME, message).ok()?;
    let taken = allocation_counter::measure(|| drop(M::decode(message)));
    Some(taken.bytes_max)
}

/// The longest list that is let in, one that is not, and some that have just grown.
fn densest(shape: &Shape, path: Path) -> Vec<Vec<u8>> {
    let list = |count: usize| dense(path, count, &[]);
    let each = (shape.list_bytes(&list(1_001)) - shape.list_bytes(&list(1))) / 1_000;
    let most = (LIST_BYTES - shape.list_bytes(&list(1))) / each;
    let counts = [1, 1 << 16, 1 << 19, most, most * 2];
    counts.iter().map(|count| list(count + 1)).collect()
}

fn hold<M: Message + Name + Default>(paths: &[Path]) {
    let shape = Shape::of(M::NAME).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let (mut refused, mut worst) = (0, 0);
    let random: Vec<_> = (0..30).map(|_| random(paths, &mut rng)).collect();
    let densest = paths.iter().flat_map(|path| densest(shape, path));
    for message in densest.chain(random) {
        let lists = shape.list_bytes(&message);
        // Short ones are let in without being counted.
        assert!(lists <= LIST_BYTES || message.len() > LIST_BYTES / LIST_BYTES_EACH);
        let Some(peak) = peak::<M>(&message) else {
            assert!(lists > LIST_BYTES);
            refused += 1;
            continue;
        };
        assert!(lists <= LIST_BYTES);
        let told = (lists * 3 / 2 + message.len() * 3) as u64;
        assert!(
            peak <= told + 4096,
            "{peak} bytes, {told} were told, of {}",
            message.len()
        );
        worst = worst.max(peak);
    }
    eprintln!(
        "{}: {} MiB at the most, {refused} refused",
        M::NAME,
        worst >> 20
    );
    assert!(worst <= DECODING_BYTES && refused > 0, "{worst} {refused}");
}

#[test]
fn decoding_a_message_takes_no_more_than_its_count_told_and_what_is_beyond_the_bound_is_refused() {
    hold::<v1::GetFeaturesRequest>(GET);
    hold::<v1::PutFeaturesRequest>(PUT);
    hold::<v1::IngestFeaturesRequest>(INGEST);
    hold::<v1::DeleteFeaturesRequest>(DELETE);
    hold::<v1::ScanFeaturesRequest>(SCAN);
    hold::<v1::ForgetRequest>(FORGET);
}
