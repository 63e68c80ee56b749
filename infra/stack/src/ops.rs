//! Runs `aura-ops` as an operator does, on a stack of the local AWS.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::account::{REGION, SECRET_ACCESS_KEY};
use crate::package::{Profile, build};
use crate::stack::Stack;
use crate::workspace::Workspace;

/// The name of the program.
pub const PROGRAM: &str = "aura-ops";

/// The program.
#[derive(Debug, Clone)]
pub struct Ops {
    binary: PathBuf,
}

/// Credentials of AWS, such as those of a role.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The session token of a role.
    pub session_token: Option<String>,
}

impl Identity {
    /// The account itself, which may do everything.
    #[must_use]
    pub fn root(stack: &Stack) -> Self {
        Self {
            access_key_id: stack.account().id().to_owned(),
            secret_access_key: SECRET_ACCESS_KEY.to_owned(),
            session_token: None,
        }
    }

    /// The environment variables with these credentials.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = [
            ("AWS_ACCESS_KEY_ID", self.access_key_id.as_str()),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_access_key),
        ];
        let token = self.session_token.as_deref();
        keys.into_iter()
            .chain(token.map(|token| ("AWS_SESSION_TOKEN", token)))
    }
}

impl Ops {
    /// Builds the program.
    ///
    /// # Errors
    ///
    /// It doesn't compile.
    pub async fn build(workspace: &Workspace) -> Result<Self> {
        let binaries = build(workspace, Profile::Dev, &[PROGRAM]).await?;
        let binary = binaries.into_iter().next();
        let binary = binary.context("cargo built no aura-ops")?;
        Ok(Self { binary })
    }

    /// Where the program is.
    #[must_use]
    pub fn binary(&self) -> &PathBuf {
        &self.binary
    }

    /// The program for this stack, with some arguments, ready to be started. Nothing of this process's
    /// environment reaches it.
    #[must_use]
    pub fn command(&self, stack: &Stack, identity: &Identity, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env_clear()
            .env("AURA_STACK", stack.name())
            .env("AWS_ENDPOINT_URL", stack.account().endpoint())
            .env("AWS_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(identity.variables())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs the program as the account itself, and returns what it printed.
    ///
    /// # Errors
    ///
    /// It can't be started.
    pub async fn run(&self, stack: &Stack, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(stack, &Identity::root(stack), arguments);
        command.output().await.context("cannot start aura-ops")
    }

    /// Runs the program with `--json`, and reads the object that it prints.
    ///
    /// # Errors
    ///
    /// The program fails, or doesn't print such an object.
    pub async fn json<T: DeserializeOwned>(&self, stack: &Stack, arguments: &[&str]) -> Result<T> {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        let output = self.run(stack, &arguments).await?;
        ensure!(
            output.status.code() != Some(2),
            "aura-ops {arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).with_context(|| {
            let printed = String::from_utf8_lossy(&output.stdout);
            format!("aura-ops {arguments:?} printed {printed}")
        })
    }
}
