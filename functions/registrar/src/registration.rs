//! Proving an endpoint and pointing AURA at it, in four steps:
//!
//! 1. the token: AURA takes the credentials;
//! 2. the canary: the endpoint publishes what comes with the very header that is to be registered;
//! 3. the registration: from the moment AURA answers, all events go there;
//! 4. the confirmation: AURA's answer doesn't say that it delivers elsewhere.
//!
//! A failure before the third step leaves AURA's registration as it was. So does a stack that has
//! moved on since the first step: a late registration would undo what came after it.
//!
//! When AURA answers "not now" (408, 429, 5xx, or nothing), it is asked again after a pause. The
//! pause is as long as AURA wishes, if enough time is left.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_cloudformation::Client as CloudFormation;
use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_secretsmanager::Client as SecretsManager;
use backon::{ExponentialBuilder, Retryable as _};
use shared::panic_api::{
    Credentials, MalformedCredentials, PanicApi, PanicApiError, RegisteredWebhook, Registration,
};
use shared::secrets::{self, SecretError};
use shared::webhook::IllegalHeaderValue;
use url::Url;

use crate::canary::{CanaryError, CanarySender};
use crate::config::{Endpoint, PropertyError, RegistrarConfig};
use crate::journal::{Journal, RegistrationStep};
use crate::stack::{StackError, StackState};

pub use confirmation::{Confirmation, RegisteredElsewhere};

mod confirmation;

/// How often AURA is asked again, and the first pause. Each pause is twice as long as the one
/// before, with jitter.
const TIMES_AGAIN: usize = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Time that must be left after a wait for AURA: a canary and a registration take so long.
const TIME_FOR_THE_REST: Duration = Duration::from_secs(10);

/// How long IAM may take to apply a changed role everywhere, and the longest pause between two
/// tries.
const ROLE_PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The part that all services' codes for IAM's refusals have in common: `AccessDenied` and
/// `AccessDeniedException`.
const NOT_PERMITTED: &str = "AccessDenied";

/// What proves and registers: the clients and the configuration.
#[derive(Debug)]
pub struct Registrar {
    /// Reads and rotates the secrets.
    pub secrets_manager: SecretsManager,
    /// Says what the stack is doing.
    pub cloudformation: CloudFormation,
    /// Shows how far a canary came.
    pub dynamodb: DynamoDb,
    /// Calls AURA, and the endpoint.
    pub http: reqwest::Client,
    /// Which secrets, which stack, and what is deployed.
    pub config: RegistrarConfig,
}

/// Why AURA doesn't deliver to the endpoint. The message becomes CloudFormation's `Reason`.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The template passes something that can't be used.
    #[error(transparent)]
    Properties(#[from] PropertyError),
    /// The secret can't stand in a header.
    #[error(transparent)]
    HeaderValue(#[from] IllegalHeaderValue),
    /// A secret can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// AURA's credentials have the wrong shape.
    #[error(
        "the secret with AURA's credentials can't be used: {0}; store \
         {{\"clientId\": \"…\", \"clientSecret\": \"…\"}}"
    )]
    Credentials(#[from] MalformedCredentials),
    /// The endpoint doesn't work.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// AURA didn't register it.
    #[error(transparent)]
    Aura(#[from] PanicApiError),
    /// AURA registered another URL.
    #[error(transparent)]
    RegisteredElsewhere(#[from] RegisteredElsewhere),
    /// The stack is not in a state to register anything for.
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

    /// Makes a client of AURA whose credentials AURA takes: the first step.
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

    /// Proves that the endpoint works which AURA is to be asked for: the second step.
    pub async fn prove(
        &self,
        registration: &Registration,
        patience: Duration,
        journal: &Journal,
    ) -> Result<(), CanaryError> {
        let canaries = CanarySender {
            http: &self.http,
            dynamodb: &self.dynamodb,
            table: &self.config.ledger_table_name,
        };
        let patience = patience.min(self.config.canary_patience);
        let work = Box::pin(canaries.send(registration, patience));
        journal
            .step(RegistrationStep::Canary, work, |()| "published".to_owned())
            .await
    }

    /// Points AURA at the endpoint and compares its answer: the third and the fourth step. `stack`
    /// is how the stack was when the work began; if it has changed since, AURA is not asked.
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
            tracing::warn!(%confirmation, "AURA's answer is not quite what it was asked for");
        }
        Ok(())
    }

    /// The stack's state, for a registration outside a deployment: it is an error while the stack
    /// is being changed. Then the environment may hold what is yet to be rolled back.
    pub async fn settled_stack(&self) -> Result<StackState, RegistrationError> {
        let stack = self.stack().await?;
        stack.expect_settled()?;
        Ok(stack)
    }

    /// Asks CloudFormation what it is doing with the stack.
    pub async fn stack(&self) -> Result<StackState, RegistrationError> {
        Ok(StackState::take(&self.cloudformation, &self.config.stack_id).await?)
    }

    /// Checks the endpoint that is deployed.
    pub fn endpoint(&self) -> Result<Endpoint, PropertyError> {
        Endpoint::check(&self.config.deployed)
    }
}

/// Calls AWS, and calls again for half a minute while this function's role doesn't permit it: a
/// deployment may have changed the role seconds ago, and IAM hasn't applied it everywhere yet.
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
        .notify(|error, _| tracing::info!(%error, "not permitted yet"))
        .await
}

/// Calls AURA, and calls again after a pause while AURA may recover and there is time for it. Each
/// of the calls may be made twice.
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
        .notify(|error, pause| tracing::warn!(%error, ?pause, "trying again"))
        .await
}
