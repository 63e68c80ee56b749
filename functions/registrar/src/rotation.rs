//! The four steps of Secrets Manager's rotation, each of which may be asked for again.
//!
//! | step | does |
//! | --- | --- |
//! | `createSecret` | makes a new random value, `AWSPENDING` |
//! | `setSecret` | waits until `ingest` may know it, proves it with a canary, registers it with AURA |
//! | `testSecret` | proves it once more; if that fails, registers the current value again |
//! | `finishSecret` | makes it `AWSCURRENT`; what was current is `AWSPREVIOUS` |
//!
//! No delivery is refused at any instant, because `ingest` takes the pending, the current and the
//! previous value, and AURA never sends one that `ingest` doesn't know or may not look up:
//!
//! - An instance that started after `createSecret` has read the pending value at its start.
//! - Any other reads the secret again when it meets a value that it doesn't know, unless it has
//!   done so less than [`REFRESH_INTERVAL`] ago (a forger can see to that). So `setSecret` waits
//!   until the value is older than that before it tells AURA: a reading that came before the
//!   value is then long enough ago, and one that came after it has seen it.
//! - A delivery that AURA sends with the old value, because it was on its way, carries the current
//!   value until `finishSecret`, and the previous one until the end of the next rotation.

use std::convert::Infallible;
use std::time::SystemTime;

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use jiff::{SignedDuration, Timestamp};
use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::SecretString;
use serde::Deserialize;
use shared::aws;
use shared::secrets::Stage;
use shared::webhook::REFRESH_INTERVAL;

use crate::canary::CanaryError;
use crate::endpoint::{Endpoint, PropertyError};
use crate::journal::{Journal, Step};
use crate::registrar::{Registrar, RegistrationError};
use crate::stack::{self, Activity, StatusUnknown};

/// Length of a value in letters and digits: 285 bits of chance.
const VALUE_LENGTH: usize = 48;

/// On top of [`REFRESH_INTERVAL`]: for the reading itself, for the time that a new value takes to
/// be the same for all readers of Secrets Manager, and because a value's age is told in seconds.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// What Secrets Manager sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Request {
    /// Which step.
    pub step: RotationStep,
    /// The secret's ARN.
    pub secret_id: String,
    /// The version that is to become current.
    pub client_request_token: String,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RotationStep {
    /// Make the new value.
    CreateSecret,
    /// Give it to AURA.
    SetSecret,
    /// See whether it works.
    TestSecret,
    /// Make it the current one.
    FinishSecret,
}

/// Why a step failed. Secrets Manager repeats the rotation later, with the same version.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Another secret's rotation was pointed at this function.
    #[error("this function rotates the webhook's secret and no other")]
    OtherSecret,
    /// It isn't a rotation of Secrets Manager's.
    #[error("version {0} of the secret is not staged for rotation: start one with RotateSecret")]
    NotStaged(String),
    /// A step before didn't happen.
    #[error("version {0} of the secret has no value yet: createSecret makes it")]
    NoValue(String),
    /// The secret has no current version.
    #[error("the secret has no current version")]
    NoCurrent,
    /// A call to Secrets Manager failed.
    #[error("Secrets Manager failed at {call}: {reason}")]
    SecretsManager {
        /// Which call.
        call: &'static str,
        /// The kind of failure and the service's code.
        reason: String,
    },
    /// The endpoint is being changed, and may be changed back.
    #[error("the stack is being changed: rotate when that is over")]
    StackBusy,
    /// Nobody knows whether it is.
    #[error(transparent)]
    StatusUnknown(#[from] StatusUnknown),
    /// The function's environment can't be used.
    #[error(transparent)]
    Properties(#[from] PropertyError),
    /// The value can't be proven or registered.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The new value doesn't work, so AURA was given the current one again.
    #[error(
        "the new value was registered and does not work ({failed}); AURA has the current one again"
    )]
    TakenBack {
        /// What its canary met.
        failed: CanaryError,
    },
    /// The new value doesn't work, and AURA couldn't be given the current one.
    #[error(
        "the new value was registered and does not work ({failed}), and AURA could not be given \
         the current one again ({again}): AURA sends the new one"
    )]
    NotTakenBack {
        /// What its canary met.
        failed: CanaryError,
        /// What the registration met.
        again: Box<RegistrationError>,
    },
}

/// A version of the secret that has a value.
struct Version {
    value: SecretString,
    created_at: Timestamp,
}

/// How far the version to rotate to is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// It is the current one: all is done.
    Finished,
    /// It is `AWSPENDING`; this version is the current one.
    Pending { current: String },
}

impl RotationStep {
    /// As Secrets Manager calls it.
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

impl Registrar {
    /// Does one step of a rotation. What is done already is not done again.
    ///
    /// # Errors
    ///
    /// Says what a person has to mend, or that a later try may succeed.
    pub async fn rotate(&self, request: &Request, journal: &Journal) -> Result<(), RotationError> {
        let token = request.client_request_token.as_str();
        if request.secret_id != self.config.webhook_secret_arn {
            return Err(RotationError::OtherSecret);
        }
        let Progress::Pending { current } = self.progress(token).await? else {
            return Ok(());
        };
        match request.step {
            RotationStep::CreateSecret => self.create_value(token).await,
            RotationStep::SetSecret => self.set_value(token, journal).await,
            RotationStep::TestSecret => self.test_value(token, journal).await,
            RotationStep::FinishSecret => self.make_current(token, &current).await,
        }
    }

    async fn progress(&self, token: &str) -> Result<Progress, RotationError> {
        let call = self.secrets_manager.describe_secret();
        let answer = call.secret_id(&self.config.webhook_secret_arn).send().await;
        let described = answer.map_err(|error| failed("DescribeSecret", &error))?;
        let stages = described.version_ids_to_stages.unwrap_or_default();
        let has = |version: &str, stage: Stage| {
            let stages = stages.get(version);
            stages.is_some_and(|stages| stages.iter().any(|label| label == stage.label()))
        };
        if has(token, Stage::Current) {
            return Ok(Progress::Finished);
        }
        if !has(token, Stage::Pending) {
            return Err(RotationError::NotStaged(token.to_owned()));
        }
        let current = stages.keys().find(|version| has(version, Stage::Current));
        let current = current.ok_or(RotationError::NoCurrent)?.clone();
        Ok(Progress::Pending { current })
    }

    async fn create_value(&self, token: &str) -> Result<(), RotationError> {
        if self.version(token).await?.is_some() {
            return Ok(());
        }
        let value = Alphanumeric.sample_string(&mut rand::rng(), VALUE_LENGTH);
        self.secrets_manager
            .put_secret_value()
            .secret_id(&self.config.webhook_secret_arn)
            .client_request_token(token)
            .secret_string(value)
            .version_stages(Stage::Pending.label())
            .send()
            .await
            .map_err(|error| failed("PutSecretValue", &error))?;
        Ok(())
    }

    async fn set_value(&self, token: &str, journal: &Journal) -> Result<(), RotationError> {
        // The environment tells what a running deployment is about to register, and that may yet
        // be rolled back.
        let (client, stack_id) = (&self.cloudformation, &self.config.stack_id);
        if stack::activity(client, stack_id).await? != Activity::Idle {
            return Err(RotationError::StackBusy);
        }
        let version = self.version(token).await?;
        let version = version.ok_or_else(|| RotationError::NoValue(token.to_owned()))?;
        until_known(&version, journal).await;
        let endpoint = self.endpoint()?;
        let registration = endpoint
            .registration(&version.value)
            .map_err(RegistrationError::from)?;
        let aura = self.aura(&endpoint.aura_base_url, journal).await?;
        self.prove(&registration, journal)
            .await
            .map_err(RegistrationError::from)?;
        Ok(self.register(&aura, &registration, journal).await?)
    }

    /// Secrets Manager also asks for this step alone when a rotation is configured, to see whether
    /// the function works. Then AURA has the current value, and nothing is to be taken back.
    async fn test_value(&self, token: &str, journal: &Journal) -> Result<(), RotationError> {
        let endpoint = self.endpoint()?;
        let current = self.current_registration(&endpoint).await?;
        let pending = match self.version(token).await? {
            Some(version) => endpoint
                .registration(&version.value)
                .map_err(RegistrationError::from)?,
            None => current.clone(),
        };
        let Err(failed) = self.prove(&pending, journal).await else {
            return Ok(());
        };
        if pending == current {
            return Err(RegistrationError::from(failed).into());
        }
        let take_back = async {
            let aura = self.aura(&endpoint.aura_base_url, journal).await?;
            self.register(&aura, &current, journal).await
        };
        Err(match take_back.await {
            Ok(()) => RotationError::TakenBack { failed },
            Err(again) => RotationError::NotTakenBack {
                failed,
                again: Box::new(again),
            },
        })
    }

    async fn make_current(&self, token: &str, current: &str) -> Result<(), RotationError> {
        self.secrets_manager
            .update_secret_version_stage()
            .secret_id(&self.config.webhook_secret_arn)
            .version_stage(Stage::Current.label())
            .move_to_version_id(token)
            .remove_from_version_id(current)
            .send()
            .await
            .map_err(|error| failed("UpdateSecretVersionStage", &error))?;
        Ok(())
    }

    /// What a rotation registers: the endpoint as it is deployed.
    fn endpoint(&self) -> Result<Endpoint, PropertyError> {
        Endpoint::check(&self.config.deployed)
    }

    /// A pending version, if it has a value.
    async fn version(&self, token: &str) -> Result<Option<Version>, RotationError> {
        let arn = &self.config.webhook_secret_arn;
        let answer = self
            .secrets_manager
            .get_secret_value()
            .secret_id(arn)
            .version_id(token)
            .version_stage(Stage::Pending.label())
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if has_no_value(&error) => return Ok(None),
            Err(error) => return Err(failed("GetSecretValue", &error)),
        };
        let created_at = answer
            .created_date
            .and_then(|at| SystemTime::try_from(at).ok());
        let created_at = created_at.and_then(|at| Timestamp::try_from(at).ok());
        Ok(answer.secret_string.map(|value| Version {
            value: value.into(),
            // As new as can be, if Secrets Manager doesn't say.
            created_at: created_at.unwrap_or_else(Timestamp::now),
        }))
    }
}

/// Waits until every instance of `ingest` knows a value, or may look it up.
async fn until_known(version: &Version, journal: &Journal) {
    let known_from = version.created_at + REFRESH_INTERVAL + MARGIN;
    let left = known_from.duration_since(Timestamp::now());
    // No longer than for a value of this moment, whatever the clocks say.
    let left = left.clamp(SignedDuration::ZERO, REFRESH_INTERVAL + MARGIN);
    let wait = left.unsigned_abs();
    let work = async {
        tokio::time::sleep(wait).await;
        Ok::<_, Infallible>(())
    };
    let _ = journal
        .step(Step::Wait, work, |()| "known to ingest".to_owned())
        .await;
}

fn has_no_value(error: &SdkError<GetSecretValueError>) -> bool {
    error
        .as_service_error()
        .is_some_and(GetSecretValueError::is_resource_not_found_exception)
}

fn failed<E: ProvideErrorMetadata, R>(call: &'static str, error: &SdkError<E, R>) -> RotationError {
    RotationError::SecretsManager {
        call,
        reason: aws::describe(error),
    }
}
