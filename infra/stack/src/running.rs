//! Brings up everything: MiniStack, the stand-in for AURA, the functions and the stack. `cargo local` and
//! `cargo prove` use it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::account::Account;
use crate::bundle::Bundle;
use crate::ministack::{LocalAws, LocalAwsOptions, wait_for_port};
use crate::package::Profile;
use crate::progress::Progress;
use crate::python::Venv;
use crate::stack::Parameters;
use crate::system::System;
use crate::workspace::Workspace;

/// How to bring everything up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The number of the AWS account, 12 digits.
    pub account: &'static str,
    /// The port of the local AWS; without one, any free port.
    pub port: Option<u16>,
    /// How the functions are built.
    pub profile: Profile,
    /// The file for the output of the local AWS and the functions.
    pub log: PathBuf,
    /// The address of the bridge through which containers call, if they may.
    pub also_on: Option<Ipv4Addr>,
}

/// Everything before the deployment: a running MiniStack, and the bundle to deploy.
pub struct Prepared {
    /// The template and the functions.
    pub bundle: Bundle,
    account: Account,
    aws: LocalAws,
}

impl Prepared {
    /// Builds the functions and starts MiniStack. Installs what is missing first.
    ///
    /// # Errors
    ///
    /// Says what is missing or failed, and what to do about it.
    pub async fn prepare(
        workspace: &Workspace,
        options: Options,
        progress: Progress,
    ) -> Result<Self> {
        if let Some(port) = options.port {
            // The port is checked first, although it is needed last: the first build takes minutes.
            wait_for_port(port, progress).await?;
        }
        let venv = Venv::prepare(workspace, progress).await?;
        let bundle = Bundle::build(workspace, options.profile, progress).await?;
        let aws_options = LocalAwsOptions {
            port: options.port,
            log: Some(options.log),
            auth: false,
            also_on: options.also_on,
            variables: Vec::new(),
        };
        let aws = LocalAws::start(workspace, &venv, aws_options, progress).await?;
        Ok(Self {
            bundle,
            account: aws.account(options.account),
            aws,
        })
    }

    /// The URL at which the local AWS listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.aws.endpoint()
    }

    /// Starts the stand-in for AURA, and deploys the stack. `changes` are template parameters that
    /// differ from the local stack's.
    ///
    /// # Errors
    ///
    /// The deployment failed. The error says which resource failed and why.
    pub async fn deploy(self, changes: Parameters, progress: Progress) -> Result<Running> {
        let sizes = self.bundle.packages.iter();
        let zip_bytes = sizes.map(|package| (package.function, package.bytes));
        let zip_bytes = zip_bytes.collect();
        let system = System::deploy(&self.account, &self.bundle, changes, progress)
            .await
            .inspect_err(|_| progress.say(&log_line(self.aws.log())))?;
        Ok(Running {
            system,
            aws: self.aws,
            zip_bytes,
        })
    }
}

/// The whole local system, which runs for as long as this value lives.
pub struct Running {
    // AURA's stand-in must end before the local AWS that it delivers to.
    system: System,
    aws: LocalAws,
    zip_bytes: BTreeMap<&'static str, usize>,
}

impl Running {
    /// Brings everything up. Installs what is missing first.
    ///
    /// # Errors
    ///
    /// Says what is missing or failed, and what to do about it.
    pub async fn start(
        workspace: &Workspace,
        options: Options,
        progress: Progress,
    ) -> Result<Self> {
        let prepared = Prepared::prepare(workspace, options, progress).await?;
        prepared.deploy(Parameters::new(), progress).await
    }

    /// AURA's stand-in and the stack.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    /// The size of each function's zip, in bytes.
    #[must_use]
    pub fn zip_bytes(&self) -> &BTreeMap<&'static str, usize> {
        &self.zip_bytes
    }

    /// Waits until the local AWS ends by itself, which it shouldn't, and returns how it ended.
    pub async fn ended(&mut self) -> anyhow::Error {
        self.aws.ended().await
    }

    /// Takes everything down.
    pub async fn stop(self, progress: Progress) {
        let stage = progress.stage("taking everything down");
        self.system.aura.shutdown().await;
        self.aws.stop().await;
        stage.done("everything is down");
    }
}

/// A line that names the log, for when something went wrong.
#[must_use]
pub fn log_line(log: &Path) -> String {
    format!("  log of the local AWS: {}", log.display())
}
