//! Checks events against what consumers are promised: the schemas in `docs/schema`.

use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow};
use jsonschema::{Registry, Validator};
use serde_json::Value;

const EVENT: &str = include_str!("../../../docs/schema/v1/event.json");
const CLOUD_EVENT: &str = include_str!("../../../docs/schema/v1/cloudevent.json");
const DETAIL: &str = include_str!("../../../docs/schema/v1/detail.json");

static EVENTS: LazyLock<Result<Validator>> = LazyLock::new(|| read(EVENT));
static DETAILS: LazyLock<Result<Validator>> = LazyLock::new(|| read(DETAIL));
static CLOUD_EVENTS: LazyLock<Result<Validator>> = LazyLock::new(|| read(CLOUD_EVENT));

/// Checks an event, in the form in which EventBridge delivers it to its targets, against
/// `docs/schema`.
///
/// # Errors
///
/// Fails if the event breaks the schema. The error says where, and shows none of the event's
/// values.
pub fn check(event: &Value) -> Result<()> {
    check_by(&EVENTS, event)
}

/// Checks the detail of an event: what a backend gets.
///
/// # Errors
///
/// As for [`check`].
pub fn check_detail(detail: &Value) -> Result<()> {
    check_by(&DETAILS, detail)
}

/// Checks an event in the envelope that a backend may get instead.
///
/// # Errors
///
/// As for [`check`].
pub fn check_cloud_event(event: &Value) -> Result<()> {
    check_by(&CLOUD_EVENTS, event)
}

fn check_by(contract: &LazyLock<Result<Validator>>, event: &Value) -> Result<()> {
    let contract = contract.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let broken = contract.iter_errors(event).map(|error| {
        let place = error.instance_path().to_string();
        format!("{place}: {}", error.masked())
    });
    match broken.collect::<Vec<_>>().as_slice() {
        [] => Ok(()),
        broken => Err(anyhow!(
            "the event breaks docs/schema: {}",
            broken.join("; ")
        )),
    }
}

/// Reads a schema and turns on the check of formats, which the draft leaves off by default.
fn read(schema: &str) -> Result<Validator> {
    let schema = serde_json::from_str(schema).context("cannot read a schema of docs/schema/v1")?;
    let detail: Value =
        serde_json::from_str(DETAIL).context("cannot read docs/schema/v1/detail.json")?;
    let name = detail.get("$id").and_then(Value::as_str);
    let name = name.context("docs/schema/v1/detail.json has no $id")?;
    let registry = Registry::new().add(name, &detail)?.prepare()?;
    let options = jsonschema::options()
        .with_registry(&registry)
        .should_validate_formats(true)
        .offline();
    Ok(options.build(&schema)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The published examples; each detail is put into the example event.
    fn examples() -> Vec<Value> {
        let event: Value = serde_json::from_str(EVENT).unwrap();
        let detail: Value = serde_json::from_str(DETAIL).unwrap();
        let framed = |detail: &Value| {
            let mut event = event["examples"][0].clone();
            event["detail-type"] = detail["message"].clone();
            event["detail"] = detail.clone();
            event
        };
        let details = detail["examples"].as_array().unwrap();
        details.iter().map(framed).collect()
    }

    fn example(message: &str) -> Value {
        let mut examples = examples().into_iter();
        examples
            .find(|event| event["detail-type"] == message)
            .unwrap()
    }

    /// Puts a value into an event, at a JSON pointer.
    fn put(event: &mut Value, place: &str, value: Value) {
        let (parent, name) = place.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[name] = value;
    }

    /// The error for an example with one value replaced, or `None` if it keeps the contract.
    fn broken(message: &str, place: &str, value: Value) -> Option<String> {
        let mut event = example(message);
        put(&mut event, place, value);
        check(&event).err().map(|error| error.to_string())
    }

    #[test]
    fn every_published_example_keeps_the_contract() {
        let examples = examples();
        assert_eq!(examples.len(), 7);
        for event in examples {
            check(&event).unwrap();
        }
    }

    #[test]
    fn a_cloud_event_without_its_key_or_with_another_detail_breaks_it() {
        let schema: Value = serde_json::from_str(CLOUD_EVENT).unwrap();
        let event = &schema["examples"][0];
        check_cloud_event(event).unwrap();
        check_detail(&event["data"]).unwrap();
        for (place, value) in [
            ("/id", Value::Null),
            ("/specversion", json!("0.3")),
            ("/time", json!("2026-11-22T08:00:00Z")),
            ("/data/test", json!("no")),
        ] {
            let mut broken = event.clone();
            put(&mut broken, place, value);
            assert!(check_cloud_event(&broken).is_err(), "{place}");
        }
    }

    #[test]
    fn an_event_that_consumers_were_not_promised_breaks_it() {
        let broken_ones = [
            ("/detail/key", json!("callout#5003")),
            ("/detail/deliveryId", json!("7")),
            ("/detail/receivedAt", json!("today")),
            ("/detail/receivedAt", json!("2026-11-22T08:00:00Z")),
            ("/detail/receivedAt", json!("2026-11-22T08:00:00.123456Z")),
            ("/detail/origin", json!("rumour")),
            ("/detail/sequence", json!(7)),
            ("/detail/test", json!("no")),
            ("/detail/entity/id", json!(5003)),
            ("/detail/entity/id", json!("")),
            ("/detail/message", json!("")),
            ("/detail/payload", json!("{}")),
            ("/detail/payload", json!({"callout": {"id": 5003}})),
            // The payload is missing, and no `payloadOmitted` gives the reason.
            ("/detail/payload", Value::Null),
            ("/source", json!("aws.s3")),
            ("/time", json!("noon")),
        ];
        for (place, value) in broken_ones {
            let error = broken("NEW_CALLOUT", place, value).expect(place);
            assert!(error.contains(&format!("{place}: ")), "{place}: {error}");
        }
        let mut event = example("NEW_CALLOUT");
        event["detail"].as_object_mut().unwrap().remove("entity");
        assert!(check(&event).unwrap_err().to_string().contains("entity"));
    }

    #[test]
    fn a_payload_is_there_or_the_reason_why_not() {
        let why = |reason: &str| json!({"reason": reason, "bytes": 7, "digest": "0".repeat(64)});
        let both = broken("NEW_CALLOUT", "/detail/payloadOmitted", why("too-large"));
        assert!(both.unwrap().contains("/detail/payload: "));
        let mut event = example("NEW_CALLOUT");
        put(&mut event, "/detail/payload", Value::Null);
        put(&mut event, "/detail/payloadOmitted", why("too-large"));
        check(&event).unwrap();
        // Later versions may add reasons.
        put(&mut event, "/detail/payloadOmitted", why("another"));
        check(&event).unwrap();
        put(&mut event, "/detail/payloadOmitted/reason", json!(7));
        assert!(check(&event).is_err());
    }

    #[test]
    fn the_schema_of_the_reconcilers_payload_is_closed() {
        let broken_ones = [
            ("/detail/payload/observation", json!(0)),
            ("/detail/payload/gone", json!(false)),
            ("/detail/payload/message", json!("RESPONDER_COMPLETED")),
            ("/detail/payload/callout", json!({"status": "created"})),
            // A callout without its number.
            (
                "/detail/payload",
                json!({"message": "CALLOUT_OBSERVED", "callout": {"id": 5003}}),
            ),
        ];
        for (place, value) in broken_ones {
            let error = broken("CALLOUT_OBSERVED", place, value).expect(place);
            assert!(error.contains("/detail/payload: "), "{place}: {error}");
        }
    }

    #[test]
    fn the_schema_of_auras_payload_is_open_and_so_are_the_names() {
        let open = [
            ("/detail/payload/callout/incidentInformation", json!("none")),
            (
                "/detail/payload/callout/calloutClassification",
                json!(["REAL"]),
            ),
            ("/detail/payload/customer", Value::Null),
            ("/detail/payload/dog", json!({"id": "Rex"})),
            ("/detail/message", json!("CALLOUT_TELEPORTED")),
            ("/detail/entity/kind", json!("")),
            ("/detail/later", json!(true)),
            ("/later", json!(true)),
        ];
        for (place, value) in open {
            assert_eq!(broken("NEW_CALLOUT", place, value), None, "{place}");
        }
    }

    #[test]
    fn an_error_shows_nothing_of_the_payload() {
        let somebody = json!([{"name": "Jane Doe"}]);
        let error = broken("NEW_CALLOUT", "/detail/payload", somebody);
        assert!(!error.unwrap().contains("Jane"));
    }

    /// Each text in `text` that stands between `open` and `close`.
    fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(open)
            .skip(1)
            .filter_map(move |rest| Some(rest.split_once(close)?.0))
    }

    #[test]
    fn every_output_that_asyncapi_names_is_in_the_template() {
        let document = include_str!("../../../docs/asyncapi.yaml");
        let template = include_str!("../../../template.yaml");
        let outputs = template.split_once("\nOutputs:\n").unwrap().1;
        let addresses = between(document, "address: \"{", "}\"");
        let mentioned =
            between(document, "output `", "`").chain(between(document, "output\n      `", "`"));
        let named: Vec<_> = addresses.chain(mentioned).collect();
        for name in &named {
            assert!(outputs.contains(&format!("\n  {name}:\n")), "{name}");
        }
        assert!(
            named.contains(&"EventBusName") && named.contains(&"OtherEventsDeadLetterQueueUrl")
        );
        assert_eq!(named.len(), 6 + 6);
    }
}
