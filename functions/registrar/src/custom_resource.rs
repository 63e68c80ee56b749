//! Handles a request of CloudFormation and responds to it.
//!
//! | request | what the function does |
//! | --- | --- |
//! | Create, Update | proves the deployed endpoint and registers it |
//! | Create, Update of a standby (`Register` is false) | proves the endpoint, and calls AURA for nothing |
//! | Update that makes a registered stack a standby | the same, and succeeds even if the canary fails, because the rollback would register the stack again |
//! | Update of a registered endpoint to another AURA system | refuses the request |
//! | Update while the stack rolls back | proves the endpoint, and registers it even if the canary fails, because it is the last known good |
//! | Delete while the stack is being deleted | registers `HandBackUrl` if it is set: AURA has no call to unregister |
//! | Delete of a standby | nothing: AURA may deliver to another stack |
//! | Delete after a Create that never called AURA, was refused by AURA, or was killed | nothing |
//! | any request whose properties differ from the deployed ones | refuses the request |
//!
//! Everybody who may invoke the function can send it requests. So a request decides only when the
//! function acts. What it registers comes from its own environment, and the request's properties
//! must be equal to it.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::canary::{self, CanaryError};
use crate::config::PropertyError;
use crate::journal::Journal;
use crate::registration::{Registrar, RegistrationError, once_permitted};
use crate::stack::StackState;

pub use response::{CustomResourceResponse, NOT_REGISTERED, PHYSICAL_RESOURCE_ID, RequestIds};

mod response;

/// The property with the URL that AURA must deliver to after the stack is deleted.
const HAND_BACK_URL: &str = "HandBackUrl";
/// The property that is `false` for a standby.
const REGISTER: &str = "Register";

/// A request of CloudFormation. Its properties are checked later, so that CloudFormation gets an
/// answer to wrong ones too.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CustomResourceRequest {
    /// The kind of request.
    #[serde(rename = "RequestType")]
    pub kind: RequestType,
    /// URL to which the response goes. It is a secret: whoever has it can respond in our name.
    #[serde(rename = "ResponseURL")]
    pub response_url: SecretString,
    /// The ids that the response must repeat.
    #[serde(flatten)]
    pub ids: RequestIds,
    physical_resource_id: Option<String>,
    #[serde(default)]
    resource_properties: Value,
    #[serde(default)]
    old_resource_properties: Value,
}

/// The kind of a request: what CloudFormation does with the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RequestType {
    /// CloudFormation creates the resource.
    Create,
    /// CloudFormation changes the resource, or rolls a change back.
    Update,
    /// CloudFormation deletes the resource.
    Delete,
}

/// Why CloudFormation asks for a registration.
#[derive(Debug, Clone, Copy)]
enum Occasion {
    /// A new endpoint, or a new configuration of one.
    Deployment,
    /// An update has failed, and CloudFormation restores what was before.
    Rollback,
    /// A registered stack becomes a standby.
    Demotion,
}

/// Handles requests of CloudFormation.
#[derive(Debug, Clone, Copy)]
pub struct CustomResourceHandler<'a> {
    /// Proves and registers the endpoint.
    pub registrar: &'a Registrar,
    /// Journal of the steps.
    pub journal: &'a Journal,
}

impl RequestType {
    /// CloudFormation's name of the kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
        }
    }
}

impl CustomResourceRequest {
    /// Whether AURA was asked to register the endpoint of this resource.
    fn is_made(&self) -> bool {
        self.physical_resource_id.as_deref() == Some(PHYSICAL_RESOURCE_ID)
    }
}

impl Occasion {
    /// How long the canary may take.
    fn patience(self) -> Duration {
        match self {
            Self::Deployment => canary::PATIENCE,
            Self::Rollback | Self::Demotion => canary::PATIENCE_IN_ROLLBACK,
        }
    }

    /// Decides what a failed canary means.
    fn after_failed_canary(self, error: CanaryError) -> Result<(), CanaryError> {
        match self {
            Self::Deployment => return Err(error),
            Self::Rollback => tracing::warn!(
                %error,
                "canary failed during a rollback: going on with the endpoint anyway, because it is \
                 the last known good"
            ),
            Self::Demotion => tracing::warn!(
                %error,
                "canary failed: this stack becomes a standby anyway, because a rollback would make \
                 AURA deliver to it again"
            ),
        }
        Ok(())
    }
}

impl CustomResourceHandler<'_> {
    /// Handles a request. The error becomes CloudFormation's `Reason`.
    pub async fn handle(self, request: &CustomResourceRequest) -> Result<(), RegistrationError> {
        match request.kind {
            RequestType::Create => self.deploy(&request.resource_properties, None).await,
            RequestType::Update => {
                let registered = request
                    .is_made()
                    .then_some(&request.old_resource_properties);
                self.deploy(&request.resource_properties, registered).await
            }
            RequestType::Delete if request.is_made() => {
                self.hand_back(&request.resource_properties).await
            }
            RequestType::Delete => {
                tracing::warn!(
                    "no registration is known for this resource, so AURA was not called. If AURA \
                     delivers to this stack, ask AURA to remove the webhook"
                );
                Ok(())
            }
        }
    }

    /// Proves and registers the deployed endpoint, if the requested properties are the deployed
    /// ones. `registered` holds the properties of the endpoint that is registered already.
    async fn deploy(
        self,
        asked: &Value,
        registered: Option<&Value>,
    ) -> Result<(), RegistrationError> {
        let (registrar, journal) = (self.registrar, self.journal);
        // In a rollback, CloudFormation restores the function before it sends the request. So this
        // also refuses a late request of the update that is being rolled back.
        registrar.config.expect_deployed(asked)?;
        let endpoint = registrar.endpoint()?;
        let stack = self.stack().await?;
        stack.expect_in_progress()?;
        let is_rollback = stack.is_rolling_back();
        // A rollback always returns to the stack's own AURA system.
        if let Some(registered) = registered.filter(|_| !is_rollback) {
            registrar.config.expect_same_aura(registered)?;
        }
        let secret = registrar.secret();
        let version = once_permitted(async || Ok(secret.current().await?)).await?;
        let registration = endpoint.registration(&version.value)?;
        // A standby doesn't even ask for a token.
        let aura = if registrar.config.registers {
            Some(registrar.aura(&endpoint.aura_base_url, journal).await?)
        } else {
            None
        };
        secret
            .until_current_is_known(version.made_at, journal)
            .await?;
        // An older template doesn't have the property.
        let was_registered =
            registered.is_some_and(|before| before.get(REGISTER) != Some(&"false".into()));
        let occasion = if is_rollback {
            Occasion::Rollback
        } else if !registrar.config.registers && was_registered {
            Occasion::Demotion
        } else {
            Occasion::Deployment
        };
        registrar
            .prove(&registration, occasion.patience(), journal)
            .await
            .or_else(|error| occasion.after_failed_canary(error))?;
        let Some(aura) = aura else {
            tracing::info!("this stack is a standby (Register is false): AURA was not called");
            return Ok(());
        };
        registrar
            .register(&aura, &registration, &stack, journal)
            .await
    }

    /// Registers `HandBackUrl` if it is set and the whole stack is being deleted. It checks nothing
    /// else before, so that other errors don't prevent the deletion of a stack.
    async fn hand_back(self, asked: &Value) -> Result<(), RegistrationError> {
        let (registrar, journal) = (self.registrar, self.journal);
        if !registrar.config.registers {
            tracing::warn!(
                "this stack is a standby (Register is false): AURA was not called. If AURA delivers \
                 to this stack since a take-over, register another one. Every delivery until then \
                 is lost"
            );
            return Ok(());
        }
        let deployed = &registrar.config.deployed;
        let asked = asked.get(HAND_BACK_URL).and_then(Value::as_str);
        let is_deployed = asked.unwrap_or_default() == deployed.hand_back_url;
        if is_deployed && !deployed.is_handed_back() {
            tracing::warn!(
                "the endpoint is being deleted, but AURA has no call to unregister it: ask AURA to \
                 remove the webhook, or register another one. Every delivery until then is lost"
            );
            return Ok(());
        }
        let stack = self.stack().await?;
        if !stack.is_going_away() {
            tracing::info!("the stack is not being deleted: HandBackUrl was not registered");
            return Ok(());
        }
        if !is_deployed {
            return Err(PropertyError::not_deployed(&[HAND_BACK_URL]).into());
        }
        let mut endpoint = registrar.endpoint()?;
        endpoint.url = endpoint.hand_back_url.clone().unwrap_or(endpoint.url);
        let version = registrar.secret().current().await?;
        let registration = endpoint.registration(&version.value)?;
        let aura = registrar.aura(&endpoint.aura_base_url, journal).await?;
        registrar
            .register(&aura, &registration, &stack, journal)
            .await
    }

    async fn stack(self) -> Result<StackState, RegistrationError> {
        once_permitted(async || self.registrar.stack().await).await
    }
}
