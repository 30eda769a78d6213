//! Pure: scans, and the token that continues one.
//!
//! ```text
//! token := format u8 = 1 | view id u64 | key length u32, key | crc32
//! ```
//! Little-endian. The key is that of the last row sent; the view's id changes when a view is dropped and created again,
//! so a token never continues in other data than it was made from.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::invalid::{Invalid, Problem};
use super::keys::{key_prefix, keys_to_columns};
use super::lookup::column_to_proto;
use super::names::{find_view, wanted_features};
use super::v1;
use crate::base::ReadLevel;
use crate::base::codec::{DecodeError, Reader, check_checksum, put_blob, put_checksum};
use crate::model::resolve::Column;
use crate::model::{Catalogue, EntityKey, Feature, View, ViewId};

const TOKEN_FORMAT: u8 = 1;

/// A scan as a client asks for it, names and types checked.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The view.
    pub view: Arc<View>,
    /// The features, in the order of the request.
    pub features: Vec<Feature>,
    /// Only entities whose keys begin so.
    pub prefix: EntityKey,
    /// Only entities behind this one.
    pub after: Option<EntityKey>,
    /// At most so many rows; `None` is without limit.
    pub limit: Option<u64>,
    /// Answer event times.
    pub event_times: bool,
    /// How current each row must be.
    pub level: ReadLevel,
    /// The text of a session's token.
    pub session: Option<String>,
}

/// Checks a scan.
///
/// # Errors
/// What is wrong first, and where.
pub fn scan_of_request(
    request: v1::ScanFeaturesRequest,
    level: ReadLevel,
    catalogue: &Catalogue,
) -> Result<Scan, Invalid> {
    let view = find_view(catalogue, &request.view).map_err(|problem| problem.at("view"))?;
    let features = wanted_features(view, &request.features, || "features".to_owned())?;
    let prefix = key_prefix(view, request.prefix, || "prefix".to_owned())?;
    let after = (!request.resume_token.is_empty())
        .then(|| resume_after(view, &prefix, &request.resume_token))
        .transpose()
        .map_err(|problem| problem.at("resume_token"))?;
    Ok(Scan {
        view: view.clone(),
        features,
        prefix,
        after,
        limit: (request.limit != 0).then_some(request.limit),
        event_times: request.include_event_times,
        level,
        session: request.session,
    })
}

fn resume_after(view: &View, prefix: &EntityKey, token: &Bytes) -> Result<EntityKey, Problem> {
    let (id, key) = read_token(token).map_err(Problem::NoToken)?;
    if id != view.id {
        return Err(Problem::TokenOfOtherView {
            view: view.spec.name.clone(),
            expected: view.id.to_string(),
            found: id.to_string(),
        });
    }
    if !key.starts_with(prefix.as_bytes()) {
        return Err(Problem::TokenOfOtherPrefix);
    }
    EntityKey::from_bytes(Bytes::copy_from_slice(key), &view.key_types()).map_err(Problem::NoToken)
}

fn read_token(token: &[u8]) -> Result<(ViewId, &[u8]), DecodeError> {
    let mut reader = Reader::new(check_checksum("resume token", token)?);
    let format = reader.u8("token format")?;
    if format != TOKEN_FORMAT {
        return Err(DecodeError::Invalid {
            field: "token format",
            value: u64::from(format),
        });
    }
    let view = ViewId(reader.u64("view id")?);
    let key = reader.blob("entity key")?;
    reader.finish("resume token")?;
    Ok((view, key))
}

/// The token that continues a scan of the view behind an entity.
#[must_use]
pub fn resume_token(view: ViewId, last: &EntityKey) -> Bytes {
    let mut out = vec![TOKEN_FORMAT];
    out.put_u64_le(view.0);
    put_blob(&mut out, last.as_bytes());
    put_checksum(&mut out, 0);
    out.into()
}

/// The message of some rows, from which the scan goes on behind `last`, and its session with this token.
///
/// # Errors
/// If a key is not one of the view's, which means that stored data is damaged.
pub fn page_to_proto(
    view: &View,
    keys: &[EntityKey],
    columns: Vec<Column>,
    last: Option<&EntityKey>,
    session: String,
) -> Result<v1::ScanFeaturesResponse, DecodeError> {
    Ok(v1::ScanFeaturesResponse {
        entities: keys_to_columns(view, keys)?,
        columns: columns.into_iter().map(column_to_proto).collect(),
        resume_token: last
            .map(|last| resume_token(view.id, last))
            .unwrap_or_default(),
        session,
    })
}

#[cfg(test)]
#[path = "scan_test.rs"]
mod tests;
