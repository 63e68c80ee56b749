//! The credentials for which AURA gives a token.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

/// AURA's credentials.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub(super) client_id: SecretString,
    pub(super) client_secret: SecretString,
}

/// A secret that isn't AURA's credentials. It shows nothing of the secret's content.
#[derive(Debug, thiserror::Error)]
#[error(
    "the secret with AURA's credentials can't be used: {0}; store \
     {{\"clientId\": \"…\", \"clientSecret\": \"…\"}}"
)]
pub struct MalformedCredentials(String);

impl Credentials {
    /// Reads the secret's value: `{"clientId": "…", "clientSecret": "…"}`. Other keys are ignored.
    pub fn parse(secret: &SecretString) -> Result<Self, MalformedCredentials> {
        let malformed = |why: &str| MalformedCredentials(why.to_owned());
        let mut keys: Map<String, Value> = serde_json::from_str(secret.expose_secret())
            .map_err(|_| malformed("it is not a JSON object"))?;
        let mut take = |key| match keys.remove(key) {
            None => Err(malformed(&format!("{key} is missing"))),
            Some(Value::String(text)) if text.trim().is_empty() => {
                Err(malformed(&format!("{key} is empty")))
            }
            Some(Value::String(text)) => Ok(SecretString::from(text)),
            Some(_) => Err(malformed(&format!("{key} is not a string"))),
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
            assert!(error.to_string().contains(expected), "{error}");
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
