//! Proves an endpoint and points AURA at it, in four steps:
//!
//! 1. Token: AURA accepts the credentials.
//! 2. Canary: the endpoint publishes a delivery that carries the same header as the registration.
//! 3. Registration: from the moment AURA answers, it sends all events to the endpoint.
//! 4. Confirmation: AURA's answer doesn't say that it delivers elsewhere.
//!
//! A failure before the third step leaves AURA's registration as it was. If the stack has changed
//! since the first step, the registrar stops before the third, because a late registration would
//! undo the newer one.
//!
//! When AURA answers "not now" (408, 429, 5xx, or no answer), the registrar asks again after a
//! pause. The pause is as long as AURA demands, if enough time is left.

use std::time::Duration;

use aws_sdk_cloudformation::Client as CloudFormation;
use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_secretsmanager::Client as SecretsManager;
use aws_types::SdkConfig;
use backon::{ExponentialBuilder, Retryable as _};
use shared::panic_api::{
    Credentials, MalformedCredentials, PanicApi, PanicApiError, RegisteredWebhook, Registration,
};
use shared::secrets::{self, SecretError};
use shared::webhook::IllegalHeaderValue;
use url::Url;
use uuid::Uuid;

use crate::canary::{CanaryError, CanarySender, PATIENCE_ON_SCHEDULE};
use crate::config::{Endpoint, PropertyError, RegistrarConfig};
use crate::journal::{Journal, RegistrationStep};
use crate::secret::WebhookSecret;
use crate::stack::{StackError, StackState};

pub use candidates::RegistrationCandidates;
pub use confirmation::{Confirmation, RegisteredElsewhere};

mod candidates;
mod confirmation;

/// Number of retries of a call to AURA, and the first pause. Each pause is twice as long as the one
/// before, with jitter.
const TIMES_AGAIN: usize = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Time that must be left after a pause: a canary and a registration need it.
const TIME_FOR_THE_REST: Duration = Duration::from_secs(10);

/// How long IAM may take to apply a changed role everywhere, and the longest pause between two
/// attempts.
const ROLE_PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The text that every service's error code for a missing permission contains: `AccessDenied` and
/// `AccessDeniedException`.
const NOT_PERMITTED: &str = "AccessDenied";

/// Proves endpoints and registers them. Holds the clients and the configuration.
#[derive(Debug)]
pub struct Registrar {
    /// Reads and rotates the secrets.
    pub secrets_manager: SecretsManager,
    /// Reads the stack's status.
    pub cloudformation: CloudFormation,
    /// Announces canaries in the ledger, and reads from it how far they came.
    pub dynamodb: DynamoDb,
    /// Calls AURA and the endpoint.
    pub http: reqwest::Client,
    /// The secrets, the stack, and the deployed endpoint.
    pub config: RegistrarConfig,
}

/// Why AURA doesn't deliver to the endpoint. The message becomes CloudFormation's `Reason`.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The template passes a value that can't be used.
    #[error(transparent)]
    Properties(#[from] PropertyError),
    /// The secret has characters that a header can't hold.
    #[error(transparent)]
    HeaderValue(#[from] IllegalHeaderValue),
    /// A secret can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// AURA's credentials have the wrong shape.
    #[error(transparent)]
    Credentials(#[from] MalformedCredentials),
    /// The canary has failed.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// A call to AURA has failed.
    #[error(transparent)]
    Aura(#[from] PanicApiError),
    /// AURA has registered another URL.
    #[error(transparent)]
    RegisteredElsewhere(#[from] RegisteredElsewhere),
    /// The stack's state doesn't permit a registration, or can't be read.
    #[error(transparent)]
    Stack(#[from] StackError),
}

impl Registrar {
    /// Makes the clients. Calls nothing yet.
    #[must_use]
    pub fn new(sdk: &SdkConfig, http: reqwest::Client, config: RegistrarConfig) -> Self {
        Self {
            secrets_manager: SecretsManager::new(sdk),
            cloudformation: CloudFormation::new(sdk),
            dynamodb: DynamoDb::new(sdk),
            http,
            config,
        }
    }

    /// Makes a client of AURA and checks that AURA accepts its credentials: the first step.
    pub async fn aura(
        &self,
        base_url: &Url,
        journal: &Journal,
    ) -> Result<PanicApi, RegistrationError> {
        let arn = &self.config.aura_credentials_secret_arn;
        let work = async {
            let read = async || Ok(secrets::read(&self.secrets_manager, arn).await?);
            let secret = once_permitted(read).await?;
            let credentials = Credentials::parse(&secret)?;
            let aura = PanicApi::new(self.http.clone(), base_url.clone(), credentials);
            again(journal, async || Ok(aura.authenticate().await?)).await?;
            Ok(aura)
        };
        journal
            .step(RegistrationStep::Token, Box::pin(work), |_| {
                "granted".to_owned()
            })
            .await
    }

    /// Proves that the endpoint of this registration works: the second step. `patience` limits the
    /// time.
    pub async fn prove(
        &self,
        registration: &Registration,
        patience: Duration,
        journal: &Journal,
    ) -> Result<(), CanaryError> {
        let canaries = self.canaries();
        let patience = patience.min(self.config.canary_patience);
        let work = Box::pin(canaries.send(registration, patience));
        journal
            .step(RegistrationStep::Canary, work, |()| "published".to_owned())
            .await
    }

    /// Tests the path between deployments: sends the canary with this id to the registered endpoint,
    /// with the current value of the secret. Returns the canary's time.
    pub async fn test_path(
        &self,
        id: Uuid,
        journal: &Journal,
    ) -> Result<Duration, RegistrationError> {
        let endpoint = self.endpoint()?;
        // `ingest` accepts the current value at any time of a rotation.
        let version = self.secret().current().await?;
        let registration = endpoint.registration(&version.value)?;
        let canaries = self.canaries();
        let patience = PATIENCE_ON_SCHEDULE.min(self.config.canary_patience);
        let work = Box::pin(canaries.send_once(&registration, id, patience));
        let told = |_: &Duration| "published".to_owned();
        Ok(journal.step(RegistrationStep::Canary, work, told).await?)
    }

    fn canaries(&self) -> CanarySender<'_> {
        CanarySender {
            http: &self.http,
            dynamodb: &self.dynamodb,
            table: &self.config.ledger_table_name,
        }
    }

    /// Points AURA at the endpoint and compares its answer with the request: the third and the
    /// fourth step. `stack` is the stack's state when the work began. If the state has changed
    /// since then, this returns an error and doesn't call AURA.
    pub async fn register(
        &self,
        aura: &PanicApi,
        registration: &Registration,
        stack: &StackState,
        journal: &Journal,
    ) -> Result<(), RegistrationError> {
        let ask = async || {
            let stack_id = &self.config.stack_id;
            stack
                .expect_unchanged(&self.cloudformation, stack_id)
                .await?;
            let answer = aura.register_webhook(registration).await;
            let error = answer.as_ref().err();
            if error.is_none_or(PanicApiError::may_have_been_done) {
                journal.note_that_aura_may_have_changed();
            }
            Ok(answer?)
        };
        let told = |_: &Vec<RegisteredWebhook>| "done".to_owned();
        let work = Box::pin(again(journal, ask));
        let registered = journal
            .step(RegistrationStep::Registration, work, told)
            .await?;
        let compared = async { confirmation::compare(registration, &registered) };
        let told = ToString::to_string;
        let confirmation = journal
            .step(RegistrationStep::Confirmation, compared, told)
            .await?;
        if confirmation != Confirmation::default() {
            tracing::warn!(%confirmation, "AURA's answer differs from the registration request");
        }
        Ok(())
    }

    /// Reads the stack's state for a registration outside a deployment. Returns an error while the
    /// stack is being changed, because a rollback may still replace the function's environment.
    pub async fn settled_stack(&self) -> Result<StackState, RegistrationError> {
        let stack = self.stack().await?;
        stack.expect_settled()?;
        Ok(stack)
    }

    /// Reads the stack's state from CloudFormation.
    pub async fn stack(&self) -> Result<StackState, RegistrationError> {
        Ok(StackState::take(&self.cloudformation, &self.config.stack_id).await?)
    }

    /// The webhook's secret of this stack.
    #[must_use]
    pub fn secret(&self) -> WebhookSecret<'_> {
        WebhookSecret {
            client: &self.secrets_manager,
            arn: &self.config.webhook_secret_arn,
            refresh_interval: self.config.refresh_interval,
        }
    }

    /// Checks the properties of the deployed endpoint.
    pub fn endpoint(&self) -> Result<Endpoint, PropertyError> {
        Endpoint::check(&self.config.deployed)
    }
}

/// Calls AWS, and repeats the call for half a minute while this function's role doesn't permit it:
/// a deployment may have changed the role seconds ago, and IAM may not have applied it everywhere.
pub async fn once_permitted<T, F>(call: impl FnMut() -> F) -> Result<T, RegistrationError>
where
    F: Future<Output = Result<T, RegistrationError>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_total_delay(Some(ROLE_PATIENCE));
    call.retry(pauses)
        .when(|error| error.to_string().contains(NOT_PERMITTED))
        .notify(|error, _| tracing::info!(%error, "call to AWS is not permitted yet, trying again"))
        .await
}

/// Calls AURA, and repeats the call after a pause if the error may go away and enough time is left.
/// Each call must be safe to repeat.
async fn again<T, F>(journal: &Journal, call: impl FnMut() -> F) -> Result<T, RegistrationError>
where
    F: Future<Output = Result<T, RegistrationError>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(PAUSE)
        .with_max_times(TIMES_AGAIN)
        .with_jitter();
    call.retry(pauses)
        .when(|error| matches!(error, RegistrationError::Aura(error) if error.is_transient()))
        .adjust(|error, pause| {
            let pause = match error {
                RegistrationError::Aura(error) => error.pause(pause?),
                _ => pause?,
            };
            let most = journal.time_left().saturating_sub(TIME_FOR_THE_REST);
            (pause <= most).then_some(pause)
        })
        .notify(|error, pause| tracing::warn!(%error, ?pause, "call to AURA failed, trying again"))
        .await
}
