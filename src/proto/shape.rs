//! Pure: what the lists of a message take once it is decoded, told from its bytes before anything is allocated.
//!
//! Two bytes of a message can stand for an empty row or value, of which the decoded list keeps up to 72, twice while it
//! grows. Everything else of a message takes about as much as its bytes.
//!
//! **Invariant.** Decoding a message never holds more than one and a half times what is told of its lists, and three times
//! its bytes.

use std::mem::size_of;

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::v1;

/// What the lists of one message may take.
pub const LIST_BYTES: usize = 64 << 20;
/// No byte of a message makes its lists longer by more than this.
pub const LIST_BYTES_EACH: usize = 128;

/// The fields of a message that are lists of messages or texts, or lead to some. All others count for nothing.
#[derive(Debug)]
pub struct Shape(&'static [(u32, Part)]);

#[derive(Debug)]
enum Part {
    /// A message.
    One(&'static Shape),
    /// A list of such messages, so many bytes each.
    Many(&'static Shape, usize),
}

use Part::{Many, One};

static TEXT: Shape = Shape(&[]);
const STRINGS: Part = Many(&TEXT, size_of::<String>());
const BYTES: Part = Many(&TEXT, size_of::<Bytes>());
static STRING_ITEMS: Shape = Shape(&[(1, STRINGS)]);
static BYTES_ITEMS: Shape = Shape(&[(1, BYTES)]);
static ITEMS: Shape = Shape(&[(6, One(&STRING_ITEMS)), (7, One(&BYTES_ITEMS))]);
static VALUE: Shape = Shape(&[(10, One(&ITEMS))]);
const VALUES: Part = Many(&VALUE, size_of::<v1::Value>());

static KEY_COLUMN: Shape = Shape(&[(2, One(&ITEMS))]);
static SELECTION: Shape = Shape(&[(2, STRINGS)]);
static GET: Shape = Shape(&[
    (1, Many(&KEY_COLUMN, size_of::<v1::KeyColumn>())),
    (2, Many(&SELECTION, size_of::<v1::ViewSelection>())),
]);

static ROW: Shape = Shape(&[(1, VALUES), (2, VALUES)]);
static VIEW_ROWS: Shape = Shape(&[(2, STRINGS), (3, Many(&ROW, size_of::<v1::Row>()))]);
static PUT: Shape = Shape(&[(1, Many(&VIEW_ROWS, size_of::<v1::ViewRows>()))]);
static INGEST: Shape = Shape(&[(2, One(&PUT))]);

static KEY: Shape = Shape(&[(1, VALUES)]);
static VIEW_KEYS: Shape = Shape(&[(2, Many(&KEY, size_of::<v1::Key>()))]);
static DELETE: Shape = Shape(&[(1, Many(&VIEW_KEYS, size_of::<v1::ViewKeys>()))]);

static SCAN: Shape = Shape(&[(2, STRINGS), (3, VALUES)]);
static FORGET: Shape = Shape(&[(1, Many(&TEXT, size_of::<v1::KeyPart>()))]);
static SETTINGS: Shape = Shape(&[(6, Many(&TEXT, size_of::<v1::Priority>()))]);

impl Shape {
    /// The shape of a request of a client, by the name of its message; of all others nothing is counted.
    #[must_use]
    pub fn of(message: &str) -> Option<&'static Shape> {
        match message {
            "GetFeaturesRequest" => Some(&GET),
            "PutFeaturesRequest" => Some(&PUT),
            "IngestFeaturesRequest" => Some(&INGEST),
            "DeleteFeaturesRequest" => Some(&DELETE),
            "ScanFeaturesRequest" => Some(&SCAN),
            "ForgetRequest" => Some(&FORGET),
            "SetSettingsRequest" => Some(&SETTINGS),
            _ => None,
        }
    }

    /// What the lists of a message take, as far as that is asked: counting ends beyond [`LIST_BYTES`], and where the
    /// message is not well-formed, because its decoding ends there, too.
    #[must_use]
    pub fn list_bytes(&self, message: &[u8]) -> usize {
        let mut bytes = 0;
        let _end = self.count(message, &mut bytes);
        bytes
    }

    /// `None` where counting ends.
    fn count(&self, mut message: &[u8], bytes: &mut usize) -> Option<()> {
        // Fields of which there has been an element.
        let mut begun = 0_u32;
        while !message.is_empty() {
            let (number, wire_type) = decode_key(&mut message).ok()?;
            let length = match wire_type {
                WireType::Varint => decode_varint(&mut message).ok().map(|_| 0)?,
                WireType::ThirtyTwoBit => 4,
                WireType::SixtyFourBit => 8,
                WireType::LengthDelimited => decode_varint(&mut message).ok()?,
                // What is inside a group decodes to nothing, so it may count for something.
                WireType::StartGroup | WireType::EndGroup => 0,
            };
            let (body, rest) = message.split_at_checked(usize::try_from(length).ok()?)?;
            message = rest;
            let mut parts = self.0.iter().zip(0..);
            let Some(((_, part), at)) = parts.find(|((known, _), _)| *known == number) else {
                continue;
            };
            let inner = match part {
                One(inner) => inner,
                Many(inner, size) => {
                    // A list that grows doubles, from four elements on.
                    let is_first = begun & (1 << at) == 0;
                    begun |= 1 << at;
                    *bytes += size * if is_first { 4 } else { 2 };
                    inner
                }
            };
            if *bytes > LIST_BYTES {
                return None;
            }
            inner.count(body, bytes)?;
        }
        Some(())
    }
}

#[cfg(test)]
#[path = "shape_test.rs"]
mod tests;
