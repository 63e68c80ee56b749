//! Bearer tokens: each is good for an hour.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// How long a token is good for.
pub(crate) const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// The tokens that have been given out, each with the end of its life.
#[derive(Default)]
pub(crate) struct Tokens {
    ends: HashMap<String, Timestamp>,
}

impl Tokens {
    /// Makes `token` good from `now` on, and forgets those whose time is over.
    pub(crate) fn issue(&mut self, token: String, now: Timestamp) {
        self.ends.retain(|_, end| now < *end);
        self.ends.insert(token, now + LIFETIME);
    }

    /// All that are good or have been, as far as they are remembered.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.ends.keys().map(String::as_str)
    }

    /// Whether `token` is good.
    pub(crate) fn accept(&self, token: &str, now: Timestamp) -> bool {
        self.ends.get(token).is_some_and(|end| now < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_an_hour() {
        let start = Timestamp::UNIX_EPOCH;
        let mut tokens = Tokens::default();
        tokens.issue("a".to_owned(), start);
        assert!(tokens.accept("a", start + SignedDuration::from_secs(3599)));
        assert!(!tokens.accept("a", start + SignedDuration::from_secs(3600)));
        assert!(!tokens.accept("b", start));
    }
}
