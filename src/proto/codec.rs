//! The codec of all services: it refuses a message that would take far more memory than its bytes before it decodes it.

use std::marker::PhantomData;

use prost::bytes::Buf as _;
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::shape::{LIST_BYTES, LIST_BYTES_EACH, Shape};

/// Encodes `T` and decodes `U`.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        BoundedCodec(PhantomData)
    }
}

/// Decodes `U`.
#[derive(Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::default())
    }
}

impl<U: Message + Name + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        check(U::NAME, message.chunk())?;
        self.0.decode(message)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Refuses a message whose lists would take more than [`LIST_BYTES`]. Of short ones they cannot.
///
/// # Errors
/// `OUT_OF_RANGE`, as of a message that is too long.
pub fn check(name: &str, message: &[u8]) -> Result<(), Status> {
    if message.len() <= LIST_BYTES / LIST_BYTES_EACH {
        return Ok(());
    }
    let bytes = Shape::of(name).map_or(0, |shape| shape.list_bytes(message));
    if bytes <= LIST_BYTES {
        return Ok(());
    }
    Err(Status::out_of_range(format!(
        "its rows and values would take more than {LIST_BYTES} bytes of memory: send fewer at once"
    )))
}
