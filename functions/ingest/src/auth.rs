//! Who gets in: a delivery that carries the registered header, once, with a valid value.

use std::sync::Arc;

use jiff::Timestamp;
use lambda_http::http::HeaderName;

use crate::request::Request;
use crate::secret::{SecretSource, ValidValues, Verdict};

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

/// Why a request isn't let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAuthentic {
    /// The header is missing, given twice, or has another value. Which of these it was is
    /// nobody's business.
    WrongSecret,
    /// Its value is none that is known, and the secret can't be read: it may be a new one.
    SecretUnknown,
}

impl<S: SecretSource> Authenticator<S> {
    /// Lets in what carries one of the valid values. While none is known it lets in nobody.
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
    /// [`NotAuthentic`] unless the header is there exactly once with a valid value.
    pub async fn authenticate(
        &self,
        request: Request,
        now: Timestamp,
    ) -> Result<AuthenticDelivery, NotAuthentic> {
        let given = self.given(&request).ok_or(NotAuthentic::WrongSecret)?;
        match self.valid.check(given, now).await {
            Verdict::Valid => Ok(AuthenticDelivery { body: request.body }),
            Verdict::Wrong => Err(NotAuthentic::WrongSecret),
            Verdict::Undecided => Err(NotAuthentic::SecretUnknown),
        }
    }

    /// Waits a little for what a check has begun and didn't need; see [`crate::secret`].
    pub async fn settled(&self) {
        self.valid.settled().await;
    }

    /// Whether a request carries the secret, as far as is known without asking anybody: enough to
    /// tell an operator, not to let it in.
    #[must_use]
    pub fn seems_authentic(&self, request: &Request) -> bool {
        self.given(request)
            .is_some_and(|given| self.valid.knows(given))
    }

    /// The secret that a request gives, if its header is text and has the scheme. API Gateway joins
    /// the values of a header that is given twice by a comma, which makes them a wrong one.
    fn given<'a>(&self, request: &'a Request) -> Option<&'a [u8]> {
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
