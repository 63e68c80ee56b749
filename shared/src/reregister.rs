//! The event with which the reconciler asks the registrar to point AURA at the deployed endpoint
//! again. The registrar is invoked asynchronously, because nobody waits for its end.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The event. Its JSON is `{"Reregister": {"requestId": "…"}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReregisterRequest {
    /// AURA no longer delivers here. Somebody may have registered another endpoint.
    #[serde(rename_all = "camelCase")]
    Reregister {
        /// The id that both the reconciler and the registrar log.
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
