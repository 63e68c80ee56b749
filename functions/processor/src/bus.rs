//! The event bus, and the shape of what consumers get from it.

use std::future::Future;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_eventbridge::operation::put_events::{PutEventsError, PutEventsOutput};
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::envelope::Origin;
use shared::event::Entity;
use uuid::Uuid;

/// The `Source` of every event that is published.
pub const SOURCE: &str = "aura";

/// The `Detail` of a published event. This is an API: consumers' rules and code match it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail<'a> {
    /// The event's identity, the same in every copy of it: `callout#5003/NEW_CALLOUT`.
    pub key: String,
    /// AURA's event name; also the `DetailType`.
    pub message: &'a str,
    /// What it happened to.
    pub entity: &'a Entity,
    /// The delivery that was published.
    pub delivery_id: Uuid,
    /// When that delivery arrived; also the event's `Time`.
    pub received_at: Timestamp,
    /// Who told us.
    pub origin: Origin,
    /// SQS's sequence number: greater means later, among the events of one entity. Compare by
    /// length first, then as text; it has more digits than a double holds.
    pub sequence: Option<&'a str>,
    /// AURA marked it as test traffic: keep it away from real dispatch.
    pub test: bool,
    /// AURA's payload, byte for byte.
    pub payload: &'a RawValue,
}

/// Where events are published.
pub trait Bus: Send + Sync + 'static {
    /// Publishes one event and returns the bus's id of it.
    fn publish(&self, detail: &Detail<'_>)
    -> impl Future<Output = Result<String, BusError>> + Send;
}

/// The event is not on the bus, as far as we know.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The detail can't be written.
    #[error("the event can't be written")]
    Detail(#[from] serde_json::Error),
    /// The call failed.
    #[error("event bus: {}", shared::aws::describe(.0))]
    Call(#[from] Box<SdkError<PutEventsError>>),
    /// The call succeeded and says that the entry did not.
    #[error("event bus: entry refused: {code}")]
    Entry {
        /// EventBridge's code.
        code: String,
    },
}

/// What EventBridge says of an entry that it will never take. Refusals that are ours to mend, such
/// as a missing permission, are not among them.
const PERMANENT_CODES: [&str; 3] = ["MalformedDetail", "InvalidArgument", "ValidationException"];

impl BusError {
    /// Whether this event can never be published as it is: trying again would only hold up the
    /// events behind it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        let code = match self {
            Self::Detail(_) => return true,
            Self::Call(error) => error
                .as_service_error()
                .and_then(ProvideErrorMetadata::code),
            Self::Entry { code } => Some(code.as_str()),
        };
        code.is_some_and(|code| PERMANENT_CODES.contains(&code))
    }
}

/// EventBridge.
#[derive(Debug)]
pub struct EventBridge {
    client: Client,
    bus_name: String,
}

impl EventBridge {
    /// The bus called `bus_name`.
    #[must_use]
    pub fn new(client: Client, bus_name: String) -> Self {
        Self { client, bus_name }
    }
}

impl Bus for EventBridge {
    async fn publish(&self, detail: &Detail<'_>) -> Result<String, BusError> {
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus_name)
            .source(SOURCE)
            .detail_type(detail.message)
            .time(DateTime::from_millis(detail.received_at.as_millisecond()))
            .detail(serde_json::to_string(detail)?)
            .build();
        let call = self.client.put_events().entries(entry).send();
        event_id(call.await.map_err(Box::new)?)
    }
}

/// `PutEvents` reports the failure of an entry inside a 200.
fn event_id(answer: PutEventsOutput) -> Result<String, BusError> {
    let entry = answer.entries.unwrap_or_default().into_iter().next();
    match entry.map(|entry| (entry.event_id, entry.error_code)) {
        Some((Some(id), None)) => Ok(id),
        Some((_, Some(code))) => Err(BusError::Entry { code }),
        Some((None, None)) | None => Err(BusError::Entry {
            code: "no answer for it".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_eventbridge::types::PutEventsResultEntry;

    use super::*;

    #[test]
    fn an_entry_that_failed_inside_a_200_is_a_failure() {
        let failed = PutEventsResultEntry::builder()
            .error_code("ThrottlingException")
            .build();
        let answer = PutEventsOutput::builder()
            .failed_entry_count(1)
            .entries(failed)
            .build();
        let error = event_id(answer).unwrap_err();
        assert!(error.to_string().contains("ThrottlingException"), "{error}");
        assert!(!error.is_permanent());
    }

    #[test]
    fn what_eventbridge_will_never_take_is_permanent() {
        let refused = |code: &str| BusError::Entry { code: code.into() };
        assert!(refused("MalformedDetail").is_permanent());
        assert!(!refused("InternalFailure").is_permanent());
        assert!(!refused("NotAuthorizedForSourceException").is_permanent());
    }

    #[test]
    fn an_answer_without_the_entry_is_no_success() {
        event_id(PutEventsOutput::builder().build()).unwrap_err();
    }
}
