//! A plan of unreliability, as it is ordered: what `POST /_sim/plan` takes. The crate's
//! documentation says what comes of it.

use serde::{Deserialize, Serialize};

use crate::world::history::REACH_MS;

/// The longest time that a plan may name, in seconds: a week.
const MOST_SECONDS: f64 = 604_800.0;

/// How unreliable AURA is to be. A fault that the plan does not name never happens. All decisions
/// except times follow from the seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The seed of all decisions.
    pub seed: u64,
    /// What becomes of the deliveries.
    #[serde(default)]
    pub deliveries: DeliveryFaults,
    /// When nothing is sent.
    pub dark: Option<Dark>,
    /// When, in seconds after the plan's start, somebody else's registration replaces the one in
    /// force.
    pub lose_registration_after_seconds: Option<f64>,
    /// What becomes of the calls that read callouts.
    #[serde(default)]
    pub polls: PollFaults,
}

/// What becomes of the deliveries. Every share is drawn by itself, and is one of those that are
/// not dropped; one that is reordered isn't delayed besides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeliveryFaults {
    /// The share that is never sent.
    pub drop: f64,
    /// The share that is sent twice.
    pub duplicate: f64,
    /// The share that goes out only behind a later delivery of its entity, or when it has waited
    /// for as long as `delay` allows; for three seconds if that doesn't say.
    pub reorder: f64,
    /// The share that goes out late.
    pub delay: Late,
    /// The share that carries no more than `message` and the callout's `id`, if it is a status event:
    /// any of a callout's but `NEW_CALLOUT`.
    pub bare: f64,
}

/// A share that is late, and by how much.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Late {
    /// From 0 to 1.
    pub share: f64,
    /// By how many milliseconds at most: up to 600,000, ten minutes.
    pub most_ms: u64,
}

/// Windows of time in which nothing is sent. What happens in one is never sent; what waited when
/// it began goes out when it ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dark {
    /// From the start of one window to the start of the next; `None` is one window alone.
    pub every_seconds: Option<f64>,
    /// How long a window lasts.
    pub for_seconds: f64,
    /// When the first begins, from the plan's start.
    pub first_after_seconds: f64,
}

/// What becomes of `GET /callouts/{id}`, `GET /callouts/activeCallouts` and
/// `GET /callouts/{id}/events`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PollFaults {
    /// The share that is answered 429, 500, 502 or 503.
    pub fail: f64,
    /// The share whose answer is what the world was earlier, and by how much at most.
    pub stale: Late,
}

/// The error of a plan that is not possible: it names the member and its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member} must be {rule}")]
pub struct WrongPlan {
    member: &'static str,
    rule: &'static str,
}

impl Plan {
    /// Refuses a plan that is not possible.
    ///
    /// # Errors
    ///
    /// The first member that is wrong, by its name.
    pub fn check(&self) -> Result<(), WrongPlan> {
        self.deliveries.check()?;
        if let Some(dark) = &self.dark {
            dark.check()?;
        }
        if let Some(after) = self.lose_registration_after_seconds {
            check_seconds("loseRegistrationAfterSeconds", after)?;
        }
        check_share("polls.fail", self.polls.fail)?;
        check_share("polls.stale.share", self.polls.stale.share)?;
        check_late("polls.stale.mostMs", self.polls.stale.most_ms)
    }
}

impl DeliveryFaults {
    fn check(&self) -> Result<(), WrongPlan> {
        check_share("deliveries.drop", self.drop)?;
        check_share("deliveries.duplicate", self.duplicate)?;
        check_share("deliveries.reorder", self.reorder)?;
        check_share("deliveries.delay.share", self.delay.share)?;
        check_late("deliveries.delay.mostMs", self.delay.most_ms)?;
        check_share("deliveries.bare", self.bare)
    }
}

impl Dark {
    /// Windows have time between them: what waits for the end of one goes out there.
    fn check(&self) -> Result<(), WrongPlan> {
        check_seconds("dark.forSeconds", self.for_seconds)?;
        check_seconds("dark.firstAfterSeconds", self.first_after_seconds)?;
        let Some(every) = self.every_seconds else {
            return Ok(());
        };
        check_seconds("dark.everySeconds", every)?;
        let rule = "more than dark.forSeconds";
        ensure(every > self.for_seconds, "dark.everySeconds", rule)
    }
}

fn check_share(member: &'static str, share: f64) -> Result<(), WrongPlan> {
    ensure((0.0..=1.0).contains(&share), member, "between 0 and 1")
}

fn check_late(member: &'static str, most_ms: u64) -> Result<(), WrongPlan> {
    ensure(most_ms <= REACH_MS, member, "at most 600000")
}

fn check_seconds(member: &'static str, seconds: f64) -> Result<(), WrongPlan> {
    let within = (0.0..=MOST_SECONDS).contains(&seconds);
    ensure(within, member, "between 0 and 604800")
}

fn ensure(right: bool, member: &'static str, rule: &'static str) -> Result<(), WrongPlan> {
    right.then_some(()).ok_or(WrongPlan { member, rule })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(plan: &Value) -> Result<(), String> {
        let plan: Plan = serde_json::from_value(plan.clone()).unwrap();
        plan.check().map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_plan_does_not_say_never_happens() {
        let plan: Plan = serde_json::from_value(json!({"seed": 7})).unwrap();
        let silent = Plan {
            seed: 7,
            ..Plan::default()
        };
        assert_eq!(plan, silent);
        assert!(serde_json::from_value::<Plan>(json!({})).is_err());
    }

    #[test]
    fn a_whole_plan_reads_as_it_is_written() {
        let whole = json!({
            "seed": 1,
            "deliveries": {"drop": 0.2, "duplicate": 0.1, "reorder": 0.1,
                "delay": {"share": 0.1, "mostMs": 3000}, "bare": 0.5},
            "dark": {"everySeconds": 600.0, "forSeconds": 120.0, "firstAfterSeconds": 60.0},
            "loseRegistrationAfterSeconds": 90.0,
            "polls": {"fail": 0.1, "stale": {"share": 0.1, "mostMs": 2000}},
        });
        let plan: Plan = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!(plan.check(), Ok(()));
        assert_eq!(serde_json::to_value(plan).unwrap(), whole);
    }

    #[test]
    fn a_member_that_a_plan_does_not_have_is_refused_by_name() {
        for plan in [
            json!({"seed": 1, "typo": 1}),
            json!({"seed": 1, "deliveries": {"typo": 1}}),
            json!({"seed": 1, "deliveries": {"delay": {"typo": 1}}}),
            json!({"seed": 1, "dark": {"typo": 1}}),
            json!({"seed": 1, "polls": {"typo": 1}}),
        ] {
            let error = serde_json::from_value::<Plan>(plan).unwrap_err();
            assert!(error.to_string().contains("typo"), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_by_its_members_name() {
        let share = "between 0 and 1";
        let seconds = "between 0 and 604800";
        let wrong = [
            ("/deliveries/drop", json!(1.1), share),
            ("/deliveries/duplicate", json!(-0.1), share),
            ("/deliveries/reorder", json!(2), share),
            ("/deliveries/delay/share", json!(20), share),
            ("/deliveries/delay/mostMs", json!(600_001), "at most 600000"),
            ("/deliveries/bare", json!(1.5), share),
            ("/dark/forSeconds", json!(-1), seconds),
            ("/dark/firstAfterSeconds", json!(604_801), seconds),
            ("/dark/everySeconds", json!(1e9), seconds),
            (
                "/dark/everySeconds",
                json!(120),
                "more than dark.forSeconds",
            ),
            ("/loseRegistrationAfterSeconds", json!(-0.1), seconds),
            ("/polls/fail", json!(1.1), share),
            ("/polls/stale/share", json!(-1), share),
            ("/polls/stale/mostMs", json!(600_001), "at most 600000"),
        ];
        for (pointer, value, rule) in wrong {
            let mut plan = json!({
                "seed": 1,
                "deliveries": {"drop": 0, "duplicate": 0, "reorder": 0,
                    "delay": {"share": 0, "mostMs": 0}, "bare": 0},
                "dark": {"everySeconds": 600, "forSeconds": 120, "firstAfterSeconds": 0},
                "loseRegistrationAfterSeconds": 0,
                "polls": {"fail": 0, "stale": {"share": 0, "mostMs": 0}},
            });
            assert_eq!(check(&plan), Ok(()));
            *plan.pointer_mut(pointer).unwrap() = value;
            let member = pointer.trim_start_matches('/').replace('/', ".");
            assert_eq!(check(&plan), Err(format!("{member} must be {rule}")));
        }
        let nan = Plan {
            lose_registration_after_seconds: Some(f64::NAN),
            ..Plan::default()
        };
        assert!(nan.check().is_err());
    }
}
