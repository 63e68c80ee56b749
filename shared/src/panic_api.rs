//! The client of AURA's Panic API: the token, the webhook registration, and reading callouts.
//!
//! Every error says what to do next: mend the request ([`PanicApiError::Refused`]), mend the
//! credentials, or try again later ([`PanicApiError::is_transient`]). No error holds a header's
//! value, a token or a credential.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

/// The path under which AURA's documentation lists every call.
const PATH_PREFIX: &str = "panic-api/v2";
/// A token is replaced this long before it ends, so that none ends on the way to AURA.
const TOKEN_MARGIN: Duration = Duration::from_mins(1);
/// A token's life as documented: what it is when AURA's answer doesn't say, and at most.
const TOKEN_LIFE: Duration = Duration::from_hours(1);

/// AURA's credentials, as the secret holds them: `{"clientId": "…", "clientSecret": "…"}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    client_id: SecretString,
    client_secret: SecretString,
}

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

/// A client of one AURA environment under one set of credentials.
#[derive(Debug)]
pub struct PanicApi {
    http: reqwest::Client,
    base_url: Url,
    credentials: Credentials,
    token: Mutex<Option<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    value: SecretString,
    replace_at: Instant,
}

/// A call that AURA didn't grant.
#[derive(Debug, thiserror::Error)]
pub enum PanicApiError {
    /// 4xx: the request must be mended first.
    #[error("AURA refused {call} with {status}: {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
        /// AURA's own words.
        message: String,
    },
    /// 401, on the token call or on a call with a fresh token.
    #[error(
        "AURA refused the credentials ({status}) on {call}; check clientId and clientSecret in \
         the AURA credentials secret"
    )]
    CredentialsRefused {
        /// Which call.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
    },
    /// 5xx, or another status that isn't documented: try again later.
    #[error("AURA failed at {call} with {status}; try again later")]
    Failed {
        /// Which call.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
    },
    /// No answer: try again later.
    #[error("AURA could not be reached for {call}; try again later")]
    Unreachable {
        /// Which call.
        call: &'static str,
        /// Why, without the URL.
        source: reqwest::Error,
    },
    /// An answer that isn't what AURA documents.
    #[error("AURA's answer to {call} is not what it documents")]
    Malformed {
        /// Which call.
        call: &'static str,
    },
}

impl PanicApiError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Unreachable { .. })
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
        }
    }

    /// Registers the webhook, in place of the one before.
    ///
    /// A 2xx means done, whatever its body says: from then on AURA delivers to the new URL, and
    /// whoever took an odd answer for a failure might take that URL away again.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`]; AURA's own message is in [`PanicApiError::Refused`].
    pub async fn register_webhook(&self, registration: &Registration) -> Result<(), PanicApiError> {
        let request = self.request(Method::POST, &["notifiers", "webhooks"]);
        self.authorized("the webhook registration", request.json(registration))
            .await?;
        Ok(())
    }

    /// Gets one callout, in whichever of AURA's two forms it comes.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`]; an unknown callout is [`PanicApiError::Refused`] with 404.
    pub async fn callout(&self, id: &str) -> Result<Callout, PanicApiError> {
        let call = "Get a callout";
        let request = self.request(Method::GET, &["callouts", id]);
        parse(call, &self.authorized(call, request).await?)
    }

    /// Every active callout of this customer source.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`].
    pub async fn active_callouts(&self) -> Result<Vec<FlatCallout>, PanicApiError> {
        let call = "Get active callouts";
        let request = self.request(Method::GET, &["callouts", "activeCallouts"]);
        parse(call, &self.authorized(call, request).await?)
    }

    /// The event stream of one callout.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`].
    pub async fn callout_events(&self, id: &str) -> Result<Vec<CalloutEvent>, PanicApiError> {
        let call = "Get callout events";
        let request = self.request(Method::GET, &["callouts", id, "events"]);
        parse(call, &self.authorized(call, request).await?)
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
    async fn authorized(
        &self,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<Bytes, PanicApiError> {
        let retry = request.try_clone();
        let token = self.token().await?;
        match send(call, request.bearer_auth(token.expose_secret())).await {
            Err(PanicApiError::CredentialsRefused { .. }) => {}
            settled => return settled,
        }
        let retry = retry.ok_or(PanicApiError::Malformed { call })?;
        self.forget(&token).await;
        let token = self.token().await?;
        send(call, retry.bearer_auth(token.expose_secret())).await
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
            expires_in: Option<u64>,
        }
        let body = serde_json::json!({
            "clientId": self.credentials.client_id.expose_secret(),
            "clientSecret": self.credentials.client_secret.expose_secret(),
        });
        let call = "the token";
        let asked_at = Instant::now();
        let request = self.request(Method::POST, &["oauth", "token"]).json(&body);
        let answer: Answer = parse(call, &send(call, request).await?)?;
        let life = answer
            .expires_in
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

/// The body of a 2xx.
async fn send(call: &'static str, request: RequestBuilder) -> Result<Bytes, PanicApiError> {
    let unreachable = |error: reqwest::Error| PanicApiError::Unreachable {
        call,
        source: error.without_url(),
    };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unreachable)?;
    match status {
        _ if status.is_success() => Ok(body),
        StatusCode::UNAUTHORIZED => Err(PanicApiError::CredentialsRefused { call, status }),
        _ if status.is_client_error() => Err(PanicApiError::Refused {
            call,
            status,
            message: message_of(&body),
        }),
        _ => Err(PanicApiError::Failed { call, status }),
    }
}

fn parse<T: DeserializeOwned>(call: &'static str, body: &[u8]) -> Result<T, PanicApiError> {
    serde_json::from_slice(body).map_err(|_| PanicApiError::Malformed { call })
}

/// AURA's human-readable `message`, at most 500 characters of it.
fn message_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        message: String,
    }
    serde_json::from_slice::<Problem>(body).map_or_else(
        |_| "no message in the answer".to_owned(),
        |problem| problem.message.chars().take(500).collect(),
    )
}

/// One callout as Get a callout answers it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Callout {
    /// `{"message": "…", "callout": {…}}`, with `incidentInformation` inside.
    Nested {
        /// The callout, whole.
        callout: Value,
    },
    /// The older form.
    Flat(FlatCallout),
}

/// The flat form of a callout. AURA's `status` is free text in mixed case.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlatCallout {
    /// AURA's id.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// `created`, `Responder Dispatched`, `Responder Cancelled`, and others not documented.
    pub status: Option<String>,
    /// Everything else, as it came.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
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
