//! That shapes say what the services' definitions say.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::*;

type Messages = BTreeMap<String, DescriptorProto>;

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(v1::DESCRIPTORS).unwrap()
}

fn messages() -> Messages {
    let files = descriptors().file.into_iter();
    let messages = files.flat_map(|file| file.message_type);
    messages
        .map(|message| (message.name().to_owned(), message))
        .collect()
}

/// The message in a field, if one is.
fn inner<'a>(messages: &'a Messages, field: &FieldDescriptorProto) -> Option<&'a DescriptorProto> {
    let name = field.type_name().rsplit('.').next().unwrap();
    (field.r#type() == Type::Message).then(|| &messages[name])
}

fn is_list(field: &FieldDescriptorProto) -> bool {
    let is_packed = !matches!(field.r#type(), Type::Message | Type::String | Type::Bytes);
    field.label() == Label::Repeated && !is_packed
}

fn leads_to_lists(messages: &Messages, message: &DescriptorProto) -> bool {
    let leads = |field: &FieldDescriptorProto| {
        is_list(field)
            || inner(messages, field).is_some_and(|inner| leads_to_lists(messages, inner))
    };
    message.field.iter().any(leads)
}

fn assert_same(messages: &Messages, message: &DescriptorProto, shape: &Shape) {
    let mut known: BTreeMap<_, _> = shape
        .0
        .iter()
        .map(|(number, part)| (*number, part))
        .collect();
    for field in &message.field {
        let name = format!("{}.{}", message.name(), field.name());
        let inner = inner(messages, field);
        let part = known.remove(&u32::try_from(field.number()).unwrap());
        match part {
            Some(Many(shape, _)) => {
                assert!(is_list(field), "{name}");
                inner
                    .into_iter()
                    .for_each(|inner| assert_same(messages, inner, shape));
            }
            Some(One(shape)) => {
                assert!(!is_list(field), "{name}");
                assert_same(messages, inner.unwrap(), shape);
            }
            None => {
                let leads = inner.is_some_and(|inner| leads_to_lists(messages, inner));
                assert!(!is_list(field) && !leads, "{name} is not counted");
            }
        }
    }
    assert!(known.is_empty(), "{}: {known:?}", message.name());
}

#[test]
fn every_list_in_a_request_of_a_client_is_counted() {
    let messages = messages();
    let mut counted = 0;
    for service in descriptors().file.iter().flat_map(|file| &file.service) {
        if !["FeatureService", "ViewService", "AdminService"].contains(&service.name()) {
            continue;
        }
        for method in &service.method {
            let name = method.input_type().rsplit('.').next().unwrap();
            let shape = Shape::of(name).unwrap_or(&TEXT);
            counted += usize::from(Shape::of(name).is_some());
            assert_same(&messages, &messages[name], shape);
        }
    }
    assert_eq!(counted, 7);
}

#[test]
fn a_list_counts_twice_its_elements_and_four_at_least() {
    let row = |count: usize| [0x12, 0].repeat(count);
    let value = size_of::<v1::Value>();
    for (count, elements) in [(0, 0), (1, 4), (2, 6), (100, 202)] {
        assert_eq!(ROW.list_bytes(&row(count)), elements * value, "{count}");
    }
    // Both lists of a row, and other fields between.
    let both = [
        &row(3)[..],
        &[0x0a, 0, 0x20, 7, 0x19, 1, 2, 3, 4, 5, 6, 7, 8],
        &row(1),
    ]
    .concat();
    assert_eq!(ROW.list_bytes(&both), (10 + 4) * value);
}

#[test]
fn counting_ends_where_decoding_does_and_beyond_the_bound() {
    let broken = [&[0x12, 0].repeat(5)[..], &[0x12, 9, 1]].concat();
    assert!(v1::Row::decode(broken.as_slice()).is_err());
    assert_eq!(ROW.list_bytes(&broken), 12 * size_of::<v1::Value>());
    let many = [0x12, 0].repeat(3 << 20);
    let counted = ROW.list_bytes(&many);
    assert!(
        (LIST_BYTES + 1..LIST_BYTES + 200).contains(&counted),
        "{counted}"
    );
}
