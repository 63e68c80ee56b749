//! Configuration from environment variables, with errors that name the variable.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

/// The environment that a function is configured from.
///
/// In `main`, it is the process's environment. In tests, it is a map, so that no test changes its
/// process.
#[derive(Clone)]
pub struct Environment(HashMap<String, String>);

impl fmt::Debug for Environment {
    /// Shows only names, because the values include the function's AWS credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// An environment variable that keeps the function from starting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The variable is not set, or is empty.
    #[error("environment variable {name} is not set; on AWS, template.yaml or Lambda sets it")]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// The variable has a value that can't be used. The value isn't shown, because it might be a
    /// secret.
    #[error("environment variable {name} is wrong: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Environment {
    /// Reads the process's environment. Variables that aren't text are skipped.
    #[must_use]
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        )
    }

    /// Reads a variable that may be absent or empty. `None` stands for both.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Reads a variable that must be set.
    pub fn required(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.optional(name).ok_or(ConfigError::Missing { name })
    }

    /// Reads a variable that must be set, as a `T`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`], or [`ConfigError::Invalid`] with the error of `T`.
    pub fn parsed<T>(&self, name: &'static str) -> Result<T, ConfigError>
    where
        T: FromStr<Err: Display>,
    {
        self.required(name)?
            .parse()
            .map_err(|error: T::Err| ConfigError::Invalid {
                name,
                reason: error.to_string(),
            })
    }

    /// Reads a time in whole seconds. Returns `default` if the variable is absent or empty.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] if the value is not a whole number.
    pub fn seconds_or(
        &self,
        name: &'static str,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        match self.optional(name) {
            Some(_) => self.parsed(name).map(Duration::from_secs),
            None => Ok(default),
        }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_and_an_empty_variable_are_both_missing_by_name() {
        let environment = Environment::from([("EMPTY", "")]);
        for name in ["EMPTY", "ABSENT"] {
            let message = environment.required(name).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_but_not_shown() {
        let environment = Environment::from([("LEDGER_RETENTION_DAYS", "hunter2")]);
        let message = environment
            .parsed::<u32>("LEDGER_RETENTION_DAYS")
            .unwrap_err()
            .to_string();
        assert!(message.contains("LEDGER_RETENTION_DAYS"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn a_time_is_in_seconds_and_may_be_absent() {
        let environment = Environment::from([("SET", "2"), ("EMPTY", ""), ("WRONG", "2 s")]);
        let default = Duration::from_secs(30);
        let read = |name| environment.seconds_or(name, default);
        assert_eq!(read("SET").unwrap(), Duration::from_secs(2));
        for name in ["EMPTY", "ABSENT"] {
            assert_eq!(read(name).unwrap(), default, "{name}");
        }
        assert!(read("WRONG").unwrap_err().to_string().contains("WRONG"));
    }

    #[test]
    fn debug_shows_no_value() {
        let environment = Environment::from([("AWS_SECRET_ACCESS_KEY", "hunter2")]);
        assert_eq!(format!("{environment:?}"), r#"{"AWS_SECRET_ACCESS_KEY"}"#);
    }
}
