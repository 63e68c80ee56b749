//! Health of the webhook: whether AURA still delivers here. Registering another endpoint, in AURA's
//! portal for example, replaces the webhook without a word, and no call tells what is registered.

pub mod healing;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// So many runs that learned of changes only by asking, with no delivery in between, mean that the
/// webhook is down.
const RUNS_UNTIL_DOWN: u32 = 2;
/// The endpoint isn't registered again for this long: deliveries may take a while to come, and two
/// that register in turn must not fight all day.
const HEALING_PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// What is known of the webhook, from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WebhookHealth {
    /// When the last delivery arrived that a run knew of.
    pub delivered_at: Option<Timestamp>,
    /// Number of runs that have learned of changes only by asking since then.
    pub deaf_runs: u32,
    /// When the registrar was last asked to register the endpoint again.
    pub healed_at: Option<Timestamp>,
}

impl WebhookHealth {
    /// Health after a run that learned of so many `changes` only by asking, when the last delivery
    /// had arrived at `delivered_at`.
    #[must_use]
    pub fn after_run(&self, changes: usize, delivered_at: Option<Timestamp>) -> Self {
        let was_heard = delivered_at > self.delivered_at;
        let deaf_runs = match (was_heard, changes) {
            (true, _) => 0,
            (false, 0) => self.deaf_runs,
            (false, _) => self.deaf_runs.saturating_add(1),
        };
        Self {
            delivered_at: self.delivered_at.max(delivered_at),
            deaf_runs,
            healed_at: self.healed_at,
        }
    }

    /// Whether AURA seems to deliver elsewhere, or nowhere.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.deaf_runs >= RUNS_UNTIL_DOWN
    }

    /// Whether the endpoint should be registered again now, after a run that learned of so many
    /// `changes` only by asking. While nothing changes there is nothing that AURA could deliver.
    #[must_use]
    pub fn is_to_be_healed(&self, changes: usize, now: Timestamp) -> bool {
        let paused = self
            .healed_at
            .is_none_or(|at| now.duration_since(at) >= HEALING_PAUSE);
        self.is_down() && changes > 0 && paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    /// Health after runs, each with its number of changes and the minute of the last delivery.
    fn after(runs: &[(usize, i64)]) -> WebhookHealth {
        runs.iter()
            .fold(WebhookHealth::default(), |health, (changes, minute)| {
                health.after_run(*changes, Some(at(*minute)))
            })
    }

    #[test]
    fn changes_learned_by_asking_alone_twice_in_a_row_mean_that_the_line_is_down() {
        assert!(!after(&[(0, 1), (1, 1)]).is_down());
        assert!(after(&[(0, 1), (1, 1), (3, 1)]).is_down());
        // A run that learns nothing says nothing.
        assert!(after(&[(0, 1), (1, 1), (0, 1), (0, 1), (1, 1)]).is_down());
        assert!(after(&[(0, 1), (1, 1), (1, 1), (0, 1)]).is_down());
    }

    #[test]
    fn one_delivery_says_that_the_line_is_up() {
        assert!(!after(&[(0, 1), (1, 1), (1, 2)]).is_down());
        assert!(!after(&[(0, 1), (1, 1), (1, 1), (1, 2), (1, 2)]).is_down());
        assert!(after(&[(0, 1), (1, 1), (1, 2), (1, 2), (1, 2)]).is_down());
        // What came before the first run came.
        assert!(!after(&[(1, 1), (1, 1)]).is_down());
        let never = WebhookHealth::default()
            .after_run(1, None)
            .after_run(1, None);
        assert!(never.is_down());
    }

    #[test]
    fn it_is_healed_once_in_a_while() {
        let mut health = after(&[(0, 1), (1, 1), (1, 1)]);
        assert!(health.is_to_be_healed(1, at(20)));
        assert!(!health.is_to_be_healed(0, at(20)));
        health.healed_at = Some(at(20));
        assert!(!health.is_to_be_healed(1, at(29)));
        assert!(health.is_to_be_healed(1, at(30)));
        assert!(!WebhookHealth::default().is_to_be_healed(1, at(30)));
    }
}
