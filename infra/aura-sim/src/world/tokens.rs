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
    /// Makes `token` good from `now` on.
    pub(crate) fn issue(&mut self, token: String, now: Timestamp) {
        self.ends.insert(token, now + LIFETIME);
    }

    /// Ends every token that is good, and says how many they were.
    pub(crate) fn expire(&mut self, now: Timestamp) -> usize {
        let mut expired = 0;
        for end in self.ends.values_mut().filter(|end| now < **end) {
            *end = now;
            expired += 1;
        }
        expired
    }

    /// All that are good or have been.
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

    #[test]
    fn an_ended_token_is_remembered_and_no_longer_good() {
        let start = Timestamp::UNIX_EPOCH;
        let mut tokens = Tokens::default();
        tokens.issue("a".to_owned(), start);
        assert_eq!(tokens.expire(start), 1);
        assert_eq!(tokens.expire(start), 0);
        assert!(!tokens.accept("a", start));
        tokens.issue("b".to_owned(), start);
        assert!(tokens.accept("b", start));
        let mut all: Vec<_> = tokens.all().collect();
        all.sort_unstable();
        assert_eq!(all, ["a", "b"]);
    }
}
