//! Health of the webhook: whether AURA still delivers here. A registration of another endpoint, for
//! example in AURA's portal, replaces the webhook without notice, and no call returns the
//! registered endpoint.

pub mod healing;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Number of runs after which the webhook counts as down, if they learned of changes only by asking
/// and no delivery arrived in between.
const RUNS_UNTIL_DOWN: u32 = 2;
/// Shortest time between two healings. Deliveries may take a while to come, and two systems that
/// both register must not replace each other all day.
const HEALING_PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// State of the webhook, saved from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WebhookHealth {
    /// Arrival time of the last delivery that a run has seen.
    pub delivered_at: Option<Timestamp>,
    /// Number of runs since then that have learned of changes only by asking.
    pub deaf_runs: u32,
    /// When the registrar was last asked to register the endpoint again.
    pub healed_at: Option<Timestamp>,
}

impl WebhookHealth {
    /// Returns the health after a run that learned of this number of `changes` only by asking.
    /// `delivered_at` is the arrival time of the last delivery.
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

    /// Whether AURA seems to deliver elsewhere or nowhere.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.deaf_runs >= RUNS_UNTIL_DOWN
    }

    /// Whether the endpoint should be registered again after a run that learned of this number of
    /// `changes` only by asking. Without changes, AURA has nothing to deliver.
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
    fn the_webhook_is_down_if_two_runs_learn_of_changes_only_by_asking() {
        assert!(!after(&[(0, 1), (1, 1)]).is_down());
        assert!(after(&[(0, 1), (1, 1), (3, 1)]).is_down());
        // A run that learns of no change doesn't count.
        assert!(after(&[(0, 1), (1, 1), (0, 1), (0, 1), (1, 1)]).is_down());
        assert!(after(&[(0, 1), (1, 1), (1, 1), (0, 1)]).is_down());
    }

    #[test]
    fn one_delivery_shows_that_the_webhook_works() {
        assert!(!after(&[(0, 1), (1, 1), (1, 2)]).is_down());
        assert!(!after(&[(0, 1), (1, 1), (1, 1), (1, 2), (1, 2)]).is_down());
        assert!(after(&[(0, 1), (1, 1), (1, 2), (1, 2), (1, 2)]).is_down());
        // The first run counts the delivery that arrived before it.
        assert!(!after(&[(1, 1), (1, 1)]).is_down());
        let never = WebhookHealth::default()
            .after_run(1, None)
            .after_run(1, None);
        assert!(never.is_down());
    }

    #[test]
    fn the_webhook_is_healed_at_most_every_ten_minutes() {
        let mut health = after(&[(0, 1), (1, 1), (1, 1)]);
        assert!(health.is_to_be_healed(1, at(20)));
        assert!(!health.is_to_be_healed(0, at(20)));
        health.healed_at = Some(at(20));
        assert!(!health.is_to_be_healed(1, at(29)));
        assert!(health.is_to_be_healed(1, at(30)));
        assert!(!WebhookHealth::default().is_to_be_healed(1, at(30)));
    }
}
