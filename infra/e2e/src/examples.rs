//! The example consumers, copied out of this repository as their readers do, and built there.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use stack::account::REGION;
use stack::bundle::Bundle;
use stack::ops::Identity;
use stack::package::{Profile, build_functions, cargo};
use stack::process::ProcessGroup;
use stack::progress::Progress;
use stack::template::Template;
use stack::workspace::Workspace;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStderr, Command};

/// What a build makes. It is not copied.
const BUILT: [&str; 2] = ["node_modules", "target"];

/// The workspace's profile for tests, so that the copy's build takes from `target` what is there already.
const DEV_PROFILE: [&str; 4] = [
    "--config",
    "profile.dev.debug='line-tables-only'",
    "--config",
    "profile.dev.package.'*'.debug=false",
];

/// A copy of an example's folder. It lies in no checkout.
pub struct Example {
    folder: TempDir,
    workspace: Workspace,
}

impl Example {
    /// Copies an example, by its folder's name in `infra`.
    ///
    /// # Errors
    ///
    /// A file can't be read or written.
    pub fn copied(name: &str) -> Result<Self> {
        let (folder, workspace) = (tempfile::tempdir()?, Workspace::here()?);
        copy(&workspace.root().join("infra").join(name), folder.path())
            .with_context(|| format!("cannot copy infra/{name}"))?;
        Ok(Self { folder, workspace })
    }

    /// Builds the copy with cargo, with the versions of the repository's lock file. Cargo may download
    /// nothing. It takes minutes: alone, the function has dependencies with other features than in the
    /// workspace.
    ///
    /// # Errors
    ///
    /// It doesn't compile (cargo printed why on standard error).
    pub async fn built_with_cargo(&self) -> Result<()> {
        let (root, lock) = (self.workspace.root(), "Cargo.lock");
        fs::copy(root.join(lock), self.folder.path().join(lock))?;
        let mut command = cargo(self.folder.path());
        command.args(["build", "--offline"]).args(DEV_PROFILE);
        command.env("CARGO_TARGET_DIR", root.join("target"));
        let built = ProcessGroup::spawn(&mut command)?.wait().await?;
        ensure!(
            built.success(),
            "the copy doesn't build: see cargo's errors above"
        );
        Ok(())
    }

    /// Its template, with the function `arrivals` as the workspace builds it.
    ///
    /// # Errors
    ///
    /// It doesn't compile (cargo printed why on standard error), or a file can't be read.
    pub async fn built_here(&self) -> Result<Bundle> {
        let progress = Progress::to_stderr();
        let packages = build_functions(&self.workspace, Profile::Dev, &["arrivals"], progress);
        Ok(Bundle {
            packages: packages.await?.into(),
            ..self.bundle()?
        })
    }

    /// Installs the packages of its lock file with npm.
    ///
    /// # Errors
    ///
    /// npm fails (it printed why on standard error).
    pub async fn installed_with_npm(&self) -> Result<()> {
        let mut command = Command::new("npm");
        let cache = self.workspace.root().join("target/ci/npm");
        command.args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
        ]);
        command.args(["--loglevel", "error", "--cache"]).arg(cache);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        let npm = ProcessGroup::spawn(&mut command);
        let mut npm = npm.context("cannot start npm: install Node.js 20 or newer")?;
        ensure!(
            npm.wait().await?.success(),
            "npm ci failed: see its errors above"
        );
        Ok(())
    }

    /// Its template, for a deployment without functions.
    ///
    /// # Errors
    ///
    /// The template can't be read.
    pub fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle {
            template: Template::read(&self.folder.path().join("template.yaml"))?,
            packages: Arc::default(),
        })
    }

    /// Starts the backend as somebody, with these variables besides.
    ///
    /// # Errors
    ///
    /// It ends before it listens.
    pub async fn started_with_node(
        &self,
        identity: &Identity,
        variables: &[(&str, &str)],
    ) -> Result<Backend> {
        let mut command = Command::new("node");
        command
            .arg("server.mjs")
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("AWS_REGION", REGION)
            .envs(identity.variables())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = ProcessGroup::spawn(&mut command)?;
        let (output, errors) = (process.take_stdout(), process.take_stderr());
        let mut line = String::new();
        let mut output = BufReader::new(output.context("node has no standard output")?);
        output.read_line(&mut line).await?;
        let port = line.trim().strip_prefix("listening on port ");
        Ok(Backend {
            url: format!(
                "http://127.0.0.1:{}",
                port.context("the backend doesn't listen")?
            ),
            errors: errors.context("node has no standard error")?,
            process,
        })
    }
}

/// A running backend. It ends when this is dropped.
pub struct Backend {
    /// The URL at which it listens.
    pub url: String,
    errors: ChildStderr,
    process: ProcessGroup,
}

impl Backend {
    /// Ends it as a container's host does, with SIGTERM, and returns what it wrote to standard error.
    ///
    /// # Errors
    ///
    /// It ends with an error.
    pub async fn ended(mut self) -> Result<String> {
        let id = self.process.id().context("the backend has ended")?;
        let mut kill = Command::new("kill");
        let killed = kill.args(["-TERM", &id.to_string()]).status().await?;
        ensure!(killed.success(), "cannot send a signal to the backend");
        let mut errors = String::new();
        self.errors.read_to_string(&mut errors).await?;
        let ended = self.process.wait().await?;
        ensure!(ended.success(), "the backend ended with {ended}");
        Ok(errors)
    }
}

/// Copies a folder's files, and those below it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            fs::copy(entry.path(), target)?;
        } else if !BUILT.iter().any(|built| entry.file_name() == *built) {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}
