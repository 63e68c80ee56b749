//! The deployed stack: its outputs and parameters, and clients for its services.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use jiff::Timestamp;
use rustix::process::{Pid, test_kill_process};
use serde::Deserialize;
use shared::aws::{CallError, http_client};

/// The file of `cargo local up`, in the checkout.
const STACK_FILE: &str = "target/local/stack.json";
/// What to do if there is no local stack.
const NOTHING_IS_UP: &str =
    "no local stack is up: start one with `cargo local up`, in this checkout";
/// How long a call may take, retries included.
const CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// Where the stack is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On AWS: the stack of this name, with region and credentials from AWS's usual chain.
    Aws(String),
    /// The stack of `cargo local up`.
    Local,
}

/// A deployed stack.
#[derive(Debug, Clone)]
pub struct Stack {
    name: String,
    sdk: SdkConfig,
    created_at: Option<Timestamp>,
    outputs: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
}

/// A resource of the stack.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its name in the template.
    pub logical_id: String,
    /// Its type, such as `AWS::CloudWatch::Alarm`.
    pub kind: String,
    /// Its name or id at its service.
    pub physical_id: String,
    /// When CloudFormation last changed it.
    pub changed_at: Option<Timestamp>,
}

impl Stack {
    /// Finds the stack, and reads its outputs and parameters.
    ///
    /// # Errors
    ///
    /// There is no such stack, no region or no credentials. The error says what to do.
    pub async fn find(place: &Place) -> Result<Self> {
        match place {
            Place::Aws(name) => Self::on_aws(name).await,
            Place::Local => LocalStack::find()?.stack().await,
        }
    }

    async fn on_aws(name: &str) -> Result<Self> {
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .load()
            .await;
        if sdk.region().is_none() {
            bail!("no region is set: type `export AWS_REGION=…`, or set it in the AWS profile");
        }
        Self::describe(name, &sdk).await
    }

    /// Reads the stack of this name with a configuration.
    ///
    /// # Errors
    ///
    /// The stack can't be read, or it isn't one of this system.
    pub async fn describe(name: &str, sdk: &SdkConfig) -> Result<Self> {
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(CALL_TIMEOUT)
            .build();
        let sdk = sdk
            .to_builder()
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard())
            .build();
        let answer = aws_sdk_cloudformation::Client::new(&sdk)
            .describe_stacks()
            .stack_name(name)
            .send()
            .await
            .map_err(CallError::of("stack", "DescribeStacks"))
            .with_context(|| {
                format!(
                    "the stack {name} can't be read: check name, region and credentials (`aws sts \
                     get-caller-identity` shows whose they are)"
                )
            })?;
        let stack = answer.stacks.unwrap_or_default().into_iter().next();
        let stack = stack.with_context(|| format!("there is no stack {name} in this region"))?;
        let created_at = stack.creation_time;
        let outputs = stack.outputs.unwrap_or_default();
        let parameters = stack.parameters.unwrap_or_default();
        let outputs = outputs
            .into_iter()
            .filter_map(|output| Some((output.output_key?, output.output_value?)));
        let parameters = parameters
            .into_iter()
            .filter_map(|parameter| Some((parameter.parameter_key?, parameter.parameter_value?)));
        let stack = Self {
            name: name.to_owned(),
            sdk,
            created_at: created_at.and_then(|at| Timestamp::from_second(at.secs()).ok()),
            outputs: outputs.collect(),
            parameters: parameters.collect(),
        };
        stack.output("LedgerTableName")?;
        Ok(stack)
    }

    /// A stack that isn't deployed anywhere.
    #[cfg(test)]
    pub(crate) fn sample(name: &str, sdk: &SdkConfig) -> Self {
        Self {
            name: name.to_owned(),
            sdk: sdk.clone(),
            created_at: None,
            outputs: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    /// The stack's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        self.sdk.region().map_or("", Region::as_ref)
    }

    /// When the stack was made.
    #[must_use]
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created_at
    }

    /// An output of the stack.
    ///
    /// # Errors
    ///
    /// There is no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        let output = self.outputs.get(name).map(String::as_str);
        output.with_context(|| {
            format!(
                "the stack {} has no output {name}: it isn't a stack of this system, or it is of \
                 another version than this command",
                self.name
            )
        })
    }

    /// A parameter of the stack. A parameter that the deployed version lacks is an empty text.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// Whether this is a standby: no deployment of it points AURA at it.
    #[must_use]
    pub fn is_standby(&self) -> bool {
        self.parameter("Register") == "false"
    }

    /// Whether the reconciler runs by schedule.
    #[must_use]
    pub fn reconciler_is_scheduled(&self) -> bool {
        self.parameter("ReconcilerEnabled") == "true" && !self.is_standby()
    }

    /// The name of the ledger's table.
    ///
    /// # Errors
    ///
    /// The stack has no such output.
    pub fn table(&self) -> Result<&str> {
        self.output("LedgerTableName")
    }

    /// All resources of the stack.
    ///
    /// # Errors
    ///
    /// CloudFormation refuses the call.
    pub async fn resources(&self) -> Result<Vec<Resource>> {
        let mut pages = aws_sdk_cloudformation::Client::new(&self.sdk)
            .list_stack_resources()
            .stack_name(&self.name)
            .into_paginator()
            .items()
            .send();
        let mut resources = Vec::new();
        while let Some(resource) = pages.next().await {
            let resource = resource.map_err(CallError::of("stack", "ListStackResources"))?;
            resources.push(Resource {
                logical_id: resource.logical_resource_id.unwrap_or_default(),
                kind: resource.resource_type.unwrap_or_default(),
                physical_id: resource.physical_resource_id.unwrap_or_default(),
                changed_at: resource
                    .last_updated_timestamp
                    .and_then(|at| Timestamp::from_second(at.secs()).ok()),
            });
        }
        Ok(resources)
    }

    /// A client of DynamoDB.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk)
    }

    /// A client of EventBridge.
    #[must_use]
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.sdk)
    }

    /// A client of SQS.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.sdk)
    }

    /// A client of CloudWatch.
    #[must_use]
    pub fn cloudwatch(&self) -> aws_sdk_cloudwatch::Client {
        aws_sdk_cloudwatch::Client::new(&self.sdk)
    }

    /// A client of CloudWatch Logs.
    #[must_use]
    pub fn logs(&self) -> aws_sdk_cloudwatchlogs::Client {
        aws_sdk_cloudwatchlogs::Client::new(&self.sdk)
    }

    /// The configuration of all clients.
    #[must_use]
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }
}

/// The parts of `cargo local up`'s file that are used here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LocalStack {
    aws_endpoint_url: String,
    aws_region: String,
    aws_access_key_id: String,
    aws_secret_access_key: String,
    stack_name: String,
    pid: i32,
}

impl LocalStack {
    /// Reads the file of the checkout that the current folder is in.
    fn find() -> Result<Self> {
        let folder = std::env::current_dir().context("the current folder is gone")?;
        let files = folder.ancestors().map(|folder| folder.join(STACK_FILE));
        let Some(file) = files.into_iter().find(|file: &PathBuf| file.is_file()) else {
            bail!(NOTHING_IS_UP);
        };
        Self::read(&file)
    }

    fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let local: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} is not of this version of `cargo local`", file.display())
        })?;
        let is_alive = Pid::from_raw(local.pid).is_some_and(|pid| test_kill_process(pid).is_ok());
        if !is_alive {
            bail!(NOTHING_IS_UP);
        }
        Ok(local)
    }

    async fn stack(self) -> Result<Stack> {
        let credentials = Credentials::new(
            self.aws_access_key_id,
            self.aws_secret_access_key,
            None,
            None,
            "stack.json",
        );
        // Nothing comes from the environment, so that no call can reach AWS.
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.aws_endpoint_url)
            .region(Region::new(self.aws_region))
            .credentials_provider(
                aws_credential_types::provider::SharedCredentialsProvider::new(credentials),
            )
            .http_client(http_client())
            .build();
        Stack::describe(&self.stack_name, &sdk).await
    }
}
