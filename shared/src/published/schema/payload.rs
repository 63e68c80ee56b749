//! Describes payloads: what AURA is known to send, and what the reconciler makes.

use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Value, json};

/// AURA's JSON, as far as it is documented or was seen. AURA may send more, less, or other shapes.
/// Only `message` is certain, and the object with the name in `entity.kind` and its `id`.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", transform = certain_is_the_message)]
#[expect(dead_code, reason = "it only describes the schema")]
pub(in crate::published) struct Payload {
    /// AURA's event name.
    message: String,
    /// Present in events about a callout.
    callout: Callout,
    /// Present in events about a customer.
    customer: Customer,
    /// Present in events about a subscription.
    subscription: Subscription,
    /// AURA documents it for responder events. It holds responder, supplier, response type,
    /// classification, and the times of dispatch, arrival and completion. It was seen inside
    /// `callout`.
    incident_information: Value,
}

/// A callout as AURA describes it in its deliveries and in its answers. Answers have a nested form
/// or an older flat form. Most events hold only the `id`.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", transform = nothing_is_certain)]
#[expect(dead_code, reason = "it only describes the schema")]
#[expect(clippy::struct_field_names, reason = "the names are AURA's")]
struct Callout {
    /// AURA's id, an integer or text.
    #[schemars(extend("examples" = [5003]))]
    id: Value,
    /// `true` for AURA's connectivity test.
    #[schemars(extend("examples" = [true]))]
    internal_test: Value,
    /// Says whether the callout is a drill.
    callout_classification: Classification,
    /// The incidents of the callout. It was seen as an array.
    incident_information: IncidentInformation,
    /// Free text in mixed case. Not all values are documented.
    #[schemars(extend("examples" = ["created", "Responder Dispatched", "Responder Cancelled"]))]
    status: Value,
    /// In the flat form: the customer's id.
    #[schemars(extend("examples" = [178_921]))]
    customer_id: Value,
    /// In the flat form: the fixed location's id.
    #[schemars(extend("examples" = [99001]))]
    predefined_location_id: Value,
    /// In the flat form: degrees.
    #[schemars(extend("examples" = [-33.9]))]
    latitude: Value,
    /// In the flat form: degrees.
    #[schemars(extend("examples" = [18.4]))]
    longitude: Value,
    /// In the flat form: the kind of response, by AURA's id.
    #[schemars(extend("examples" = [2]))]
    response_type_id: Value,
    /// In the flat form: the classification, by AURA's id.
    #[schemars(extend("examples" = [3]))]
    callout_classification_id: Value,
    /// In the flat form: a date and time.
    #[schemars(extend("examples" = ["2024-04-20T14:45:00Z"]))]
    created_at: Value,
}

/// A callout's classification.
#[derive(JsonSchema)]
#[schemars(transform = nothing_is_certain)]
#[expect(dead_code, reason = "it only describes the schema")]
struct Classification {
    /// `TEST` is a drill.
    #[schemars(extend("examples" = ["REAL", "TEST"]))]
    value: Value,
}

/// The incidents of a callout.
struct IncidentInformation;

impl JsonSchema for IncidentInformation {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IncidentInformation".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The incidents of a callout.",
            "items": generator.subschema_for::<Incident>(),
        })
    }
}

/// One incident.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", transform = nothing_is_certain)]
#[expect(dead_code, reason = "it only describes the schema")]
#[expect(clippy::struct_field_names, reason = "the names are AURA's")]
struct Incident {
    /// The fixed location's id, as text.
    #[schemars(extend("examples" = ["99001"]))]
    predefined_location_id: Value,
    /// An object with a `description`.
    #[schemars(extend("examples" = [{"description": "Armed robbery"}]))]
    type_of_emergency: Value,
    /// An object with a `value`.
    #[schemars(extend("examples" = [{"value": "SECURITY"}]))]
    response_type: Value,
    /// The callout's current place.
    callout_current_location: Location,
    /// The category. `incidentcategory` was seen too.
    #[schemars(extend("examples" = [{"value": "SECURITY"}]))]
    incident_category: Value,
    /// The other spelling of `incidentCategory`.
    #[schemars(rename = "incidentcategory")]
    other_incident_category: Value,
}

/// A place.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", transform = nothing_is_certain)]
#[expect(dead_code, reason = "it only describes the schema")]
struct Location {
    /// Degrees, as text.
    #[schemars(extend("examples" = ["51.5"]))]
    latitude: Value,
    /// Degrees, as text.
    #[schemars(extend("examples" = ["-0.12"]))]
    longitude: Value,
    /// An address.
    #[schemars(extend("examples" = ["1 Example Street, London"]))]
    formatted_address: Value,
}

/// A customer.
#[derive(JsonSchema)]
#[schemars(transform = nothing_is_certain)]
#[expect(dead_code, reason = "it only describes the schema")]
struct Customer {
    /// AURA's id, an integer or text.
    #[schemars(extend("examples" = [178_921]))]
    id: Value,
}

/// A subscription.
#[derive(JsonSchema)]
#[schemars(transform = nothing_is_certain)]
#[expect(dead_code, reason = "it only describes the schema")]
struct Subscription {
    /// AURA's id, an integer or text.
    #[schemars(extend("examples" = [4410]))]
    id: Value,
}

/// The payload of an event with the origin `reconciler`: AURA's answer about a callout, with an
/// event name.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "it only describes the schema")]
pub(super) struct FoundOut {
    /// The name of the event that was found out.
    message: FoundOutName,
    /// Present in a `CALLOUT_OBSERVED`. It numbers the published observations of this callout,
    /// from 1. So a state that comes back is another event than its first occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1))]
    observation: Option<u32>,
    /// Present only if AURA no longer knows the callout: it answered 404.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool", extend("const" = true))]
    gone: Option<bool>,
    /// AURA's answer about the callout, byte for byte. The `id` is added if AURA left it out. If
    /// AURA gave no answer, it is the `id` alone.
    callout: FoundCallout,
}

/// The names of events that the reconciler reports.
#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "it only describes the schema")]
pub(super) enum FoundOutName {
    /// A callout was opened, and AURA sent no event.
    NewCallout,
    /// A callout was closed, and AURA sent no event.
    CalloutClosed,
    /// The present state of a callout. AURA's answers don't say which events led to it.
    CalloutObserved,
}

/// A [`Callout`] that has an id.
struct FoundCallout;

impl JsonSchema for FoundCallout {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FoundCallout".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<Callout>();
        schema.insert("type".into(), "object".into());
        schema.insert("required".into(), json!(["id"]));
        schema
    }
}

/// Removes the rules and keeps the description, because AURA may send anything there, and it is
/// carried.
fn nothing_is_certain(schema: &mut Schema) {
    schema.remove("type");
    schema.remove("required");
}

fn certain_is_the_message(schema: &mut Schema) {
    schema.insert("required".into(), json!(["message"]));
}
