//! Pure: how a quorum read asks a member for rows, and what it answers, as `row_service.proto` says.
//!
//! **Invariants.** What was made from a question or answer reads back as that. No bytes make reading panic, or allocate much
//! more than they are.

use bytes::{BufMut, Bytes};

use crate::base::Epoch;
use crate::base::codec::{DecodeError, Reader, put_blob, put_count};
use crate::model::Digest;
use crate::net::Hello;
use crate::proto::{Invalid, Problem, packed, read_packed, v1};
use crate::read::Token;
use crate::replication::{Vouched, decode_members, encode_members};
use crate::storage::{RowKeys, split_row_key};

/// Keys of one question.
pub(super) const KEYS: usize = 256;

/// Which are the rows of a member?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsAsked {
    /// Who asks whom.
    pub hello: Hello,
    /// The rows' keys.
    pub keys: RowKeys,
    /// Of each key the digest of the row that the asker holds; [`Digest::EMPTY`] if it holds none.
    pub held: Vec<Digest>,
    /// What the rows must hold.
    pub session: Option<Token>,
}

/// What a member says of its row of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedRow {
    /// There is none.
    Absent,
    /// It is the one that the asker holds.
    Same,
    /// It is another one.
    Other(Bytes),
}

/// What a member answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowsAnswer {
    /// Its rows.
    Named(RowsNamed),
    /// It may not name any in anybody's name, or not yet.
    NotNow,
    /// Something of what the rows must hold is lost, or may be.
    Unrecovered,
}

/// Rows, named in the name of an epoch; in the order asked for, perhaps not all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsNamed {
    /// In whose name.
    pub vouched: Vouched,
    /// The rows.
    pub rows: Vec<NamedRow>,
}

impl From<RowsAsked> for v1::NameRowsRequest {
    fn from(question: RowsAsked) -> v1::NameRowsRequest {
        let RowsAsked {
            hello,
            keys,
            held,
            session,
        } = question;
        v1::NameRowsRequest {
            hello: Some(hello.into()),
            rows: packed(|out| {
                put_count(out, keys.len());
                for (key, held) in keys.iter().zip(held) {
                    put_blob(out, key);
                    out.put_u128_le(held.0);
                }
            }),
            session: packed(|out| {
                if let Some(token) = session {
                    token.encode(out);
                }
            }),
        }
    }
}

impl TryFrom<v1::NameRowsRequest> for RowsAsked {
    type Error = Invalid;

    fn try_from(request: v1::NameRowsRequest) -> Result<RowsAsked, Invalid> {
        let hello = Hello::try_from(request.hello.unwrap_or_default())?;
        let (keys, held) = read_packed("rows", &request.rows, read_keys)?;
        if keys.len() > KEYS {
            let (what, count, max) = ("rows", keys.len(), KEYS);
            return Err(Problem::TooMany { what, count, max }.at("rows"));
        }
        Ok(RowsAsked {
            hello,
            keys,
            held,
            session: (!request.session.is_empty())
                .then(|| read_packed("session", &request.session, Token::decode))
                .transpose()?,
        })
    }
}

fn read_keys(reader: &mut Reader<'_>) -> Result<(RowKeys, Vec<Digest>), DecodeError> {
    let (mut keys, mut held) = (RowKeys::default(), Vec::new());
    for _ in 0..reader.count("rows", 4 + 16)? {
        let (view, entity) = split_row_key(reader.blob("key")?)?;
        keys.push(view, entity.as_bytes());
        held.push(Digest(reader.u128("digest")?));
    }
    Ok((keys, held))
}

const ABSENT: u8 = 0;
const SAME: u8 = 1;
const OTHER: u8 = 2;

/// An answer on the wire.
#[must_use]
pub fn rows_answer_to_proto(answer: RowsAnswer) -> v1::NameRowsResponse {
    let RowsNamed { vouched, rows } = match answer {
        RowsAnswer::Named(named) => named,
        RowsAnswer::NotNow => return v1::NameRowsResponse::default(),
        RowsAnswer::Unrecovered => {
            return v1::NameRowsResponse {
                unrecovered: true,
                ..v1::NameRowsResponse::default()
            };
        }
    };
    v1::NameRowsResponse {
        epoch: vouched.epoch.0,
        members: encode_members(&vouched.members),
        rows: packed(|out| {
            put_count(out, rows.len());
            for row in rows {
                match row {
                    NamedRow::Absent => out.push(ABSENT),
                    NamedRow::Same => out.push(SAME),
                    NamedRow::Other(row) => {
                        out.push(OTHER);
                        put_blob(out, &row);
                    }
                }
            }
        }),
        unrecovered: false,
    }
}

/// Reads what [`rows_answer_to_proto`] wrote.
pub(super) fn rows_answer_of_proto(response: &v1::NameRowsResponse) -> Result<RowsAnswer, Invalid> {
    let epoch = Epoch(response.epoch);
    if response.unrecovered {
        return Ok(RowsAnswer::Unrecovered);
    }
    if epoch == Epoch::NONE {
        return Ok(RowsAnswer::NotNow);
    }
    let members = decode_members("members", &response.members)?;
    let rows = read_packed("rows", &response.rows, |reader| {
        let count = reader.count("rows", 1)?;
        (0..count).map(|_| named(reader, &response.rows)).collect()
    })?;
    let vouched = Vouched { epoch, members };
    Ok(RowsAnswer::Named(RowsNamed { vouched, rows }))
}

fn named(reader: &mut Reader<'_>, bytes: &Bytes) -> Result<NamedRow, DecodeError> {
    match reader.u8("kind of row")? {
        ABSENT => Ok(NamedRow::Absent),
        SAME => Ok(NamedRow::Same),
        OTHER => Ok(NamedRow::Other(bytes.slice_ref(reader.blob("row")?))),
        found => Err(DecodeError::Invalid {
            field: "kind of row",
            value: found.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{IncarnationId, LineageId, LogId, RegionId, Seq};
    use crate::model::ViewId;
    use crate::net::FORMATS;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            formats: FORMATS,
            lineage: LineageId(1),
            from: IncarnationId(2),
            to: IncarnationId(3),
            address: "b:7401".into(),
        }
    }

    fn rows() -> impl Strategy<Value = Vec<NamedRow>> {
        let row = prop_oneof![
            Just(NamedRow::Absent),
            Just(NamedRow::Same),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|row| NamedRow::Other(row.into())),
        ];
        prop::collection::vec(row, 0..20)
    }

    proptest! {
        #[test]
        fn a_question_reads_back(
            rows in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..20), any::<u128>()), 0..=KEYS),
            seen in prop::option::of(prop::collection::vec((any::<u64>(), 1..9u64, 1..99u64, any::<bool>()), 0..4)),
        ) {
            let session = seen.map(|seen| {
                let mut token = Token::new(LineageId(1));
                for (region, epoch, seq, is_committed) in seen {
                    let (region, epoch) = (RegionId(region), Epoch(epoch));
                    token.see(LogId { region, epoch }, Seq(seq), is_committed);
                }
                token
            });
            let mut question = RowsAsked { hello: hello(), keys: RowKeys::default(), held: Vec::new(), session };
            for (view, entity, held) in rows {
                question.keys.push(ViewId(view), &entity);
                question.held.push(Digest(held));
            }
            prop_assert_eq!(RowsAsked::try_from(v1::NameRowsRequest::from(question.clone())), Ok(question));
        }

        #[test]
        fn an_answer_reads_back(epoch in 1..u64::MAX, members: std::collections::BTreeSet<u128>, rows in rows()) {
            let members = members.into_iter().map(IncarnationId).collect();
            let answer = RowsAnswer::Named(RowsNamed { vouched: Vouched { epoch: Epoch(epoch), members }, rows });
            let wire = rows_answer_to_proto(answer.clone());
            prop_assert_eq!(rows_answer_of_proto(&wire), Ok(answer));
        }

        #[test]
        fn no_bytes_make_reading_panic(members: Vec<u8>, rows: Vec<u8>) {
            let answer = v1::NameRowsResponse { epoch: 1, members: members.into(), rows: rows.clone().into(), unrecovered: false };
            let _read = rows_answer_of_proto(&answer);
            let question = v1::NameRowsRequest { hello: Some(hello().into()), rows: rows.clone().into(), session: rows.into() };
            let _read = RowsAsked::try_from(question);
        }
    }

    #[test]
    fn who_may_not_answer_names_nothing() {
        for answer in [RowsAnswer::NotNow, RowsAnswer::Unrecovered] {
            let wire = rows_answer_to_proto(answer.clone());
            assert_eq!(rows_answer_of_proto(&wire), Ok(answer));
        }
    }

    #[test]
    fn a_question_for_too_much_is_refused() {
        let mut question = RowsAsked {
            hello: hello(),
            keys: RowKeys::default(),
            held: Vec::new(),
            session: None,
        };
        for view in 0..=KEYS {
            question.keys.push(ViewId(view as u64), b"k");
            question.held.push(Digest::EMPTY);
        }
        let refused = RowsAsked::try_from(v1::NameRowsRequest::from(question)).unwrap_err();
        assert_eq!(refused.field, "rows");
    }
}
