//! The whole system in one account: a stand-in for AURA and the deployed template, each pointed
//! at the other.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aura_sim::{AuraSim, Options};
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::ledger::SHARDS;
use shared::ledger::spill::Spill;

use crate::account::Account;
use crate::bundle::Bundle;
use crate::consumers::Queue;
use crate::progress::Progress;
use crate::stack::{DeployError, Parameters, Stack};
use aura_sim::client::Aura;

/// The name of the stack.
pub const STACK_NAME: &str = "aura-webhooks";
/// The processor's timeout: the shortest that the template allows, so that the messages of a killed
/// processor come back after some seconds.
pub const PROCESSOR_TIMEOUT: Duration = Duration::from_secs(5);
/// The suffix of the outputs with the URLs of dead letter queues: the processor's, and one for each
/// consumer.
const DEAD_LETTERS: &str = "DeadLetterQueueUrl";
/// The name of the secret with AURA's credentials.
pub const CREDENTIALS: &str = "aura-credentials";

/// Everything that the template needs: AURA's stand-in, and an account with its credentials.
pub struct Site {
    /// The stand-in for AURA.
    pub aura: AuraSim,
    account: Account,
    parameters: Parameters,
}

impl Site {
    /// Starts a stand-in and stores its credentials in the account.
    ///
    /// # Errors
    ///
    /// The stand-in can't listen, or Secrets Manager doesn't take the credentials.
    pub async fn prepare(account: &Account) -> Result<Self> {
        let aura = AuraSim::start(Options::default()).await?;
        let parameters = parameters(account, &aura.url()).await?;
        Ok(Self {
            aura,
            account: account.clone(),
            parameters,
        })
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Deploys the template, or updates the deployed stack. `changes` are template parameters that
    /// differ from the local stack's.
    ///
    /// # Errors
    ///
    /// [`DeployError::RolledBack`] names the resources that failed and their reasons.
    pub async fn deploy(
        &self,
        bundle: &Bundle,
        changes: Parameters,
        progress: Progress,
    ) -> Result<Stack, DeployError> {
        let mut parameters = self.parameters.clone();
        parameters.extend(changes);
        let deploy = Stack::deploy(&self.account, STACK_NAME, bundle, parameters, progress);
        // Boxed, because the SDKs' futures are tens of kilobytes and would be part of every caller's.
        Box::pin(deploy).await
    }

    /// Deploys a second stack for the same AURA into an account that has none yet.
    ///
    /// # Errors
    ///
    /// As for [`Self::deploy`], or Secrets Manager doesn't take AURA's credentials.
    pub async fn deploy_beside(
        &self,
        account: &Account,
        bundle: &Bundle,
        changes: Parameters,
        progress: Progress,
    ) -> Result<Stack, DeployError> {
        let mut all = parameters(account, &self.aura.url()).await?;
        all.extend(changes);
        let deploy = Stack::deploy(account, STACK_NAME, bundle, all, progress);
        Box::pin(deploy).await
    }
}

/// AURA's stand-in and the stack that it delivers to.
pub struct System {
    /// The stand-in for AURA.
    pub aura: AuraSim,
    /// The deployed template.
    pub stack: Stack,
}

impl System {
    /// Starts a stand-in, stores its credentials in the account and deploys the template. On success
    /// the stack's custom resource has registered the webhook at AURA.
    ///
    /// `changes` are template parameters that differ from the local stack's.
    ///
    /// # Errors
    ///
    /// [`DeployError::RolledBack`] names the resources that failed and their reasons.
    pub async fn deploy(
        account: &Account,
        bundle: &Bundle,
        changes: Parameters,
        progress: Progress,
    ) -> Result<Self, DeployError> {
        let site = Site::prepare(account).await?;
        let stack = site.deploy(bundle, changes, progress).await?;
        Ok(Self {
            aura: site.aura,
            stack,
        })
    }

    /// A client of the stand-in.
    ///
    /// # Errors
    ///
    /// The stand-in doesn't answer.
    pub async fn aura(&self) -> Result<Aura> {
        Aura::connect(&self.aura.url()).await
    }

    /// The URL and the header for deliveries.
    ///
    /// # Errors
    ///
    /// The stack lacks an output, or its secret can't be read.
    pub async fn webhook(&self) -> Result<Webhook> {
        Webhook::of(&self.stack).await
    }
}

/// The parameters that make the template the local stack.
///
/// # Errors
///
/// Secrets Manager doesn't take AURA's credentials.
async fn parameters(account: &Account, aura: &str) -> Result<Parameters> {
    let credentials =
        json!({"clientId": aura_sim::CLIENT_ID, "clientSecret": aura_sim::CLIENT_SECRET});
    let secret = account
        .secretsmanager()
        .create_secret()
        .name(CREDENTIALS)
        .secret_string(credentials.to_string())
        .send()
        .await
        .context("cannot store AURA's credentials")?;
    let arn = secret.arn.context("Secrets Manager returned no ARN")?;
    let parameters = [
        ("AuraBaseUrl", aura.to_owned()),
        ("AuraCredentialsSecretArn", arn),
        ("ProcessorTimeout", PROCESSOR_TIMEOUT.as_secs().to_string()),
        // Both schedules are off by default: callers run the reconciler themselves (see `reconciler`),
        // and tests count canaries.
        ("ReconcilerEnabled", "false".to_owned()),
        ("CanaryMinutes", "0".to_owned()),
        // Tests delete stacks, and nothing here is worth keeping.
        ("LedgerDeletionProtection", "false".to_owned()),
    ];
    Ok(parameters
        .map(|(name, value)| (name.to_owned(), value))
        .into())
}

/// The URL and the header for deliveries.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// The URL that is registered with AURA.
    pub webhook_url: String,
    /// The header that AURA sends with every delivery.
    pub header: Header,
}

/// An HTTP header. Its value is a secret: this type has no `Debug` on purpose.
#[derive(Clone, Serialize, Deserialize)]
pub struct Header {
    /// The name, such as `authorization`.
    pub name: String,
    /// The value, such as `Bearer …`.
    pub value: String,
}

impl Webhook {
    /// Reads the stack's outputs and its secret.
    ///
    /// # Errors
    ///
    /// An output is missing, or the secret can't be read.
    pub async fn of(stack: &Stack) -> Result<Self> {
        let secret = stack
            .account()
            .secretsmanager()
            .get_secret_value()
            .secret_id(stack.output("WebhookSecretArn")?)
            .send()
            .await
            .context("cannot read the webhook's secret")?
            .secret_string
            .context("the webhook's secret has no text value")?;
        let parameter = |name: &str, default: &str| {
            stack
                .parameters()
                .get(name)
                .map_or(default, String::as_str)
                .to_owned()
        };
        let scheme = parameter("WebhookHeaderScheme", "Bearer");
        let header = Header {
            name: parameter("WebhookHeaderName", "authorization"),
            value: if ["", "none"].contains(&scheme.as_str()) {
                secret
            } else {
                format!("{scheme} {secret}")
            },
        };
        Ok(Self {
            webhook_url: stack.output("WebhookUrl")?.to_owned(),
            header,
        })
    }

    /// Posts a body as AURA would.
    ///
    /// # Errors
    ///
    /// The webhook doesn't answer. An answer that refuses the delivery is not an error.
    pub async fn post(&self, http: &reqwest::Client, body: Vec<u8>) -> Result<Answer> {
        let answer = http
            .post(&self.webhook_url)
            .header(&self.header.name, &self.header.value)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .context("cannot reach the webhook")?;
        let status = answer.status().as_u16();
        let body = answer
            .text()
            .await
            .context("the webhook's answer is incomplete")?;
        Ok(Answer {
            status,
            body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
        })
    }
}

/// The answer of ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as JSON, or as text if it is not JSON.
    pub body: Value,
}

impl Answer {
    /// The id that ingest gave the delivery.
    #[must_use]
    pub fn delivery_id(&self) -> Option<&str> {
        self.body.get("deliveryId")?.as_str()
    }
}

/// What waits in queues and the spill, which should all be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftovers {
    /// Deliveries in the quarantine.
    pub quarantine_depth: u64,
    /// Deliveries in the spill: ingest could not reach its queue.
    pub spill_depth: u64,
    /// Messages that the processor or the bus gave up on.
    pub dead_letter_depth: u64,
}

impl Leftovers {
    /// Counts what is left.
    ///
    /// # Errors
    ///
    /// SQS or DynamoDB doesn't answer.
    pub async fn count(stack: &Stack) -> Result<Self> {
        let sqs = stack.account().sqs();
        let quarantine = Queue::new(sqs.clone(), stack.output("QuarantineQueueUrl")?);
        let mut dead_letter_depth = 0;
        for (_, url) in stack
            .outputs()
            .iter()
            .filter(|(name, _)| name.ends_with(DEAD_LETTERS))
        {
            dead_letter_depth += Queue::new(sqs.clone(), url).depth().await?;
        }
        Ok(Self {
            quarantine_depth: quarantine.depth().await?,
            spill_depth: spill_depth(stack).await?,
            dead_letter_depth,
        })
    }

    /// True if nothing is left.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.quarantine_depth == 0 && self.spill_depth == 0 && self.dead_letter_depth == 0
    }
}

impl Display for Leftovers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            quarantine_depth,
            spill_depth,
            dead_letter_depth,
        } = self;
        write!(
            f,
            "The quarantine holds {quarantine_depth}, the spill {spill_depth}, \
             the dead letter queues {dead_letter_depth}."
        )
    }
}

async fn spill_depth(stack: &Stack) -> Result<u64> {
    let table = stack.output("LedgerTableName")?.to_owned();
    let spill = Spill::new(stack.account().dynamodb(), table);
    let mut depth = 0;
    for shard in 0..SHARDS {
        depth += spill.page(shard, None, usize::MAX).await?.len() as u64;
    }
    Ok(depth)
}
