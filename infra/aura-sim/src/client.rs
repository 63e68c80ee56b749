//! A typed client of the stand-in. It calls AURA's API as a partner does, and the control room's
//! API.
//!
//! The client reads and writes the stand-in's own types, so the two can't differ.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use reqwest::{Client, Method, RequestBuilder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use crate::{
    deliveries::{
        events::{Fate, LoggedEvent},
        log::{Delivery, DeliveryReport},
    },
    faults::{
        calls::{Call, REGISTER, TOKEN},
        ordered::{Fault, FaultyAnswer, Reply},
    },
    world::{
        callout::{CalloutState, Controller},
        day::Day,
        event::{Entity, EventName, Kind},
        registration::{Registration, RegistrationReport},
    },
};
use crate::{
    faults::plan::Plan,
    http::{
        api::{CalloutContent, Credentials, IssuedToken, PREFIX},
        control::{EndedPlan, ExpiredTokens, ForgottenFaults, StartedPlan},
    },
    sim::{CLIENT_ID, CLIENT_SECRET},
    world::{
        callout::{Emergency, NewCallout, Remark},
        crowd::CrowdOrder,
        customer::{CreatedCustomer, NewCustomer, Person, Terms},
        location::Position,
        payload::Reference,
        registration::RegistrationRequest,
    },
};

/// Time limit of a day, whose call is answered when the day is over.
const LONGEST_DAY: Duration = Duration::from_hours(24);
/// Time limit of a list, which may have ten thousand deliveries.
const LONGEST_LIST: Duration = Duration::from_mins(1);
/// The pause between two readings of the list of deliveries.
const POLL: Duration = Duration::from_millis(20);
/// When a customer's subscription begins: 2026-01-01T00:00:00Z.
const VALID_FROM: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// When a customer's subscription ends: 2099-01-01T00:00:00Z.
const VALID_TO: Timestamp = Timestamp::constant(4_070_908_800, 0);

/// The fields of the answer of this project's ingest that the client reads.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct IngestAnswer<'a> {
    delivery_id: Option<&'a str>,
    status: Option<&'a str>,
}

impl Delivery {
    fn ingest_answer(&self) -> IngestAnswer<'_> {
        let answer = self.answer.as_deref();
        answer
            .and_then(|answer| serde_json::from_str(answer).ok())
            .unwrap_or_default()
    }

    /// The id that ingest gave the delivery.
    #[must_use]
    pub fn delivery_id(&self) -> Option<&str> {
        self.ingest_answer().delivery_id
    }

    /// Time between the delivery and its answer.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        let (sent, answered) = (self.sent_at?, self.answered_at?);
        Duration::try_from(answered.duration_since(sent)).ok()
    }

    /// Whether ingest answered 202 with this status (`accepted`, `quarantined`).
    #[must_use]
    pub fn was_answered(&self, status: &str) -> bool {
        self.status == Some(202) && self.ingest_answer().status == Some(status)
    }
}

/// A client with a token. A call fails if the stand-in can't be reached, refuses, or answers in an
/// unexpected form. A fault can cause each of these.
#[derive(Debug, Clone)]
pub struct Aura {
    base: String,
    token: String,
    http: Client,
}

impl Aura {
    /// Gets a token from the stand-in at `base`, which must have [the default
    /// credentials](crate::Options::default).
    pub async fn connect(base: &str) -> Result<Self> {
        let mut aura = Self {
            base: base.trim_end_matches('/').to_owned(),
            token: String::new(),
            http: shared::http_client::build().context("cannot build an HTTP client")?,
        };
        let credentials = Credentials {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
        };
        let request = aura.api(Method::POST, "/oauth/token").json(&credentials);
        let issued: IssuedToken = read(request).await?;
        aura.token = issued.access_token;
        Ok(aura)
    }

    /// The token, for calls that this client doesn't have.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Creates a customer with a subscription, and returns the customer's id.
    pub async fn create_customer(&self, mobile: &str) -> Result<String> {
        let new = NewCustomer {
            customer: Person {
                name: "Thandi".to_owned(),
                surname: "Mokoena".to_owned(),
                mobile: mobile.to_owned(),
            },
            subscription: Some(Terms {
                subscription_type_id: 1,
                valid_from: Some(VALID_FROM),
                valid_to: Some(VALID_TO),
            }),
        };
        let created: CreatedCustomer = read(self.api_post("/customers", &new)).await?;
        Ok(created.customer.id.to_string())
    }

    /// Raises a callout for a customer, as the panic button does, and returns the callout's id.
    pub async fn create_callout(&self, customer: &str) -> Result<String> {
        self.raise(customer, Emergency::REAL).await
    }

    /// Raises a callout that AURA marks as a test, and returns the callout's id.
    pub async fn create_drill(&self, customer: &str) -> Result<String> {
        self.raise(customer, Emergency::TEST).await
    }

    async fn raise(&self, customer: &str, callout_classification_id: u64) -> Result<String> {
        let new = NewCallout {
            location: Position {
                latitude: -33.9249,
                longitude: 18.4241,
            },
            emergency: Emergency {
                response_type_id: 1,
                callout_classification_id,
            },
        };
        let request = self.api_post(&format!("/customers/{customer}/callouts"), &new);
        let raised: CalloutContent<Reference> = read(request).await?;
        Ok(raised.callout.id.to_string())
    }

    /// Cancels a callout for the customer, without a safe code.
    pub async fn cancel(&self, callout: &str) -> Result<()> {
        let request = self.api(Method::POST, &format!("/callouts/{callout}/cancel"));
        send(request).await.map(drop)
    }

    /// Registers a webhook in place of the one in force, as another user of the same account may
    /// do.
    pub async fn register(
        &self,
        url: &str,
        events: &[&str],
        headers: &BTreeMap<String, String>,
    ) -> Result<()> {
        let registration = RegistrationRequest {
            url: Some(url.to_owned()),
            events: Some(events.iter().map(|&name| name.to_owned()).collect()),
            method: None,
            headers: headers.clone(),
        };
        send(self.api_post("/notifiers/webhooks", &registration))
            .await
            .map(drop)
    }

    /// Adds a chat message to a callout.
    pub async fn chat(&self, callout: &str, message: &str) -> Result<()> {
        let message = message.to_owned();
        let request = self.api_post(&format!("/callouts/{callout}/events"), &Remark { message });
        send(request).await.map(drop)
    }

    /// Does an act of the control room on a callout.
    pub async fn control(&self, callout: &str, act: Controller) -> Result<()> {
        let request = self.sim(Method::POST, &format!("/callouts/{callout}/{act}"));
        send(request).await.map(drop)
    }

    /// Lists the deliveries so far, with their answers.
    pub async fn deliveries(&self) -> Result<DeliveryReport> {
        self.list("/deliveries").await
    }

    /// Waits until every delivery has been answered, and lists them.
    pub async fn all_answered(&self) -> Result<Vec<Delivery>> {
        loop {
            let sent = self.deliveries().await?;
            if sent.pending == 0 {
                return Ok(sent.deliveries);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a delivery again, byte for byte.
    pub async fn resend(&self, n: u64) -> Result<()> {
        let request = self.sim(Method::POST, &format!("/resend/{n}"));
        send(request).await.map(drop)
    }

    /// Plays a random day, and returns when the last of its events has been answered.
    pub async fn play(&self, day: &Day) -> Result<()> {
        let request = self.sim(Method::POST, "/day").timeout(LONGEST_DAY);
        send(request.json(day)).await.map(drop)
    }

    /// Reads the registration in force, and all earlier ones.
    pub async fn registration(&self) -> Result<RegistrationReport> {
        read(self.sim(Method::GET, "/registration")).await
    }

    /// Lists the tokens that the stand-in has issued.
    pub async fn tokens(&self) -> Result<Vec<String>> {
        read(self.sim(Method::GET, "/tokens")).await
    }

    /// Orders a fault.
    pub async fn order(&self, fault: &Fault) -> Result<()> {
        let request = self.sim(Method::POST, "/faults").json(fault);
        send(request).await.map(drop)
    }

    /// Removes the faults that have not happened yet, and returns their number.
    pub async fn forget_faults(&self) -> Result<usize> {
        let ended: ForgottenFaults = read(self.sim(Method::DELETE, "/faults")).await?;
        Ok(ended.forgotten)
    }

    /// Ends every issued token, this client's too. After that, this client can only make calls that
    /// need no token. Returns the number of tokens that were valid.
    pub async fn expire_tokens(&self) -> Result<usize> {
        let ended: ExpiredTokens = read(self.sim(Method::DELETE, "/tokens")).await?;
        Ok(ended.expired)
    }

    /// Lists every call of AURA's API so far, oldest first. This client's own calls are in the list
    /// too.
    pub async fn calls(&self) -> Result<Vec<Call>> {
        read(self.sim(Method::GET, "/calls")).await
    }

    /// Puts a plan of unreliability in force in place of the one before. Returns the time of its
    /// start.
    pub async fn plan(&self, plan: &Plan) -> Result<Timestamp> {
        let started: StartedPlan = read(self.sim(Method::POST, "/plan").json(plan)).await?;
        Ok(started.started_at)
    }

    /// Ends the plan, so that AURA is reliable again. Returns the number of deliveries that the
    /// plan held back.
    pub async fn end_plan(&self) -> Result<usize> {
        let ended: EndedPlan = read(self.sim(Method::DELETE, "/plan")).await?;
        Ok(ended.held_back)
    }

    /// Lists every event that happened at AURA so far, oldest first, also those without a delivery.
    pub async fn events(&self) -> Result<Vec<LoggedEvent>> {
        self.list("/events").await
    }

    /// Lists every callout in its current state, closed ones too. No plan changes this answer.
    pub async fn callouts(&self) -> Result<Vec<CalloutState>> {
        self.list("/callouts").await
    }

    /// Raises this number of callouts at once, without events. They play callouts that are older
    /// than the stand-in.
    pub async fn crowd(&self, callouts: u64) -> Result<()> {
        let request = self.sim(Method::POST, "/crowd");
        send(request.json(&CrowdOrder { callouts })).await.map(drop)
    }

    fn api(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{PREFIX}{path}", self.base);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    fn api_post(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.api(Method::POST, path).json(body)
    }

    fn sim(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/_sim{path}", self.base))
    }

    /// Reads a list that may be long.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(self.sim(Method::GET, path).timeout(LONGEST_LIST)).await
    }
}

async fn read<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let body = send(request).await?;
    serde_json::from_str(&body).context("AURA's answer has an unexpected form")
}

/// Sends a request, and returns the body of a successful answer.
async fn send(request: RequestBuilder) -> Result<String> {
    let answer = request.send().await.context("cannot reach AURA")?;
    let (status, path) = (answer.status(), answer.url().path().to_owned());
    let body = answer
        .text()
        .await
        .with_context(|| format!("AURA broke off its answer to {path}"))?;
    if !status.is_success() {
        bail!("AURA answered {status} to {path}: {body}");
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
