use super::*;
use crate::model::{Items, KeyValue};
use crate::proto::testing::{catalogue, int32, text};
use crate::proto::{Reason, items_to_proto};
use proptest::prelude::*;

fn leg(carrier: &str, number: i32) -> EntityKey {
    EntityKey::encode(&[KeyValue::String(carrier.into()), KeyValue::Int32(number)])
}

fn scan(view: &str, prefix: Vec<v1::Value>, resume_token: Bytes) -> Result<Scan, Invalid> {
    let request = v1::ScanFeaturesRequest {
        view: view.into(),
        prefix,
        resume_token,
        ..Default::default()
    };
    scan_of_request(request, ReadLevel::Local, &catalogue())
}

proptest! {
    #[test]
    fn a_token_continues_behind_its_key(carrier: String, number: i32) {
        prop_assume!(carrier.len() < 300);
        let last = leg(&carrier, number);
        let token = resume_token(catalogue().view("legs").unwrap().id, &last);
        let resumed = scan("legs", vec![text(&carrier)], token).unwrap();
        prop_assert_eq!(resumed.after, Some(last));
    }

    #[test]
    fn a_token_with_a_flipped_bit_is_refused(at: prop::sample::Index, bit in 0..8u8) {
        let token = resume_token(catalogue().view("legs").unwrap().id, &leg("UA", 7));
        let mut token = token.to_vec();
        let at = at.index(token.len());
        token[at] ^= 1 << bit;
        let invalid = scan("legs", vec![], token.into()).unwrap_err();
        prop_assert_eq!(invalid.field, "resume_token");
        prop_assert!(matches!(invalid.problem, Problem::NoToken(_)));
    }

    #[test]
    fn no_bytes_as_a_token_make_a_scan_panic(bytes: Vec<u8>) {
        let _scan = scan("legs", vec![], bytes.into());
    }
}

#[test]
fn a_token_of_other_data_is_refused_for_what_it_is() {
    let of = |view: &str, key: &EntityKey| resume_token(catalogue().view(view).unwrap().id, key);
    let user = EntityKey::encode(&[KeyValue::Int64(1)]);
    let cases = [
        (
            scan("legs", vec![], of("users", &user)),
            "the resume token belongs to the view with id",
        ),
        (
            scan("legs", vec![text("UA")], of("legs", &leg("AA", 1))),
            "the resume token lies outside the prefix",
        ),
        (
            scan("legs", vec![], of("legs", &user)),
            "this is no resume token: ",
        ),
        (
            scan("legs", vec![], Bytes::from_static(b"UA")),
            "this is no resume token: ",
        ),
    ];
    for (refused, message) in cases {
        let invalid = refused.unwrap_err();
        assert_eq!(invalid.field, "resume_token");
        assert_eq!(invalid.problem.reason(), Reason::InvalidArgument);
        assert!(
            invalid.problem.to_string().starts_with(message),
            "{invalid}"
        );
    }
}

#[test]
fn every_malformed_scan_names_its_field() {
    let cases = [
        (scan("leg", vec![], Bytes::new()), "view"),
        (scan("legs", vec![int32(1)], Bytes::new()), "prefix[0]"),
        (
            scan("users", vec![int32(1), int32(1)], Bytes::new()),
            "prefix",
        ),
    ];
    for (refused, field) in cases {
        assert_eq!(refused.unwrap_err().field, field);
    }
}

#[test]
fn a_page_has_a_column_for_each_join_key_and_the_token_of_its_last_row() {
    let catalogue = catalogue();
    let view = catalogue.view("legs").unwrap();
    let keys = [leg("AA", 1), leg("UA", -2)];
    let page = page_to_proto(view, &keys, vec![], keys.last(), "seen".to_owned()).unwrap();
    let column = |name: &str, items| v1::KeyColumn {
        join_key: name.into(),
        values: Some(items_to_proto(items)),
    };
    let carriers = Items::String(vec!["AA".into(), "UA".into()]);
    assert_eq!(
        page.entities,
        [
            column("carrier", carriers),
            column("number", Items::Int32(vec![1, -2]))
        ]
    );
    assert_eq!(page.resume_token, resume_token(view.id, &keys[1]));
    assert_eq!(page.session, "seen");
    assert!(page_to_proto(view, &[EntityKey::encode(&[])], vec![], None, String::new()).is_err());
}
