//! The client of AURA's Panic API: the token, the webhook registration, and reading callouts.
//!
//! Every error says what to do next: correct the request ([`PanicApiError::Refused`]), correct the
//! credentials or the base URL, or try again later ([`PanicApiError::is_transient`]). No error
//! holds a header's value, a token or a credential, even if AURA's own message does.

mod answer;
mod callout;
mod credentials;
mod error;
mod registration;
mod retry_after;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use self::answer::{parse, send};
pub use self::callout::{ActiveCallouts, Callout, Lookup, may_be_a_page};
pub use self::credentials::{Credentials, MalformedCredentials};
pub use self::error::PanicApiError;
pub use self::registration::{RegisteredWebhook, Registration};
use self::registration::{registered, secrets_of};

/// The path under which AURA's documentation lists every call.
const PATH_PREFIX: &str = "panic-api/v2";
/// How long before its end a token is replaced, so that no token ends on the way to AURA.
const TOKEN_MARGIN: Duration = Duration::from_mins(1);
/// A token's documented life. It is the longest, and counts if AURA's answer doesn't say.
const TOKEN_LIFE: Duration = Duration::from_hours(1);

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

impl PanicApi {
    /// Makes a client for the AURA environment at `base_url`, such as
    /// `https://panic.aura.services`. Makes no call yet.
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

    /// How many calls were made so far, including those for a token and those that failed.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Proves the credentials: gets a token, unless a valid one is cached.
    pub async fn authenticate(&self) -> Result<(), PanicApiError> {
        self.token().await?;
        Ok(())
    }

    /// Registers the webhook in place of the previous one. Returns what AURA says that it
    /// registered. That is nothing if AURA's answer breaks off or isn't what it documents.
    ///
    /// A 2xx means that it was done, whatever the body says. From then on, AURA delivers to the new
    /// URL. A caller that took an odd body for a failure might remove that URL again. A transient
    /// error leaves open whether it was done. Registering again does no harm.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`]. AURA's own message is in [`PanicApiError::Refused`].
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

    /// Gets one callout, in either of AURA's two forms.
    ///
    /// # Errors
    ///
    /// See [`PanicApiError`]. An unknown callout is not an error.
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

    /// Gets every active callout of this customer source.
    pub async fn active_callouts(&self) -> Result<ActiveCallouts, PanicApiError> {
        let call = "Get active callouts";
        let request = self.request(Method::GET, &["callouts", "activeCallouts"]);
        let body = self.authorized(call, request, &[]).await;
        callout::read_active(call, &body.map_err(PanicApiError::without_words)?)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        // This fails for a URL that can't have a path, such as `mailto:`. reqwest then refuses it.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments
                .pop_if_empty()
                .extend(PATH_PREFIX.split('/'))
                .extend(path);
        }
        url
    }

    /// Sends a request with a token. If AURA no longer accepts the token, sends it once more with a
    /// new one. No error shows `secrets`.
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

    /// Sends a request with this token, and forgets the token if AURA doesn't accept it.
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

    /// The cached token, or a new one if there is none or it nears its end. Callers at the same
    /// time share one call.
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

/// Whether a token can stand in a header.
fn is_bearer(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty() && HeaderValue::from_str(token).is_ok()
}

#[cfg(test)]
mod tests;
