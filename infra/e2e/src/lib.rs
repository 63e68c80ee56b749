//! What the end-to-end tests stand on: one MiniStack for all of them, an account of its own for
//! each, and the means to look into a deployed system.

pub mod logs;
pub mod spill;

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
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

/// What tests of this process share. It ends with the process: MiniStack sees its standard
/// input close.
pub struct Local {
    aws: LocalAws,
    bundle: Bundle,
}

/// How often ingest reads its secret for values that are unknown: a fraction of
/// [`shared::webhook::REFRESH_INTERVAL`], for which much of a rotation waits.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

static LOCAL: OnceCell<Local> = OnceCell::const_new();
static WITH_IAM: OnceCell<Local> = OnceCell::const_new();
/// The environment variable that is `off` for a run of the tests in which everybody may do
/// everything.
const IAM: &str = "IAM";
static ACCOUNTS: AtomicU64 = AtomicU64::new(1);

impl Local {
    /// The one that this process shares, started by whichever test comes first. IAM decides in it
    /// what the functions may do, unless the environment has `IAM=off`.
    ///
    /// # Errors
    ///
    /// Something is missing on this machine, or the functions don't build.
    pub async fn shared() -> Result<&'static Self> {
        LOCAL
            .get_or_try_init(|| Self::start("e2e.log", iam_decides()))
            .await
    }

    /// One where IAM decides, whatever the environment has: for tests of permissions.
    ///
    /// # Errors
    ///
    /// As for [`Self::shared`].
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
        // Kept, so that a test that failed can be understood afterwards.
        let options = LocalAwsOptions {
            port: None,
            log: Some(workspace.state().join(log)),
            auth,
            also_on: None,
            variables: vec![(
                "WEBHOOK_REFRESH_SECONDS",
                REFRESH_INTERVAL.as_secs().to_string(),
            )],
        };
        let aws = LocalAws::start(&workspace, &venv, options, progress).await?;
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
        deploy(&self.new_account(), &self.with(template), &[]).await
    }

    /// A stand-in for AURA, and an account of its own that nothing is deployed to yet.
    ///
    /// # Errors
    ///
    /// The stand-in can't be started, or Secrets Manager doesn't answer.
    pub async fn site(&self) -> Result<Site> {
        Site::prepare(&self.new_account()).await
    }

    /// Deploys a template, or updates what is deployed to the site. `changes` are all the template
    /// parameters that differ from the local stack's.
    ///
    /// # Errors
    ///
    /// The deployment failed.
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

    /// The consumer's example, deployed beside a system.
    ///
    /// # Errors
    ///
    /// It doesn't build, or the deployment failed.
    pub async fn consumer(
        &self,
        system: &System,
        changes: &[(&str, &str)],
    ) -> Result<Stack, DeployError> {
        let (workspace, progress) = (Workspace::here()?, Progress::to_stderr());
        let template = workspace.consumer_template();
        let bundle =
            Bundle::build_of(&workspace, &template, &["arrivals"], Profile::Dev, progress).await?;
        let account = system.stack.account();
        Stack::deploy(account, "arrivals", &bundle, parameters(changes), progress).await
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
        update(stack, &self.bundle, changes).await
    }

    /// Updates a stack in place to another template.
    ///
    /// # Errors
    ///
    /// The update failed.
    pub async fn update_to(&self, stack: &Stack, template: Template) -> Result<Stack, DeployError> {
        update(stack, &self.with(template), &[]).await
    }

    /// What is deployed, with another template.
    fn with(&self, template: Template) -> Bundle {
        Bundle {
            template,
            ..self.bundle.clone()
        }
    }
}

/// A number that a test is asked for by an environment variable, or its usual one.
///
/// # Errors
///
/// The variable is no such number.
pub fn from_environment<T: FromStr>(name: &str, default: T) -> Result<T> {
    match std::env::var(name) {
        Ok(text) => {
            let value = text.parse().ok();
            value.with_context(|| format!("{name}={text} can't be used"))
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
