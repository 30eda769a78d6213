//! Pure: fields whose bytes hold a whole list, so that no message takes much more memory than it has bytes.

use bytes::Bytes;

use super::invalid::{Invalid, Problem};
use crate::base::codec::{DecodeError, Reader};

/// A field of what `put` appends.
pub fn packed(put: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    put(&mut out);
    out.into()
}

/// Reads a field that one thing fills.
///
/// # Errors
/// If it does not, or is something else; names the field.
pub fn read_packed<T>(
    field: &'static str,
    bytes: &Bytes,
    decode: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, Invalid> {
    let mut reader = Reader::new(bytes);
    let whole = decode(&mut reader).and_then(|read| reader.finish("the last entry").map(|()| read));
    whole.map_err(|cause| Problem::Unreadable(cause).at(field))
}
