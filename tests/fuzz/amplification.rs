//! What a hostile message takes while it is decoded: millions of empty messages, two bytes each, at every depth.

use prost::Message;
use steadfast::model::limits;
use steadfast::proto::v1;

/// As docs/OPERATIONS.md says: so many bytes of memory for each byte of a message.
const MULTIPLE: u64 = 108;

/// A field that holds a message or bytes.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encode_length_delimiter(body.len(), &mut out).unwrap();
    out.extend_from_slice(body);
    out
}

/// Empty fields of one number inside fields of these numbers, outermost first, as many as the limit of a message lets
/// in with a list that has just grown.
fn dense(path: &[u8]) -> Vec<u8> {
    let (last, around) = path.split_last().unwrap();
    let count = (1 << 21) + 1;
    let empties = [last << 3 | 2, 0].repeat(count);
    assert!(empties.len() + 100 < limits::REQUEST_BYTES);
    let wrapped = around.iter().rev();
    wrapped.fold(empties, |body, number| field(*number, &body))
}

fn peak<M: Message + Default>(paths: &[&[u8]]) -> u64 {
    let peaks = paths.iter().map(|path| {
        let message = dense(path);
        let mut decoded = None;
        let taken = allocation_counter::measure(|| decoded = Some(M::decode(message.as_slice())));
        assert!(decoded.unwrap().is_ok(), "{path:?}");
        let multiple = taken.bytes_max.div_ceil(message.len() as u64);
        eprintln!(
            "{} {path:?}: {multiple} bytes for each",
            std::any::type_name::<M>()
        );
        multiple
    });
    peaks.max().unwrap()
}

#[test]
fn a_hostile_message_takes_a_bounded_multiple_of_its_bytes() {
    let multiples = [
        // Columns, strings and bytes in one; selections, names of features in one.
        peak::<v1::GetFeaturesRequest>(&[&[1], &[1, 2, 6, 1], &[1, 2, 7, 1], &[2], &[2, 2]]),
        // Groups; names of features; rows; their keys, values, lists of strings.
        peak::<v1::PutFeaturesRequest>(&[
            &[1],
            &[1, 2],
            &[1, 3],
            &[1, 3, 1],
            &[1, 3, 2],
            &[1, 3, 2, 10, 6, 1],
        ]),
        peak::<v1::IngestFeaturesRequest>(&[&[2, 1], &[2, 1, 3]]),
        peak::<v1::DeleteFeaturesRequest>(&[&[1], &[1, 2], &[1, 2, 1]]),
        peak::<v1::ScanFeaturesRequest>(&[&[2], &[3]]),
        peak::<v1::ForgetRequest>(&[&[1]]),
    ];
    let worst = multiples.into_iter().max().unwrap();
    assert!(worst <= MULTIPLE, "{worst} bytes for each");
}
