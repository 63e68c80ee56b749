//! The steps of one request, from the event that came in to the answer.

use jiff::Timestamp;
use lambda_http::{Body, Response};
use metrique::writer::BoxEntrySink;
use shared::aws::MAX_QUEUED_BYTES;
use shared::canary;
use shared::envelope::{Envelope, Origin};
use shared::event;
use shared::quarantine::{self, QuarantineId, Quarantined};
use shared::queue::{Destination, Outgoing};
use uuid::{NoContext, Uuid};

use crate::answer::{Answer, Refusal};
use crate::auth::{AuthenticDelivery, Authenticator};
use crate::metrics::IngestMetrics;
use crate::request::{GatewayEvent, UnverifiedRequest};
use crate::secret::SecretSource;
use crate::source::AllowedSources;
use crate::store::{Kept, Store};

/// The path that the webhook is registered with.
pub const WEBHOOK_PATH: &str = "/aura/events";

/// The path of the health check, which is open to anybody.
pub const HEALTH_PATH: &str = "/health";

/// The handler, with everything that a request needs.
#[derive(Debug)]
pub struct Ingest<V, S> {
    /// The check of the source address.
    pub allowed_sources: AllowedSources,
    /// The check of the secret.
    pub authenticator: Authenticator<V>,
    /// Where deliveries become durable.
    pub store: S,
    /// The clock: [`Timestamp::now`], except in tests.
    pub now: fn() -> Timestamp,
    /// Where the log line of each request is written.
    pub metrics: BoxEntrySink,
}

/// An authentic delivery with its id and time of arrival.
struct Arrival {
    delivery: AuthenticDelivery,
    id: Uuid,
    at: Timestamp,
}

impl<V: SecretSource, S: Store> Ingest<V, S> {
    /// Answers one request. Never fails, because API Gateway would answer an error in its own words.
    pub async fn handle(&self, event: GatewayEvent) -> Response<Body> {
        let now = (self.now)();
        let mut metrics = IngestMetrics::start(now).append_on_drop(self.metrics.clone());
        let request = UnverifiedRequest::read(&event, self.authenticator.header_name());
        drop(event);
        metrics.request(&request);
        let is_head = request.method == "HEAD";
        let answer = self.answer(request, now, &mut metrics).await;
        let answer = answer.unwrap_or_else(Answer::Refused);
        metrics.answered(answer);
        let mut response = answer.into_response();
        if is_head {
            *response.body_mut() = Body::Empty;
        }
        response
    }

    async fn answer(
        &self,
        request: UnverifiedRequest,
        now: Timestamp,
        metrics: &mut IngestMetrics,
    ) -> Result<Answer, Refusal> {
        if request.path == HEALTH_PATH {
            expect_method(&request, "GET, HEAD")?;
            return Ok(Answer::Healthy);
        }
        let arrival = Arrival {
            delivery: self.admit(request, now, metrics).await?,
            id: delivery_id(now),
            at: now,
        };
        let (outgoing, answer) = read(&arrival, metrics)?;
        let storing = metrics.storing();
        let kept = self.keep(&outgoing).await;
        drop(storing);
        let kept = kept?;
        // A delivery that had to be spilled has waited long enough.
        if kept != Kept::InSpill {
            self.authenticator.wait_for_refresh().await;
        }
        metrics.kept(kept);
        Ok(answer)
    }

    /// Decides whether a request is a delivery from AURA: by its address, path, method, secret and size, in
    /// this order.
    async fn admit(
        &self,
        request: UnverifiedRequest,
        now: Timestamp,
        metrics: &mut IngestMetrics,
    ) -> Result<AuthenticDelivery, Refusal> {
        let is_allowed = self.allowed_sources.allow(request.source);
        if !is_allowed && !canary::is_canarys_body(&request.body) {
            // If the request carries the secret, AURA has a new address or the secret has leaked.
            // An operator must know.
            metrics.wrong_address = self.authenticator.seems_authentic(&request).into();
            return Err(Refusal::Forbidden);
        }
        if request.path != WEBHOOK_PATH {
            return Err(Refusal::NotFound);
        }
        expect_method(&request, "POST")?;
        let delivery = self.authenticator.authenticate(request, now).await?;
        // The size is checked after the secret, so that strangers can't raise the alarm about lost
        // deliveries.
        if delivery.body().len() > MAX_QUEUED_BYTES {
            return Err(Refusal::TooLarge);
        }
        Ok(delivery)
    }

    /// Stores a delivery on its queue or, if that doesn't confirm in time, in the spill.
    async fn keep(&self, outgoing: &Outgoing) -> Result<Kept, Refusal> {
        let delivery_id = outgoing.delivery_id;
        let queue = outgoing.destination.name();
        let error = match self.store.send(outgoing).await {
            Ok(message_id) => return Ok(Kept::OnQueue { message_id }),
            Err(error) => error,
        };
        tracing::warn!(%delivery_id, queue, %error, "the queue did not confirm the delivery");
        let Err(error) = self.store.spill(outgoing).await else {
            return Ok(Kept::InSpill);
        };
        tracing::error!(
            %delivery_id, queue, %error,
            "neither queue nor spill confirmed the delivery"
        );
        Err(Refusal::StoreUnavailable)
    }
}

/// Refuses every method that is not in `allowed`, the value of the header `Allow`.
fn expect_method(request: &UnverifiedRequest, allowed: &'static str) -> Result<(), Refusal> {
    if allowed.split(", ").any(|method| method == request.method) {
        return Ok(());
    }
    Err(Refusal::MethodNotAllowed { allowed })
}

/// Reads as much of a delivery as routing needs. A readable delivery goes to the ingest queue, any
/// other to the quarantine.
fn read(arrival: &Arrival, metrics: &mut IngestMetrics) -> Result<(Outgoing, Answer), Refusal> {
    let body = arrival.delivery.body();
    let parsed = event::parse(body);
    metrics.delivery(arrival.id, parsed.as_ref().map(|(event, _)| event));
    let outgoing = |destination, message| Outgoing {
        delivery_id: arrival.id,
        destination,
        message,
    };
    match parsed {
        Ok((event, payload)) => {
            let origin = if canary::is_canary(&event) {
                Origin::Canary
            } else {
                Origin::Webhook
            };
            let envelope = Envelope::new(arrival.id, arrival.at, origin, payload.to_owned());
            let message = envelope.message(&event.entity);
            Ok((
                outgoing(Destination::Ingest, message),
                Answer::Accepted(arrival.id),
            ))
        }
        Err(_) if !quarantine::takes(body) => Err(Refusal::TooLarge),
        Err(reason) => {
            let quarantined = Quarantined {
                reason: &reason.to_string(),
                id: QuarantineId::Delivery(arrival.id),
                received_at: arrival.at,
                body,
                conflict: None,
            };
            Ok((
                outgoing(Destination::Quarantine, quarantined.message()),
                Answer::Quarantined(arrival.id),
            ))
        }
    }
}

/// Makes a UUIDv7, so that later deliveries have greater ids.
fn delivery_id(at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

#[cfg(test)]
mod tests;
