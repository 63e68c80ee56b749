//! The event with which the reconciler or an operator asks the registrar to point AURA at the
//! deployed endpoint again. The reconciler doesn't wait for the end, and an operator gets a
//! [`ReregisterAnswer`].

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

/// The registrar's answer: AURA delivers to the deployed endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReregisterAnswer {
    /// The steps of the registration, each with its outcome and its time.
    pub steps: Vec<String>,
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
