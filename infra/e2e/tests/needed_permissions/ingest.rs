//! Permissions that ingest needs to store a delivery on its queue or elsewhere.

use anyhow::Result;
use e2e::Local;
use serde_json::json;
use stack::function_logs;
use stack::processes;
use stack::system::{Leftovers, System};
use stack::template::Template;

use super::{Key, Need, need, show, show_keys};

pub const ROLE: &str = "IngestRole";
pub const NEEDS: [Need; 7] = [
    need(
        "StoreDeliveries",
        "sqs:SendMessage",
        "readable: 202, spilled",
    ),
    need(
        "QuarantineUnreadableDeliveries",
        "sqs:SendMessage",
        "garbled: 202, spilled",
    ),
    need(
        "ConnectToTheQueue",
        "sqs:GetQueueAttributes",
        "no connection to SQS yet",
    ),
    need("SpillDeliveries", "dynamodb:PutItem", "readable: 503").beside("StoreDeliveries"),
    need(
        "ReadWebhookSecret",
        "secretsmanager:GetSecretValue",
        "readable: 503",
    ),
    need("WriteLogs", "logs:CreateLogStream", "nothing is logged"),
    need("WriteLogs", "logs:PutLogEvents", "nothing is logged"),
];

pub const KEYS: [Key; 1] = [("[spill/*]", "[open/*]", "readable: 503")];
const LOG_GROUP: &str = "IngestLogGroupName";

struct Trial {
    local: &'static Local,
    system: System,
}

impl super::Trial for Trial {
    /// The answers to a readable and an unreadable delivery after ingest has started, and what it
    /// logs.
    async fn seen(&mut self, template: Template) -> Result<Vec<String>> {
        self.system.stack = self.local.update_to(&self.system.stack, template).await?;
        let stack = &self.system.stack;
        let killed = processes::kill(stack, "IngestFunctionName")?;
        processes::gone(&killed).await?;
        let lines_before = function_logs::lines(stack, LOG_GROUP).await?.len();
        let http = shared::http_client::build()?;
        let webhook = self.system.webhook().await?;
        let mut seen = Vec::new();
        let readable = json!({"message": "CREATED_CUSTOMER", "customer": {"id": 1}}).to_string();
        for (name, body) in [("readable", readable.as_str()), ("garbled", "not json")] {
            let spill_before = Leftovers::count(stack).await?.spill_depth;
            let status = webhook.post(&http, body.into()).await?.status;
            let spilled = Leftovers::count(stack).await?.spill_depth > spill_before;
            seen.push(format!(
                "{name}: {status}{}",
                if spilled { ", spilled" } else { "" }
            ));
        }
        let mut lines = function_logs::lines(stack, LOG_GROUP).await?;
        lines.drain(..lines_before);
        if lines.is_empty() {
            seen.push("nothing is logged".to_owned());
        }
        seen.extend(lines);
        Ok(seen)
    }
}

#[tokio::test]
async fn ingest_needs_every_action_that_its_policy_has() -> Result<()> {
    let local = Local::with_iam().await?;
    let system = local.system(&[]).await?;
    let mut trial = Trial { local, system };
    show(ROLE, &NEEDS, &mut trial).await?;
    let spilling = local
        .template()
        .without_permission(ROLE, "StoreDeliveries")?;
    show_keys(&spilling, &KEYS, &mut trial).await
}
