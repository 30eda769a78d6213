//! Pure: a question for the keys behind one, and its answer.

use bytes::Bytes;

use super::{Answer, KEYS, answer_of, session_of, session_to};
use crate::base::codec::{DecodeError, Reader, put_blob, put_count};
use crate::model::{EntityKey, ViewId, limits};
use crate::net::Hello;
use crate::proto::{Invalid, Problem, packed, read_packed, v1};
use crate::read::{Listed, Token};
use crate::replication::encode_members;

/// Of which entities has a member rows?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysAsked {
    /// Who asks whom.
    pub hello: Hello,
    /// Which keys are meant.
    pub span: KeySpan,
    /// What the rows must hold.
    pub session: Option<Token>,
}

/// Keys of one view that lie together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpan {
    /// The view.
    pub view: ViewId,
    /// With this they begin.
    pub prefix: EntityKey,
    /// They lie behind this one.
    pub after: Option<EntityKey>,
}

impl KeySpan {
    fn contains(&self, key: &EntityKey) -> bool {
        let is_behind = self.after.as_ref().is_none_or(|after| key > after);
        is_behind && key.as_bytes().starts_with(self.prefix.as_bytes())
    }
}

impl From<KeysAsked> for v1::ListKeysRequest {
    fn from(question: KeysAsked) -> v1::ListKeysRequest {
        let KeysAsked {
            hello,
            span,
            session,
        } = question;
        v1::ListKeysRequest {
            hello: Some(hello.into()),
            view: span.view.0,
            prefix: Bytes::copy_from_slice(span.prefix.as_bytes()),
            after: key_to(span.after.as_ref()),
            session: session_to(session),
        }
    }
}

impl TryFrom<v1::ListKeysRequest> for KeysAsked {
    type Error = Invalid;

    fn try_from(request: v1::ListKeysRequest) -> Result<KeysAsked, Invalid> {
        let hello = Hello::try_from(request.hello.unwrap_or_default())?;
        check_length("prefix", request.prefix.len())?;
        let span = KeySpan {
            view: ViewId(request.view),
            prefix: EntityKey::from_checked(request.prefix),
            after: key_of("after", request.after)?,
        };
        let starts = |after: &EntityKey| after.as_bytes().starts_with(span.prefix.as_bytes());
        if !span.after.as_ref().is_none_or(starts) {
            return Err(Problem::OtherKey.at("after"));
        }
        let session = session_of(&request.session)?;
        Ok(KeysAsked {
            hello,
            span,
            session,
        })
    }
}

/// No key is empty, so that nothing means that there is none.
fn key_to(key: Option<&EntityKey>) -> Bytes {
    key.map_or_else(Bytes::new, |key| Bytes::copy_from_slice(key.as_bytes()))
}

fn key_of(field: &'static str, bytes: Bytes) -> Result<Option<EntityKey>, Invalid> {
    check_length(field, bytes.len())?;
    Ok((!bytes.is_empty()).then(|| EntityKey::from_checked(bytes)))
}

fn check_length(field: &'static str, bytes: usize) -> Result<(), Invalid> {
    let (what, max) = ("entity key", limits::KEY_BYTES);
    if bytes > max {
        return Err(Problem::TooLarge { what, bytes, max }.at(field));
    }
    Ok(())
}

/// An answer on the wire.
#[must_use]
pub fn keys_answer_to_proto(answer: Answer<Listed<EntityKey>>) -> v1::ListKeysResponse {
    match answer {
        Answer::Vouched(vouched, Listed { keys, until }) => v1::ListKeysResponse {
            epoch: vouched.epoch.0,
            members: encode_members(&vouched.members),
            keys: packed(|out| {
                put_count(out, keys.len());
                keys.iter().for_each(|key| put_blob(out, key.as_bytes()));
            }),
            until: key_to(until.as_ref()),
            unrecovered: false,
        },
        Answer::NotNow => v1::ListKeysResponse::default(),
        Answer::Unrecovered => v1::ListKeysResponse {
            unrecovered: true,
            ..v1::ListKeysResponse::default()
        },
    }
}

/// Reads what [`keys_answer_to_proto`] wrote, if it answers a question for these keys.
pub(in crate::node::quorum) fn keys_answer_of_proto(
    response: v1::ListKeysResponse,
    span: &KeySpan,
) -> Result<Answer<Listed<EntityKey>>, Invalid> {
    let v1::ListKeysResponse {
        epoch,
        members,
        keys,
        until,
        unrecovered,
    } = response;
    answer_of(epoch, &members, unrecovered, || {
        let keys = read_packed("keys", &keys, |reader| listed(reader, &keys))?;
        let until = key_of("until", until)?;
        check(&keys, until.as_ref(), span)?;
        Ok(Listed { keys, until })
    })
}

fn listed(reader: &mut Reader<'_>, bytes: &Bytes) -> Result<Vec<EntityKey>, DecodeError> {
    let count = reader.count("keys", 4)?;
    let key = |_| {
        Ok(EntityKey::from_checked(
            bytes.slice_ref(reader.blob("key")?),
        ))
    };
    (0..count).map(key).collect()
}

/// Are these keys of the span, in order, and complete up to one?
fn check(keys: &[EntityKey], until: Option<&EntityKey>, span: &KeySpan) -> Result<(), Invalid> {
    if keys.len() > KEYS {
        let (what, count, max) = ("keys", keys.len(), KEYS);
        return Err(Problem::TooMany { what, count, max }.at("keys"));
    }
    for (at, key) in keys.iter().enumerate() {
        let field = || format!("keys[{at}]");
        check_length("keys", key.as_bytes().len())?;
        if !span.contains(key) || until.is_some_and(|until| key > until) {
            return Err(Problem::OtherKey.at(field()));
        }
        let before = at.checked_sub(1).and_then(|before| keys.get(before));
        if before.is_some_and(|before| before >= key) {
            return Err(Problem::Unordered.at(field()));
        }
    }
    // What goes on behind it gets ahead.
    if until.is_some_and(|until| !span.contains(until)) {
        return Err(Problem::OtherKey.at("until"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{hello, session};
    use super::*;
    use crate::base::{Epoch, IncarnationId};
    use crate::replication::Vouched;

    fn key(bytes: &[u8]) -> EntityKey {
        EntityKey::from_checked(Bytes::copy_from_slice(bytes))
    }

    fn span(prefix: &[u8], after: Option<&[u8]>) -> KeySpan {
        KeySpan {
            view: ViewId(7),
            prefix: key(prefix),
            after: after.map(key),
        }
    }

    fn vouched(members: std::collections::BTreeSet<u128>) -> Vouched {
        Vouched {
            epoch: Epoch(3),
            members: members.into_iter().map(IncarnationId).collect(),
        }
    }

    fn answer(keys: &[&[u8]], until: &[u8]) -> v1::ListKeysResponse {
        v1::ListKeysResponse {
            epoch: 3,
            members: encode_members(&vouched([1].into()).members),
            keys: packed(|out| {
                put_count(out, keys.len());
                keys.iter().for_each(|key| put_blob(out, key));
            }),
            until: Bytes::copy_from_slice(until),
            unrecovered: false,
        }
    }

    proptest! {
        #[test]
        fn a_question_reads_back(
            view: u64,
            prefix in prop::collection::vec(any::<u8>(), 0..9),
            after in prop::option::of(prop::collection::vec(any::<u8>(), 1..9)),
            session in session(),
        ) {
            let after = after.map(|after| key(&[&prefix[..], &after].concat()));
            let span = KeySpan { view: ViewId(view), prefix: key(&prefix), after };
            let question = KeysAsked { hello: hello(), span, session };
            prop_assert_eq!(KeysAsked::try_from(v1::ListKeysRequest::from(question.clone())), Ok(question));
        }

        #[test]
        fn an_answer_reads_back(
            members: std::collections::BTreeSet<u128>,
            keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..9), 0..=KEYS),
            is_cut: bool,
        ) {
            let keys: Vec<EntityKey> = keys.iter().map(|bytes| key(bytes)).collect();
            let until = keys.last().filter(|_| is_cut).cloned();
            let answer = Answer::Vouched(vouched(members), Listed { keys, until });
            let wire = keys_answer_to_proto(answer.clone());
            prop_assert_eq!(keys_answer_of_proto(wire, &span(b"", None)), Ok(answer));
        }

        #[test]
        fn no_bytes_make_reading_panic(one: Vec<u8>, other: Vec<u8>, session: Vec<u8>) {
            let (one, other): (Bytes, Bytes) = (one.into(), other.into());
            let mut answer = answer(&[], &other);
            answer.keys = one.clone();
            if let Ok(Answer::Vouched(_, listed)) = keys_answer_of_proto(answer, &span(b"a", None)) {
                prop_assert!(listed.keys.iter().all(|key| key.as_bytes().starts_with(b"a")));
            }
            let question = v1::ListKeysRequest {
                hello: Some(hello().into()), view: 1, prefix: one, after: other, session: session.into(),
            };
            let _read = KeysAsked::try_from(question);
        }
    }

    #[test]
    fn who_may_not_answer_lists_nothing() {
        for answer in [Answer::NotNow, Answer::Unrecovered] {
            let wire = keys_answer_to_proto(answer.clone());
            assert_eq!(keys_answer_of_proto(wire, &span(b"", None)), Ok(answer));
        }
    }

    #[test]
    fn what_does_not_answer_the_question_is_refused_and_named() {
        let span = span(b"a", Some(b"ac"));
        let refused = |keys: &[&[u8]], until: &[u8]| {
            let read = keys_answer_of_proto(answer(keys, until), &span);
            read.unwrap_err().to_string()
        };
        let other = "is not among those asked for";
        let long = [b'a'; limits::KEY_BYTES + 1];
        for (keys, until, said) in [
            (
                &[&b"b"[..]][..],
                &b""[..],
                format!("keys[0]: the key {other}"),
            ),
            (&[b"ad", b"ac"], b"", format!("keys[1]: the key {other}")),
            (&[b"ad", b"af"], b"ae", format!("keys[1]: the key {other}")),
            (
                &[b"ae", b"ad"],
                b"",
                "keys[1]: the keys do not ascend".to_owned(),
            ),
            (
                &[b"ad", b"ad"],
                b"",
                "keys[1]: the keys do not ascend".to_owned(),
            ),
            (&[], b"ac", format!("until: the key {other}")),
            (&[], b"b", format!("until: the key {other}")),
            (
                &[],
                &long,
                "until: entity key of 1025 bytes exceeds the limit of 1024".to_owned(),
            ),
            (
                &[&long],
                b"",
                "keys: entity key of 1025 bytes exceeds the limit of 1024".to_owned(),
            ),
        ] {
            assert_eq!(refused(keys, until), said);
        }
        let many: Vec<Vec<u8>> = (0..=KEYS)
            .map(|at| format!("ad{at:03}").into_bytes())
            .collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        assert_eq!(
            refused(&many, b""),
            "keys: 257 keys exceed the limit of 256"
        );
    }

    #[test]
    fn a_question_that_begins_outside_its_prefix_is_refused() {
        let question = |prefix: &[u8], after: &[u8]| {
            let question = v1::ListKeysRequest {
                hello: Some(hello().into()),
                view: 1,
                prefix: Bytes::copy_from_slice(prefix),
                after: Bytes::copy_from_slice(after),
                session: Bytes::new(),
            };
            KeysAsked::try_from(question).map_err(|invalid| invalid.field)
        };
        assert!(question(b"a", b"ab").is_ok());
        assert_eq!(question(b"a", b"b"), Err("after".to_owned()));
        let long = [0; limits::KEY_BYTES + 1];
        assert_eq!(question(&long, b""), Err("prefix".to_owned()));
        assert_eq!(question(b"", &long), Err("after".to_owned()));
    }
}
