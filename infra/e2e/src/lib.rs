//! Shared parts of the end-to-end tests: one MiniStack for all tests, an account of its own for
//! each test, and functions that look into a deployed system.

pub mod examples;
pub mod inbox;
pub mod logs;
pub mod sender;
pub mod spill;

use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use local::drill;
pub use local::drill::REFRESH_INTERVAL;
use stack::account::Account;
use stack::bundle::Bundle;
use stack::ministack::{LocalAws, LocalAwsOptions};
use stack::package::Profile;
use stack::progress::Progress;
use stack::python::Venv;
use stack::stack::{DeployError, Parameters, Stack};
use stack::system::{Site, System};
use stack::template::Template;
use stack::workspace::Workspace;
use tokio::sync::OnceCell;

/// The local AWS that the tests of this process share. It ends with the process, because MiniStack
/// then sees its standard input close.
pub struct Local {
    aws: LocalAws,
    bundle: Bundle,
}

static LOCAL: OnceCell<Local> = OnceCell::const_new();
static WITH_IAM: OnceCell<Local> = OnceCell::const_new();
/// The environment variable that is set to `off` for a run of the tests without IAM, in which
/// everybody may do everything.
const IAM: &str = "IAM";
static ACCOUNTS: AtomicU64 = AtomicU64::new(1);

impl Local {
    /// The local AWS of this process; the first test that asks for it starts it. IAM decides what
    /// the functions may do, unless the environment has `IAM=off`.
    ///
    /// # Errors
    ///
    /// Fails if a program is missing on this machine, or if the functions don't build.
    pub async fn shared() -> Result<&'static Self> {
        LOCAL
            .get_or_try_init(|| Self::start("e2e.log", iam_decides()))
            .await
    }

    /// A local AWS where IAM decides, even with `IAM=off`: for tests of permissions.
    ///
    /// # Errors
    ///
    /// Fails for the same reasons as [`Self::shared`].
    pub async fn with_iam() -> Result<&'static Self> {
        if iam_decides() {
            return Self::shared().await;
        }
        WITH_IAM
            .get_or_try_init(|| Self::start("e2e-iam.log", true))
            .await
    }

    async fn start(log: &str, auth: bool) -> Result<Self> {
        let workspace = Workspace::here()?;
        let progress = Progress::to_stderr();
        let venv = Venv::prepare(&workspace, progress).await?;
        let bundle = Bundle::build(&workspace, Profile::Dev, progress).await?;
        // The log is kept, so that a failed test can be studied afterwards.
        let options = LocalAwsOptions {
            port: None,
            log: Some(workspace.state().join(log)),
            auth,
            also_on: None,
            variables: drill::variables(),
        };
        let aws = LocalAws::start(&workspace, &venv, options, progress).await?;
        Ok(Self { aws, bundle })
    }

    /// An account that no test has used yet.
    pub fn new_account(&self) -> Account {
        let number = ACCOUNTS.fetch_add(1, Ordering::Relaxed);
        self.aws.account(&format!("{number:012}"))
    }

    /// URL at which the local AWS listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.aws.endpoint()
    }

    /// The log of the local AWS.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.aws.log()
    }

    /// The template of the repository and the functions.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The template of the repository.
    #[must_use]
    pub fn template(&self) -> &Template {
        &self.bundle.template
    }

    /// Deploys the template of the repository into an account of its own and registers it with an
    /// AURA stand-in. `changes` are template parameters.
    ///
    /// # Errors
    ///
    /// Fails if the deployment fails.
    pub async fn system(&self, changes: &[(&str, &str)]) -> Result<System, DeployError> {
        deploy(&self.new_account(), &self.bundle, changes).await
    }

    /// Deploys like [`Self::system`], but from another template.
    ///
    /// # Errors
    ///
    /// Fails if the deployment fails.
    pub async fn system_from(&self, template: Template) -> Result<System, DeployError> {
        deploy(&self.new_account(), &self.with(template), &[]).await
    }

    /// Starts an AURA stand-in, with an account of its own and nothing deployed.
    ///
    /// # Errors
    ///
    /// Fails if the stand-in can't be started or Secrets Manager doesn't answer.
    pub async fn site(&self) -> Result<Site> {
        Site::prepare(&self.new_account()).await
    }

    /// Deploys a template to a site, or updates what is deployed there. `changes` are all template
    /// parameters that differ from the local stack's.
    ///
    /// # Errors
    ///
    /// Fails if the deployment fails.
    pub async fn deploy_at(
        &self,
        site: &Site,
        template: &Template,
        changes: &[(&str, &str)],
    ) -> Result<Stack, DeployError> {
        let bundle = self.with(template.clone());
        let progress = Progress::to_stderr();
        site.deploy(&bundle, parameters(changes), progress).await
    }

    /// Deploys a second stack for a site's AURA into an account of its own.
    ///
    /// # Errors
    ///
    /// Fails if the deployment fails.
    pub async fn deploy_beside(
        &self,
        site: &Site,
        changes: &[(&str, &str)],
    ) -> Result<Stack, DeployError> {
        let (account, progress) = (self.new_account(), Progress::to_stderr());
        site.deploy_beside(&account, &self.bundle, parameters(changes), progress)
            .await
    }

    /// Updates a stack in place. `changes` are the template parameters that differ.
    ///
    /// # Errors
    ///
    /// Fails if the update fails.
    pub async fn update(
        &self,
        stack: &Stack,
        changes: &[(&str, &str)],
    ) -> Result<Stack, DeployError> {
        update(stack, &self.bundle, changes).await
    }

    /// Updates a stack in place to another template.
    ///
    /// # Errors
    ///
    /// Fails if the update fails.
    pub async fn update_to(&self, stack: &Stack, template: Template) -> Result<Stack, DeployError> {
        update(stack, &self.with(template), &[]).await
    }

    /// The bundle to deploy, with another template.
    fn with(&self, template: Template) -> Bundle {
        Bundle {
            template,
            ..self.bundle.clone()
        }
    }
}

/// Reads a number from an environment variable, or returns the default.
///
/// # Errors
///
/// Fails if the variable's value can't be read as the number.
pub fn from_environment<T: FromStr>(name: &str, default: T) -> Result<T> {
    match std::env::var(name) {
        Ok(text) => {
            let value = text.parse().ok();
            value.with_context(|| format!("cannot read {name}={text} as a number"))
        }
        Err(_) => Ok(default),
    }
}

fn iam_decides() -> bool {
    std::env::var_os(IAM).is_none_or(|value| value != "off")
}

async fn update(
    stack: &Stack,
    bundle: &Bundle,
    changes: &[(&str, &str)],
) -> Result<Stack, DeployError> {
    let mut now = stack.parameters().clone();
    now.extend(parameters(changes));
    let (account, name) = (stack.account(), stack.name());
    Stack::deploy(account, name, bundle, now, Progress::to_stderr()).await
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
