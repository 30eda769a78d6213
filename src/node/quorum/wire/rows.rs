//! Pure: a question for the rows of some keys, and its answer.

use bytes::{BufMut, Bytes};

use super::{Answer, answer_of, session_of, session_to};
use crate::base::codec::{DecodeError, Reader, put_blob, put_count};
use crate::model::Digest;
use crate::net::Hello;
use crate::proto::{Invalid, Problem, packed, read_packed, v1};
use crate::read::Token;
use crate::replication::encode_members;
use crate::storage::{RowKeys, split_row_key};

/// Keys of one question.
pub(in crate::node::quorum) const KEYS: usize = 256;

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
            session: session_to(session),
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
            session: session_of(&request.session)?,
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

/// An answer on the wire: rows in the order asked for, perhaps not all.
#[must_use]
pub fn rows_answer_to_proto(answer: Answer<Vec<NamedRow>>) -> v1::NameRowsResponse {
    match answer {
        Answer::Vouched(vouched, rows) => v1::NameRowsResponse {
            epoch: vouched.epoch.0,
            members: encode_members(&vouched.members),
            rows: packed(|out| put_rows(out, rows)),
            unrecovered: false,
        },
        Answer::NotNow => v1::NameRowsResponse::default(),
        Answer::Unrecovered => v1::NameRowsResponse {
            unrecovered: true,
            ..v1::NameRowsResponse::default()
        },
    }
}

fn put_rows(out: &mut Vec<u8>, rows: Vec<NamedRow>) {
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
}

/// Reads what [`rows_answer_to_proto`] wrote.
pub(in crate::node::quorum) fn rows_answer_of_proto(
    response: &v1::NameRowsResponse,
) -> Result<Answer<Vec<NamedRow>>, Invalid> {
    let rows = || {
        read_packed("rows", &response.rows, |reader| {
            let count = reader.count("rows", 1)?;
            (0..count).map(|_| named(reader, &response.rows)).collect()
        })
    };
    answer_of(
        response.epoch,
        &response.members,
        response.unrecovered,
        rows,
    )
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
    use proptest::prelude::*;

    use super::super::testing::{hello, session};
    use super::*;
    use crate::base::{Epoch, IncarnationId};
    use crate::model::ViewId;
    use crate::replication::Vouched;

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
            session in session(),
        ) {
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
            let answer = Answer::Vouched(Vouched { epoch: Epoch(epoch), members }, rows);
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
        for answer in [Answer::NotNow, Answer::Unrecovered] {
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
