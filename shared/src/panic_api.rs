//! The client of AURA's Panic API: the token, the webhook registration, and reading callouts.
//!
//! Every error says what to do next: mend the request ([`PanicApiError::Refused`]), mend the
//! credentials or the base URL, or try again later ([`PanicApiError::is_transient`]). No error
//! holds a header's value, a token or a credential, even if AURA's own words do.

mod callout;
mod credentials;
mod error;
mod retry_after;

use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;

pub use self::callout::{ActiveCallouts, Callout, Lookup};
pub use self::credentials::{Credentials, MalformedCredentials};
pub use self::error::PanicApiError;

/// The path under which AURA's documentation lists every call.
const PATH_PREFIX: &str = "panic-api/v2";
/// A token is replaced this long before it ends, so that none ends on the way to AURA.
const TOKEN_MARGIN: Duration = Duration::from_mins(1);
/// A token's life as documented: what it is when AURA's answer doesn't say, and at most.
const TOKEN_LIFE: Duration = Duration::from_hours(1);
/// How much of AURA's own words an error repeats, in characters.
const LONGEST_MESSAGE: usize = 500;

/// What AURA's answer says of a webhook, as documented.
const FIELDS: [&str; 4] = ["url", "events", "method", "headers"];

/// A webhook registration. Registering replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// Where deliveries go; HTTPS.
    pub url: Url,
    /// The event names to deliver.
    pub events: Vec<String>,
    /// `webhook`.
    pub method: String,
    /// Sent with every delivery.
    #[serde(serialize_with = "header_map")]
    pub headers: HeaderMap,
}

/// A webhook as AURA says that it registered it. What AURA doesn't say, or says in another type
/// than documented, is `None`. The headers' values are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredWebhook {
    /// Where AURA delivers.
    pub url: Option<String>,
    /// The event names that it delivers.
    pub events: Option<Vec<String>>,
    /// `webhook`.
    pub method: Option<String>,
    /// The names of the headers that it sends, in AURA's spelling.
    pub header_names: Option<Vec<String>>,
    /// How many other fields the answer has.
    pub other_fields: usize,
}

/// A client of one AURA environment under one set of credentials.
#[derive(Debug)]
pub struct PanicApi {
    http: reqwest::Client,
    base_url: Url,
    credentials: Credentials,
    token: Mutex<Option<Token>>,
    calls: AtomicU64,
}

#[derive(Debug, Clone)]
struct Token {
    value: SecretString,
    replace_at: Instant,
}

impl RegisteredWebhook {
    /// Reads one entry of the answer's `notifier.config`.
    fn read(entry: &Map<String, Value>) -> Self {
        let text = |key| Some(entry.get(key)?.as_str()?.to_owned());
        let events = entry.get("events").and_then(Value::as_array);
        let headers = entry.get("headers").and_then(Value::as_object);
        Self {
            url: text("url"),
            events: events.and_then(|names| {
                let names = names.iter().map(|name| Some(name.as_str()?.to_owned()));
                names.collect()
            }),
            method: text("method"),
            header_names: headers.map(|headers| headers.keys().cloned().collect()),
            other_fields: entry
                .keys()
                .filter(|key| !FIELDS.contains(&key.as_str()))
                .count(),
        }
    }
}

impl PanicApi {
    /// A client for the AURA environment at `base_url`, such as `https://panic.aura.services`.
    /// Calls nothing yet.
    #[must_use]
    pub fn new(http: reqwest::Client, base_url: Url, credentials: Credentials) -> Self {
        Self {
            http,
            base_url,
            credentials,
            token: Mutex::new(None),
            calls: AtomicU64::new(0),
        }
    }

    /// How many calls were made so far, those for a token and those that failed among them.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Proves the credentials: gets a token, unless there is a good one.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`].
    pub async fn authenticate(&self) -> Result<(), PanicApiError> {
        self.token().await?;
        Ok(())
    }

    /// Registers the webhook, in place of the one before, and answers what AURA says that it
    /// registered: nothing, if its answer isn't what it documents, or breaks off.
    ///
    /// A 2xx means done, whatever its body says: from then on AURA delivers to the new URL, and
    /// whoever took an odd answer for a failure might take that URL away again. A transient error
    /// leaves open whether it was done. Registering again does no harm.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`]; AURA's own message is in [`PanicApiError::Refused`].
    pub async fn register_webhook(
        &self,
        registration: &Registration,
    ) -> Result<Vec<RegisteredWebhook>, PanicApiError> {
        let request = self
            .request(Method::POST, &["notifiers", "webhooks"])
            .json(registration);
        let secrets: Vec<&str> = registration.headers.values().flat_map(secrets_of).collect();
        let call = "the webhook registration";
        match self.authorized(call, request, &secrets).await {
            Ok(body) => Ok(registered(&body)),
            Err(PanicApiError::BrokenOff { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Gets one callout, in whichever of AURA's two forms it comes.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`]. That there is none is no error.
    pub async fn callout(&self, id: &str) -> Result<Lookup, PanicApiError> {
        let call = "Get a callout";
        let request = self.request(Method::GET, &["callouts", id]);
        match self.authorized(call, request, &[]).await {
            Ok(body) => Ok(Lookup::Found(callout::read_callout(call, &body)?)),
            Err(error) => match error.refused(call) {
                Some(404) => Ok(Lookup::Gone),
                Some(285) => Ok(Lookup::Closed),
                Some(403) => Err(PanicApiError::Forbidden { call }),
                _ => Err(error.without_words()),
            },
        }
    }

    /// Every active callout of this customer source.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`].
    pub async fn active_callouts(&self) -> Result<ActiveCallouts, PanicApiError> {
        let call = "Get active callouts";
        let request = self.request(Method::GET, &["callouts", "activeCallouts"]);
        let body = self.authorized(call, request, &[]).await;
        callout::read_active(call, &body.map_err(PanicApiError::without_words)?)
    }

    /// The event stream of one callout.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`].
    pub async fn callout_events(&self, id: &str) -> Result<Vec<CalloutEvent>, PanicApiError> {
        let call = "Get callout events";
        let request = self.request(Method::GET, &["callouts", id, "events"]);
        let body = self.authorized(call, request, &[]).await;
        parse_list(call, &body.map_err(PanicApiError::without_words)?)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        // Fails for a URL that can't have a path, such as `mailto:`; reqwest then refuses it.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments
                .pop_if_empty()
                .extend(PATH_PREFIX.split('/'))
                .extend(path);
        }
        url
    }

    /// Sends a request with a token; once more with a fresh one when AURA no longer takes it.
    /// `secrets` are kept out of errors.
    async fn authorized(
        &self,
        call: &'static str,
        request: RequestBuilder,
        secrets: &[&str],
    ) -> Result<Bytes, PanicApiError> {
        let retry = request.try_clone();
        let token = self.token().await?;
        let first = self.send_with(token, call, request, secrets).await;
        let (Err(PanicApiError::CredentialsRefused { .. }), Some(retry)) = (&first, retry) else {
            return first;
        };
        let token = self.token().await?;
        self.send_with(token, call, retry, secrets).await
    }

    /// Sends a request with this token, and forgets the token when AURA doesn't take it.
    async fn send_with(
        &self,
        token: SecretString,
        call: &'static str,
        request: RequestBuilder,
        secrets: &[&str],
    ) -> Result<Bytes, PanicApiError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let request = request.bearer_auth(token.expose_secret());
        let secrets = [&[token.expose_secret()], secrets].concat();
        let settled = send(call, request, &secrets).await;
        if let Err(PanicApiError::CredentialsRefused { .. }) = settled {
            self.forget(&token).await;
        }
        settled
    }

    /// The cached token, or a new one when there is none or it nears its end. Callers that come
    /// at the same time wait for one call.
    async fn token(&self) -> Result<SecretString, PanicApiError> {
        let mut cached = self.token.lock().await;
        if let Some(token) = cached
            .as_ref()
            .filter(|token| Instant::now() < token.replace_at)
        {
            return Ok(token.value.clone());
        }
        let token = self.new_token().await?;
        Ok(cached.insert(token).value.clone())
    }

    async fn new_token(&self) -> Result<Token, PanicApiError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: SecretString,
            #[serde(default)]
            expires_in: Value,
        }
        let client_id = self.credentials.client_id.expose_secret();
        let client_secret = self.credentials.client_secret.expose_secret();
        let body = serde_json::json!({"clientId": client_id, "clientSecret": client_secret});
        let call = "the token";
        let asked_at = Instant::now();
        self.calls.fetch_add(1, Ordering::Relaxed);
        let request = self.request(Method::POST, &["oauth", "token"]).json(&body);
        let answer: Answer = parse(
            call,
            &send(call, request, &[client_id, client_secret]).await?,
        )?;
        if !is_bearer(&answer.access_token) {
            return Err(PanicApiError::Malformed { call });
        }
        let life = answer
            .expires_in
            .as_u64()
            .map_or(TOKEN_LIFE, Duration::from_secs)
            .min(TOKEN_LIFE);
        Ok(Token {
            value: answer.access_token,
            replace_at: asked_at + life.saturating_sub(TOKEN_MARGIN),
        })
    }

    /// Forgets a token that AURA refused, unless another caller has replaced it already.
    async fn forget(&self, refused: &SecretString) {
        let mut cached = self.token.lock().await;
        if cached
            .as_ref()
            .is_some_and(|t| t.value.expose_secret() == refused.expose_secret())
        {
            *cached = None;
        }
    }
}

/// The body of a 2xx. `secrets` are what AURA might repeat of the request.
async fn send(
    call: &'static str,
    request: RequestBuilder,
    secrets: &[&str],
) -> Result<Bytes, PanicApiError> {
    let response = request.send().await.map_err(|e| unsent(call, e))?;
    let status = response.status();
    match status.as_u16() {
        401 => Err(PanicApiError::CredentialsRefused { call, status }),
        // They say "not now", and nothing against the request.
        408 | 429 => Err(failed(call, &response)),
        // AURA's own 285 refuses, although it looks like success.
        285 | 400..=499 => Err(PanicApiError::Refused {
            call,
            status,
            message: message_of(response, secrets).await,
        }),
        200..=299 => response.bytes().await.map_err(|e| {
            let source = e.without_url();
            PanicApiError::BrokenOff { call, source }
        }),
        300..=399 => Err(PanicApiError::Redirected {
            call,
            status,
            location: hide(&location_of(&response), secrets),
        }),
        _ => Err(failed(call, &response)),
    }
}

/// An answer after which the same call may succeed.
fn failed(call: &'static str, response: &Response) -> PanicApiError {
    PanicApiError::Failed {
        call,
        status: response.status(),
        retry_after: retry_after::retry_after(response.headers(), Timestamp::now()),
    }
}

/// No answer.
fn unsent(call: &'static str, error: reqwest::Error) -> PanicApiError {
    let source = error.without_url();
    if source.is_builder() {
        PanicApiError::Unsendable { call, source }
    } else {
        PanicApiError::Unreachable { call, source }
    }
}

/// Where a redirect leads. A query may carry what is meant for that place alone.
fn location_of(response: &Response) -> String {
    let resolved = || {
        let location = response.headers().get(LOCATION)?.to_str().ok()?;
        let mut url = response.url().join(location).ok()?;
        url.set_query(None);
        url.set_fragment(None);
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        Some(url.into())
    };
    resolved().unwrap_or_else(|| "a place that it doesn't name".to_owned())
}

/// What AURA says that it registered; see [`RegisteredWebhook`].
fn registered(body: &[u8]) -> Vec<RegisteredWebhook> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let entries = match answer.pointer("/notifier/config") {
        Some(Value::Array(entries)) => entries,
        Some(entry) => slice::from_ref(entry),
        None => &[],
    };
    let entries = entries.iter().filter_map(Value::as_object);
    entries.map(RegisteredWebhook::read).collect()
}

fn parse<T: DeserializeOwned>(call: &'static str, body: &[u8]) -> Result<T, PanicApiError> {
    serde_json::from_slice(body).map_err(|_| PanicApiError::Malformed { call })
}

/// A list. An empty one may come without a body, as 204 does.
fn parse_list<T: DeserializeOwned>(
    call: &'static str,
    body: &[u8],
) -> Result<Vec<T>, PanicApiError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    parse(call, body)
}

/// AURA's human-readable `message`, as far as an error repeats it. An answer that breaks off is
/// a refusal too: its status has said so.
async fn message_of(response: Response, secrets: &[&str]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        message: String,
    }
    let body = response.bytes().await.unwrap_or_default();
    serde_json::from_slice::<Problem>(&body).map_or_else(
        |_| "no message in the answer".to_owned(),
        |problem| {
            let message = hide(&problem.message, secrets);
            message.chars().take(LONGEST_MESSAGE).collect()
        },
    )
}

/// A text with `***` in place of each secret in it.
fn hide(text: &str, secrets: &[&str]) -> String {
    let shown = secrets.iter().filter(|secret| !secret.is_empty());
    shown.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

/// A header's value, and what stands behind its scheme.
fn secrets_of(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let whole = value.to_str().ok();
    let bare = whole.and_then(|whole| Some(whole.split_once(' ')?.1));
    whole.into_iter().chain(bare)
}

/// Whether a token can stand in a header.
fn is_bearer(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty() && HeaderValue::from_str(token).is_ok()
}

/// One entry of a callout's event stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalloutEvent {
    /// AURA's id of the entry.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// The callout that it belongs to.
    #[serde(deserialize_with = "id")]
    pub callout_id: String,
    /// Free text.
    pub message: String,
    /// RFC 3339.
    pub created_at: String,
}

/// An id, a number or a string, as the string that it is everywhere here.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(id) => Ok(id),
        Value::Number(id) => Ok(id.to_string()),
        _ => Err(D::Error::custom("an id is a number or a string")),
    }
}

/// Headers as AURA's JSON map of strings.
fn header_map<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))),
    )
}

#[cfg(test)]
mod tests;
