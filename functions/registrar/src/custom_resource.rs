//! A request of CloudFormation, and the response to it.
//!
//! | request | does |
//! | --- | --- |
//! | Create, Update | proves the endpoint that the function is deployed with, and registers it |
//! | Update of what is registered, to another AURA system | nothing: it is refused |
//! | Update, while the stack rolls back | proves and registers; but the endpoint is registered even if its canary fails, since it was the last known good |
//! | Delete, while the stack goes away | registers `HandBackUrl`, if there is one: AURA has no call to unregister |
//! | Delete after a Create that never asked AURA, was refused by it, or was killed | nothing |
//! | any of them, with other properties than the function was deployed with | nothing: it is refused |
//!
//! Whoever may invoke the function can send it requests. So a request only says when to act, and
//! never on what: its properties have to be the ones of the function's own environment.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::canary;
use crate::config::PropertyError;
use crate::journal::Journal;
use crate::registration::{Registrar, RegistrationError, once_permitted};
use crate::secret::WebhookSecret;
use crate::stack::StackState;

pub use response::{CustomResourceResponse, NOT_REGISTERED, PHYSICAL_RESOURCE_ID, RequestIds};

mod response;

/// The property that says where AURA is to deliver when the stack is deleted.
const HAND_BACK_URL: &str = "HandBackUrl";

/// What CloudFormation sends. The properties are read later, so that wrong ones are answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CustomResourceRequest {
    /// What CloudFormation does with the resource.
    #[serde(rename = "RequestType")]
    pub kind: RequestType,
    /// Where the response goes. Whoever has it can answer in our name.
    #[serde(rename = "ResponseURL")]
    pub response_url: SecretString,
    /// What the response has to repeat.
    #[serde(flatten)]
    pub ids: RequestIds,
    physical_resource_id: Option<String>,
    #[serde(default)]
    resource_properties: Value,
    #[serde(default)]
    old_resource_properties: Value,
}

/// What CloudFormation does with the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RequestType {
    /// It makes the resource.
    Create,
    /// It changes the resource, or changes it back.
    Update,
    /// It deletes the resource.
    Delete,
}

/// Does what CloudFormation asks for.
#[derive(Debug, Clone, Copy)]
pub struct CustomResourceHandler<'a> {
    /// Proves and registers.
    pub registrar: &'a Registrar,
    /// Where the steps are noted.
    pub journal: &'a Journal,
}

impl RequestType {
    /// The name that CloudFormation gives it.
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
    /// Whether the request is about a resource for which AURA was asked.
    fn is_made(&self) -> bool {
        self.physical_resource_id.as_deref() == Some(PHYSICAL_RESOURCE_ID)
    }
}

impl CustomResourceHandler<'_> {
    /// Does what a request asks for. The error becomes CloudFormation's `Reason`.
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
                    "the endpoint was not registered, as far as is known: AURA is left alone. \
                     Should it deliver here, ask AURA to remove the webhook"
                );
                Ok(())
            }
        }
    }

    /// Proves and registers what the function is deployed with, if that is what it is asked for.
    /// `registered` are the properties of what is registered already.
    async fn deploy(
        self,
        asked: &Value,
        registered: Option<&Value>,
    ) -> Result<(), RegistrationError> {
        let (registrar, journal) = (self.registrar, self.journal);
        // In a rollback CloudFormation has put the function back before it asks. So this also
        // refuses a late request of the update that is being taken back.
        registrar.config.expect_deployed(asked)?;
        let endpoint = registrar.endpoint()?;
        let stack = self.stack().await?;
        stack.expect_in_progress()?;
        let is_rollback = stack.is_rolling_back();
        // A rollback goes back to the stack's own AURA system.
        if let Some(registered) = registered.filter(|_| !is_rollback) {
            registrar.config.expect_same_aura(registered)?;
        }
        let secret = WebhookSecret::of(registrar);
        let version = once_permitted(async || Ok(secret.current().await?)).await?;
        let registration = endpoint.registration(&version.value)?;
        let aura = registrar.aura(&endpoint.aura_base_url, journal).await?;
        secret
            .until_current_is_known(version.made_at, journal)
            .await?;
        let patience = if is_rollback {
            canary::PATIENCE_IN_ROLLBACK
        } else {
            canary::PATIENCE
        };
        match registrar.prove(&registration, patience, journal).await {
            Err(error) if is_rollback => tracing::warn!(
                %error,
                "the stack is rolling back: registered all the same, as the last known good"
            ),
            proven => proven?,
        }
        registrar
            .register(&aura, &registration, &stack, journal)
            .await
    }

    /// Registers where AURA is to deliver from now on, if the template says where and the stack
    /// goes away. Looks at nothing else first, so that nothing keeps a stack from being deleted.
    async fn hand_back(self, asked: &Value) -> Result<(), RegistrationError> {
        let (registrar, journal) = (self.registrar, self.journal);
        let deployed = &registrar.config.deployed;
        let asked = asked.get(HAND_BACK_URL).and_then(Value::as_str);
        let is_deployed = asked.unwrap_or_default() == deployed.hand_back_url;
        if is_deployed && !deployed.is_handed_back() {
            tracing::warn!(
                "the endpoint goes away, but AURA has no call to unregister it: ask AURA to remove \
                 the webhook, or register another one; what is delivered until then is lost"
            );
            return Ok(());
        }
        let stack = self.stack().await?;
        if !stack.is_going_away() {
            tracing::info!("the stack stays: not handed back");
            return Ok(());
        }
        if !is_deployed {
            return Err(PropertyError::not_deployed(&[HAND_BACK_URL]).into());
        }
        let mut endpoint = registrar.endpoint()?;
        endpoint.url = endpoint.hand_back_url.clone().unwrap_or(endpoint.url);
        let version = WebhookSecret::of(registrar).current().await?;
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
