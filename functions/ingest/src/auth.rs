//! The authentication of a delivery: it carries the registered header exactly once, with a valid value.

use std::sync::Arc;

use jiff::Timestamp;
use lambda_http::http::HeaderName;

use crate::answer::Refusal;
use crate::request::UnverifiedRequest;
use crate::secret::{SecretSource, SecretVerdict, ValidValues};

/// The check of the registered header.
#[derive(Debug)]
pub struct Authenticator<S> {
    valid: Arc<ValidValues<S>>,
}

/// A delivery that carried the secret. Only [`Authenticator::authenticate`] makes one.
#[derive(Debug)]
pub struct AuthenticDelivery {
    body: Vec<u8>,
}

impl<S: SecretSource> Authenticator<S> {
    /// Lets in requests with one of the valid values. While no value is known it lets in nobody.
    #[must_use]
    pub fn new(valid: Arc<ValidValues<S>>) -> Self {
        Self { valid }
    }

    /// The header that carries the secret.
    #[must_use]
    pub fn header_name(&self) -> &HeaderName {
        &self.valid.header().name
    }

    /// Turns a request into an authentic delivery.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthorized`] if the header is missing, is given twice, or has a wrong value.
    /// The caller never learns which. [`Refusal::SecretUnavailable`] if the value matches no known
    /// one and the secret can't be read. It may be a new value.
    pub async fn authenticate(
        &self,
        request: UnverifiedRequest,
        now: Timestamp,
    ) -> Result<AuthenticDelivery, Refusal> {
        let given = self.given(&request).ok_or(Refusal::Unauthorized)?;
        match self.valid.check(given, now).await {
            SecretVerdict::Valid => Ok(AuthenticDelivery { body: request.body }),
            SecretVerdict::Wrong => Err(Refusal::Unauthorized),
            SecretVerdict::Undecided => Err(Refusal::SecretUnavailable),
        }
    }

    /// Waits a little for a reading of the secret that a check began in the background.
    pub async fn wait_for_refresh(&self) {
        self.valid.wait_for_refresh().await;
    }

    /// Whether a request carries a value that is already known. That is enough to alert an
    /// operator, but not enough to let the request in.
    #[must_use]
    pub fn seems_authentic(&self, request: &UnverifiedRequest) -> bool {
        self.given(request)
            .is_some_and(|given| self.valid.knows(given))
    }

    /// The secret in a request's header, if the header is text and has the scheme. API Gateway joins the
    /// values of a header that is sent twice with a comma, and the joined value is wrong.
    fn given<'a>(&self, request: &'a UnverifiedRequest) -> Option<&'a [u8]> {
        let [only] = request.credentials.as_slice() else {
            return None;
        };
        only.to_str().ok()?;
        self.valid.header().secret_in(only)
    }
}

impl AuthenticDelivery {
    /// The raw body, decoded if API Gateway had encoded it as base64.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}
