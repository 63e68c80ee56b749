//! Tests of the operators' two policies: each permission is needed, and enough.
//!
//! The program runs with the credentials of a role. Most roles here have the deployed policies'
//! documents as policies of their own, because one action can be taken away from these without a
//! deployment.

use std::process::Output;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::Local;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stack::boto;
use stack::ops::Identity;
use stack::settled::drained;
use stack::stack::Stack;
use stack::system::System;
use uuid::Uuid;

use super::ops;

/// The outputs with the policies' ARNs: to look, and to act.
const POLICIES: [&str; 2] = ["OperatorReadPolicyArn", "OperatorActPolicyArn"];

/// The keys of the policies' conditions, other keys in their place, and what can be seen with these.
pub const KEYS: [(&str, &str, &str); 1] = [("[audit]", "[line]", "(PutItem)")];

/// A word in a command that stands for the id of a delivery in the quarantine.
const QUARANTINED: &str = "QUARANTINED";
/// The same for an event among the dead letters of customers' events.
const DEAD: &str = "DEAD";

/// An action, a command that needs it, and the call that is refused without it.
struct Need {
    sid: &'static str,
    action: &'static str,
    command: &'static [&'static str],
    refused: &'static str,
}

const fn need(
    sid: &'static str,
    action: &'static str,
    command: &'static [&'static str],
    refused: &'static str,
) -> Need {
    Need {
        sid,
        action,
        command,
        refused,
    }
}

const TO_READ: [Need; 12] = [
    need(
        "FindTheStack",
        "cloudformation:DescribeStacks",
        STATUS,
        "(DescribeStacks)",
    ),
    need(
        "FindTheStack",
        "cloudformation:ListStackResources",
        STATUS,
        "(ListStackResources)",
    ),
    need(
        "ReadAlarmsAndMetrics",
        "cloudwatch:DescribeAlarms",
        STATUS,
        "(DescribeAlarms)",
    ),
    need(
        "ReadAlarmsAndMetrics",
        "cloudwatch:GetMetricData",
        STATUS,
        "(GetMetricData)",
    ),
    need(
        "ReadLogs",
        "logs:FilterLogEvents",
        DELIVERY,
        "(FilterLogEvents)",
    ),
    need(
        "ReadLedger",
        "dynamodb:BatchGetItem",
        TIMELINE,
        "(BatchGetItem)",
    ),
    need("ReadLedger", "dynamodb:GetItem", STATUS, "(GetItem)"),
    need("ReadLedger", "dynamodb:Query", AUDIT, "(Query)"),
    need("ReadLedger", "dynamodb:Scan", DELIVERY, "(Scan)"),
    need(
        "CountMessages",
        "sqs:GetQueueAttributes",
        STATUS,
        "(GetQueueAttributes)",
    ),
    need(
        "LookAtFailedMessages",
        "sqs:ReceiveMessage",
        QUARANTINE,
        "(ReceiveMessage)",
    ),
    // Without it, what was looked at stays hidden. So this comes last.
    need(
        "LookAtFailedMessages",
        "sqs:ChangeMessageVisibility",
        LETTERS,
        "(ChangeMessageVisibility",
    ),
];

const TO_ACT: [Need; 5] = [
    need(
        "PutMessagesBack",
        "sqs:SendMessage",
        REDRIVE,
        "(SendMessage",
    ),
    need(
        "DeleteFailedMessages",
        "sqs:DeleteMessage",
        DISCARD,
        "(DeleteMessage",
    ),
    need(
        "HaveTheRegistrarWork",
        "lambda:InvokeFunction",
        &["canary"],
        "(Invoke)",
    ),
    need(
        "WriteTheAuditTrail",
        "dynamodb:PutItem",
        DISCARD,
        "(PutItem)",
    ),
    // Without it, the change is made. So this comes last.
    need(
        "WriteTheAuditTrail",
        "dynamodb:UpdateItem",
        DISCARD,
        "(UpdateItem)",
    ),
];

const STATUS: &[&str] = &["status"];
const TIMELINE: &[&str] = &["timeline", "callout", "1"];
const DELIVERY: &[&str] = &["delivery", QUARANTINED];
const AUDIT: &[&str] = &["audit"];
const QUARANTINE: &[&str] = &["quarantine", "list"];
const LETTERS: &[&str] = &["dead-letters", "list", "--queue", "subscription"];
const REDRIVE: &[&str] = &["dead-letters", "redrive", DEAD, "--yes"];
const DISCARD: &[&str] = &["quarantine", "discard", QUARANTINED, "--yes"];

/// Every command that looks.
const LOOKS: [&[&str]; 9] = [
    STATUS,
    TIMELINE,
    DELIVERY,
    AUDIT,
    QUARANTINE,
    &["quarantine", "show", QUARANTINED],
    &["dead-letters", "list"],
    &["dead-letters", "show", DEAD],
    &["spill", "list"],
];

/// Every command that acts, in an order in which one doesn't take another's message.
const ACTS: [&[&str]; 6] = [
    &["canary"],
    &["register", "--yes"],
    REDRIVE,
    &[
        "dead-letters",
        "discard",
        "--queue",
        "subscription",
        "--all",
        "--yes",
    ],
    &[
        "quarantine",
        "release",
        "CONFLICT",
        "--as-correction",
        "--yes",
    ],
    DISCARD,
];

/// A stack with something in the quarantine and in the dead letters.
struct Scene {
    system: System,
    /// The ids of unreadable deliveries in the quarantine.
    quarantined: Vec<String>,
    /// The id of a conflict in the quarantine.
    conflict: String,
    /// The id of an event among the dead letters of customers' events.
    dead: Uuid,
}

impl Scene {
    async fn set() -> Result<Self> {
        let system = Local::with_iam().await?.system(&[]).await?;
        let webhook = system.webhook().await?;
        let http = shared::http_client::build()?;
        let callout = |text: &str| {
            let callout = json!({"id": 1, "text": text});
            json!({"message": "NEW_CALLOUT", "callout": callout}).to_string()
        };
        let bodies = [
            callout("a"),
            callout("b"),
            "unreadable".to_owned(),
            "also unreadable".to_owned(),
        ];
        let mut ids = Vec::new();
        for body in bodies {
            let answer = webhook.post(&http, body.into()).await?;
            ids.push(answer.delivery_id().context("no id")?.to_owned());
        }
        drained(&system.stack).await?;
        let [_, conflict, ..] = ids.as_slice() else {
            bail!("{ids:?}");
        };
        let [dead, other] = [(); 2].map(|()| Uuid::now_v7());
        dead_letter(&system.stack, "customer", dead).await?;
        dead_letter(&system.stack, "subscription", other).await?;
        Ok(Self {
            conflict: conflict.clone(),
            quarantined: ids.split_off(2),
            system,
            dead,
        })
    }

    fn stack(&self) -> &Stack {
        &self.system.stack
    }

    /// Runs a command as somebody. `nth` says which delivery of the quarantine it is about.
    async fn run(&self, identity: &Identity, command: &[&str], nth: usize) -> Result<Output> {
        let dead = self.dead.to_string();
        let quarantined = self.quarantined.get(nth).context("no such delivery")?;
        let arguments = command.iter().map(|word| match *word {
            QUARANTINED => quarantined.as_str(),
            DEAD => dead.as_str(),
            "CONFLICT" => self.conflict.as_str(),
            word => word,
        });
        let arguments: Vec<_> = arguments.collect();
        let mut command = ops().await?.command(self.stack(), identity, &arguments);
        Ok(command.output().await?)
    }

    async fn works(&self, identity: &Identity, command: &[&str], nth: usize) -> Result<()> {
        let output = self.run(identity, command, nth).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() != Some(2), "{command:?}: {errors}");
        Ok(())
    }

    /// Asserts that AWS refuses a call of the command.
    async fn is_refused(
        &self,
        identity: &Identity,
        command: &[&str],
        nth: usize,
        call: &str,
    ) -> Result<()> {
        let output = self.run(identity, command, nth).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let is_refused = errors.contains("AccessDenied") && errors.contains(call);
        let code = output.status.code();
        ensure!(
            is_refused && code == Some(2),
            "{command:?} without {call}: {errors}"
        );
        Ok(())
    }
}

/// Puts an event among the dead letters of a kind of entity.
async fn dead_letter(stack: &Stack, kind: &str, id: Uuid) -> Result<()> {
    let output = match kind {
        "customer" => "CustomerEventsDeadLetterQueueUrl",
        _ => "SubscriptionEventsDeadLetterQueueUrl",
    };
    let detail = json!({
        "key": format!("{kind}#1/CHECKED"), "message": "CHECKED", "deliveryId": id,
        "entity": {"kind": kind, "id": "1"}, "receivedAt": "2026-11-28T08:00:00.000Z",
        "origin": "webhook", "test": false, "payload": {},
    });
    let send = stack.account().sqs().send_message();
    send.queue_url(stack.output(output)?)
        .message_body(json!({"detail-type": "CHECKED", "detail": detail}).to_string())
        .send()
        .await?;
    Ok(())
}

/// A role that the account trusts, with nothing permitted yet.
pub async fn role(stack: &Stack, name: &str) -> Result<()> {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{}:root", stack.account().id())},
            "Action": "sts:AssumeRole",
        }],
    });
    let arguments = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
    let _: Value = boto::call(stack.account(), "iam", "create_role", arguments).await?;
    Ok(())
}

/// Gives a role a policy of its own.
async fn permit(stack: &Stack, role: &str, policy: &str, document: &Document) -> Result<()> {
    let document = serde_json::to_string(document)?;
    let arguments = json!({"RoleName": role, "PolicyName": policy, "PolicyDocument": document});
    let _: Value = boto::call(stack.account(), "iam", "put_role_policy", arguments).await?;
    Ok(())
}

/// Attaches one of the stack's policies to a role.
pub async fn attach(stack: &Stack, role: &str, output: &str) -> Result<()> {
    let arguments = json!({"RoleName": role, "PolicyArn": stack.output(output)?});
    let _: Value = boto::call(stack.account(), "iam", "attach_role_policy", arguments).await?;
    Ok(())
}

/// The credentials of somebody who has assumed a role.
pub async fn assume(stack: &Stack, role: &str) -> Result<Identity> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Assumed {
        credentials: Credentials,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Credentials {
        access_key_id: String,
        secret_access_key: String,
        session_token: String,
    }
    let arn = format!("arn:aws:iam::{}:role/{role}", stack.account().id());
    let arguments = json!({"RoleArn": arn, "RoleSessionName": "thandi"});
    let Assumed { credentials } =
        boto::call(stack.account(), "sts", "assume_role", arguments).await?;
    Ok(Identity {
        access_key_id: credentials.access_key_id,
        secret_access_key: credentials.secret_access_key,
        session_token: Some(credentials.session_token),
    })
}

/// The document of a policy.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: String,
    statement: Vec<Statement>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: String,
    /// A text, or a list of texts.
    action: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Statement {
    fn actions(&self) -> Vec<String> {
        let all = self.action.as_array().cloned();
        let all = all.unwrap_or_else(|| vec![self.action.clone()]).into_iter();
        all.filter_map(|its| its.as_str().map(str::to_owned))
            .collect()
    }

    /// The statement without an action. `None` if it has no other action.
    fn without(&self, action: &str) -> Option<Self> {
        let mut left = self.actions();
        left.retain(|its| its != action);
        (!left.is_empty()).then(|| Self {
            action: left.into(),
            ..self.clone()
        })
    }
}

impl Document {
    /// One of the stack's policies, as it was deployed.
    async fn read(stack: &Stack, output: &str) -> Result<Self> {
        let (account, arn) = (stack.account(), stack.output(output)?);
        let policy: Value =
            boto::call(account, "iam", "get_policy", json!({"PolicyArn": arn})).await?;
        let version = policy.pointer("/Policy/DefaultVersionId");
        let arguments = json!({"PolicyArn": arn, "VersionId": version});
        let version: Value = boto::call(account, "iam", "get_policy_version", arguments).await?;
        let document = version.pointer("/PolicyVersion/Document");
        Ok(serde_json::from_value(
            document.cloned().unwrap_or_default(),
        )?)
    }

    /// The policy without one action of one statement.
    fn without(&self, need: &Need) -> Self {
        let statements = self.statement.iter().filter_map(|statement| {
            if statement.sid == need.sid {
                statement.without(need.action)
            } else {
                Some(statement.clone())
            }
        });
        Self {
            statement: statements.collect(),
            ..self.clone()
        }
    }

    /// Its permissions, each as a `Sid` and an action.
    fn permissions(&self) -> impl Iterator<Item = String> {
        self.statement.iter().flat_map(|statement| {
            let actions = statement.actions().into_iter();
            actions.map(|action| format!("{} {action}", statement.sid))
        })
    }
}

#[tokio::test]
async fn an_operator_may_look_with_one_policy_and_act_with_both() -> Result<()> {
    let scene = Scene::set().await?;
    let stack = scene.stack();
    let [read, act] = POLICIES;
    role(stack, "looks").await?;
    attach(stack, "looks", read).await?;
    let looks = assume(stack, "looks").await?;
    for command in LOOKS {
        scene.works(&looks, command, 0).await?;
    }
    for command in ACTS {
        scene.is_refused(&looks, command, 0, "").await?;
    }
    let nobody = scene.run(&looks, AUDIT, 0).await?;
    assert!(nobody.stdout.starts_with(b"Nobody has changed anything"));

    role(stack, "acts").await?;
    attach(stack, "acts", read).await?;
    attach(stack, "acts", act).await?;
    let acts = assume(stack, "acts").await?;
    for command in ACTS {
        scene.works(&acts, command, 0).await?;
    }
    let audit = scene.run(&acts, AUDIT, 0).await?;
    let audit = String::from_utf8(audit.stdout)?;
    // All but the canary, which changes nothing.
    assert_eq!(
        audit.matches("assumed-role/acts/thandi").count(),
        ACTS.len() - 1,
        "{audit}"
    );
    Ok(())
}

#[tokio::test]
async fn every_action_of_the_operators_policies_is_shown_to_be_needed() -> Result<()> {
    let scene = Scene::set().await?;
    let stack = scene.stack();
    let [read, act] = POLICIES;
    let (read, act) = (
        Document::read(stack, read).await?,
        Document::read(stack, act).await?,
    );
    let mut permitted: Vec<_> = read.permissions().chain(act.permissions()).collect();
    let shown = TO_READ.iter().chain(&TO_ACT);
    let mut shown: Vec<_> = shown
        .map(|need| format!("{} {}", need.sid, need.action))
        .collect();
    permitted.sort();
    shown.sort();
    assert_eq!(shown, permitted);

    for (number, need) in TO_READ.iter().chain(&TO_ACT).enumerate() {
        let name = format!("lacks-{number}");
        role(stack, &name).await?;
        permit(stack, &name, "read", &read.without(need)).await?;
        permit(stack, &name, "act", &act.without(need)).await?;
        let lacks = assume(stack, &name).await?;
        scene
            .is_refused(&lacks, need.command, 0, need.refused)
            .await?;
    }
    let keys = serde_json::to_string(&act)?;
    for (_, other, call) in KEYS {
        let other = other.trim_matches(['[', ']']);
        let other = keys.replace("\"audit\"", &format!("\"{other}\""));
        assert_ne!(other, keys);
        role(stack, "lacks-key").await?;
        permit(stack, "lacks-key", "read", &read).await?;
        permit(stack, "lacks-key", "act", &serde_json::from_str(&other)?).await?;
        let lacks = assume(stack, "lacks-key").await?;
        scene.is_refused(&lacks, DISCARD, 1, call).await?;
    }
    Ok(())
}
