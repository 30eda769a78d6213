use super::*;
use crate::model::testing::{records as any_records, version_vectors};
use proptest::prelude::*;
use prost::Message as _;

fn epochs() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

fn logs() -> impl Strategy<Value = LogId> {
    (any::<u64>(), epochs()).prop_map(|(region, epoch)| {
        let region = RegionId(region);
        LogId { region, epoch }
    })
}

fn logged() -> impl Strategy<Value = Vec<Logged>> {
    let record = any_records().prop_map(Logged::new);
    proptest::collection::vec(record, 0..4)
}

fn held_heads() -> impl Strategy<Value = Heads> {
    let chain = (logs(), any::<u128>().prop_map(Digest));
    let chains = proptest::collection::btree_map(logs(), chain.prop_map(|(_, chain)| chain), 0..4);
    (version_vectors(), chains).prop_map(|(vector, chains)| Heads::new(vector, chains))
}

fn any_ranges() -> impl Strategy<Value = Vec<Missing>> {
    let range = (logs(), any::<u64>(), any::<u64>()).prop_map(|(log, after, through)| Missing {
        log,
        after: Seq(after),
        through: Seq(through),
    });
    proptest::collection::vec(range, 0..4)
}

fn messages() -> BoxedStrategy<Message> {
    let numbers = || (epochs(), any::<u64>(), any::<u64>().prop_map(Round));
    let append = (numbers(), version_vectors(), logged()).prop_map(
        |((epoch, number, round), vector, records)| {
            Message::Append(Append {
                epoch,
                number,
                round,
                vector,
                records,
            })
        },
    );
    let vectors = (version_vectors(), held_heads(), version_vectors());
    let held = (numbers(), vectors).prop_map(|((epoch, number, round), held)| {
        let (durable, appended, applied) = held;
        Message::Held(Held {
            epoch,
            number,
            round,
            durable,
            appended,
            applied,
        })
    });
    let ack = (epochs(), any::<u64>(), version_vectors(), held_heads());
    let ack = ack.prop_map(|(epoch, boot, durable, appended)| {
        let boot = BootNumber(boot);
        Message::SealAck(SealAck {
            epoch,
            boot,
            durable,
            appended,
        })
    });
    let members = proptest::collection::btree_set(any::<u128>().prop_map(IncarnationId), 0..4);
    let hand_over = (epochs(), members, version_vectors()).prop_map(|(epoch, members, vector)| {
        Message::HandOver {
            epoch,
            members,
            vector,
        }
    });
    let pre_seal = (any::<u64>(), epochs(), epochs()).prop_map(|(number, open, attempt)| {
        Message::PreSeal(PreSeal {
            number,
            open,
            attempt,
        })
    });
    prop_oneof![
        append,
        held,
        (epochs(), epochs()).prop_map(|(epoch, promise)| Message::Fenced { epoch, promise }),
        epochs().prop_map(|epoch| Message::Seal(Seal { epoch })),
        ack,
        (epochs(), any_ranges())
            .prop_map(|(epoch, wanted)| Message::Fetch(Fetch { epoch, wanted })),
        (epochs(), proptest::option::of(logged()))
            .prop_map(|(epoch, records)| Message::Fetched(Fetched { epoch, records })),
        pre_seal,
        (any::<u64>(), any::<bool>())
            .prop_map(|(number, agrees)| Message::PreSealed { number, agrees }),
        hand_over,
        any::<u64>().prop_map(|number| Message::Probe { number }),
        (any::<u64>(), version_vectors())
            .prop_map(|(number, appended)| Message::Probed { number, appended }),
    ]
    .boxed()
}

fn bytes_of(message: &Message) -> Vec<u8> {
    v1::PeerMessage::from(message).encode_to_vec()
}

fn read_bytes(bytes: &[u8]) -> Option<Result<Message, Invalid>> {
    let message = v1::PeerMessage::decode(Bytes::copy_from_slice(bytes)).ok()?;
    Some(Message::try_from(message))
}

proptest! {
    #[test]
    fn every_message_reads_back(message in messages()) {
        prop_assert_eq!(read_bytes(&bytes_of(&message)).unwrap(), Ok(message));
    }

    #[test]
    fn a_message_cut_or_changed_anywhere_is_refused_or_another_one(
        message in messages(), at: prop::sample::Index, to: u8, cut: bool
    ) {
        let mut bytes = bytes_of(&message);
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = to;
        }
        if let Some(Ok(read)) = read_bytes(&bytes) {
            prop_assert_eq!(read_bytes(&bytes_of(&read)).unwrap(), Ok(read));
        }
    }
}

fn refusal(content: Content) -> String {
    let content = Some(content);
    let refused = Message::try_from(v1::PeerMessage { content });
    refused.unwrap_err().to_string()
}

#[test]
fn a_refusal_names_the_field() {
    let append = |vector: &'static [u8], records: &'static [u8]| {
        Content::Append(v1::Append {
            vector: Bytes::from_static(vector),
            records: Bytes::from_static(records),
            ..Default::default()
        })
    };
    assert_eq!(
        refusal(append(&[], &[0; 4])),
        "append.vector: cannot be read: truncated in version vector bases: 4 bytes needed, 0 left"
    );
    assert_eq!(
        refusal(append(&[0; 8], &[1, 0, 0, 0, 0, 0, 0, 0])),
        "append.records: cannot be read: truncated in record: 4 bytes needed, 0 left"
    );
    assert_eq!(
        refusal(append(&[0; 9], &[0; 4])),
        "append.vector: cannot be read: 1 bytes left over after the last entry"
    );
    let wanted = Bytes::from_static(&[255; 40]);
    let fetch = v1::Fetch { epoch: 1, wanted };
    let refused = refusal(Content::Fetch(fetch));
    assert!(
        refused.starts_with("fetch.wanted: cannot be read: truncated in ranges"),
        "{refused}"
    );
    assert_eq!(
        refusal(Content::Hello(v1::PeerHello::default())),
        "hello: the first message of a stream is a hello, and no other is"
    );
    let empty = Message::try_from(v1::PeerMessage::default()).unwrap_err();
    assert_eq!(empty.to_string(), "content: no message given");
}

#[test]
fn a_record_with_a_flipped_bit_is_refused() {
    let record = super::super::testing::records(3, 2, 0).pop().unwrap();
    for bit in 0..record.bytes.len() * 8 {
        let mut bytes = record.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut damaged = record.clone();
        damaged.bytes = bytes.into();
        let fetched = Message::Fetched(Fetched {
            epoch: Epoch(3),
            records: Some(vec![damaged]),
        });
        let refused = read_bytes(&bytes_of(&fetched)).unwrap().unwrap_err();
        assert_eq!(refused.field, "fetched.records");
    }
}
