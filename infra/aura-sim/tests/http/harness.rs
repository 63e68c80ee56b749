//! Helpers of all tests: a stand-in, a client that calls it, and a receiver of webhooks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aura_sim::{
    AuraSim, Options,
    client::{Aura, Delivery, EventName, Fate},
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::IntoResponse,
    routing::post,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Every event name that AURA lists for new registrations.
pub const EVENTS: [&str; 15] = [
    "NEW_CALLOUT",
    "RESPONDER_MANUALLY_DISPATCHED",
    "RESPONDER_ACKNOWLEDGED_CALLOUT",
    "RESPONDER_ARRIVED_ON_SCENE",
    "RESPONDER_COMPLETED",
    "CALLOUT_OWNED",
    "CALLOUT_EVENTS_CHANGED",
    "CALLOUT_SOFT_CANCELLED_BY_CUSTOMER",
    "CALLOUT_NO_LONGER_REQUIRES_RESPONSE",
    "CALLOUT_CLOSED",
    "SUBSCRIPTION_CREATED",
    "SUBSCRIPTION_UPDATED",
    "SUBSCRIPTION_CANCELLED",
    "SUBSCRIPTION_CANCELLED_FAILED",
    "CREATED_CUSTOMER",
];

/// A stand-in, and a partner who has a token.
pub struct Partner {
    pub sim: AuraSim,
    /// Client for calls that succeed.
    pub aura: Aura,
    /// Client for calls that are refused, and for checks of the raw HTTP.
    pub client: Client,
    pub token: String,
}

/// A status and a JSON body.
pub type Reply = (u16, Value);

impl Partner {
    pub async fn new() -> Result<Self> {
        let sim = AuraSim::start(Options::default()).await?;
        let aura = Aura::connect(&sim.url()).await?;
        Ok(Self {
            token: aura.token().to_owned(),
            client: shared::http_client::builder().timeout(PATIENCE).build()?,
            aura,
            sim,
        })
    }

    /// Makes a partner whose webhook is `receiver`, registered for every event.
    pub async fn registered_at(receiver: &Receiver) -> Result<Self> {
        let partner = Self::new().await?;
        let registration = json!({"url": receiver.url, "events": EVENTS,
            "headers": {"authorization": "Bearer webhook"}});
        let (status, body) = partner.post("/notifiers/webhooks", registration).await?;
        anyhow::ensure!(status == 200, "{body}");
        Ok(partner)
    }

    /// Calls AURA's API.
    pub async fn post(&self, path: &str, body: Value) -> Result<Reply> {
        let path = format!("/panic-api/v2{path}");
        self.call(Method::POST, &path, Some(body)).await
    }

    /// Reads from AURA's API.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.call(Method::GET, &format!("/panic-api/v2{path}"), None)
            .await
    }

    /// Calls the control API.
    pub async fn control(&self, path: &str, body: Value) -> Result<Reply> {
        self.call(Method::POST, &format!("/_sim{path}"), Some(body))
            .await
    }

    /// Reads a report of the stand-in.
    pub async fn told(&self, path: &str) -> Result<Value> {
        let (status, told) = self
            .call(Method::GET, &format!("/_sim{path}"), None)
            .await?;
        anyhow::ensure!(status == 200, "{told}");
        Ok(told)
    }

    /// Puts a plan in force.
    pub async fn plan(&self, plan: Value) -> Result<Value> {
        let (status, answer) = self.control("/plan", plan).await?;
        anyhow::ensure!(status == 200, "{answer}");
        Ok(answer)
    }

    /// Lists the name, fate and deliveries of every event.
    pub async fn fates(&self) -> Result<Vec<(EventName, Fate, Vec<u64>)>> {
        let events = self.aura.events().await?.into_iter();
        Ok(events
            .map(|it| (it.message, it.fate, it.deliveries))
            .collect())
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Reply> {
        let url = format!("{}{path}", self.sim.url());
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// Creates a customer, and returns the customer's id.
    pub async fn customer(&self, mobile: &str, subscribed: bool) -> Result<u64> {
        let person = json!({"name": "Thandi", "surname": "M", "mobile": mobile});
        let mut body = json!({ "customer": person });
        if subscribed {
            body["subscription"] = json!({"subscriptionTypeId": 1,
                "validFrom": "2020-01-01T00:00:00Z", "validTo": "2999-01-01T00:00:00Z"});
        }
        let (status, created) = self.post("/customers", body).await?;
        anyhow::ensure!(status == 200, "{created}");
        created["customer"]["id"].as_u64().context("no id")
    }

    /// Raises a callout at a predefined location, and returns its id.
    pub async fn callout(&self) -> Result<u64> {
        let path = "/predefinedLocations/externalRef/head-office/callouts";
        let (status, raised) = self.post(path, json!({})).await?;
        anyhow::ensure!(status == 200, "{raised}");
        raised["callout"]["id"].as_u64().context("no id")
    }

    /// Does an act of the control room on a callout.
    pub async fn act(&self, callout: u64, act: &str) -> Result<Reply> {
        self.control(&format!("/callouts/{callout}/{act}"), Value::Null)
            .await
    }

    /// Waits until every delivery is answered, and lists them.
    pub async fn deliveries(&self) -> Result<Vec<Delivery>> {
        timeout(PATIENCE, self.aura.all_answered()).await?
    }
}

/// One received webhook.
#[derive(Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: String,
}

/// A receiver of webhooks. It ends with the test.
pub struct Receiver {
    pub url: String,
    inner: Arc<Inner>,
    _server: JoinSet<()>,
}

struct Inner {
    received: Mutex<Vec<Received>>,
    /// The statuses of the first answers, in order. All later answers are 202.
    statuses: VecDeque<u16>,
    /// Number of deliveries that may be answered.
    gate: Semaphore,
}

impl Receiver {
    /// Makes a receiver that accepts everything.
    pub async fn new() -> Result<Self> {
        Self::start([], Semaphore::MAX_PERMITS).await
    }

    /// Makes a receiver that answers with these statuses first.
    pub async fn answering<const N: usize>(statuses: [u16; N]) -> Result<Self> {
        Self::start(statuses, Semaphore::MAX_PERMITS).await
    }

    /// Makes a receiver that doesn't answer until [`Receiver::open`].
    pub async fn closed() -> Result<Self> {
        Self::start([], 0).await
    }

    async fn start<const N: usize>(statuses: [u16; N], permits: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let inner = Arc::new(Inner {
            received: Mutex::default(),
            statuses: statuses.into(),
            gate: Semaphore::new(permits),
        });
        let router = Router::new()
            .route("/aura/events", post(receive))
            .with_state(Arc::clone(&inner));
        let mut server = JoinSet::new();
        server.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self {
            url: format!("http://127.0.0.1:{port}/aura/events"),
            inner,
            _server: server,
        })
    }

    /// Lets every delivery be answered.
    pub fn open(&self) {
        self.inner.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// Lists the received webhooks in the order of their arrival.
    pub fn received(&self) -> Vec<Received> {
        self.inner.lock().clone()
    }

    /// Waits until `count` deliveries have arrived.
    pub async fn until_received(&self, count: usize) -> Result<()> {
        let arrival = async {
            while self.inner.lock().len() < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        Ok(timeout(PATIENCE, arrival).await?)
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a delivery, and returns the status to answer with.
    fn note(&self, received: Received) -> StatusCode {
        let mut all = self.lock();
        let status = self.statuses.get(all.len()).copied().unwrap_or(202);
        all.push(received);
        StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT)
    }
}

async fn receive(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let status = inner.note(Received { headers, body });
    let permit = inner.gate.acquire().await;
    drop(permit);
    (status, [(LOCATION, "/aura/events")], "noted")
}
