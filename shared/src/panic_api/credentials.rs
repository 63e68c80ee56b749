//! The credentials for which AURA gives a token.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

/// AURA's credentials.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub(super) client_id: SecretString,
    pub(super) client_secret: SecretString,
}

/// Why a secret isn't AURA's credentials. It shows nothing of the secret's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedCredentials {
    /// The secret is not a JSON object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A key is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A key's value is not text.
    #[error("{0} is not a string")]
    NotAString(&'static str),
    /// A key's value is empty or white space.
    #[error("{0} is empty")]
    Empty(&'static str),
}

impl Credentials {
    /// Reads the secret's value: `{"clientId": "…", "clientSecret": "…"}`. Other keys are ignored.
    pub fn parse(secret: &SecretString) -> Result<Self, MalformedCredentials> {
        let mut keys: Map<String, Value> = serde_json::from_str(secret.expose_secret())
            .map_err(|_| MalformedCredentials::NotAnObject)?;
        let mut take = |key| match keys.remove(key) {
            None => Err(MalformedCredentials::Missing(key)),
            Some(Value::String(text)) if text.trim().is_empty() => {
                Err(MalformedCredentials::Empty(key))
            }
            Some(Value::String(text)) => Ok(SecretString::from(text)),
            Some(_) => Err(MalformedCredentials::NotAString(key)),
        };
        Ok(Self {
            client_id: take("clientId")?,
            client_secret: take("clientSecret")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_credentials_are_told_by_their_key_and_never_by_their_content() {
        let cases = [
            ("", "it is not a JSON object"),
            ("hunter2", "it is not a JSON object"),
            (r#""hunter2""#, "it is not a JSON object"),
            (r#"["hunter2"]"#, "it is not a JSON object"),
            (r#"{"clientId": "hunter2", "#, "it is not a JSON object"),
            ("{}", "clientId is missing"),
            (r#"{"clientSecret": "hunter2"}"#, "clientId is missing"),
            (r#"{"clientId": "hunter2"}"#, "clientSecret is missing"),
            (
                r#"{"clientId": "hunter2", "clientsecret": "hunter2"}"#,
                "clientSecret is missing",
            ),
            (
                r#"{"clientId": "", "clientSecret": "hunter2"}"#,
                "clientId is empty",
            ),
            (
                r#"{"clientId": "hunter2", "clientSecret": " \n"}"#,
                "clientSecret is empty",
            ),
            (
                r#"{"clientId": null, "clientSecret": "hunter2"}"#,
                "clientId is not a string",
            ),
            (
                r#"{"clientId": "hunter2", "clientSecret": {"hunter2": 1}}"#,
                "clientSecret is not a string",
            ),
        ];
        for (secret, expected) in cases {
            let error = Credentials::parse(&secret.into()).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn credentials_are_read_beside_other_keys_and_hidden() {
        let secret = r#"{"clientSecret": "hunter2", "clientId": "hunter3", "since": 2026}"#;
        let read = Credentials::parse(&secret.into()).unwrap();
        assert_eq!(read.client_id.expose_secret(), "hunter3");
        assert_eq!(read.client_secret.expose_secret(), "hunter2");
        assert!(!format!("{read:?}").contains("hunter"));
    }
}
