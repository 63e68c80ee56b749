//! The descent of one request, from what came in to what is answered.

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
use crate::auth::{AuthenticDelivery, Authenticator, NotAuthentic};
use crate::metrics::RequestMetrics;
use crate::request::{GatewayEvent, Request};
use crate::secret::SecretSource;
use crate::source::AllowedSources;
use crate::store::Store;

/// The path that the webhook is registered with.
pub const WEBHOOK_PATH: &str = "/aura/events";

/// The path that says that the function runs, to anybody who asks.
pub const HEALTH_PATH: &str = "/health";

/// Everything that a request meets.
#[derive(Debug)]
pub struct Ingest<V, S> {
    /// The check of the source address.
    pub allowed_sources: AllowedSources,
    /// The check of the secret.
    pub authenticator: Authenticator<V>,
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

impl<V: SecretSource, S: Store> Ingest<V, S> {
    /// Answers one request. Never fails: API Gateway would answer an error in words of its own.
    pub async fn handle(&self, event: GatewayEvent) -> Response<Body> {
        let now = (self.now)();
        let mut metrics = RequestMetrics::start(now).append_on_drop(self.metrics.clone());
        let request = Request::read(&event, self.authenticator.header_name());
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
        request: Request,
        now: Timestamp,
        metrics: &mut RequestMetrics,
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
        let spilled = self.keep(&outgoing).await;
        drop(storing);
        let spilled = spilled?;
        metrics.spilled(spilled);
        // What had to be spilled has waited for long enough.
        if !spilled {
            self.authenticator.settled().await;
        }
        Ok(answer)
    }

    /// Decides, before anything of the body is read, whether a request is a delivery of AURA's.
    async fn admit(
        &self,
        request: Request,
        now: Timestamp,
        metrics: &mut RequestMetrics,
    ) -> Result<AuthenticDelivery, Refusal> {
        let is_allowed = self.allowed_sources.allow(request.source);
        if !is_allowed && !canary::is_canarys_body(&request.body) {
            // AURA sends from elsewhere, or somebody has the secret: either is for an operator.
            metrics.wrong_address(self.authenticator.seems_authentic(&request));
            return Err(Refusal::Forbidden);
        }
        if request.path != WEBHOOK_PATH {
            return Err(Refusal::NotFound);
        }
        expect_method(&request, "POST")?;
        let authentic = self.authenticator.authenticate(request, now).await;
        let delivery = authentic.map_err(|not_authentic| match not_authentic {
            NotAuthentic::WrongSecret => Refusal::Unauthorized,
            NotAuthentic::SecretUnknown => Refusal::SecretUnavailable,
        })?;
        // After the secret: what is too large and AURA's is lost, and must not drown in noise.
        if delivery.body().len() > MAX_QUEUED_BYTES {
            return Err(Refusal::TooLarge);
        }
        Ok(delivery)
    }

    /// Makes a delivery durable: on its queue or, if that doesn't confirm in time, in the spill.
    /// Says whether it is in the spill.
    async fn keep(&self, outgoing: &Outgoing) -> Result<bool, Refusal> {
        let delivery_id = outgoing.delivery_id;
        let queue = outgoing.destination.name();
        let Err(error) = self.store.send(outgoing).await else {
            return Ok(false);
        };
        tracing::warn!(%delivery_id, queue, %error, "queue not reached");
        let Err(error) = self.store.spill(outgoing).await else {
            return Ok(true);
        };
        tracing::error!(%delivery_id, queue, %error, "delivery not stored");
        Err(Refusal::StoreUnavailable)
    }
}

/// `allowed` is what the header `Allow` says, too.
fn expect_method(request: &Request, allowed: &'static str) -> Result<(), Refusal> {
    if allowed.split(", ").any(|method| method == request.method) {
        return Ok(());
    }
    Err(Refusal::MethodNotAllowed { allowed })
}

/// Reads as much of a delivery as routing needs: what can be read is for the ingest queue, what
/// can't is for the quarantine.
fn read(arrival: &Arrival, metrics: &mut RequestMetrics) -> Result<(Outgoing, Answer), Refusal> {
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

/// A UUIDv7: ids of later deliveries sort behind those of earlier ones.
fn delivery_id(at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

#[cfg(test)]
mod tests;
