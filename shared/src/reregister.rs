//! How the registrar is asked to point AURA at the deployed endpoint again: the event that it is
//! invoked with, asynchronously, since nobody waits for its end.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `{"Reregister": {"requestId": "…"}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReregisterRequest {
    /// AURA no longer delivers here: somebody else has registered another endpoint, say.
    #[serde(rename_all = "camelCase")]
    Reregister {
        /// Stands in the registrar's log line, and in the log of who has asked.
        request_id: Uuid,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn its_json_is_a_contract_between_two_functions() {
        let request = ReregisterRequest::Reregister {
            request_id: Uuid::nil(),
        };
        let expected = json!({
            "Reregister": {"requestId": "00000000-0000-0000-0000-000000000000"},
        });
        assert_eq!(serde_json::to_value(request).unwrap(), expected);
        assert_eq!(
            serde_json::from_value::<ReregisterRequest>(expected).unwrap(),
            request
        );
    }
}
