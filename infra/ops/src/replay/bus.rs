//! The bus, its archive, its rules and its replays.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::operation::describe_replay::{DescribeReplayError, DescribeReplayOutput};
use aws_sdk_eventbridge::operation::remove_targets::RemoveTargetsError;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{ReplayDestination, ReplayState, RuleState, Target};
use jiff::Timestamp;
use serde_json::Value;
use shared::aws::CallError;

use crate::stack::Stack;
use crate::words::Time;

/// How long to wait between two looks at a replay.
const POLL: Duration = Duration::from_secs(1);
/// What to do if there is no archive.
const NO_ARCHIVE: &str = "the stack has no archive, so nothing can be replayed. ArchiveDays is 0, or the stack is of \
     an older version: deploy with ArchiveDays=35, and what is published from then on is kept";

/// The stack's bus.
#[derive(Debug)]
pub(super) struct Bus {
    client: Client,
    pub(super) name: String,
    pub(super) arn: String,
    archive: Option<String>,
}

/// A rule of the bus.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) arn: String,
    /// Whether it gets nothing, also of a replay to it.
    pub(super) is_disabled: bool,
    pub(super) pattern: Value,
    pub(super) targets: Vec<Target>,
}

impl Bus {
    pub(super) fn of(stack: &Stack) -> Result<Self> {
        Ok(Self {
            client: Client::new(stack.sdk()),
            name: stack.output("EventBusName")?.to_owned(),
            arn: stack.output("EventBusArn")?.to_owned(),
            archive: stack.output("EventArchiveArn").ok().map(str::to_owned),
        })
    }

    /// The ARN of the archive.
    fn archive(&self) -> Result<&str> {
        self.archive.as_deref().context(NO_ARCHIVE)
    }

    /// The ARN of the rule with this name, or of all rules that are like it.
    pub(super) fn rule_arn(&self, name: &str) -> String {
        format!("{}/{name}", self.arn.replacen(":event-bus/", ":rule/", 1))
    }

    /// When the archive was made.
    pub(super) async fn archive_begins(&self) -> Result<Timestamp> {
        let name = self.archive()?.rsplit('/').next().unwrap_or_default();
        let answer = self
            .client
            .describe_archive()
            .archive_name(name)
            .send()
            .await;
        let archive = answer.map_err(CallError::of("archive", "DescribeArchive"))?;
        let begins = archive.creation_time.as_ref().and_then(timestamp);
        begins.context("EventBridge doesn't say when the archive was made")
    }

    /// The rule with this name, with its targets.
    pub(super) async fn rule(&self, name: &str) -> Result<Rule> {
        let rule = self
            .client
            .describe_rule()
            .name(name)
            .event_bus_name(&self.name);
        let rule = rule.send().await;
        let rule = rule
            .map_err(CallError::of("rule", "DescribeRule"))
            .with_context(|| format!("the rule {name} of the bus {} can't be read", self.name))?;
        let pattern = rule
            .event_pattern
            .with_context(|| format!("the rule {name} has no event pattern"))?;
        let targets = self.client.list_targets_by_rule().rule(name);
        let targets = targets.event_bus_name(&self.name).send().await;
        let targets = targets.map_err(CallError::of("rule", "ListTargetsByRule"))?;
        Ok(Rule {
            name: name.to_owned(),
            arn: rule.arn.context("EventBridge doesn't say the rule's ARN")?,
            is_disabled: rule.state == Some(RuleState::Disabled),
            pattern: serde_json::from_str(&pattern)
                .with_context(|| format!("the pattern of the rule {name} can't be read"))?,
            targets: targets.targets.unwrap_or_default(),
        })
    }

    /// The names of the rules that put events into this queue, without those of replays.
    pub(super) async fn rules_of(&self, queue: &str) -> Result<Vec<String>> {
        let rules = self.client.list_rule_names_by_target();
        let rules = rules
            .target_arn(queue)
            .event_bus_name(&self.name)
            .send()
            .await;
        let rules = rules.map_err(CallError::of("queue", "ListRuleNamesByTarget"))?;
        let mut names = rules.rule_names.unwrap_or_default();
        names.retain(|name| !name.starts_with(super::PREFIX));
        Ok(names)
    }

    /// Makes a rule with one target.
    pub(super) async fn make_rule(
        &self,
        name: &str,
        pattern: &Value,
        target: &Target,
    ) -> Result<()> {
        let rule = self.client.put_rule().name(name).event_bus_name(&self.name);
        let rule = rule
            .description("Made by aura-ops for a replay: `aura-ops replay stop` removes it")
            .event_pattern(pattern.to_string());
        rule.send()
            .await
            .map_err(CallError::of("rule of the replay", "PutRule"))?;
        let targets = self
            .client
            .put_targets()
            .rule(name)
            .event_bus_name(&self.name);
        let answer = targets.targets(target.clone()).send().await;
        let answer = answer.map_err(CallError::of("rule of the replay", "PutTargets"))?;
        if let Some(refused) = answer.failed_entries.unwrap_or_default().first() {
            let code = refused.error_code.as_deref().unwrap_or_default();
            bail!("rule of the replay: EventBridge refused the queue: {code} (PutTargets)");
        }
        Ok(())
    }

    /// Removes the rule of a replay, if it is there.
    pub(super) async fn remove_rule(&self, name: &str, target: &str) -> Result<()> {
        let targets = self
            .client
            .remove_targets()
            .rule(name)
            .event_bus_name(&self.name);
        match targets.ids(target).send().await {
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(RemoveTargetsError::is_resource_not_found_exception) =>
            {
                return Ok(());
            }
            removed => {
                removed.map_err(CallError::of("rule of the replay", "RemoveTargets"))?;
            }
        }
        let rule = self
            .client
            .delete_rule()
            .name(name)
            .event_bus_name(&self.name);
        rule.send()
            .await
            .map_err(CallError::of("rule of the replay", "DeleteRule"))?;
        Ok(())
    }

    /// Starts a replay to one rule. It never goes to the whole bus.
    pub(super) async fn start(
        &self,
        name: &str,
        (from, to): (Timestamp, Timestamp),
        rule: &str,
    ) -> Result<()> {
        let destination = ReplayDestination::builder()
            .arn(&self.arn)
            .filter_arns(rule)
            .build();
        let destination = destination.map_err(CallError::not_built("replay", "StartReplay"))?;
        let replay = self
            .client
            .start_replay()
            .replay_name(name)
            .event_source_arn(self.archive()?);
        let replay = replay
            .event_start_time(DateTime::from_secs(from.as_second()))
            .event_end_time(DateTime::from_secs(to.as_second()))
            .destination(destination);
        replay
            .send()
            .await
            .map_err(CallError::of("replay", "StartReplay"))?;
        Ok(())
    }

    /// Cancels a replay, if it isn't over.
    pub(super) async fn cancel(&self, name: &str) -> Result<()> {
        let answer = self.client.cancel_replay().replay_name(name).send().await;
        match answer {
            Err(error)
                if error.as_service_error().is_some_and(|error| {
                    error.is_illegal_status_exception() || error.is_resource_not_found_exception()
                }) =>
            {
                Ok(())
            }
            answer => {
                answer.map_err(CallError::of("replay", "CancelReplay"))?;
                Ok(())
            }
        }
    }

    /// Follows a replay until it is over. `None` if there is no such replay.
    pub(super) async fn follow(&self, name: &str) -> Result<Option<DescribeReplayOutput>> {
        let mut told = String::new();
        loop {
            let answer = self.client.describe_replay().replay_name(name).send().await;
            let replay = match answer {
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(DescribeReplayError::is_resource_not_found_exception) =>
                {
                    return Ok(None);
                }
                answer => answer.map_err(CallError::of("replay", "DescribeReplay"))?,
            };
            let progress = progress(&replay);
            if told != progress {
                eprintln!("{progress}");
                told = progress;
            }
            match replay.state {
                Some(ReplayState::Cancelled | ReplayState::Completed | ReplayState::Failed) => {
                    return Ok(Some(replay));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}

/// How far a replay is, in a line.
fn progress(replay: &DescribeReplayOutput) -> String {
    let state = replay
        .state
        .as_ref()
        .map_or("unknown", ReplayState::as_str)
        .to_lowercase();
    match replay.event_last_replayed_time.as_ref().and_then(timestamp) {
        Some(last) => format!(
            "The replay is {state}: events that arrived until {} are sent.",
            Time(last)
        ),
        None => format!("The replay is {state}."),
    }
}

/// A time of the SDK, to the second.
pub(super) fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::from_second(time.secs()).ok()
}
