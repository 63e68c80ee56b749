//! Permissions that the processor needs to publish an event and to quarantine a message that is
//! not an event.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::Local;
use e2e::logs::Try;
use futures::future::{try_join, try_join_all};
use shared::queue::Message;
use stack::consumers::Queue;
use stack::function_logs;
use stack::processes;
use stack::system::System;
use stack::template::Template;

use super::{Key, Need, need, show, show_keys};
use crate::processing::trial::delivery;

pub const ROLE: &str = "ProcessorRole";
pub const NEEDS: [Need; 11] = [
    need("ConsumeDeliveries", "sqs:ReceiveMessage", "2 are not taken"),
    need("ConsumeDeliveries", "sqs:DeleteMessage", "2 are not taken"),
    need(
        "ConsumeDeliveries",
        "sqs:GetQueueAttributes",
        "2 are not taken",
    ),
    need(
        "HideFailedDeliveries",
        "sqs:ChangeMessageVisibility",
        "records may come back at another time than they should",
    )
    .beside("PublishEvents"),
    need(
        "ClaimAndCompleteEvents",
        "dynamodb:UpdateItem",
        "readable: failed",
    ),
    need(
        "LookNotesUp",
        "dynamodb:BatchGetItem",
        "cannot read the notes about the batch's events",
    ),
    need("PublishEvents", "events:PutEvents", "readable: failed"),
    need(
        "ConfirmTheBus",
        "events:DescribeEventBus",
        "event bus: not known to exist",
    ),
    need(
        "QuarantineUnpublishableEvents",
        "sqs:SendMessage",
        "broken: failed",
    ),
    need("WriteLogs", "logs:CreateLogStream", "nothing is logged"),
    need("WriteLogs", "logs:PutLogEvents", "nothing is logged"),
];

pub const KEYS: [Key; 1] = [("[note/*]", "[open/*]", "readable: failed")];

const LOG_GROUP: &str = "ProcessorLogGroupName";
/// How long to wait for a step that takes a fraction of a second if it is permitted.
const PATIENCE: Duration = Duration::from_secs(10);

struct Trial {
    local: &'static Local,
    system: System,
    callouts: u32,
}

impl Trial {
    async fn begin() -> Result<Self> {
        let local = Local::with_iam().await?;
        Ok(Self {
            system: local.system(&[]).await?,
            local,
            callouts: 0,
        })
    }

    /// Puts a message on the ingest queue; returns SQS's id of it.
    async fn send(&self, message: &Message) -> Result<String> {
        let stack = &self.system.stack;
        let send = stack.account().sqs().send_message();
        let send = send.queue_url(stack.output("IngestQueueUrl")?);
        let send = send.message_group_id(&message.group_id);
        let send = send.message_deduplication_id(&message.deduplication_id);
        let answer = send.message_body(&message.body).send().await?;
        answer.message_id.context("a message without an id")
    }

    /// The lines that the processor has logged after the first `before` lines.
    async fn lines(&self, before: usize) -> Result<Vec<String>> {
        let lines = function_logs::lines(&self.system.stack, LOG_GROUP).await?;
        Ok(lines.into_iter().skip(before).collect())
    }
}

/// Outcome of a message, from the processor's lines for its records.
fn outcome(lines: &[String], id: &str) -> Option<String> {
    let mut tries = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Try>(line).ok());
    let its = tries.find(|one| one.message_id == id);
    its.map(|one| one.outcome)
}

impl super::Trial for Trial {
    /// The outcomes of an event and of a message that is no envelope after the processor has
    /// started, and what it logs.
    async fn seen(&mut self, template: Template) -> Result<Vec<String>> {
        let sqs = self.system.stack.account().sqs();
        let url = self.system.stack.output("IngestQueueUrl")?.to_owned();
        // Messages that failed before would come back, and might be in work when the process is
        // killed.
        sqs.purge_queue().queue_url(&url).send().await?;
        self.system.stack = self.local.update_to(&self.system.stack, template).await?;
        let stack = &self.system.stack;
        if !processes::pids(stack, "ProcessorFunctionName")?.is_empty() {
            let killed = processes::kill(stack, "ProcessorFunctionName")?;
            processes::gone(&killed).await?;
        }
        let before = function_logs::lines(stack, LOG_GROUP).await?.len();
        self.callouts += 1;
        let readable = delivery("NEW_CALLOUT", self.callouts)?;
        let broken = Message {
            body: "not an envelope".to_owned(),
            group_id: "broken".to_owned(),
            ..readable.clone()
        };
        let sent = [
            ("readable", self.send(&readable).await?),
            ("broken", self.send(&broken).await?),
        ];
        let began = Instant::now();
        let is_known = |lines: &[String]| sent.iter().all(|(_, id)| outcome(lines, id).is_some());
        let mut lines = self.lines(before).await?;
        while !is_known(&lines) && began.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            lines = self.lines(before).await?;
        }
        let told = sent
            .iter()
            .filter_map(|(name, id)| Some(format!("{name}: {}", outcome(&lines, id)?)));
        let mut seen: Vec<_> = told.collect();
        if seen.is_empty() {
            seen.push(match Queue::new(sqs, &url).depth().await? {
                0 => "nothing is logged".to_owned(),
                depth => format!("{depth} are not taken"),
            });
        }
        seen.extend(lines);
        Ok(seen)
    }
}

#[tokio::test]
async fn the_processor_needs_every_action_that_its_policy_has() -> Result<()> {
    // Several run at once, because a step that isn't permitted is waited for.
    let needs = NEEDS.chunks(6).map(async |needs| {
        let mut trial = Trial::begin().await?;
        show(ROLE, needs, &mut trial).await
    });
    let keys = async {
        let mut trial = Trial::begin().await?;
        show_keys(trial.local.template(), &KEYS, &mut trial).await
    };
    try_join(try_join_all(needs), keys).await?;
    Ok(())
}
