//! Tests what holds for any body. The table in `functions/ingest/bodies` says what is read from
//! single bodies.

use proptest::prelude::*;

use super::*;

fn entity(kind: &str, id: &str) -> Entity {
    Entity {
        kind: kind.into(),
        id: id.into(),
    }
}

fn digest(payload: &str) -> String {
    payload_digest(serde_json::from_str(payload).unwrap())
}

#[test]
fn a_payload_that_is_nested_too_deeply_has_a_digest() {
    let deep = |nest: usize| digest(&format!("{}{}", "[".repeat(nest), "]".repeat(nest)));
    assert_eq!(deep(10_000), deep(10_000));
    assert_ne!(deep(10_000), deep(10_001));
}

#[test]
fn the_digest_ignores_spelling_and_keeps_content() {
    let base = digest(r#"{"a": 1, "b": [true, "x"]}"#);
    assert_eq!(base, digest("{\"b\":[true,\"\\u0078\"],\n\"a\":1}"));
    assert_ne!(base, digest(r#"{"a": 1, "b": ["x", true]}"#));
    assert_ne!(base, digest(r#"{"a": 2, "b": [true, "x"]}"#));
    let big = |last: u8| digest(&format!("{{\"a\": 1234567890123456789012{last}}}"));
    assert_ne!(big(1), big(2));
}

proptest! {
    #[test]
    fn different_entities_have_different_keys_and_groups(
        (kind, id) in (".{1,8}", ".{1,8}"),
        (other_kind, other_id) in (".{1,8}", ".{1,8}"),
    ) {
        let (one, other) = (entity(&kind, &id), entity(&other_kind, &other_id));
        prop_assert_eq!(one == other, one.key() == other.key());
        prop_assert_eq!(one == other, one.group_id() == other.group_id());
    }

    #[test]
    fn a_key_fits_a_dynamodb_partition(kind in ".{1,32}", id in "[#/%\u{1}a]{1,512}") {
        prop_assume!(kind.len() <= MAX_KIND_BYTES);
        prop_assert!(entity(&kind, &id).key().len() <= 2048);
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body);
    }

    #[test]
    fn any_id_comes_back_as_it_was(id in ".{1,64}") {
        let quoted = serde_json::to_string(&id).unwrap();
        let body = format!(r#"{{"message": "A", "callout": {{"id": {quoted}}}}}"#);
        match parse(body.as_bytes()) {
            Ok((event, payload)) => {
                prop_assert_eq!(event.entity.id, id);
                prop_assert_eq!(payload.get(), body.as_str());
            }
            Err(reason) => prop_assert_eq!(reason, Unreadable::NotQueueable),
        }
    }
}
