//! The descent of one request, from what came in to what is answered.

use jiff::Timestamp;
use lambda_http::http::Method;
use lambda_http::{Body, Request, RequestExt as _, Response};
use metrique::writer::BoxEntrySink;
use serde_json::value::RawValue;
use shared::aws::MAX_QUEUED_BYTES;
use shared::envelope::{Envelope, Origin};
use shared::event::{self, Event, Unreadable};
use shared::quarantine::{self, Quarantined};
use uuid::{NoContext, Uuid};

use crate::answer::{Answer, Refusal};
use crate::auth::{AuthenticDelivery, Authenticator};
use crate::metrics::RequestMetrics;
use crate::store::{Store, StoreError};

/// The path that the webhook is registered with.
pub const WEBHOOK_PATH: &str = "/aura/events";

/// Everything that a request meets.
#[derive(Debug)]
pub struct Ingest<S> {
    /// The check of the secret.
    pub authenticator: Authenticator,
    /// Where deliveries become durable.
    pub store: S,
    /// The clock; [`Timestamp::now`] but for tests.
    pub now: fn() -> Timestamp,
    /// Where each request's line goes.
    pub metrics: BoxEntrySink,
}

/// A delivery that got in, with its id and time of arrival.
struct Arrival {
    delivery: AuthenticDelivery,
    id: Uuid,
    at: Timestamp,
}

impl<S: Store> Ingest<S> {
    /// Answers one request. Never fails: API Gateway would answer an error in words of its own.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let now = (self.now)();
        let metrics = RequestMetrics::start(now, request.body().len());
        let mut metrics = metrics.append_on_drop(self.metrics.clone());
        let answer = match self.authenticate(request) {
            Ok(delivery) => {
                let arrival = Arrival {
                    delivery,
                    id: delivery_id(now),
                    at: now,
                };
                self.accept(&arrival, &mut metrics).await
            }
            Err(refusal) => Answer::Refused(refusal),
        };
        metrics.answered(answer);
        answer.into_response()
    }

    /// Decides, before anything of the body is read, whether a request is a delivery of AURA's.
    fn authenticate(&self, request: Request) -> Result<AuthenticDelivery, Refusal> {
        if request.raw_http_path() != WEBHOOK_PATH {
            return Err(Refusal::NotFound);
        }
        if request.method() != Method::POST {
            return Err(Refusal::MethodNotAllowed);
        }
        let delivery = self
            .authenticator
            .authenticate(request)
            .map_err(|_| Refusal::Unauthorized)?;
        // After the secret: what is too large and AURA's is lost, and must not drown in noise.
        if delivery.body().len() > MAX_QUEUED_BYTES {
            return Err(Refusal::TooLarge);
        }
        Ok(delivery)
    }

    /// Stores an authentic delivery: on the queue if it can be read, in quarantine otherwise.
    async fn accept(&self, arrival: &Arrival, metrics: &mut RequestMetrics) -> Answer {
        let parsed = event::parse(arrival.delivery.body());
        metrics.delivery(arrival.id, parsed.as_ref().map(|(event, _)| event));
        let storing = metrics.storing();
        let stored = match parsed {
            Ok((event, payload)) => self.enqueue(arrival, &event, payload).await,
            Err(reason) => self.quarantine(arrival, reason).await,
        };
        drop(storing);
        stored.unwrap_or_else(|error| {
            tracing::error!(delivery_id = %arrival.id, %error, "delivery not stored");
            Answer::Refused(Refusal::Unavailable)
        })
    }

    async fn enqueue(
        &self,
        arrival: &Arrival,
        event: &Event,
        payload: &RawValue,
    ) -> Result<Answer, StoreError> {
        let envelope = Envelope::new(arrival.id, arrival.at, Origin::Webhook, payload.to_owned());
        self.store.enqueue(&event.entity, &envelope).await?;
        Ok(Answer::Accepted(arrival.id))
    }

    async fn quarantine(
        &self,
        arrival: &Arrival,
        reason: Unreadable,
    ) -> Result<Answer, StoreError> {
        if !quarantine::takes(arrival.delivery.body()) {
            return Ok(Answer::Refused(Refusal::TooLarge));
        }
        let quarantined = Quarantined {
            reason: &reason.to_string(),
            delivery_id: Some(arrival.id),
            received_at: arrival.at,
            body: arrival.delivery.body(),
        };
        self.store.quarantine(&quarantined).await?;
        Ok(Answer::Quarantined(arrival.id))
    }
}

/// A UUIDv7: ids of later deliveries sort behind those of earlier ones.
fn delivery_id(at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

#[cfg(test)]
mod tests;
