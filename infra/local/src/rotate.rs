//! `cargo local rotate`: gives the webhook a new secret while deliveries go on.
//!
//! Secrets Manager calls the registrar for each of four steps, and reports nothing about them. The
//! registrar's log shows the progress: it has one line for each step, with the version of the secret
//! as the request's id.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stack_file::StackFile;
use stack::function_logs;
use stack::progress::Progress;
use stack::report::Out;
use stack::stack::Stack;
use stack::system::Webhook;
use stack::workspace::Workspace;

/// The steps in order, and what each does.
const STEPS: [(&str, &str); 4] = [
    ("createSecret", "making a new value"),
    (
        "setSecret",
        "waiting until every ingest can read it, then giving it to AURA (about 35 s)",
    ),
    ("testSecret", "sending a canary with it"),
    ("finishSecret", "making it the current value"),
];
/// How long one step may take. It is longer than Lambda lets the registrar run.
const STEP_TIMEOUT: Duration = Duration::from_secs(130);
/// How long to wait between two looks at the log.
const POLL: Duration = Duration::from_millis(100);

/// A rotation that is done. `--json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// The version of the secret that is current now.
    pub version_id: String,
    /// The steps that were done while this watched.
    pub steps: Vec<Step>,
    /// How many seconds passed from the call to the end of the last step.
    pub seconds: f64,
}

/// A step of a rotation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The step's name in Secrets Manager.
    pub step: String,
    /// How many seconds the registrar took.
    pub seconds: f64,
}

/// Rotates the secret of the stack of `cargo local up`, and writes it to the stack file for the other
/// commands.
///
/// # Errors
///
/// No local stack is ready; otherwise as for [`rotate`].
pub async fn rotate_running(workspace: &Workspace, json: bool, progress: Progress) -> Result<()> {
    let file = StackFile::read(&workspace.stack_file())?;
    let stack = Stack::find(&file.account(), &file.stack_name).await?;
    let rotation = rotate(&stack, progress).await?;
    let webhook = Webhook::of(&stack).await?;
    StackFile::of(&stack, webhook, file.aura_url, file.pid).write(&workspace.stack_file())?;
    Out { json }.line(&format!(
        "AURA sends version {} of the secret. The one before it stays valid as the previous one, \
         until the next rotation.",
        rotation.version_id
    ));
    if json {
        println!("{}", serde_json::to_string(&rotation)?);
    }
    Ok(())
}

/// Rotates a stack's secret and shows each step. If it is dropped, the rotation goes on and is no
/// longer shown.
///
/// If a rotation is under way or has failed, Secrets Manager continues that one instead of a new one.
/// Then this shows that one.
///
/// # Errors
///
/// A step failed (the error has the registrar's reason) or takes too long. Then the old value is still
/// the current one.
pub async fn rotate(stack: &Stack, progress: Progress) -> Result<Rotation> {
    let began = Instant::now();
    let mut before = reports(stack).await?;
    let version = start(stack, progress).await?;
    before.retain(|report| report.version == version);
    // After a step that succeeded comes the next one; a failed rotation begins again at the first.
    let mut last = before.last().filter(|report| report.failed == 0).cloned();
    let mut steps = Vec::new();
    while let Some((name, does)) = step_after(last.as_ref()) {
        let stage = progress.stage(&format!("{name}: {does}"));
        let report = report(stack, &version, before.len() + steps.len()).await?;
        let Some(report) = report else {
            bail!(
                "step {name} has not ended after {} s: see the log of the local AWS",
                STEP_TIMEOUT.as_secs()
            );
        };
        let Report { step, reason, .. } = &report;
        ensure!(
            report.failed == 0,
            "step {step} failed: {}. To try this rotation again: `cargo local rotate`",
            reason.as_deref().unwrap_or("the registrar gave no reason")
        );
        stage.done(step);
        steps.push(Step {
            step: step.clone(),
            seconds: report.milliseconds / 1000.0,
        });
        last = Some(report);
    }
    let current = version_with(stack, "AWSCURRENT").await?;
    ensure!(
        current == version,
        "every step succeeded, but the current version is {current} and not {version}"
    );
    Ok(Rotation {
        version_id: version,
        steps,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// The registrar's log line about one step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    #[serde(rename = "Request")]
    step: String,
    #[serde(rename = "RequestId")]
    version: String,
    failed: u8,
    reason: Option<String>,
    #[serde(rename = "Time")]
    milliseconds: f64,
}

/// The step that comes after the last one that succeeded.
fn step_after(last: Option<&Report>) -> Option<(&'static str, &'static str)> {
    let Some(last) = last else {
        return STEPS.first().copied();
    };
    let mut steps = STEPS.iter().skip_while(|(name, _)| *name != last.step);
    steps.nth(1).copied()
}

/// Asks Secrets Manager to rotate, and returns the version that will become current.
async fn start(stack: &Stack, progress: Progress) -> Result<String> {
    let token = Uuid::now_v7().to_string();
    let answer = stack
        .account()
        .secretsmanager()
        .rotate_secret()
        .secret_id(stack.output("WebhookSecretArn")?)
        .rotation_lambda_arn(stack.output("RegistrarFunctionArn")?)
        .client_request_token(&token)
        .send()
        .await;
    let Err(error) = answer else {
        return Ok(token);
    };
    // Secrets Manager gives one error code to several refusals. Only the message tells them apart.
    match error.message() {
        Some(words) if words.contains("previous rotation isn't complete") => {
            progress.say("  an earlier rotation isn't complete: Secrets Manager goes on with it");
            version_with(stack, "AWSPENDING").await
        }
        Some(words) => bail!("RotateSecret was refused: {words}"),
        None => bail!("RotateSecret failed: {}", shared::aws::describe(&error)),
    }
}

/// The secret's version that has this label.
async fn version_with(stack: &Stack, label: &str) -> Result<String> {
    let secret = stack
        .account()
        .secretsmanager()
        .describe_secret()
        .secret_id(stack.output("WebhookSecretArn")?)
        .send()
        .await
        .context("cannot read the versions of the webhook's secret")?;
    let mut versions = secret.version_ids_to_stages.unwrap_or_default().into_iter();
    let found = versions.find(|(_, labels)| labels.iter().any(|its| its == label));
    let (version, _) =
        found.with_context(|| format!("no version of the webhook's secret is labelled {label}"))?;
    Ok(version)
}

/// The report number `n`, counted from 0, about a version; `None` if it doesn't come in time.
async fn report(stack: &Stack, version: &str, n: usize) -> Result<Option<Report>> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    while Instant::now() < deadline {
        let reports = reports(stack).await?.into_iter();
        let mut its = reports.filter(|report| report.version == version);
        if let Some(report) = its.nth(n) {
            return Ok(Some(report));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(None)
}

/// All reports of the registrar, also those about deployments.
async fn reports(stack: &Stack) -> Result<Vec<Report>> {
    let lines = function_logs::lines(stack, "RegistrarLogGroupName").await?;
    Ok(parsed(&lines))
}

fn parsed(lines: &[String]) -> Vec<Report> {
    lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_registrars_own_lines_are_reports() {
        let failed = json!({
            "Function": "registrar", "Request": "setSecret", "RequestId": "v", "Succeeded": 0,
            "Failed": 1, "Reason": "AURA is down", "Time": 35_012.5, "_aws": {},
        });
        let lines = [
            "START RequestId: 1 Version: $LATEST".to_owned(),
            failed.to_string(),
            json!({"level": "WARN", "message": "x"}).to_string(),
        ];
        let report = Report {
            step: "setSecret".into(),
            version: "v".into(),
            failed: 1,
            reason: Some("AURA is down".into()),
            milliseconds: 35_012.5,
        };
        assert_eq!(parsed(&lines), [report]);
    }

    #[test]
    fn each_step_has_its_successor_and_the_last_has_none() {
        let mut names = Vec::new();
        let mut last = None;
        while let Some((name, _)) = step_after(last.as_ref()) {
            names.push(name);
            last = Some(Report {
                step: name.into(),
                version: "v".into(),
                failed: 0,
                reason: None,
                milliseconds: 1.0,
            });
        }
        assert_eq!(names, STEPS.map(|(name, _)| name));
    }

    #[test]
    fn its_json_is_a_contract_with_other_tools() {
        let rotation = Rotation {
            version_id: "v".into(),
            steps: vec![Step {
                step: "createSecret".into(),
                seconds: 0.5,
            }],
            seconds: 1.5,
        };
        let expected = json!({
            "versionId": "v",
            "steps": [{"step": "createSecret", "seconds": 0.5}],
            "seconds": 1.5,
        });
        assert_eq!(serde_json::to_value(rotation).unwrap(), expected);
    }
}
