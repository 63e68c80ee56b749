//! A plan of unreliability: the body of `POST /_sim/plan`. The crate's documentation describes its
//! effects.

use serde::{Deserialize, Serialize};

use crate::world::history::REACH_MS;

/// The longest time that a plan may name, in seconds: a week.
const MOST_SECONDS: f64 = 604_800.0;

/// A plan that makes AURA unreliable. A fault that the plan doesn't name never happens. All
/// decisions except times follow from the seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The seed of all decisions.
    pub seed: u64,
    /// Faults of the deliveries.
    #[serde(default)]
    pub deliveries: DeliveryFaults,
    /// Windows of time in which AURA sends nothing.
    pub dark: Option<Dark>,
    /// Time after the plan's start, in seconds, when another registration replaces the one in
    /// force.
    pub lose_registration_after_seconds: Option<f64>,
    /// Faults of the calls that read callouts.
    #[serde(default)]
    pub polls: PollFaults,
}

/// Faults of the deliveries. Each share is drawn independently. All shares except `drop` are shares
/// of the events that are not dropped. An event that is reordered isn't delayed too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeliveryFaults {
    /// The share that is never sent.
    pub drop: f64,
    /// The share that is sent twice.
    pub duplicate: f64,
    /// The share that goes out only behind a later delivery of its entity. It waits at most for the
    /// longest time of `delay`, or for three seconds if `delay` has no time.
    pub reorder: f64,
    /// The share that goes out late.
    pub delay: Late,
    /// The share that carries only `message` and the callout's `id`, if it is a status event: any
    /// callout event except `NEW_CALLOUT`.
    pub bare: f64,
}

/// A share that is late, and the longest lateness.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Late {
    /// The share, from 0 to 1.
    pub share: f64,
    /// The longest lateness in milliseconds: at most 600,000 (ten minutes).
    pub most_ms: u64,
}

/// Windows of time in which AURA sends nothing. An event that happens in a window is never sent. A
/// delivery that waits when a window begins goes out when the window ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dark {
    /// Time from the start of one window to the start of the next; `None` means only one window.
    pub every_seconds: Option<f64>,
    /// Length of a window.
    pub for_seconds: f64,
    /// Time from the plan's start to the first window.
    pub first_after_seconds: f64,
}

/// Faults of `GET /callouts/{id}`, `GET /callouts/activeCallouts` and `GET /callouts/{id}/events`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PollFaults {
    /// The share that is answered 429, 500, 502 or 503.
    pub fail: f64,
    /// The share whose answer shows the world at an earlier time.
    pub stale: Late,
}

/// The error of an impossible plan. It names the member and its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member} must be {rule}")]
pub struct WrongPlan {
    member: &'static str,
    rule: &'static str,
}

impl Plan {
    /// Checks the plan.
    ///
    /// # Errors
    ///
    /// A member is wrong. The error names the first one.
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
    /// Checks the windows. There must be time between two of them, in which waiting deliveries go
    /// out.
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
    fn a_fault_that_a_plan_does_not_name_never_happens() {
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
