//! AURA as its customers and controllers use it: the calls that make the stand-in send events,
//! what it says it sent and was asked, what is to go wrong with its answers, and how unreliable it
//! is to be.

pub mod faults;
mod unreliable;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aura_sim::AuraSim;
pub use aura_sim::plan;
use jiff::Timestamp;
use reqwest::{Client, Method, RequestBuilder};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

pub use self::world::{CalloutState, Fate, Happened};

use self::faults::Fault;

/// A day is answered when it is over.
const LONGEST_DAY: Duration = Duration::from_hours(24);
/// The list of ten thousand deliveries takes its time to be written and read.
const LONGEST_LIST: Duration = Duration::from_mins(1);
/// Between two looks at the list.
const POLL: Duration = Duration::from_millis(20);

/// The credentials that the stand-in takes.
pub const CLIENT_ID: &str = "local-client";
/// See [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "local-secret";

/// Starts a stand-in for AURA on a free port of this machine. It takes plain HTTP for webhooks
/// on this machine, and nothing else that AURA wouldn't take.
///
/// # Errors
///
/// It can't listen.
pub async fn start() -> Result<AuraSim> {
    AuraSim::start(aura_sim::Options {
        port: 0,
        client_id: CLIENT_ID.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        allow_http_loopback: true,
    })
    .await
    .context("cannot start the stand-in for AURA")
}

/// What a controller in AURA's control room does to a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Takes ownership.
    Own,
    /// Dispatches a responder by hand.
    Dispatch,
    /// A responder acknowledges, with an estimated time of arrival.
    Acknowledge,
    /// The responder arrives.
    Arrive,
    /// The responder is done.
    Complete,
    /// Closes the callout.
    Close,
}

impl Controller {
    fn path(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Dispatch => "dispatch",
            Self::Acknowledge => "acknowledge",
            Self::Arrive => "arrive",
            Self::Complete => "complete",
            Self::Close => "close",
        }
    }
}

/// One POST that the stand-in made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Its number, from 1.
    pub n: u64,
    /// The event's name.
    pub message: String,
    /// What the event is about.
    pub entity: Entity,
    /// When it was sent; `None` while it waits.
    pub sent_at: Option<Timestamp>,
    /// When it was answered, or failed.
    pub answered_at: Option<Timestamp>,
    /// The answer's HTTP status.
    pub status: Option<u16>,
    /// Why there was no answer.
    pub error: Option<String>,
    /// The answer's body, read as JSON if it is.
    #[serde(deserialize_with = "json_text")]
    pub answer: Option<Value>,
    /// The number of the delivery that this one repeats.
    pub duplicate_of: Option<u64>,
}

impl Delivery {
    /// The id that ingest gave it.
    #[must_use]
    pub fn delivery_id(&self) -> Option<&str> {
        self.answer.as_ref()?.get("deliveryId")?.as_str()
    }

    /// How long the answer took.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        let (sent, answered) = (self.sent_at?, self.answered_at?);
        Duration::try_from(answered.duration_since(sent)).ok()
    }

    /// True if ingest answered 202 with this status (`accepted`, `quarantined`).
    #[must_use]
    pub fn was_answered(&self, status: &str) -> bool {
        let answer = self.answer.as_ref().and_then(|answer| answer.get("status"));
        self.status == Some(202) && answer.and_then(Value::as_str) == Some(status)
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// `callout`, `customer`, `subscription`, or another.
    pub kind: String,
    /// Its id at AURA, which may come as a number.
    #[serde(deserialize_with = "number_or_text")]
    pub id: String,
}

fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(id) => Ok(id),
        Value::Number(id) => Ok(id.to_string()),
        other => Err(D::Error::custom(format!(
            "an id is a number or text, not {other}"
        ))),
    }
}

/// What the stand-in says it sent.
#[derive(Debug, Clone, Deserialize)]
pub struct Deliveries {
    /// How many are still to be answered or sent.
    pub pending: u64,
    /// All that were sent, in order.
    pub deliveries: Vec<Delivery>,
}

/// A random day of emergencies. The same seed makes the same events.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Day {
    /// What the day is made from. A seed can be played once.
    pub seed: u32,
    /// How many distinct events it has.
    pub events: u64,
    /// How many deliveries are queued each second.
    pub per_second: f64,
    /// How many duplicates come on top, as a share of `events`.
    pub duplicates: f64,
    /// How many more of its events happen at least before one of its callouts is closed.
    pub closing_after: u64,
}

/// One call of AURA's API that came to the stand-in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Call {
    /// Method and path below `/panic-api/v2`, as the routes write it.
    #[serde(rename = "call")]
    pub name: String,
    /// When it came.
    pub at: Timestamp,
    /// The status that was answered; `None` if nothing was.
    pub status: Option<u16>,
}

/// A client of the stand-in: AURA's API with a token, and the controller's side.
#[derive(Debug, Clone)]
pub struct Aura {
    base: String,
    token: String,
    http: Client,
}

impl Aura {
    /// Gets a token from the AURA at `base`.
    ///
    /// # Errors
    ///
    /// AURA is out of reach or refuses.
    pub async fn connect(base: &str) -> Result<Self> {
        let http = shared::http_client::build().context("cannot build an HTTP client")?;
        let mut aura = Self {
            base: base.trim_end_matches('/').to_owned(),
            token: String::new(),
            http,
        };
        let credentials = json!({"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET});
        let answer = aura
            .api(Method::POST, "/oauth/token", Some(credentials))
            .await?;
        text(&answer, "/access_token")?.clone_into(&mut aura.token);
        Ok(aura)
    }

    /// Creates a customer with a subscription, and returns the customer's id.
    ///
    /// # Errors
    ///
    /// AURA is out of reach or refuses.
    pub async fn create_customer(&self, mobile: &str) -> Result<String> {
        let body = json!({
            "customer": {"name": "Thandi", "surname": "Mokoena", "mobile": mobile},
            "subscription": {
                "subscriptionTypeId": 1,
                "validFrom": "2026-01-01T00:00:00Z",
                "validTo": "2099-01-01T00:00:00Z",
            },
        });
        id(
            &self.api(Method::POST, "/customers", Some(body)).await?,
            "customer",
        )
    }

    /// The customer's panic button: creates a callout, and returns its id.
    ///
    /// # Errors
    ///
    /// AURA is out of reach or refuses.
    pub async fn create_callout(&self, customer: &str) -> Result<String> {
        self.create_classified(customer, 1).await
    }

    /// Creates a callout that AURA marks as a test, and returns its id.
    ///
    /// # Errors
    ///
    /// AURA is out of reach or refuses.
    pub async fn create_drill(&self, customer: &str) -> Result<String> {
        self.create_classified(customer, 2).await
    }

    async fn create_classified(&self, customer: &str, classification: u64) -> Result<String> {
        let body = json!({
            "responseTypeId": 1,
            "location": {"latitude": -33.9249, "longitude": 18.4241, "accuracy": 5},
            "calloutClassificationId": classification,
        });
        let path = format!("/customers/{customer}/callouts");
        id(&self.api(Method::POST, &path, Some(body)).await?, "callout")
    }

    /// The customer's cancellation of a callout, without a safe code.
    ///
    /// # Errors
    ///
    /// AURA is out of reach or refuses.
    pub async fn cancel(&self, callout: &str) -> Result<()> {
        let path = format!("/callouts/{callout}/cancel");
        self.api(Method::POST, &path, None).await?;
        Ok(())
    }

    /// Registers a webhook in place of the one in force, as somebody else with the same account
    /// would.
    ///
    /// # Errors
    ///
    /// AURA is out of reach or refuses.
    pub async fn register(
        &self,
        url: &str,
        events: &[&str],
        headers: &BTreeMap<String, String>,
    ) -> Result<()> {
        let body = json!({"url": url, "events": events, "headers": headers});
        self.api(Method::POST, "/notifiers/webhooks", Some(body))
            .await?;
        Ok(())
    }

    /// Adds a chat message to a callout.
    ///
    /// # Errors
    ///
    /// AURA is out of reach or refuses.
    pub async fn chat(&self, callout: &str, message: &str) -> Result<()> {
        let path = format!("/callouts/{callout}/events");
        self.api(Method::POST, &path, Some(json!({"message": message})))
            .await?;
        Ok(())
    }

    /// Does what a controller does.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach or refuses.
    pub async fn control(&self, callout: &str, action: Controller) -> Result<()> {
        let path = format!("/callouts/{callout}/{}", action.path());
        self.sim(Method::POST, &path, None).await?;
        Ok(())
    }

    /// What was sent so far, and what was answered.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn deliveries(&self) -> Result<Deliveries> {
        let answer = self.list("/deliveries").await?;
        serde_json::from_value(answer).context("the stand-in's list of deliveries has another form")
    }

    /// All deliveries, when none waits for its answer any more.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
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
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach, or there is no such delivery.
    pub async fn resend(&self, n: u64) -> Result<()> {
        self.sim(Method::POST, &format!("/resend/{n}"), None)
            .await?;
        Ok(())
    }

    /// Plays a random day, and returns when the last of its events has been queued.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach or refuses.
    pub async fn play(&self, day: &Day) -> Result<()> {
        let url = format!("{}/_sim/day", self.base);
        let request = self.http.post(url).timeout(LONGEST_DAY);
        let day = serde_json::to_value(day).context("a day is no JSON")?;
        self.send(request, "/day", Some(day)).await?;
        Ok(())
    }

    /// The webhook that is registered, as the stand-in has it.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn registration(&self) -> Result<Value> {
        self.sim(Method::GET, "/registration", None).await
    }

    /// The tokens that the stand-in gave out.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn tokens(&self) -> Result<Vec<String>> {
        let answer = self.sim(Method::GET, "/tokens", None).await?;
        serde_json::from_value(answer).context("the stand-in's list of tokens has another form")
    }

    /// Orders a fault.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach, or has no such call.
    pub async fn order(&self, fault: &Fault) -> Result<()> {
        let fault = serde_json::to_value(fault).context("a fault is no JSON")?;
        self.sim(Method::POST, "/faults", Some(fault)).await?;
        Ok(())
    }

    /// Forgets the faults that have not happened yet, and returns how many orders that were.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn forget_faults(&self) -> Result<u64> {
        let answer = self.sim(Method::DELETE, "/faults", None).await?;
        number(&answer, "/forgotten")
    }

    /// Ends every token that was given out, this client's too: from now on it can only do what
    /// needs none. Returns how many were good.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn expire_tokens(&self) -> Result<u64> {
        let answer = self.sim(Method::DELETE, "/tokens", None).await?;
        number(&answer, "/expired")
    }

    /// Every call of AURA's API so far, this client's own too, oldest first.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn calls(&self) -> Result<Vec<Call>> {
        let answer = self.sim(Method::GET, "/calls", None).await?;
        serde_json::from_value(answer).context("the stand-in's list of calls has another form")
    }

    async fn api(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}/panic-api/v2{path}", self.base);
        self.send(
            self.http.request(method, url).bearer_auth(&self.token),
            path,
            body,
        )
        .await
    }

    /// A list of the stand-in's that can be long.
    async fn list(&self, path: &str) -> Result<Value> {
        let url = format!("{}/_sim{path}", self.base);
        self.send(self.http.get(url).timeout(LONGEST_LIST), path, None)
            .await
    }

    async fn sim(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}/_sim{path}", self.base);
        self.send(self.http.request(method, url), path, body).await
    }

    async fn send(
        &self,
        request: RequestBuilder,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request
            .send()
            .await
            .with_context(|| format!("AURA is out of reach for {path}"))?;
        let status = answer.status();
        let body = answer
            .text()
            .await
            .with_context(|| format!("AURA broke off its answer to {path}"))?;
        if !status.is_success() {
            bail!("AURA answered {status} to {path}: {body}");
        }
        Ok(serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}

fn text<'a>(answer: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("AURA's answer has no text at {pointer}"))
}

fn number(answer: &Value, pointer: &str) -> Result<u64> {
    let found = answer.pointer(pointer).and_then(Value::as_u64);
    found.with_context(|| format!("AURA's answer has no number at {pointer}"))
}

/// The id of what was made, a number or text, flat or below its kind.
fn id(answer: &Value, kind: &str) -> Result<String> {
    let found = answer
        .pointer(&format!("/{kind}/id"))
        .or_else(|| answer.get("id"));
    match found {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(id)) => Ok(id.to_string()),
        _ => bail!("AURA's answer has no id of a {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::faults::{FaultyAnswer, REGISTER, Reply, TOKEN};
    use super::*;

    #[test]
    fn ids_are_found_in_every_form() {
        assert_eq!(
            id(&json!({"callout": {"id": 5003}}), "callout").unwrap(),
            "5003"
        );
        assert_eq!(id(&json!({"id": "c-1"}), "customer").unwrap(), "c-1");
        assert!(id(&json!({"callout": {}}), "callout").is_err());
    }

    #[tokio::test]
    async fn faults_are_ordered_and_calls_told_as_the_stand_in_has_them() {
        let sim = start().await.unwrap();
        let aura = Aura::connect(&sim.url()).await.unwrap();
        let reply = Reply {
            status: 302,
            headers: [("location".to_owned(), "/elsewhere".to_owned())].into(),
            body: Value::Null,
        };
        let answers = [
            FaultyAnswer::refusal(503, "later"),
            FaultyAnswer::Reply(reply),
            FaultyAnswer::Patch(json!({"customer": {"id": 7}})),
            FaultyAnswer::BreakOff,
            FaultyAnswer::HangUp,
            FaultyAnswer::Hang,
        ];
        for answer in answers {
            let fault = Fault::once("POST /customers", answer);
            aura.order(&fault).await.unwrap();
        }
        let refused = aura.create_customer("1").await.unwrap_err().to_string();
        assert!(refused.contains("503"), "{refused}");
        let redirected = aura.create_customer("1").await.unwrap_err().to_string();
        assert!(redirected.contains("302"), "{redirected}");
        assert_eq!(aura.create_customer("1").await.unwrap(), "7");
        assert!(aura.create_customer("2").await.is_err());
        assert!(aura.create_customer("3").await.is_err());
        assert_eq!(aura.forget_faults().await.unwrap(), 1);

        aura.order(&Fault::lost_answer("POST /customers"))
            .await
            .unwrap();
        assert!(aura.create_customer("3").await.is_err());
        let again = aura.create_customer("3").await.unwrap_err().to_string();
        assert!(again.contains("409"), "{again}");

        assert_eq!(aura.expire_tokens().await.unwrap(), 1);
        assert!(aura.create_customer("4").await.is_err());
        let calls = aura.calls().await.unwrap();
        let statuses: Vec<_> = calls.iter().map(|call| call.status).collect();
        let expected = [503, 302, 200, 200].map(Some).into_iter();
        let expected = expected.chain([None, None, Some(409), Some(401)]);
        assert_eq!(calls[0].name, TOKEN);
        assert!(calls[1..].iter().all(|call| call.name == "POST /customers"));
        assert_eq!(statuses[1..], expected.collect::<Vec<_>>());
        assert!(
            aura.order(&Fault::once("GET /", FaultyAnswer::Hang))
                .await
                .is_err()
        );
        assert!(aura.order(&Fault::lost_answer(REGISTER)).await.is_ok());
    }

    #[test]
    fn only_a_202_with_the_status_counts_as_answered() {
        let delivery = |status: u16, answer: Value| -> Delivery {
            serde_json::from_value(json!({
                "n": 1, "message": "NEW_CALLOUT", "entity": {"kind": "callout", "id": "1"},
                "sentAt": "2026-01-01T00:00:00Z", "answeredAt": null, "status": status,
                "error": null, "answer": answer.to_string(), "duplicateOf": null, "body": "{}",
            }))
            .unwrap()
        };
        let accepted = json!({"deliveryId": "d", "status": "accepted"});
        assert!(delivery(202, accepted.clone()).was_answered("accepted"));
        assert_eq!(delivery(202, accepted.clone()).delivery_id(), Some("d"));
        assert!(!delivery(503, accepted).was_answered("accepted"));
        assert!(!delivery(202, json!({"status": "quarantined"})).was_answered("accepted"));
        assert!(!delivery(202, Value::Null).was_answered("accepted"));
    }
}
