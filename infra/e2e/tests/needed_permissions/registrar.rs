//! Permissions that the registrar needs to prove and register an endpoint, and to rotate its
//! secret.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_lambda::primitives::Blob;
use e2e::Local;
use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};
use shared::secrets::VersionStage;
use stack::function_logs;
use stack::processes;
use stack::stack::Stack;
use stack::system::System;
use stack::template::Template;

use super::{KEY, Key, Need, encrypt_credentials, need, show, show_keys};
use crate::registration::trial::impatient;
use crate::reregistration::{event, invoke};
use crate::rotation_steps::put_pending;

pub const ROLE: &str = "RegistrarRole";
/// Permissions for the step of a rotation that makes a value.
pub const TO_CREATE: [Need; 2] = [
    need(
        "ReadAndRotateWebhookSecret",
        "secretsmanager:GetSecretValue",
        "can't be read: refused: AccessDenied",
    ),
    need(
        "ReadAndRotateWebhookSecret",
        "secretsmanager:PutSecretValue",
        "Secrets Manager failed at PutSecretValue: refused: AccessDenied",
    ),
];
/// Permissions for the step that makes it the current value.
pub const TO_FINISH: [Need; 5] = [
    need(
        "ReadAndRotateWebhookSecret",
        "secretsmanager:DescribeSecret",
        "Secrets Manager failed at DescribeSecret: refused: AccessDenied",
    ),
    need(
        "ReadAndRotateWebhookSecret",
        "secretsmanager:UpdateSecretVersionStage",
        "Secrets Manager failed at UpdateSecretVersionStage: refused: AccessDenied",
    ),
    need(
        "AskWhatTheStackIsDoing",
        "cloudformation:DescribeStacks",
        "the stack's status can't be read: refused: AccessDenied",
    ),
    need("WriteLogs", "logs:CreateLogStream", "nothing is logged"),
    need("WriteLogs", "logs:PutLogEvents", "nothing is logged"),
];
/// Permissions to register. Without one, the registrar waits for half a minute, or as long as for a
/// canary.
pub const TO_REGISTER: [Need; 4] = [
    need(
        "ReadAuraCredentials",
        "secretsmanager:GetSecretValue",
        "can't be read: refused: AccessDenied",
    ),
    need(
        "DecryptAuraCredentials",
        "kms:Decrypt",
        "can't be read: refused: AccessDenied",
    ),
    need(
        "FollowCanaries",
        "dynamodb:Query",
        "the ledger can't be read: refused: AccessDenied",
    ),
    need("AnnounceCanaries", "dynamodb:UpdateItem", NOT_ANNOUNCED),
];
pub const KEYS: [Key; 2] = [
    (
        r#"["canary#*"]"#,
        "[canary]",
        "the ledger can't be read: refused: AccessDenied",
    ),
    (r#"["note/*"]"#, "[note]", NOT_ANNOUNCED),
];
const NOT_ANNOUNCED: &str =
    "the canary can't be announced in the ledger: notes: refused: AccessDenied";

const FUNCTION: &str = "RegistrarFunctionName";
const LOG_GROUP: &str = "RegistrarLogGroupName";
/// How long a test waits for a line. It is longer than any wait of the registrar.
const PATIENCE: Duration = Duration::from_secs(100);

struct Trial {
    local: &'static Local,
    system: System,
}

impl Trial {
    async fn begin(local: &'static Local) -> Result<Self> {
        let system = local.system(&[("AuraCredentialsKeyArn", KEY)]).await?;
        encrypt_credentials(system.stack.account()).await?;
        Ok(Self { local, system })
    }

    async fn update(&mut self, template: Template) -> Result<&Stack> {
        self.system.stack = self.local.update_to(&self.system.stack, template).await?;
        Ok(&self.system.stack)
    }

    /// The registrar's line for this request, once it is there.
    async fn line(&self, request_id: &str) -> Result<String> {
        let look = async {
            loop {
                let lines = function_logs::lines(&self.system.stack, LOG_GROUP).await?;
                let is_its = |line: &&String| is_line_of(line, request_id);
                if let Some(line) = lines.iter().find(is_its) {
                    return Ok(line.clone());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let line = tokio::time::timeout(PATIENCE, look).await;
        line.with_context(|| format!("the registrar logged no line for request {request_id}"))?
    }
}

fn is_line_of(line: &str, request_id: &str) -> bool {
    let line = serde_json::from_str::<Value>(line);
    line.is_ok_and(|line| line.get("RequestId").is_some_and(|its| its == request_id))
}

/// Ends a rotation that is under way, and removes its value.
async fn end_rotation(stack: &Stack) -> Result<()> {
    if !processes::pids(stack, FUNCTION)?.is_empty() {
        processes::gone(&processes::kill(stack, FUNCTION)?).await?;
    }
    let secret = stack.output("WebhookSecretArn")?;
    let client = stack.account().secretsmanager();
    let described = client.describe_secret().secret_id(secret).send().await?;
    let versions = described.version_ids_to_stages.unwrap_or_default();
    let stage = VersionStage::Pending.label();
    let is_pending = |stages: &[String]| stages.iter().any(|its| its == stage);
    for (version, _) in versions.iter().filter(|(_, stages)| is_pending(stages)) {
        let update = client.update_secret_version_stage().secret_id(secret);
        let update = update.version_stage(stage).remove_from_version_id(version);
        update.send().await?;
    }
    Ok(())
}

struct Creating(Trial);

impl super::Trial for Creating {
    /// The result of the first step of a rotation.
    async fn seen(&mut self, template: Template) -> Result<Vec<String>> {
        let stack = self.0.update(template).await?;
        end_rotation(stack).await?;
        let rotate = stack.account().secretsmanager().rotate_secret();
        let rotate = rotate.secret_id(stack.output("WebhookSecretArn")?);
        let rotate = rotate.rotation_lambda_arn(stack.output("RegistrarFunctionArn")?);
        let token = rotate
            .send()
            .await?
            .version_id
            .context("the rotation has no version id")?;
        Ok(vec![self.0.line(&token).await?])
    }
}

struct Finishing(Trial);

impl super::Trial for Finishing {
    /// The result of the last step of a rotation.
    async fn seen(&mut self, template: Template) -> Result<Vec<String>> {
        let stack = self.0.update(template).await?;
        end_rotation(stack).await?;
        let token = put_pending(stack, "another-value").await?;
        let event = json!({
            "Step": "finishSecret", "SecretId": stack.output("WebhookSecretArn")?,
            "ClientRequestToken": token,
        });
        let lambda = aws_sdk_lambda::Client::new(stack.account().sdk_config());
        let invoke = lambda.invoke().function_name(stack.output(FUNCTION)?);
        let invoke = invoke.payload(Blob::new(event.to_string()));
        let answer = Box::pin(invoke.send()).await?;
        let answer = answer
            .payload
            .context("the registrar didn't answer")?
            .into_inner();
        let lines = function_logs::lines(stack, LOG_GROUP).await?;
        let is_logged = lines.iter().any(|line| is_line_of(line, &token));
        let logged = if is_logged {
            "logged"
        } else {
            "nothing is logged"
        };
        Ok(vec![String::from_utf8(answer)?, logged.to_owned()])
    }
}

struct Registering(Trial);

impl super::Trial for Registering {
    /// The result of registering the endpoint with AURA again. With the permission it takes a
    /// second.
    async fn seen(&mut self, template: Template) -> Result<Vec<String>> {
        let stack = self.0.update(impatient(&template, 20)?).await?;
        let event = event()?;
        invoke(stack, &event).await?;
        let id = event.pointer("/Reregister/requestId");
        let id = id
            .and_then(Value::as_str)
            .context("the answer has no request id")?;
        Ok(vec![self.0.line(id).await?])
    }
}

#[tokio::test]
async fn the_registrar_needs_every_action_of_its_policy_to_rotate() -> Result<()> {
    let local = Local::with_iam().await?;
    let mut creating = Creating(Trial::begin(local).await?);
    show(ROLE, &TO_CREATE, &mut creating).await?;
    show(ROLE, &TO_FINISH, &mut Finishing(creating.0)).await
}

#[tokio::test]
async fn the_registrar_needs_every_action_of_its_policy_to_register() -> Result<()> {
    let local = Local::with_iam().await?;
    let each = TO_REGISTER.each_ref().map(async |need| {
        let mut trial = Registering(Trial::begin(local).await?);
        show(ROLE, std::slice::from_ref(need), &mut trial).await
    });
    let keys = async {
        let mut trial = Registering(Trial::begin(local).await?);
        show_keys(local.template(), &KEYS, &mut trial).await
    };
    try_join(try_join_all(each), keys).await?;
    Ok(())
}
