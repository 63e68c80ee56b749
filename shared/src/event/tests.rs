use proptest::prelude::*;

use super::*;

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../../../infra/events/", $name))
    };
}

fn read(body: &str) -> Result<Event, Unreadable> {
    parse(body.as_bytes()).map(|(event, _)| event)
}

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
fn the_captured_shapes_are_read() {
    let cases = [
        (
            sample!("new-callout.json"),
            "NEW_CALLOUT",
            "callout",
            "5003",
            false,
        ),
        (
            sample!("responder-arrived.json"),
            "RESPONDER_ARRIVED_ON_SCENE",
            "callout",
            "5003",
            false,
        ),
        (
            sample!("callout-closed.json"),
            "CALLOUT_CLOSED",
            "callout",
            "5003",
            false,
        ),
        (
            sample!("created-customer.json"),
            "CREATED_CUSTOMER",
            "customer",
            "178921",
            false,
        ),
        (
            sample!("subscription-created.json"),
            "SUBSCRIPTION_CREATED",
            "subscription",
            "4410",
            false,
        ),
        (
            sample!("internal-test.json"),
            "NEW_CALLOUT",
            "callout",
            "5004",
            true,
        ),
        (
            sample!("test-classification.json"),
            "NEW_CALLOUT",
            "callout",
            "5005",
            true,
        ),
        (
            sample!("unknown-kind.json"),
            "PATROL_STARTED",
            "patrol",
            "P-17",
            false,
        ),
    ];
    for (body, message, kind, id, test) in cases {
        let event = read(body).unwrap();
        assert_eq!(
            (event.message.as_str(), event.test),
            (message, test),
            "{body}"
        );
        assert_eq!(event.entity, entity(kind, id), "{body}");
    }
}

#[test]
fn what_cannot_be_routed_says_why() {
    use Unreadable::*;
    let cases: [(&[u8], Unreadable); 20] = [
        (b"\xff", NotUtf8),
        ("\"\u{FFFF}\"".as_bytes(), NotQueueable),
        (b"", NotJson),
        (b"{\"message\": \"NEW_CALLOUT\"", NotJson),
        (b"{} trailing", NotJson),
        (b"[]", NotAnObject),
        (b"7", NotAnObject),
        (b"{}", MessageMissing),
        (
            b"{\"message\": 7, \"callout\": {\"id\": 1}}",
            MessageInvalid,
        ),
        (
            b"{\"message\": \"\", \"callout\": {\"id\": 1}}",
            MessageInvalid,
        ),
        (
            b"{\"message\": \"A\", \"message\": \"A\", \"callout\": {\"id\": 1}}",
            MessageTwice,
        ),
        (b"{\"message\": \"A\"}", EntityMissing),
        (b"{\"message\": \"A\", \"callout\": 5003}", EntityMissing),
        (
            b"{\"message\": \"A\", \"a\": {\"id\": 1}, \"b\": {\"id\": 2}}",
            EntityAmbiguous,
        ),
        (
            b"{\"message\": \"A\", \"callout\": {\"id\": 1}, \"callout\": {\"id\": 2}}",
            EntityAmbiguous,
        ),
        (
            b"{\"message\": \"A\", \"callout\": {\"id\": 1, \"id\": 2}}",
            EntityAmbiguous,
        ),
        (sample!("unreadable.json").as_bytes(), EntityIdMissing),
        (
            b"{\"message\": \"A\", \"callout\": {\"id\": null}}",
            EntityIdMissing,
        ),
        (
            b"{\"message\": \"A\", \"callout\": {\"id\": \"\"}}",
            EntityIdInvalid,
        ),
        (
            b"{\"message\": \"A\", \"callout\": {\"id\": 1.5}}",
            EntityIdInvalid,
        ),
    ];
    for (body, expected) in cases {
        let text = String::from_utf8_lossy(body);
        assert_eq!(parse(body).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn a_number_and_a_string_are_the_same_id() {
    let with_id = |id: &str| read(&format!(r#"{{"message":"A","callout":{{"id":{id}}}}}"#));
    assert_eq!(with_id("5003").unwrap(), with_id("\"5003\"").unwrap());
    let beyond_64_bits = "123456789012345678901234567890";
    assert_eq!(with_id(beyond_64_bits).unwrap().entity.id, beyond_64_bits);
}

#[test]
fn of_several_documented_entities_the_one_that_the_name_mentions_counts() {
    let both = r#""customer": {"id": 1}, "subscription": {"id": 2}, "callout": {"id": 3}"#;
    let kind = |message: &str| {
        read(&format!(r#"{{"message": "{message}", {both}}}"#))
            .unwrap()
            .entity
            .kind
    };
    assert_eq!(kind("CREATED_CUSTOMER"), "customer");
    assert_eq!(kind("SUBSCRIPTION_CREATED"), "subscription");
    assert_eq!(kind("CALLOUT_SOFT_CANCELLED_BY_CUSTOMER"), "callout");
    assert_eq!(kind("RESPONDER_COMPLETED"), "callout");
}

#[test]
fn escapes_in_member_names_are_understood() {
    let event = read(r#"{"m\u0065ssage": "A", "call\u006fut": {"id": 1}}"#).unwrap();
    assert_eq!(event.entity, entity("callout", "1"));
}

#[test]
fn deep_nesting_is_carried() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let body = format!(r#"{{"message": "A", "callout": {{"id": 1, "x": {deep}}}}}"#);
    let (event, payload) = parse(body.as_bytes()).unwrap();
    assert_eq!(event.entity, entity("callout", "1"));
    assert_eq!(payload.get(), body);
    assert_eq!(payload_digest(payload).len(), 64);
}

#[test]
fn a_group_id_is_one_that_sqs_takes() {
    assert_eq!(entity("callout", "5003").group_id(), "callout#5003");
    for id in ["with space", "ümlaut", "🚨", &"9".repeat(300)] {
        let group = entity("callout", id).group_id();
        assert!(
            group.len() <= 128 && group.bytes().all(|b| b.is_ascii_graphic()),
            "{group}"
        );
    }
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
