use aws_sdk_sqs::types::MessageAttributeValue;

use super::*;
use crate::queue::Settled;

const DELIVERY: &str = "019abc00-0000-7000-8000-000000000000";
const OPENING: &str = r#"{"message":"NEW_CALLOUT","callout":{"id":5003}}"#;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A message of the quarantine that came there in second 0.
fn case(reason: &str, delivery_id: Option<&str>, body: &str) -> Case {
    let texts = [
        Some(("reason", reason)),
        Some(("encoding", "text")),
        Some(("receivedAt", "1970-01-01T00:00:00.000Z")),
        delivery_id.map(|id| ("deliveryId", id)),
    ];
    let attribute = |(name, text): (&str, &str)| {
        let value = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(text)
            .build();
        (name.to_owned(), value.unwrap())
    };
    let attributes = texts.into_iter().flatten().map(attribute).collect();
    Case::of(Waiting::example("m1", body, at(0), attributes))
}

#[test]
fn a_delivery_shows_its_event_and_a_message_of_the_queue_the_delivery_in_it() {
    let delivery = case("conflict", Some(DELIVERY), OPENING).view;
    assert_eq!(
        (delivery.id.as_str(), delivery.message_id.as_str()),
        (DELIVERY, "m1")
    );
    assert_eq!(delivery.what(), "NEW_CALLOUT of callout#5003");
    let payload = RawValue::from_string(OPENING.to_owned()).unwrap();
    let id = DELIVERY.parse().unwrap();
    let envelope = Envelope::new(id, at(7), Origin::Webhook, payload).to_json();
    let message = case("panicked", None, &envelope);
    assert_eq!(message.payload, OPENING);
    let message = message.view;
    assert_eq!(
        (message.id.as_str(), message.received_at),
        (DELIVERY, Some(at(7)))
    );
    assert_eq!(message.entity.as_deref(), Some("callout#5003"));
    let foreign = case("not-an-envelope", None, "poison").view;
    assert_eq!((foreign.id.as_str(), foreign.received_at), ("m1", None));
    assert_eq!(foreign.what(), "the delivery m1");
}

#[test]
fn only_a_conflict_is_a_correction_and_a_conflict_is_nothing_else() {
    let obstacle = |reason, how| case(reason, Some(DELIVERY), OPENING).obstacle(how);
    assert_eq!(obstacle("conflict", Release::AsCorrection), None);
    assert_eq!(obstacle("unpublishable", Release::AsItIs), None);
    for (reason, how) in [
        ("conflict", Release::AsItIs),
        ("unpublishable", Release::AsCorrection),
        ("payload-omitted", Release::AsItIs),
    ] {
        assert!(obstacle(reason, how).is_some(), "{reason}");
    }
}

/// SQS keeps the deduplication id of what the processor puts into the quarantine for five minutes.
#[test]
fn what_would_be_dropped_if_it_came_back_has_to_wait() {
    let waits = |id, second| {
        let case = case("unpublishable", id, OPENING);
        case.is_too_early(at(second)).is_some()
    };
    assert!(waits(Some(DELIVERY), 359));
    assert!(!waits(Some(DELIVERY), 360));
    assert!(!waits(None, 1));
}

#[test]
fn what_is_older_than_an_hour_is_called_old() {
    let text = |second| age([at(9000), at(0)].into_iter(), at(second));
    assert_eq!(text(3600), None);
    let old = text(3 * 86_400).unwrap();
    assert!(old.starts_with("The oldest is 3 d 0 h old:"), "{old}");
    assert_eq!(age([].into_iter(), at(9000)), None);
}

#[test]
fn a_failure_in_the_middle_says_how_many_are_done() {
    let settled = |count: usize, failure: Option<&'static str>| Settled {
        ids: (0..count).map(|id| id.to_string()).collect(),
        failure: failure.map(anyhow::Error::msg),
    };
    let planned = [["a", "0"], ["b", "1"]].map(|ids| ids.map(str::to_owned));
    let report = |settled| report(settled, &planned, "deleted", ["delivery", "deliveries"]);
    let (count, failed) = report(settled(1, Some("SQS")));
    let text = format!("{:#}", failed.unwrap_err());
    let expected = "1 of 2 deliveries were deleted; the others stay where they are: SQS";
    assert_eq!((count, text.as_str()), (1, expected));
    assert!(report(settled(1, None)).1.is_err());
    // A redrive of everything may find more than the list has shown.
    let done = report(settled(3, None)).1.unwrap();
    assert_eq!(done.what, "3 deliveries were deleted.");
    assert_eq!(done.ids, ["a", "b", "2"]);
}

#[test]
fn an_empty_quarantine_says_so() {
    let quarantine = Quarantine {
        deliveries: Vec::new(),
        more: 0,
    };
    assert_eq!(quarantine.to_string(), "The quarantine is empty.");
}
