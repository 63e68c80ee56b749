//! Queues that consumers add to a stack's bus, with rules of their own.

use anyhow::{Context as _, Result};
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use stack::consumers::Queue;
use stack::stack::Stack;

/// A queue of a consumer.
#[derive(Debug)]
pub struct Inbox {
    /// Its URL.
    pub url: String,
    arn: String,
}

impl Inbox {
    /// Makes a queue that some rules of the stack's bus may fill. `rules` is the end of their ARNs.
    ///
    /// # Errors
    ///
    /// SQS doesn't answer, or the stack lacks an output.
    pub async fn new(stack: &Stack, name: &str, rules: &str) -> Result<Self> {
        let sqs = stack.account().sqs();
        let made = sqs.create_queue().queue_name(name).send().await?;
        let url = made.queue_url.context("no URL")?;
        let asked = sqs.get_queue_attributes().queue_url(&url);
        let asked = asked
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await?;
        let mut attributes = asked.attributes.unwrap_or_default();
        let arn = attributes
            .remove(&QueueAttributeName::QueueArn)
            .context("no ARN")?;
        let inbox = Self { url, arn };
        let rules = stack
            .output("EventBusArn")?
            .replace(":event-bus/", ":rule/")
            + "/"
            + rules;
        let statement = json!({
            "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage", "Resource": inbox.arn,
            "Condition": {"ArnLike": {"aws:SourceArn": rules}},
        });
        inbox.set_policy(stack, &statement).await?;
        Ok(inbox)
    }

    /// Gives the queue a policy of this statement.
    ///
    /// # Errors
    ///
    /// SQS doesn't answer.
    pub async fn set_policy(&self, stack: &Stack, statement: &Value) -> Result<()> {
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let set = stack.account().sqs().set_queue_attributes();
        let set = set
            .queue_url(&self.url)
            .attributes(QueueAttributeName::Policy, policy);
        set.send().await?;
        Ok(())
    }

    /// Makes a rule that puts the events of this pattern into the queue.
    ///
    /// # Errors
    ///
    /// EventBridge doesn't answer, or the stack lacks an output.
    pub async fn add_rule(&self, stack: &Stack, name: &str, pattern: &Value) -> Result<()> {
        let (eventbridge, bus) = (stack.account().eventbridge(), stack.output("EventBusName")?);
        let rule = eventbridge.put_rule().name(name).event_bus_name(bus);
        rule.event_pattern(pattern.to_string()).send().await?;
        let target = Target::builder().id("inbox").arn(&self.arn).build()?;
        let targets = eventbridge.put_targets().rule(name).event_bus_name(bus);
        targets.targets(target).send().await?;
        Ok(())
    }
}

/// Makes a queue, and a rule of the same name that puts the events of this pattern into it.
///
/// # Errors
///
/// SQS or EventBridge doesn't answer, or the stack lacks an output.
pub async fn queue_with_a_rule(stack: &Stack, name: &str, pattern: &Value) -> Result<Queue> {
    let inbox = Inbox::new(stack, name, name).await?;
    inbox.add_rule(stack, name, pattern).await?;
    Ok(Queue::new(stack.account().sqs(), &inbox.url))
}
