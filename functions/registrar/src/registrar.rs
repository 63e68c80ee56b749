//! Proving an endpoint and pointing AURA at it, in four steps:
//!
//! 1. the token: AURA takes the credentials;
//! 2. the canary: the endpoint publishes what comes with the very header that is to be registered;
//! 3. the registration: from the moment AURA answers, all events go there;
//! 4. the confirmation: AURA's answer doesn't say that it delivers elsewhere.
//!
//! Whatever fails before the third leaves AURA's registration as it was. So does a stack that has
//! moved on since the first: a late registration would undo what came after it.
//!
//! What AURA answers "not now" to (408, 429, 5xx, or nothing) it is asked again, after a pause that
//! is as long as AURA wishes, if there is so much time.

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
use crate::config::Config;
use crate::confirmation::{self, Confirmation, OtherUrl};
use crate::endpoint::{Endpoint, PropertyError};
use crate::journal::{Journal, Step};
use crate::stack::{Snapshot, StackError};

/// How often AURA is asked again, and the first pause; each next one is twice as long, and all
/// have jitter.
const TIMES_AGAIN: usize = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// What the rest of a request takes at least when AURA was waited for: a canary and a registration.
const TIME_FOR_THE_REST: Duration = Duration::from_secs(10);

/// How long a role may take to be the same everywhere, and the longest pause meanwhile.
const ROLE_PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How IAM's refusals are coded, by each service in its way: `AccessDenied` and
/// `AccessDeniedException`.
const NOT_PERMITTED: &str = "AccessDenied";

/// Everything that a registration takes.
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
    pub config: Config,
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
    OtherUrl(#[from] OtherUrl),
    /// The stack is not in a state to register anything for.
    #[error(transparent)]
    Stack(#[from] StackError),
}

impl Registrar {
    /// One with clients of its own. Calls nothing yet.
    #[must_use]
    pub fn new(sdk: &SdkConfig, http: reqwest::Client, config: Config) -> Self {
        Self {
            secrets_manager: SecretsManager::new(sdk),
            cloudformation: CloudFormation::new(sdk),
            dynamodb: DynamoDb::new(sdk),
            http,
            config,
        }
    }

    /// A client of AURA whose credentials AURA takes: the first step.
    ///
    /// # Errors
    ///
    /// The credentials can't be read, or AURA doesn't take them.
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
            .step(Step::Token, Box::pin(work), |_| "granted".to_owned())
            .await
    }

    /// Proves that what AURA is to be asked for works: the second step.
    ///
    /// # Errors
    ///
    /// The endpoint doesn't publish what it is sent.
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
            .step(Step::Canary, work, |()| "published".to_owned())
            .await
    }

    /// Points AURA at the endpoint, if the stack is as it was when this began: the third step, and
    /// the fourth.
    ///
    /// # Errors
    ///
    /// The stack has moved on; AURA refuses, can't be reached, or says that it has registered
    /// something else.
    pub async fn register(
        &self,
        aura: &PanicApi,
        registration: &Registration,
        stack: &Snapshot,
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
        let registered = journal.step(Step::Registration, work, told).await?;
        let compared = async { confirmation::compare(registration, &registered) };
        let told = ToString::to_string;
        let confirmation = journal.step(Step::Confirmation, compared, told).await?;
        if confirmation != Confirmation::default() {
            tracing::warn!(%confirmation, "AURA's answer is not quite what it was asked for");
        }
        Ok(())
    }

    /// The stack, for who registers what is deployed outside a deployment. The environment may tell
    /// what a deployment is about to register, and that may yet be rolled back.
    ///
    /// # Errors
    ///
    /// It is being changed, or nobody knows.
    pub async fn settled_stack(&self) -> Result<Snapshot, RegistrationError> {
        let stack = Snapshot::take(&self.cloudformation, &self.config.stack_id).await?;
        stack.expect_settled()?;
        Ok(stack)
    }

    /// The endpoint as it is deployed.
    ///
    /// # Errors
    ///
    /// The function's environment can't be used.
    pub fn endpoint(&self) -> Result<Endpoint, PropertyError> {
        Endpoint::check(&self.config.deployed)
    }
}

/// Asks AWS; again, for half a minute, while this function's role doesn't permit it: a deployment
/// may have changed the role seconds ago, and it isn't the same everywhere yet.
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

/// Calls AURA; again, after a pause, while AURA may recover and there is time for it. Doing it twice
/// does no harm.
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
