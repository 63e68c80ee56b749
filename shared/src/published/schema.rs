//! The JSON Schemas in `docs/schema`, which are written from the types of published events.
//!
//! A test makes them, so that no function is built with the code for it. `cargo schema` writes the
//! files, and another test fails if they differ from the types. This module describes what the
//! types leave open: AURA's payload, which is carried unread, and the frame that EventBridge puts
//! around the detail.

use std::fs;
use std::path::PathBuf;

use schemars::generate::SchemaSettings;
use schemars::transform::{RestrictFormats, transform_subschemas};
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Value, json};

use super::*;
use crate::catalogue::{CALLOUT_CLOSED, CALLOUT_OBSERVED, EVENT_NAMES, NEW_CALLOUT};
use crate::event;
use crate::ledger::LedgerKey;

mod payload;

pub(super) use payload::Payload;
use payload::{FoundOut, FoundOutName};

/// The beginning of the schemas' names. They are only names: nothing answers there.
const BASE: &str = "https://aura-webhooks.invalid/schema/v1";

/// The pattern of a time, as [`time`](super::time) writes it.
pub(super) const TIME: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$";

/// The folder of this version's schemas. Cargo runs tests in their crate's folder. The path from
/// build time may belong to another checkout.
fn folder() -> PathBuf {
    PathBuf::from("../docs/schema/v1")
}

/// Every schema, by the name of its file.
fn schemas() -> [(&'static str, Schema); 3] {
    [
        ("cloudevent.json", cloud_event()),
        ("detail.json", detail()),
        ("event.json", event()),
    ]
}

/// Every known event name.
pub(super) fn event_names() -> Vec<&'static str> {
    EVENT_NAMES.into_iter().chain([CALLOUT_OBSERVED]).collect()
}

/// An event as EventBridge hands it to its targets. It is the body of a message in a consumer's
/// queue, and the input of a function that a rule starts. Everything except `detail` is
/// EventBridge's.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", title = "An event on the bus")]
#[expect(dead_code, reason = "it only describes the schema")]
struct Event {
    /// The version of EventBridge's frame, not of the detail.
    #[schemars(extend("examples" = ["0"]))]
    version: String,
    /// EventBridge's id. Each publish of an event has another id, and the same `detail.key`.
    id: String,
    /// The event's name, the same as `detail.message`.
    #[schemars(length(min = 1, max = MAX_MESSAGE_CHARS), extend("examples" = event_names()))]
    detail_type: String,
    /// Always `aura`.
    #[schemars(extend("const" = SOURCE))]
    source: String,
    /// The AWS account of the bus.
    #[schemars(regex(pattern = "^[0-9]{12}$"))]
    account: String,
    /// When the delivery arrived, in UTC, to the second. `detail.receivedAt` is more exact.
    time: Timestamp,
    /// The AWS region of the bus.
    #[schemars(extend("examples" = ["eu-west-1"]))]
    region: String,
    /// The list is empty.
    resources: Vec<String>,
    /// What happened.
    #[schemars(with = "ByReference")]
    detail: Value,
}

/// An event in a CloudEvents 1.0 envelope. A backend gets it if the parameter `ForwardFormat` is
/// `cloudevents`. Members may be added.
#[derive(JsonSchema)]
#[schemars(title = "An event for a backend, as a CloudEvent")]
#[expect(dead_code, reason = "it only describes the schema")]
struct CloudEvent {
    /// The version of CloudEvents.
    #[schemars(extend("const" = "1.0"))]
    specversion: String,
    /// The event's identity, the same as `data.key`: every copy of the event has the same.
    #[schemars(length(min = 1))]
    id: String,
    /// The base URL of the AURA system that the event comes from.
    #[schemars(extend("format" = "uri", "examples" = ["https://panic.aura.services"]))]
    source: String,
    /// The event's name, the same as `data.message`.
    #[schemars(rename = "type", length(min = 1), extend("examples" = event_names()))]
    kind: String,
    /// When the delivery arrived, the same as `data.receivedAt`.
    #[schemars(regex(pattern = TIME), extend("format" = "date-time"))]
    time: String,
    /// The media type of the data.
    #[schemars(extend("const" = "application/json"))]
    datacontenttype: String,
    /// What happened.
    #[schemars(with = "ByReference")]
    data: Value,
}

/// The schema of the detail, which is a file of its own.
struct ByReference;

impl JsonSchema for ByReference {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Detail".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({"$ref": "detail.json"})
    }
}

/// Opens a list of values, because more may be added.
pub(super) fn more_may_come(schema: &mut Schema) {
    if let Some(Value::Array(mut values)) = schema.remove("oneOf") {
        values.push(json!({"description": "Others may be added.", "type": "string"}));
        schema.insert("anyOf".into(), values.into());
    }
}

/// Joins the lines of each description, because doc comments have line breaks.
fn one_line(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    transform_subschemas(&mut one_line, schema);
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RestrictFormats::default())
        .with_transform(one_line)
}

/// A schema with its name and its examples.
fn named(file: &str, mut schema: Schema, examples: &[Value]) -> Schema {
    schema.insert("$id".into(), format!("{BASE}/{file}").into());
    schema.insert("examples".into(), examples.into());
    schema
}

fn detail() -> Schema {
    let mut generator = settings().into_generator();
    let found_out = generator.subschema_for::<FoundOut>();
    let mut schema = generator.into_root_schema_for::<Detail<'_>>();
    let is = |origin: &str| json!({"properties": {"origin": {"const": origin}}});
    let rules = json!([
        {
            "if": {"required": ["payloadOmitted"]},
            "then": {"properties": {"payload": {"type": "null"}}},
            "else": {"properties": {"payload": {"type": "object"}}},
        },
        {
            "if": is(Origin::Reconciler.name()),
            "then": {"properties": {"payload": {"anyOf": [found_out, {"type": "null"}]}}},
        },
        {
            "if": {"properties": {
                "origin": {"const": Origin::Reconciler.name()},
                "message": {"const": CALLOUT_OBSERVED},
            }},
            "then": {"properties": {"payload": {"required": ["observation"]}}},
        },
    ]);
    schema.insert("allOf".into(), rules);
    named("detail.json", schema, &detail_examples())
}

fn event() -> Schema {
    let schema = settings().into_generator().into_root_schema_for::<Event>();
    let detail = detail_examples().swap_remove(0);
    let example = json!({
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": NEW_CALLOUT,
        "source": SOURCE,
        "account": "123456789012",
        "time": "2026-11-22T08:00:00Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": detail,
    });
    named("event.json", schema, &[example])
}

fn cloud_event() -> Schema {
    let schema = settings()
        .into_generator()
        .into_root_schema_for::<CloudEvent>();
    let detail = detail_examples().swap_remove(0);
    let example = json!({
        "specversion": "1.0",
        "id": detail["key"],
        "source": "https://panic.aura.services",
        "type": detail["message"],
        "time": detail["receivedAt"],
        "datacontenttype": "application/json",
        "data": detail,
    });
    named("cloudevent.json", schema, &[example])
}

/// The details that are published for the samples, and for two findings of the reconciler.
fn detail_examples() -> Vec<Value> {
    let told = [
        include_str!("../../../infra/events/new-callout.json"),
        include_str!("../../../infra/events/internal-test.json"),
        include_str!("../../../infra/events/responder-arrived.json"),
        include_str!("../../../infra/events/unknown-kind.json"),
    ];
    let found_out = [
        r#"{"message":"CALLOUT_OBSERVED","observation":1,"callout":{"id":5003,"status":"created"}}"#,
        r#"{"message":"CALLOUT_CLOSED","gone":true,"callout":{"id":5003}}"#,
    ];
    let told = told.iter().map(|body| example(body, Origin::Webhook));
    let found_out = found_out
        .iter()
        .map(|body| example(body, Origin::Reconciler));
    let mut examples: Vec<_> = told.chain(found_out).collect();
    examples.push(example_without_payload(examples[0].clone()));
    examples
}

fn example(body: &str, origin: Origin) -> Value {
    let (event, payload) = event::parse(body.as_bytes()).unwrap();
    let digest = event::payload_digest(payload);
    let delivery_id = "019abc00-0000-7000-8000-000000000000".parse().unwrap();
    let detail = Detail {
        key: LedgerKey::new(&event, &digest, delivery_id, origin).to_string(),
        message: &event.message,
        entity: &event.entity,
        delivery_id,
        received_at: "2026-11-22T08:00:00.123Z".parse().unwrap(),
        origin,
        sequence: Some("18870000000000000001"),
        test: event.test,
        payload: Some(payload),
        payload_omitted: None,
    };
    serde_json::to_value(detail).unwrap()
}

fn example_without_payload(mut detail: Value) -> Value {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let omitted = Omitted {
        reason: Omission::TooLarge,
        bytes: 1_012_345,
        digest,
    };
    detail["payload"] = Value::Null;
    detail["payloadOmitted"] = serde_json::to_value(omitted).unwrap();
    detail
}

fn text(schema: &Schema) -> String {
    format!("{}\n", serde_json::to_string_pretty(schema).unwrap())
}

/// `cargo schema` runs this.
#[test]
#[ignore = "it writes files"]
fn write_the_schemas() {
    fs::create_dir_all(folder()).unwrap();
    for (file, schema) in schemas() {
        fs::write(folder().join(file), text(&schema)).unwrap();
    }
}

#[test]
fn the_schemas_in_the_docs_are_these_types() {
    for (file, schema) in schemas() {
        let written = fs::read_to_string(folder().join(file)).unwrap();
        assert!(
            written == text(&schema),
            "docs/schema/v1/{file} is not what the types say. Read docs/schema/README.md on what \
             may change, then write it with: cargo schema"
        );
    }
    assert_eq!(fs::read_dir(folder()).unwrap().count(), schemas().len());
}

#[test]
fn the_reconcilers_names_are_the_catalogues() {
    let schema = settings()
        .into_generator()
        .into_root_schema_for::<FoundOutName>();
    let names = schema.get("oneOf").unwrap().as_array().unwrap().iter();
    let names: Vec<_> = names.map(|name| name["const"].as_str().unwrap()).collect();
    assert_eq!(names, [NEW_CALLOUT, CALLOUT_CLOSED, CALLOUT_OBSERVED]);
}
