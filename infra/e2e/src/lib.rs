//! What the end-to-end tests stand on: one MiniStack for all of them, an account of its own for
//! each, and the means to look into a deployed system and to hurt it.

pub mod logs;
pub mod processes;
pub mod proxy;
pub mod spill;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use local::account::Account;
use local::bundle::Bundle;
use local::consumers::{Consumers, Published, Queue};
use local::ministack::{LocalAws, LocalAwsOptions};
use local::package::Profile;
use local::progress::Progress;
use local::python::Venv;
use local::stack::{DeployError, Parameters, Stack};
use local::system::System;
use local::template::Template;
use local::workspace::Workspace;
use tokio::sync::OnceCell;

/// What all tests of this process share. It ends with the process: MiniStack sees its standard
/// input close.
pub struct Local {
    aws: LocalAws,
    bundle: Bundle,
}

/// Longer than anything takes that works: a killed batch comes back after the ingest queue's
/// visibility timeout, 30 s on the local stack.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// From the bus to a consumer it takes milliseconds.
const QUIET: Duration = Duration::from_secs(2);

static LOCAL: OnceCell<Local> = OnceCell::const_new();
static ACCOUNTS: AtomicU64 = AtomicU64::new(1);

impl Local {
    /// The one that this process shares, started by whichever test comes first.
    ///
    /// # Errors
    ///
    /// Something is missing on this machine, or the functions don't build.
    pub async fn shared() -> Result<&'static Self> {
        LOCAL.get_or_try_init(Self::start).await
    }

    async fn start() -> Result<Self> {
        let workspace = Workspace::here();
        let progress = Progress::to_stderr();
        let venv = Venv::prepare(&workspace, progress).await?;
        let bundle = Bundle::build(&workspace, Profile::Dev, progress).await?;
        // Kept, so that a test that failed can be understood afterwards.
        let log = Some(workspace.state().join("e2e.log"));
        let aws = LocalAws::start(
            &workspace,
            &venv,
            LocalAwsOptions { port: None, log },
            progress,
        )
        .await?;
        Ok(Self { aws, bundle })
    }

    /// An account that nobody has used yet.
    pub fn new_account(&self) -> Account {
        let number = ACCOUNTS.fetch_add(1, Ordering::Relaxed);
        self.aws.account(&format!("{number:012}"))
    }

    /// Where the local AWS listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.aws.endpoint()
    }

    /// The real template.
    #[must_use]
    pub fn template(&self) -> &Template {
        &self.bundle.template
    }

    /// The real template, deployed into an account of its own, with AURA's stand-in registered
    /// to it. `changes` are template parameters.
    ///
    /// # Errors
    ///
    /// The deployment failed.
    pub async fn system(&self, changes: &[(&str, &str)]) -> Result<System, DeployError> {
        deploy(&self.new_account(), &self.bundle, changes).await
    }

    /// As [`Self::system`], with another template.
    ///
    /// # Errors
    ///
    /// The deployment failed.
    pub async fn system_from(&self, template: Template) -> Result<System, DeployError> {
        let bundle = Bundle {
            template,
            ..self.bundle.clone()
        };
        deploy(&self.new_account(), &bundle, &[]).await
    }

    /// Updates a stack in place: `changes` are the template parameters that differ.
    ///
    /// # Errors
    ///
    /// The update failed.
    pub async fn update(
        &self,
        stack: &Stack,
        changes: &[(&str, &str)],
    ) -> Result<Stack, DeployError> {
        let mut parameters_now = stack.parameters().clone();
        parameters_now.extend(parameters(changes));
        let (account, name) = (stack.account(), stack.name());
        Stack::deploy(
            account,
            name,
            &self.bundle,
            parameters_now,
            Progress::to_stderr(),
        )
        .await
    }
}

async fn deploy(
    account: &Account,
    bundle: &Bundle,
    changes: &[(&str, &str)],
) -> Result<System, DeployError> {
    System::deploy(account, bundle, parameters(changes), Progress::to_stderr()).await
}

fn parameters(changes: &[(&str, &str)]) -> Parameters {
    changes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Waits until the processor is done with all that was queued so far: what isn't published then
/// never will be.
///
/// # Errors
///
/// SQS doesn't answer, or for [`PATIENCE`] the queue hasn't become shorter.
pub async fn drained(stack: &Stack) -> Result<()> {
    let queue = Queue::new(stack.account().sqs(), stack.output("IngestQueueUrl")?);
    let mut least = u64::MAX;
    let mut progress = Instant::now();
    loop {
        let depth = queue.depth().await?;
        if depth == 0 {
            return Ok(());
        }
        if depth < least {
            least = depth;
            progress = Instant::now();
        }
        ensure!(
            progress.elapsed() < PATIENCE,
            "the ingest queue isn't drained"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Everything that consumers get of what was queued so far, doubles included.
///
/// # Errors
///
/// As for [`drained`], or a consumer's queue can't be read.
pub async fn all_published(stack: &Stack, consumers: &mut Consumers) -> Result<Vec<Published>> {
    drained(stack).await?;
    consumers.until_quiet(QUIET).await
}

/// Every item of the ledger.
///
/// # Errors
///
/// DynamoDB doesn't answer.
pub async fn ledger_items(stack: &Stack) -> Result<Vec<HashMap<String, AttributeValue>>> {
    let table = stack.output("LedgerTableName")?;
    let mut pages = stack
        .account()
        .dynamodb()
        .scan()
        .table_name(table)
        .into_paginator()
        .items()
        .send();
    let mut items = Vec::new();
    while let Some(item) = pages.next().await {
        items.push(item?);
    }
    Ok(items)
}

/// A template with more variables in one function's environment, put after the line `after`.
///
/// # Errors
///
/// There is not one line like that.
pub fn with_variables(
    template: &Template,
    after: &str,
    variables: &[(&str, &str)],
) -> Result<Template> {
    let line = format!("          {after}\n");
    ensure!(
        template.text().matches(&line).count() == 1,
        "the template has not one line {after}"
    );
    let added = variables
        .iter()
        .map(|(name, value)| format!("          {name}: {value}\n"));
    let lines: String = std::iter::once(line.clone()).chain(added).collect();
    Ok(Template::from_text(template.text().replace(&line, &lines)))
}
