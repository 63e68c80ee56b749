//! Bearer tokens. Each is valid for an hour.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// Time for which a token is valid.
pub(crate) const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// The issued tokens, each with the end of its validity.
#[derive(Default)]
pub(crate) struct Tokens {
    ends: HashMap<String, Timestamp>,
}

impl Tokens {
    /// Makes `token` valid from `now` on.
    pub(crate) fn issue(&mut self, token: String, now: Timestamp) {
        self.ends.insert(token, now + LIFETIME);
    }

    /// Ends every valid token, and returns their number.
    pub(crate) fn expire(&mut self, now: Timestamp) -> usize {
        let mut expired = 0;
        for end in self.ends.values_mut().filter(|end| now < **end) {
            *end = now;
            expired += 1;
        }
        expired
    }

    /// All issued tokens, valid or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.ends.keys().map(String::as_str)
    }

    /// Whether `token` is valid.
    pub(crate) fn accept(&self, token: &str, now: Timestamp) -> bool {
        self.ends.get(token).is_some_and(|end| now < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_for_an_hour() {
        let start = Timestamp::UNIX_EPOCH;
        let mut tokens = Tokens::default();
        tokens.issue("a".to_owned(), start);
        assert!(tokens.accept("a", start + SignedDuration::from_secs(3599)));
        assert!(!tokens.accept("a", start + SignedDuration::from_secs(3600)));
        assert!(!tokens.accept("b", start));
    }

    #[test]
    fn an_ended_token_is_still_listed_and_no_longer_valid() {
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
