//! Permissions that the reconciler needs to find out what AURA didn't send, to put spilled
//! deliveries back, and to have the endpoint registered again.

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use e2e::Local;
use serde_json::json;
use shared::ledger::spill::Spill;
use shared::queue::{Destination, Outgoing};
use stack::function_logs;
use stack::processes;
use stack::reconciler::{FUNCTION, invoke};
use stack::settled::drained;
use stack::template::Template;
use uuid::Uuid;

use super::{KEY, Key, Need, encrypt_credentials, need, show, show_keys};
use crate::processing::trial::delivery;
use crate::reconciler::trial::Trial as Reconciled;

pub const ROLE: &str = "ReconcilerRole";
pub const NEEDS: [Need; 10] = [
    need(
        "AskAuraWithItsCredentials",
        "secretsmanager:GetSecretValue",
        NOT_READ,
    ),
    need("DecryptCredentials", "kms:Decrypt", NOT_READ),
    need("ReadTheLedger", "dynamodb:GetItem", "run state: refused"),
    need("ReadTheLedger", "dynamodb:Query", "the spill can't be read"),
    need("RememberRuns", "dynamodb:UpdateItem", "ledger: refused"),
    need(
        "ForgetWhatIsDone",
        "dynamodb:DeleteItem",
        "not removed from the spill",
    ),
    need(
        "QueueWhatWasMissed",
        "sqs:SendMessage",
        "not sent to its queue, stays in the spill",
    ),
    need(
        "HaveTheEndpointRegistered",
        "lambda:InvokeFunction",
        "the registrar can't be asked to register the endpoint again",
    ),
    need("WriteLogs", "logs:CreateLogStream", "nothing is logged"),
    need("WriteLogs", "logs:PutLogEvents", "nothing is logged"),
];

/// Text for the secret with AURA's credentials.
const NOT_READ: &str = "can't be read: refused: AccessDenied";
pub const KEYS: [Key; 4] = [
    ("[reconciler, open/*]", "[open/*]", "ledger: refused"),
    (
        "[reconciler, open/*]",
        "[reconciler]",
        "open callouts: refused",
    ),
    ("[open/*, spill/*]", "[spill/*]", "open callouts: refused"),
    (
        "[open/*, spill/*]",
        "[open/*]",
        "not removed from the spill",
    ),
];
const LOG_GROUP: &str = "ReconcilerLogGroupName";

struct Trial {
    local: &'static Local,
    reconciled: Reconciled,
    callouts: u32,
}

impl Trial {
    /// Writes a state in which the webhook is down: earlier runs have learned of changes without a
    /// delivery in between, and the spilled delivery counts as older.
    async fn make_the_webhook_look_down(&self) -> Result<()> {
        let memory = json!({
            "beganAt": "2020-01-01T00:00:00Z",
            "line": {"deliveredAt": "2100-01-01T00:00:00Z", "deafRuns": 2},
        });
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let stack = self.reconciled.stack();
        let put = stack.account().dynamodb().put_item();
        let put = put.table_name(stack.output("LedgerTableName")?);
        let put = put
            .item("pk", text("reconciler"))
            .item("sk", text("memory"));
        let put = put.item("memory", text(&memory.to_string()));
        put.item("run", AttributeValue::N("0".to_owned()))
            .send()
            .await?;
        Ok(())
    }

    /// Delivers the opening and the closing of a callout, so that the ledger doesn't hold it open.
    async fn tell_of_a_callout(&mut self) -> Result<()> {
        self.callouts += 1;
        let webhook = self.reconciled.system.webhook().await?;
        let http = shared::http_client::build()?;
        for message in ["NEW_CALLOUT", "CALLOUT_CLOSED"] {
            let body = json!({"message": message, "callout": {"id": self.callouts}}).to_string();
            assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
        }
        Ok(())
    }

    /// Spills a delivery that opens no callout. So the result of the run doesn't depend on whether
    /// the delivery's event is published before the run ends.
    async fn spill(&self) -> Result<()> {
        let stack = self.reconciled.stack();
        let table = stack.output("LedgerTableName")?.to_owned();
        let delivery = Outgoing {
            delivery_id: Uuid::now_v7(),
            destination: Destination::Ingest,
            message: delivery("RESPONDER_COMPLETED", self.callouts)?,
        };
        Spill::new(stack.account().dynamodb(), table)
            .put(&delivery)
            .await?;
        Ok(())
    }
}

impl super::Trial for Trial {
    /// The end of a run after the reconciler has started, and what it logs. Before the run, a
    /// delivery was spilled, a callout closed, and another callout opened without AURA sending its
    /// event.
    async fn seen(&mut self, template: Template) -> Result<Vec<String>> {
        let system = &mut self.reconciled.system;
        system.stack = self.local.update_to(&system.stack, template).await?;
        if !processes::pids(&system.stack, FUNCTION)?.is_empty() {
            processes::gone(&processes::kill(&system.stack, FUNCTION)?).await?;
        }
        self.tell_of_a_callout().await?;
        self.make_the_webhook_look_down().await?;
        self.spill().await?;
        self.reconciled.callout().await?;
        let stack = self.reconciled.stack();
        // Waits until the processor has handled what earlier runs put on the queue.
        drained(stack).await?;
        let before = function_logs::lines(stack, LOG_GROUP).await?.len();
        let run = invoke(stack).await?;
        let mut lines = function_logs::lines(stack, LOG_GROUP).await?;
        lines.drain(..before);
        if lines.is_empty() {
            lines.push("nothing is logged".to_owned());
        }
        lines.push(format!("{run:?}"));
        Ok(lines)
    }
}

#[tokio::test]
async fn the_reconciler_needs_every_action_that_its_policy_has() -> Result<()> {
    let local = Local::with_iam().await?;
    let changes = [
        ("SelfHeal", "true"),
        ("AuraLagSeconds", "0"),
        // With a short silence, the reconciler asks about the callout and saves its state.
        ("SilenceAfterCreated", "1"),
        ("AuraCredentialsKeyArn", KEY),
    ];
    let system = local.system(&changes).await?;
    encrypt_credentials(system.stack.account()).await?;
    let reconciled = Reconciled::of(system).await?;
    reconciled.deafen().await?;
    let mut trial = Trial {
        local,
        reconciled,
        callouts: 0,
    };
    show(ROLE, &NEEDS, &mut trial).await?;
    show_keys(local.template(), &KEYS, &mut trial).await
}
