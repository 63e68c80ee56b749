//! Where a replay goes: to a rule that is there, or to one queue by a rule of its own.

use anyhow::{Context as _, Result, bail};
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use shared::aws::CallError;

use super::bus::{Bus, Rule};
use super::{Filter, PREFIX};
use super::{pattern, queue_policy};
use crate::stack::Stack;

/// The id of the target of a replay's own rule.
pub(super) const TARGET: &str = "queue";

/// Where a replay goes.
#[derive(Debug)]
pub(super) struct Route {
    /// The ARN of the only rule that gets the events.
    pub(super) rule_arn: String,
    /// What the rule takes.
    pub(super) pattern: Value,
    /// The target of the replay's own rule; `None` if the rule is there and stays.
    pub(super) own: Option<Target>,
    /// Who gets the events, in words such as `the queue arrivals`.
    pub(super) receiver: String,
}

/// The way to all targets of a rule: by its name on the bus, or in the template.
///
/// # Errors
///
/// There is no such rule, it is disabled, or it has no targets.
pub(super) async fn to_rule(stack: &Stack, bus: &Bus, rule: &str) -> Result<Route> {
    let resources = stack.resources().await?;
    let resource = resources
        .iter()
        .find(|its| its.logical_id == rule && its.kind == "AWS::Events::Rule");
    // The id of a rule is `BUS|NAME`.
    let name = resource.map_or(rule, |its| {
        its.physical_id.rsplit('|').next().unwrap_or(rule)
    });
    let Rule {
        name,
        arn,
        is_disabled,
        pattern,
        targets,
    } = bus.rule(name).await?;
    if is_disabled {
        bail!("the rule {name} is disabled, so it would get nothing: enable it first");
    }
    let targets: Vec<_> = targets.iter().map(|target| last(&target.arn)).collect();
    if targets.is_empty() {
        bail!("the rule {name} has no targets, so nobody would get the events");
    }
    Ok(Route {
        rule_arn: arn,
        pattern,
        own: None,
        receiver: format!(
            "the rule {name}, which gives them to {}",
            targets.join(" and ")
        ),
    })
}

/// The way to one queue, by a rule of its own with the name of the replay. It takes what the queue's rule
/// takes, also if that one is disabled, and of that only what the filters choose.
///
/// # Errors
///
/// The queue can't be read, or it doesn't let the rule in; or its rule leaves out what is chosen.
pub(super) async fn to_queue(
    stack: &Stack,
    bus: &Bus,
    url: &str,
    filters: &[Filter<'_>],
    name: &str,
) -> Result<Route> {
    let rule_arn = bus.rule_arn(name);
    let queue = Queue::read(stack, url).await?;
    queue.must_let_in(bus, &rule_arn)?;
    let (mut pattern, target) = like_the_rule_of(bus, &queue).await?;
    pattern::narrow(&mut pattern, &["replay-name"], name)
        .with_context(|| format!("the rule of {} takes no replay", last(&queue.arn)))?;
    for (option, path, value) in filters {
        pattern::narrow(&mut pattern, path, value).with_context(|| {
            format!(
                "nothing can be replayed to {} with --{option}",
                last(&queue.arn)
            )
        })?;
    }
    if let Some(dead_letters) = target
        .dead_letter_config
        .as_ref()
        .and_then(|its| its.arn.as_deref())
    {
        let url = url
            .rsplit_once('/')
            .map(|(place, _)| format!("{place}/{}", last(dead_letters)));
        let url = url.context("the queue's URL has no path")?;
        Queue::read(stack, &url)
            .await?
            .must_let_in(bus, &rule_arn)?;
    }
    Ok(Route {
        rule_arn,
        pattern,
        own: Some(target),
        receiver: format!("the queue {}", last(&queue.arn)),
    })
}

/// The pattern and the target of the rule that puts events into a queue. A queue without a rule gets all
/// events but canaries.
async fn like_the_rule_of(bus: &Bus, queue: &Queue) -> Result<(Value, Target)> {
    let rules = bus.rules_of(&queue.arn).await?;
    match rules.as_slice() {
        [] if queue.arn.rsplit('.').next() == Some("fifo") => bail!(
            "the queue is a FIFO queue, and no rule says which message group an event has: make a rule for \
             it, and replay to that one with --to-rule"
        ),
        [] if queue.has_the_key_of_sqs => bail!(
            "the queue {} is encrypted with alias/aws/sqs, and EventBridge may not use this key: nothing would \
             arrive. Encrypt it with SSE-SQS, or with a KMS key of your own that lets EventBridge in",
            last(&queue.arn)
        ),
        [] => {
            let target = Target::builder().id(TARGET).arn(&queue.arn).build();
            let target =
                target.map_err(CallError::not_built("rule of the replay", "PutTargets"))?;
            let pattern =
                json!({"source": ["aura"], "detail": {"origin": [{"anything-but": ["canary"]}]}});
            Ok((pattern, target))
        }
        [name] => {
            let rule = bus.rule(name).await?;
            let mut targets = rule.targets.into_iter();
            let mut target = targets
                .find(|target| target.arn == queue.arn)
                .with_context(|| {
                    format!("the rule {name} no longer puts events into the queue: try again")
                })?;
            TARGET.clone_into(&mut target.id);
            Ok((rule.pattern, target))
        }
        several => bail!(
            "several rules put events into the queue: {}. Replay to one of them with --to-rule",
            several.join(", ")
        ),
    }
}

/// A queue, and who may send to it.
struct Queue {
    arn: String,
    policy: String,
    /// Whether it is encrypted with AWS's own KMS key for SQS. Nobody can change that key's policy, so
    /// EventBridge can't use it. <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html>
    has_the_key_of_sqs: bool,
}

impl Queue {
    async fn read(stack: &Stack, url: &str) -> Result<Self> {
        let call = stack.sqs().get_queue_attributes().queue_url(url);
        let names = [
            QueueAttributeName::QueueArn,
            QueueAttributeName::Policy,
            QueueAttributeName::KmsMasterKeyId,
        ];
        let call = call.set_attribute_names(Some(names.to_vec()));
        let answer = call
            .send()
            .await
            .map_err(CallError::of("queue", "GetQueueAttributes"))
            .with_context(|| {
                format!(
                    "the queue {url} can't be read: your role needs sqs:GetQueueAttributes on it"
                )
            })?;
        let mut attributes = answer.attributes.unwrap_or_default();
        let arn = attributes.remove(&QueueAttributeName::QueueArn);
        let key = attributes.remove(&QueueAttributeName::KmsMasterKeyId);
        Ok(Self {
            arn: arn.context("SQS doesn't say the queue's ARN")?,
            policy: attributes
                .remove(&QueueAttributeName::Policy)
                .unwrap_or_default(),
            has_the_key_of_sqs: key.is_some_and(|key| key.ends_with("alias/aws/sqs")),
        })
    }

    fn must_let_in(&self, bus: &Bus, rule: &str) -> Result<()> {
        let place = |arn: &str| {
            arn.split(':')
                .skip(3)
                .take(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (here, there) = (place(&bus.arn), place(&self.arn));
        if here != there {
            bail!(
                "the queue {} is in another region or account than the bus: make a rule that reaches it, and \
                 replay to that one with --to-rule",
                self.arn
            );
        }
        let account = here.last().map(String::as_str).unwrap_or_default();
        if !queue_policy::lets_in(&self.policy, rule, account) {
            let rules = bus.rule_arn(&format!("{PREFIX}*"));
            bail!(
                "the queue {} doesn't let the rules of a replay in. Add this statement to its policy: {}",
                last(&self.arn),
                queue_policy::statement(&rules)
            );
        }
        Ok(())
    }
}

/// What the owner of an ARN calls it: its last part, or of `…:api-destination/NAME/UUID` the name.
fn last(arn: &str) -> &str {
    match arn.split_once(":api-destination/") {
        Some((_, destination)) => destination.split('/').next().unwrap_or(destination),
        None => arn.rsplit([':', '/']).next().unwrap_or(arn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_called_by_its_name() {
        let names = [
            ("arn:aws:sqs:eu-west-1:1:arrivals", "arrivals"),
            ("arn:aws:lambda:eu-west-1:1:function:act", "act"),
            ("arn:aws:events:eu-west-1:1:event-bus/own", "own"),
            (
                "arn:aws:events:eu-west-1:1:api-destination/backend/4ffe62b4-0d2e-4d8c-9b5a-1a3d1c1e7e2f",
                "backend",
            ),
        ];
        for (arn, name) in names {
            assert_eq!(last(arn), name, "{arn}");
        }
    }
}
