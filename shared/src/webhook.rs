//! The header that authenticates a delivery. AURA signs nothing. So a secret header value, which is
//! registered with the webhook and sent with every delivery, tells AURA from anybody else.

use http::{HeaderName, HeaderValue};
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{ConfigError, Environment};

/// The shortest time between two readings of the secret in one process of `ingest`, however many
/// unknown values come. So this long after a new value was made, every process has read it or may
/// read it. A rotation waits for that before it tells AURA the value. See [`refresh_interval`].
pub const REFRESH_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// `WEBHOOK_REFRESH_SECONDS`, which only tests set, or [`REFRESH_INTERVAL`]. It is the same for
/// `ingest` and for a rotation that waits for it.
///
/// # Errors
///
/// The variable is not a whole number.
pub fn refresh_interval(environment: &Environment) -> Result<SignedDuration, ConfigError> {
    let usual = REFRESH_INTERVAL.unsigned_abs();
    let interval = environment.seconds_or("WEBHOOK_REFRESH_SECONDS", usual)?;
    Ok(interval.try_into().unwrap_or(REFRESH_INTERVAL))
}

/// The header: `<name>: <scheme> <secret>`, or `<name>: <secret>` without a scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookHeader {
    /// The header's name, such as `authorization`.
    pub name: HeaderName,
    /// The scheme, such as `Bearer`. Empty if there is none.
    pub scheme: String,
}

/// The secret can't be sent as a header value.
#[derive(Debug, thiserror::Error)]
#[error(
    "the webhook secret can't be sent as a header value: use visible ASCII characters, without \
     line breaks"
)]
pub struct IllegalHeaderValue;

impl WebhookHeader {
    /// Reads `WEBHOOK_HEADER_NAME` and `WEBHOOK_HEADER_SCHEME` (may be empty).
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            name: environment.parsed("WEBHOOK_HEADER_NAME")?,
            scheme: environment
                .optional("WEBHOOK_HEADER_SCHEME")
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// The header's value for a secret. It is marked as sensitive, so that its `Debug` hides it.
    pub fn value(&self, secret: &SecretString) -> Result<HeaderValue, IllegalHeaderValue> {
        let secret = secret.expose_secret();
        let text = if self.scheme.is_empty() {
            secret.to_owned()
        } else {
            format!("{} {secret}", self.scheme)
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| IllegalHeaderValue)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The secret in a header's value: the part behind the scheme. The case of the scheme doesn't
    /// matter (RFC 9110, section 11.1). `None` if the value has another scheme, or none.
    #[must_use]
    pub fn secret_in<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        let value = value.as_bytes();
        if self.scheme.is_empty() {
            return Some(value);
        }
        let (scheme, rest) = value.split_at_checked(self.scheme.len())?;
        let is_ours = scheme.eq_ignore_ascii_case(self.scheme.as_bytes());
        rest.strip_prefix(b" ").filter(|_| is_ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(scheme: &str) -> WebhookHeader {
        WebhookHeader {
            name: HeaderName::from_static("authorization"),
            scheme: scheme.into(),
        }
    }

    #[test]
    fn the_scheme_stands_before_the_secret() {
        let secret = SecretString::from("s3cret");
        assert_eq!(header("Bearer").value(&secret).unwrap(), "Bearer s3cret");
        assert_eq!(header("").value(&secret).unwrap(), "s3cret");
    }

    #[test]
    fn the_case_of_the_secret_matters_and_the_case_of_the_scheme_does_not() {
        let secret_in = |scheme: &str, value: &'static str| {
            let value = HeaderValue::from_static(value);
            let secret = header(scheme).secret_in(&value).map(<[u8]>::to_vec);
            secret.map(|secret| String::from_utf8(secret).unwrap())
        };
        for value in ["Bearer S3cret", "bearer S3cret", "BEARER S3cret"] {
            assert_eq!(secret_in("Bearer", value).unwrap(), "S3cret");
        }
        for value in [
            "",
            "S3cret",
            "Bearer",
            "BearerS3cret",
            "Bearers S3cret",
            "Basic S3cret",
        ] {
            assert_eq!(secret_in("Bearer", value), None, "{value}");
        }
        assert_eq!(secret_in("", "Bearer S3cret").unwrap(), "Bearer S3cret");
    }

    #[test]
    fn a_line_break_is_refused_without_showing_the_secret() {
        let error = header("Bearer")
            .value(&SecretString::from("a\nb"))
            .unwrap_err();
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn debug_hides_the_value() {
        let value = header("Bearer")
            .value(&SecretString::from("s3cret"))
            .unwrap();
        assert!(!format!("{value:?}").contains("s3cret"));
    }
}
