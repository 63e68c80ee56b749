//! Makes deliveries in the form that API Gateway hands over: `NEW_CALLOUT`s of 2 KB, each about
//! another callout.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::runtime_api::Invocation;

/// Secret of the webhook.
pub const SECRET: &str = "WYq2mJ4s8Zc1uTnB7vXe0RkLfHd9PaGi3oMyNxQ5tVwCbUhS";
/// Length of each body, in bytes.
pub const BODY_BYTES: usize = 2048;
/// Id of the first callout: as long as AURA's, so that all ids have one length.
const FIRST_ID: u32 = 1_000_000_000;

/// An endless supply of deliveries.
#[derive(Debug)]
pub struct Deliveries {
    before_id: String,
    after_id: String,
    id: u32,
}

impl Default for Deliveries {
    fn default() -> Self {
        let (before, after) = body_around_id();
        Self {
            before_id: before,
            after_id: after,
            id: FIRST_ID,
        }
    }
}

impl Deliveries {
    /// Makes one more delivery: an event of API Gateway, payload format 2.0.
    pub fn make(&mut self) -> Invocation {
        let request_id = Uuid::now_v7();
        let body = format!("{}{}{}", self.before_id, self.id, self.after_id);
        self.id = self.id.wrapping_add(1);
        Invocation {
            request_id,
            event: event(request_id, &body).to_string(),
        }
    }
}

/// A body without its id, in two parts. AURA lists an incident for each responder. The body has as
/// many incidents as fit, and the address of the last one fills the rest.
fn body_around_id() -> (String, String) {
    let before = r#"{"message":"NEW_CALLOUT","callout":{"id":"#.to_owned();
    let mut incidents = vec![incident("")];
    let mut after = rest(&incidents);
    let length = |after: &str| before.len() + FIRST_ID.to_string().len() + after.len();
    while length(&after) < BODY_BYTES {
        let missing = BODY_BYTES - length(&after);
        let another = incident("").to_string().len() + 1;
        incidents.pop();
        if missing < another + 1 {
            incidents.push(incident(&"s".repeat(missing)));
        } else {
            incidents.extend([incident(""), incident("")]);
        }
        after = rest(&incidents);
    }
    (before, after)
}

/// The part of the body after the id.
fn rest(incidents: &[Value]) -> String {
    let incidents = Value::from(incidents).to_string();
    format!(r#","calloutClassification":{{"value":"REAL"}},"incidentInformation":{incidents}}}}}"#)
}

/// An incident in the form of real ones.
fn incident(address: &str) -> Value {
    json!({
        "predefinedLocationId": "99001",
        "typeOfEmergency": {"description": "Armed robbery"},
        "responseType": {"value": "SECURITY"},
        "calloutCurrentLocation": {
            "latitude": "51.5",
            "longitude": "-0.12",
            "formattedAddress": format!("1 Example Street, London{address}"),
        },
        "incidentCategory": {"value": "SECURITY"},
    })
}

fn event(request_id: Uuid, body: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "POST /aura/events",
        "rawPath": "/aura/events",
        "rawQueryString": "",
        "headers": {
            "accept": "application/json, text/plain, */*",
            "authorization": format!("Bearer {SECRET}"),
            "content-length": body.len().to_string(),
            "content-type": "application/json",
            "host": "bench.execute-api.eu-west-1.amazonaws.com",
            "user-agent": "axios/1.7.9",
            "x-amzn-trace-id": "Root=1-67a1b2c3-0123456789abcdef01234567",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "bench",
            "domainName": "bench.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "bench",
            "http": {
                "method": "POST",
                "path": "/aura/events",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "axios/1.7.9",
            },
            "requestId": request_id,
            "routeKey": "POST /aura/events",
            "stage": "$default",
            "time": "22/Nov/2026:08:00:00 +0000",
            "timeEpoch": 1_795_334_400_000_u64,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(delivery: &Invocation) -> String {
        let event: Value = serde_json::from_str(&delivery.event).unwrap();
        event["body"].as_str().unwrap().to_owned()
    }

    #[test]
    fn each_body_has_the_same_size_and_another_callout() {
        let mut deliveries = Deliveries::default();
        let bodies = [deliveries.make(), deliveries.make()].map(|delivery| body(&delivery));
        let ids = bodies.each_ref().map(|body| {
            assert_eq!(body.len(), BODY_BYTES);
            let body: Value = serde_json::from_str(body).unwrap();
            body["callout"]["id"].clone()
        });
        assert_eq!(ids, [FIRST_ID, FIRST_ID + 1]);
    }
}
