//! The four steps of Secrets Manager's rotation. Secrets Manager may repeat each of them.
//!
//! | step | what the function does |
//! | --- | --- |
//! | `createSecret` | makes a new random value, `AWSPENDING` |
//! | `setSecret` | waits until every instance of `ingest` knows the value or may read it, proves it with a canary, registers it with AURA |
//! | `testSecret` | proves and registers the new value again; if it doesn't work, registers the current value |
//! | `finishSecret` | makes the new value `AWSCURRENT`; the old value becomes `AWSPREVIOUS` |
//!
//! While Secrets Manager answers, `ingest` refuses no delivery during a rotation. `ingest` accepts
//! the pending, the current and the previous value, and AURA never sends a value that an instance
//! of `ingest` neither knows nor may read:
//!
//! - An instance that started after `createSecret` has read the pending value at its start.
//! - Any other instance reads the secret again when a delivery has an unknown value, unless its
//!   last reading was less than [`REFRESH_INTERVAL`](shared::webhook::REFRESH_INTERVAL) ago (a
//!   forger can cause such a reading). So `setSecret` waits longer than this interval before it
//!   tells AURA. After the wait, a reading from before the value is old enough to be repeated, and
//!   a reading from after the value has found it.
//! - A delivery that was under way with the old value carries the current value until
//!   `finishSecret`, and the previous value until the end of the next rotation.
//!
//! A standby (`Register` is false) refuses every step. AURA may deliver to it since a take-over, and
//! a new value that AURA isn't told would make it refuse every delivery.
//!
//! A rotation registers the deployed endpoint. So it registers only if the stack is settled and has
//! not changed since the step began. A deployment between two steps registers the current value, so
//! `testSecret` registers the pending value again.

use std::time::Duration;

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::SecretString;
use serde::Deserialize;
use shared::aws;
use shared::panic_api::Registration;
use shared::secrets::{SecretError, VersionStage};

use crate::canary::{self, CanaryError};
use crate::config::{Endpoint, PropertyError};
use crate::journal::Journal;
use crate::registration::{Registrar, RegistrationError};
use crate::secret::{WebhookSecret, until_known};
use crate::stack::StackState;

/// Length of a value in letters and digits: 285 random bits.
const VALUE_LENGTH: usize = 48;

/// Time during which the function asks again for a value that Secrets Manager doesn't show yet, and
/// the first and the longest pause between two readings.
const VALUE_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Secrets Manager's request for one step of a rotation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RotationRequest {
    /// The step.
    pub step: RotationStep,
    /// The secret's ARN.
    pub secret_id: String,
    /// Id of the version that will become current.
    pub client_request_token: String,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RotationStep {
    /// Makes the new value.
    CreateSecret,
    /// Gives the new value to AURA.
    SetSecret,
    /// Tests whether the new value works.
    TestSecret,
    /// Makes the new value the current one.
    FinishSecret,
}

/// Why a step failed. Secrets Manager repeats the rotation later with the same version.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The request is for another secret than the webhook's.
    #[error("this function rotates the webhook's secret and no other")]
    OtherSecret,
    /// The stack is a standby, which never tells AURA a new value.
    #[error(
        "this stack is a standby, and its secret can't be rotated: deploy it with Register=true"
    )]
    Standby,
    /// Secrets Manager is not rotating to this version.
    #[error("version {0} of the secret is not staged for rotation: start one with RotateSecret")]
    NotStaged(String),
    /// The version has no value, so `createSecret` has not been done.
    #[error("version {0} of the secret has no value yet: createSecret makes it")]
    NoValue(String),
    /// The secret has no current version.
    #[error("the secret has no current version")]
    NoCurrent,
    /// A call to Secrets Manager failed.
    #[error("Secrets Manager failed at {call}: {reason}")]
    SecretsManager {
        /// Name of the call.
        call: &'static str,
        /// The kind of failure and the service's code.
        reason: String,
    },
    /// The function's environment can't be used.
    #[error(transparent)]
    Properties(#[from] PropertyError),
    /// A value can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The value can't be proven or registered.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The new value doesn't work, so AURA was given the current one again.
    #[error("the new value does not work ({failed}); AURA has the current one again")]
    TakenBack {
        /// Why the new value's canary failed.
        failed: CanaryError,
    },
    /// The new value doesn't work, and AURA couldn't be given the current one.
    #[error(
        "the new value does not work ({failed}), and AURA could not be given the current one again \
         ({again}): it may send the new one"
    )]
    NotTakenBack {
        /// Why the new value's canary failed.
        failed: CanaryError,
        /// Why the registration of the current value failed.
        again: Box<RegistrationError>,
    },
}

/// Does the steps of a rotation.
#[derive(Debug, Clone, Copy)]
pub struct RotationHandler<'a> {
    /// Proves and registers the endpoint.
    pub registrar: &'a Registrar,
    /// Journal of the steps.
    pub journal: &'a Journal,
}

/// Progress of the rotation to a version.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// The version is the current one, so the rotation is complete.
    Finished,
    /// The version is `AWSPENDING`, and `current` is the id of the current version.
    Pending { current: String },
}

impl RotationStep {
    /// Secrets Manager's name of the step.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateSecret => "createSecret",
            Self::SetSecret => "setSecret",
            Self::TestSecret => "testSecret",
            Self::FinishSecret => "finishSecret",
        }
    }
}

impl RotationHandler<'_> {
    /// Does one step of a rotation. Does nothing if the rotation is complete.
    pub async fn handle(self, request: &RotationRequest) -> Result<(), RotationError> {
        let token = request.client_request_token.as_str();
        if request.secret_id != self.secret().arn {
            return Err(RotationError::OtherSecret);
        }
        if !self.registrar.config.registers {
            return Err(RotationError::Standby);
        }
        let Progress::Pending { current } = self.progress(token).await? else {
            return Ok(());
        };
        match request.step {
            RotationStep::CreateSecret => self.create_value(token).await,
            RotationStep::SetSecret => self.set_value(token).await,
            RotationStep::TestSecret => self.test_value(token).await,
            RotationStep::FinishSecret => self.make_current(token, &current).await,
        }
    }

    fn secret(&self) -> WebhookSecret<'_> {
        self.registrar.secret()
    }

    async fn progress(self, token: &str) -> Result<Progress, RotationError> {
        let WebhookSecret { client, arn, .. } = self.secret();
        let answer = client.describe_secret().secret_id(arn).send().await;
        let described = answer.map_err(|error| failed("DescribeSecret", &error))?;
        let stages = described.version_ids_to_stages.unwrap_or_default();
        let has = |version: &str, stage: VersionStage| {
            let stages = stages.get(version);
            stages.is_some_and(|stages| stages.iter().any(|label| label == stage.label()))
        };
        if has(token, VersionStage::Current) {
            return Ok(Progress::Finished);
        }
        if !has(token, VersionStage::Pending) {
            return Err(RotationError::NotStaged(token.to_owned()));
        }
        let current = stages
            .keys()
            .find(|version| has(version, VersionStage::Current));
        let current = current.ok_or(RotationError::NoCurrent)?.clone();
        Ok(Progress::Pending { current })
    }

    async fn create_value(self, token: &str) -> Result<(), RotationError> {
        let secret = self.secret();
        if secret.pending().await?.is_some() {
            return Ok(());
        }
        let value = Alphanumeric.sample_string(&mut rand::rng(), VALUE_LENGTH);
        let stored = secret
            .client
            .put_secret_value()
            .secret_id(secret.arn)
            .client_request_token(token)
            .secret_string(value)
            .version_stages(VersionStage::Pending.label())
            .send()
            .await;
        match stored {
            Ok(_) => Ok(()),
            // The version has a value already, which Secrets Manager didn't show yet.
            Err(error) if is_stored_already(&error) => Ok(()),
            Err(error) => Err(failed("PutSecretValue", &error)),
        }
    }

    async fn set_value(self, token: &str) -> Result<(), RotationError> {
        let stack = self.registrar.settled_stack().await?;
        let value = self.stored_value(token).await?;
        // The wait can't depend on the version's age: RotateSecret makes the version, and
        // createSecret stores the value later.
        let interval = self.registrar.config.refresh_interval;
        until_known(interval, Timestamp::now(), self.journal).await;
        let endpoint = self.registrar.endpoint()?;
        let registration = endpoint
            .registration(&value)
            .map_err(RegistrationError::from)?;
        Ok(self
            .prove_and_register(&endpoint, &registration, &stack)
            .await?)
    }

    /// Reads the value that createSecret has stored. Secrets Manager may not show it yet, so this
    /// repeats the reading for some seconds.
    pub(crate) async fn stored_value(self, token: &str) -> Result<SecretString, RotationError> {
        let read = async || {
            let value = self.secret().pending().await?;
            value.ok_or_else(|| RotationError::NoValue(token.to_owned()))
        };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .with_total_delay(Some(VALUE_PATIENCE));
        read.retry(pauses)
            .when(|error| matches!(error, RotationError::NoValue(_)))
            .notify(|error, _| tracing::info!(%error, "new value not visible yet, reading again"))
            .await
    }

    /// Proves and registers the new value again. If it doesn't work, registers the current value.
    ///
    /// Secrets Manager also asks for this step alone when a rotation is configured, to test the
    /// function. Then there is never a new value. AURA has the current value, so this only proves
    /// it and doesn't call AURA.
    async fn test_value(self, token: &str) -> Result<(), RotationError> {
        let endpoint = self.registrar.endpoint()?;
        let pending = match self.stored_value(token).await {
            Ok(value) => Some(value),
            Err(RotationError::NoValue(_)) => None,
            Err(error) => return Err(error),
        };
        let candidates = self.registrar.candidates_with(pending, &endpoint).await?;
        let current = candidates.current;
        let Some(pending) = candidates.pending else {
            let proof = self
                .registrar
                .prove(&current, canary::PATIENCE, self.journal);
            return Ok(proof.await.map_err(RegistrationError::from)?);
        };
        let stack = self.registrar.settled_stack().await?;
        let tested = self.prove_and_register(&endpoint, &pending, &stack).await;
        let failed = match tested {
            Err(RegistrationError::Canary(failed)) => failed,
            other => return Ok(other?),
        };
        let take_back = async {
            let (registrar, journal) = (self.registrar, self.journal);
            let aura = registrar.aura(&endpoint.aura_base_url, journal).await?;
            registrar.register(&aura, &current, &stack, journal).await
        };
        Err(match take_back.await {
            Ok(()) => RotationError::TakenBack { failed },
            Err(again) => RotationError::NotTakenBack {
                failed,
                again: Box::new(again),
            },
        })
    }

    async fn make_current(self, token: &str, current: &str) -> Result<(), RotationError> {
        // A deployment that is under way may have read the value that is about to become the
        // previous one.
        self.registrar.settled_stack().await?;
        let WebhookSecret { client, arn, .. } = self.secret();
        let moved = client
            .update_secret_version_stage()
            .secret_id(arn)
            .version_stage(VersionStage::Current.label())
            .move_to_version_id(token)
            .remove_from_version_id(current)
            .send()
            .await;
        let Err(error) = moved else {
            return Ok(());
        };
        // If the SDK has repeated a call whose answer was lost, the refusal means success.
        match self.progress(token).await {
            Ok(Progress::Finished) => Ok(()),
            _ => Err(failed("UpdateSecretVersionStage", &error)),
        }
    }

    async fn prove_and_register(
        self,
        endpoint: &Endpoint,
        registration: &Registration,
        stack: &StackState,
    ) -> Result<(), RegistrationError> {
        let (registrar, journal) = (self.registrar, self.journal);
        let aura = registrar.aura(&endpoint.aura_base_url, journal).await?;
        registrar
            .prove(registration, canary::PATIENCE, journal)
            .await?;
        registrar
            .register(&aura, registration, stack, journal)
            .await
    }
}

fn is_stored_already(error: &SdkError<PutSecretValueError>) -> bool {
    error
        .as_service_error()
        .is_some_and(PutSecretValueError::is_resource_exists_exception)
}

fn failed<E: ProvideErrorMetadata, R>(call: &'static str, error: &SdkError<E, R>) -> RotationError {
    RotationError::SecretsManager {
        call,
        reason: aws::describe(error),
    }
}
