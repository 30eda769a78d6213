//! What a member is asked for a quorum read. An input is a byte that says which of the two questions it is, and the question.

use bytes::Bytes;
use prost::Message as _;
use steadfast::base::{Epoch, IncarnationId, LineageId, LogId, RegionId, Seq};
use steadfast::model::{Digest, EntityKey, KeyValue, ViewId};
use steadfast::net::{FORMATS, Hello};
use steadfast::node::{KeySpan, KeysAsked, RowsAsked};
use steadfast::proto::v1::{ListKeysRequest, NameRowsRequest};
use steadfast::read::Token;
use steadfast::storage::RowKeys;

use super::{assert_same, bounded};

/// A key of no bytes becomes a place in a list and a digest; a session's token is a tree.
const MULTIPLE: u64 = 60;

pub fn check(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let input = Bytes::copy_from_slice(rest);
    if kind % 2 == 0 {
        let read = bounded(input.len(), MULTIPLE, || {
            RowsAsked::try_from(NameRowsRequest::decode(input.clone()).ok()?).ok()
        });
        let Some(read) = read else { return };
        let again = RowsAsked::try_from(NameRowsRequest::from(read.clone()));
        assert_same(&again.expect("what was written can be read"), &read);
    } else {
        let read = bounded(input.len(), MULTIPLE, || {
            KeysAsked::try_from(ListKeysRequest::decode(input.clone()).ok()?).ok()
        });
        let Some(read) = read else { return };
        let again = KeysAsked::try_from(ListKeysRequest::from(read.clone()));
        assert_same(&again.expect("what was written can be read"), &read);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let hello = Hello {
        formats: FORMATS,
        lineage: LineageId(1),
        from: IncarnationId(2),
        to: IncarnationId(3),
        address: "b:7401".into(),
    };
    let key = |id| EntityKey::encode(&[KeyValue::String("UA".into()), KeyValue::Int64(id)]);
    let mut session = Token::new(LineageId(1));
    let log = LogId {
        region: RegionId(5),
        epoch: Epoch(3),
    };
    session.see(log, Seq(9), false);
    let mut rows = RowsAsked {
        hello: hello.clone(),
        keys: RowKeys::default(),
        held: Vec::new(),
        session: Some(session.clone()),
    };
    for id in 0..3 {
        rows.keys.push(ViewId(7), key(id).as_bytes());
        rows.held.push(Digest(id.unsigned_abs().into()));
    }
    let mut keys = KeysAsked {
        hello,
        span: KeySpan {
            view: ViewId(7),
            prefix: EntityKey::encode(&[KeyValue::String("UA".into())]),
            after: None,
        },
        session: None,
    };
    let first = ListKeysRequest::from(keys.clone()).encode_to_vec();
    (keys.span.after, keys.session) = (Some(key(4)), Some(session));
    let questions = [
        (0, NameRowsRequest::from(rows).encode_to_vec()),
        (1, first),
        (1, ListKeysRequest::from(keys).encode_to_vec()),
    ];
    let seed = |(kind, question): (u8, Vec<u8>)| [&[kind][..], &question].concat();
    questions.map(seed).to_vec()
}
