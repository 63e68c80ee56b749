use aws_sdk_sqs::types::MessageAttributeValue;
use serde_json::json;
use uuid::Uuid;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn envelope(id: u128) -> String {
    let payload = r#"{"message":"NEW_CALLOUT","callout":{"id":5003}}"#;
    let payload = RawValue::from_string(payload.to_owned()).unwrap();
    let origin = shared::envelope::Origin::Webhook;
    Envelope::new(Uuid::from_u128(id), at(7), origin, payload).to_json()
}

fn letter(id: u128, group: &str) -> Letter {
    let mut waiting = Waiting::example(&id.to_string(), &envelope(id), at(9), HashMap::new());
    waiting.group = Some(group.to_owned());
    Letter::of(Letters::Ingest, waiting)
}

/// An event as EventBridge puts it into a queue, with these attributes.
fn published(attributes: &[(&str, &str)]) -> Waiting {
    let body = r#"{"id":"b","detail":{"key":"k","message":"CALLOUT_CLOSED","deliveryId":"d1",
        "entity":{"kind":"callout","id":"5003"},"receivedAt":"1970-01-01T00:00:07.000Z","test":true,
        "payload":{"message": "CALLOUT_CLOSED"}}}"#;
    let attribute = |(name, text): &(&str, &str)| {
        let value = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(*text)
            .build();
        ((*name).to_owned(), value.unwrap())
    };
    let attributes = attributes.iter().map(attribute).collect();
    Waiting::example("m1", body, at(9), attributes)
}

#[test]
fn a_message_shows_its_event_and_why_it_is_here() {
    let ingest = letter(1, "callout#5003").view;
    assert_eq!(ingest.id, Uuid::from_u128(1).to_string());
    assert_eq!(ingest.entity.as_deref(), Some("callout#5003"));
    assert_eq!(
        (ingest.received_at, ingest.since),
        (Some(at(7)), Some(at(9)))
    );
    assert_eq!(ingest.test, None);

    let refused = published(&[
        ("ERROR_CODE", "NO_PERMISSIONS"),
        ("ERROR_MESSAGE", "not allowed"),
    ]);
    let refused = Letter::of(Letters::Callout, refused);
    let reason = "EventBridge could not deliver it: NO_PERMISSIONS: not allowed";
    assert_eq!(refused.view.reason, reason);
    assert_eq!(
        (refused.view.id.as_str(), refused.view.test),
        ("d1", Some(true))
    );
    assert_eq!(refused.payload, r#"{"message": "CALLOUT_CLOSED"}"#);

    let mut left = published(&[]);
    left.is_moved = true;
    let left = Letter::of(Letters::Callout, left).view;
    assert!(
        left.reason
            .starts_with("Its consumer received it five times")
    );
    assert_eq!(left.since, None);

    let unreadable = Waiting::example("m2", "poison", at(9), HashMap::new());
    let unreadable = Letter::of(Letters::Other, unreadable).view;
    assert_eq!((unreadable.id.as_str(), unreadable.entity), ("m2", None));
}

#[test]
fn what_goes_back_is_the_same_without_the_error_and_can_not_be_dropped() {
    let refused = published(&[("ERROR_CODE", "NO_PERMISSIONS"), ("traceId", "1")]);
    let event = again(&refused, "url");
    assert_eq!(event.attributes.keys().collect::<Vec<_>>(), ["traceId"]);
    assert_eq!((event.body, event.fifo), (refused.body, None));
    let delivery = letter(1, "callout#5003").waiting;
    let fifo = again(&delivery, "url").fifo.unwrap();
    assert_eq!(
        (fifo.group.as_str(), fifo.deduplication_id.as_str()),
        ("callout#5003", "again-1")
    );
}

#[test]
fn no_message_overtakes_an_earlier_one_of_its_entity() {
    let seen = [
        letter(1, "a"),
        letter(2, "b"),
        letter(3, "a"),
        letter(4, "a"),
    ];
    let keeps = |ids: &[usize]| {
        let chosen: Vec<_> = ids.iter().map(|id| &seen[id - 1]).collect();
        keeps_order(&seen, &chosen)
    };
    for ids in [&[1][..], &[2], &[1, 3], &[1, 2, 3, 4], &[]] {
        assert!(keeps(ids).is_ok(), "{ids:?}");
    }
    for ids in [&[3][..], &[1, 4], &[2, 4]] {
        let refused = keeps(ids).unwrap_err().to_string();
        assert!(refused.contains("would overtake"), "{refused}");
    }
}

#[test]
fn the_question_says_what_can_happen() {
    let (delivery, event) = (letter(1, "a"), Letter::of(Letters::Callout, published(&[])));
    let chosen = |queue, letter, more| Chosen {
        queue,
        letters: vec![letter],
        more,
    };
    let all = [
        chosen(Letters::Ingest, &delivery, 2),
        chosen(Letters::Callout, &event, 0),
    ];
    assert_eq!(
        sentence(&all, at(7200 + 7)),
        "Put back 1 message of the ingest queue's dead letters and 1 message of the callout \
         events' dead letters. About 2 more follow, which can't be seen yet. The oldest is 2 h 0 \
         min old: consumers act on it as on a new event. The ledger drops what was published \
         meanwhile. Nothing behind a consumer's queue looks into the ledger: a consumer that \
         doesn't store keys may act twice."
    );
    let words = sentence(&all[..1], at(8));
    assert!(
        !words.contains("old") && !words.contains("consumer"),
        "{words}"
    );
}

#[test]
fn an_event_for_the_backend_goes_out_again_as_it_was_and_what_is_no_event_stays() {
    let body = r#"{"version":"0","id":"b","source":"aura","detail-type":"CALLOUT_CLOSED",
        "time":"1970-01-01T00:00:07Z","detail":{"key": "k",  "payload":{"x":1.50}}}"#;
    let waiting = Waiting::example("m1", body, at(9), HashMap::new());
    let entry = published_again(&waiting, "again", false).unwrap();
    let found = (entry.event_bus_name(), entry.source(), entry.detail_type());
    assert_eq!(found, (Some("again"), Some("aura"), Some("CALLOUT_CLOSED")));
    assert_eq!(entry.time(), Some(&DateTime::from_secs(7)));
    assert_eq!(
        entry.detail(),
        Some(r#"{"key": "k",  "payload":{"x":1.50}}"#)
    );

    let unreadable = Waiting::example("m2", "no event", at(9), HashMap::new());
    assert_eq!(published_again(&unreadable, "again", true), Err(NO_EVENT));
}

#[test]
fn a_drill_goes_to_the_backend_only_if_the_stack_forwards_drills() {
    let event = |id: &str, test: bool| {
        let body = json!({
            "source": "aura", "detail-type": "NEW_CALLOUT", "detail": {"deliveryId": id, "test": test},
        });
        let waiting = Waiting::example(id, &body.to_string(), at(9), HashMap::new());
        Letter::of(Letters::Forward, waiting)
    };
    let no_event = Waiting::example("other", "no event", at(9), HashMap::new());
    let no_event = Letter::of(Letters::Forward, no_event);
    let (drill, real) = (event("drill", true), event("real", false));
    let left = |queue, gets_drills| {
        let mut chosen = vec![Chosen {
            queue,
            letters: vec![&drill, &real, &no_event],
            more: 0,
        }];
        let staying = leave_what_stays(&mut chosen, gets_drills);
        (subjects(&chosen), staying)
    };
    let (ids, staying) = left(Letters::Forward, false);
    assert_eq!(ids, ["real"]);
    assert_eq!(staying, format!("drill {DRILL}. other {NO_EVENT}."));
    let (ids, staying) = left(Letters::Forward, true);
    assert_eq!(ids, ["drill", "real"]);
    assert_eq!(staying, format!("other {NO_EVENT}."));
    // Consumers' queues get all again.
    let (ids, staying) = left(Letters::Callout, false);
    assert_eq!((ids.len(), staying.as_str()), (3, ""));

    let mut drills = vec![Chosen {
        queue: Letters::Forward,
        letters: vec![&drill],
        more: 0,
    }];
    leave_what_stays(&mut drills, false);
    assert!(drills.is_empty());
}
