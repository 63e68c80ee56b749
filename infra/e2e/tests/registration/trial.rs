//! A deployment under test. Its AURA stand-in exists before and after the stack; CloudFormation,
//! AURA and the registrar say what happened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aura_sim::client::{Aura, Call, Day, Delivery, Fault, REGISTER};
use e2e::Local;
use prove::contract;
use serde::Deserialize;
use serde_json::Value;
use stack::consumers::Consumers;
use stack::function_logs;
use stack::settled::all_published;
use stack::stack::{DeployError, Stack, StackFailure, events_of};
use stack::system::{CREDENTIALS, STACK_NAME, Site};
use stack::tally::Tally;
use stack::template::Template;

/// The resource that registers the stack with AURA.
pub const WEBHOOK: &str = "AuraWebhook";
/// Pause between two checks.
const POLL: Duration = Duration::from_millis(20);
/// Some deliveries: enough to show that more than one is meant.
const SOME: usize = 5;

/// The line of the template that gives ingest its secret; it is the first of several equal lines.
pub const SECRET_OF_INGEST: &str = "WEBHOOK_SECRET_ARN: !GetAtt WebhookSecret.Id";

/// A line that only the registrar's environment has.
const OF_REGISTRAR: &str = "STACK_ID: !Ref AWS::StackId";

pub struct Trial {
    pub local: &'static Local,
    pub site: Site,
    pub aura: Aura,
}

/// The registrar's log line for a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Line {
    pub request: String,
    pub request_id: String,
    pub steps: Vec<String>,
    pub succeeded: u32,
}

impl Trial {
    pub async fn begin() -> Result<Self> {
        Self::begin_at(Local::shared().await?).await
    }

    pub async fn begin_at(local: &'static Local) -> Result<Self> {
        let site = local.site().await?;
        let aura = Aura::connect(&site.aura.url()).await?;
        Ok(Self { local, site, aura })
    }

    /// Deploys the template of the repository. `changes` are all the parameters that differ.
    pub async fn deploy(&self, changes: &[(&str, &str)]) -> Result<Stack, DeployError> {
        self.deploy_from(self.local.template(), changes).await
    }

    /// Deploys another template.
    pub async fn deploy_from(
        &self,
        template: &Template,
        changes: &[(&str, &str)],
    ) -> Result<Stack, DeployError> {
        self.local.deploy_at(&self.site, template, changes).await
    }

    /// Stores new credentials for AURA.
    pub async fn store_credentials(&self, credentials: &str) -> Result<()> {
        let secrets = self.site.account().secretsmanager();
        let put = secrets.put_secret_value().secret_id(CREDENTIALS);
        put.secret_string(credentials).send().await?;
        Ok(())
    }

    /// Makes a call to AURA go wrong.
    pub async fn order(&self, fault: Fault) -> Result<()> {
        self.aura.order(&fault).await
    }

    /// All registrations with AURA, in order, without their times.
    pub async fn registrations(&self) -> Result<Vec<Value>> {
        let report = self.aura.registration().await?;
        let without_time = |registration| {
            let mut registration = serde_json::to_value(registration)?;
            let fields = registration
                .as_object_mut()
                .context("the registration is no JSON object")?;
            fields
                .remove("registeredAt")
                .context("the registration has no registeredAt")?;
            Ok(registration)
        };
        report.history.iter().map(without_time).collect()
    }

    /// Number of times that AURA was asked to register.
    pub async fn register_calls(&self) -> Result<usize> {
        let calls = self.aura.calls().await?;
        Ok(calls.iter().filter(|call| call.name == REGISTER).count())
    }

    /// Waits until AURA has a call that it doesn't answer.
    pub async fn until_hanging(&self, name: &str) -> Result<()> {
        let hangs = |call: &Call| call.name == name && call.status.is_none();
        while !self.aura.calls().await?.iter().any(hangs) {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits for the registrar's log line for a request of this kind.
    pub async fn until_line(&self, stack: &Stack, request: &str) -> Result<Line> {
        loop {
            let lines = Line::all(stack).await?.into_iter();
            if let Some(line) = lines.rev().find(|line| line.request == request) {
                return Ok(line);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// CloudFormation's statuses of the registration, each with its reason.
    pub async fn statuses(&self) -> Result<Vec<(String, String)>> {
        let events = events_of(self.site.account(), STACK_NAME, WEBHOOK).await?;
        let pair = events
            .into_iter()
            .map(|event| (event.status, event.reason.unwrap_or_default()));
        Ok(pair.collect())
    }

    /// CloudFormation's statuses of the whole stack, without reasons.
    pub async fn stack_statuses(&self) -> Result<Vec<String>> {
        let events = events_of(self.site.account(), STACK_NAME, STACK_NAME).await?;
        Ok(events.into_iter().map(|event| event.status).collect())
    }

    /// The reason of the registration's last failure, from CloudFormation's events.
    pub async fn reason(&self) -> Result<String> {
        let mut statuses = self.statuses().await?.into_iter().rev();
        let failed = statuses.find(|(status, _)| status.ends_with("_FAILED"));
        Ok(failed.context("the registration hasn't failed")?.1)
    }

    /// Does `work` while AURA delivers, from before its beginning until after its end. Asserts that
    /// every delivery was accepted and is on the bus once.
    pub async fn under_traffic<T>(
        &self,
        stack: &Stack,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut consumers = Consumers::read(stack, contract::check);
        let over = AtomicBool::new(false);
        let work = async {
            let done = work.await;
            over.store(true, Ordering::Relaxed);
            done
        };
        let ((), done) = tokio::try_join!(self.play_until(&over), work)?;

        let deliveries = self.aura.all_answered().await?;
        let published = all_published(stack, &mut consumers).await?;
        let tally = Tally::of(&deliveries, &published);
        ensure!(
            tally.accepted == tally.sent && tally.is_each_once(),
            "{tally:?}, not accepted: {:?}",
            refused(&deliveries)
        );
        Ok(done)
    }

    /// Waits until AURA has made some such deliveries.
    pub async fn until_some(&self, is_such: impl Fn(&Delivery) -> bool) -> Result<()> {
        loop {
            let sent = self.aura.deliveries().await?.deliveries;
            if sent.iter().filter(|sent| is_such(sent)).count() >= SOME {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Plays days until `over`, and one more after that.
    pub async fn play_until(&self, over: &AtomicBool) -> Result<()> {
        for seed in 0.. {
            let is_last = over.load(Ordering::Relaxed);
            let day = Day {
                seed,
                events: 10,
                per_second: 20.0,
                duplicates: 0.0,
                closing_after: 0,
            };
            self.aura.play(&day).await?;
            if is_last {
                break;
            }
        }
        Ok(())
    }
}

/// The deliveries that were not accepted: number, status, and the error or the answer.
fn refused(deliveries: &[Delivery]) -> Vec<(u64, Option<u16>, Option<&str>)> {
    let refused = deliveries
        .iter()
        .filter(|sent| !sent.was_answered("accepted"));
    refused
        .map(|sent| {
            let told = sent.error.as_deref().or(sent.answer.as_deref());
            (sent.n, sent.status, told)
        })
        .collect()
}

impl Line {
    /// Every line that the registrar wrote for a request, in order.
    pub async fn all(stack: &Stack) -> Result<Vec<Self>> {
        let lines = function_logs::lines(stack, "RegistrarLogGroupName").await?;
        let lines = lines.iter();
        Ok(lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// The result of a step.
    pub fn step(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.steps
            .iter()
            .find_map(|step| step.strip_prefix(&prefix))
    }
}

/// The failure of a deployment that must be rolled back.
pub fn rolled_back(deployed: Result<Stack, DeployError>) -> Result<StackFailure> {
    match deployed {
        Err(DeployError::RolledBack(failure)) => Ok(failure),
        Err(other) => Err(other.into()),
        Ok(_) => bail!("the deployment must fail"),
    }
}

/// The template with a registrar that waits for a canary for only this many seconds.
pub fn impatient(template: &Template, seconds: u32) -> Result<Template> {
    let patience = format!("\"{seconds}\"");
    template.with_variables(OF_REGISTRAR, &[("CANARY_PATIENCE_SECONDS", &patience)])
}

/// The template with one more resource, which comes after the registration and can't be created.
pub fn failing_at_last(template: &Template) -> Result<Template> {
    let resource = "\n  Failing:\n    Type: Custom::Failing\n    DependsOn: AuraWebhook\n    \
        Properties:\n      ServiceToken: arn:aws:lambda:us-east-1:000000000000:function:absent\n\n\
        Outputs:\n";
    template.with_first("\nOutputs:\n", resource)
}
