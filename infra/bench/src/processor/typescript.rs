//! Builds the peer in TypeScript below `target/local`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use stack::progress::Progress;
use stack::workspace::Workspace;
use tokio::process::Command;

use crate::function::printed;

/// The peer's sources.
const SOURCES: &str = "infra/bench/peers/powertools-typescript";
const FILES: [&str; 4] = ["package.json", LOCK, "handler.ts", "runtime.mjs"];
const LOCK: &str = "package-lock.json";
/// A copy of [`LOCK`] that is written when its packages are installed.
const INSTALLED: &str = "installed.json";
/// Options that bundle the handler as `sam build` does.
const BUNDLE: [&str; 7] = [
    "handler.ts",
    "--bundle",
    "--minify",
    "--platform=node",
    "--target=node20",
    "--log-level=error",
    "--outfile=handler.cjs",
];
/// JavaScript program that prints [`Versions`].
const VERSIONS: &str = "\
const version = name => require(`./node_modules/${name}/package.json`).version;
console.log(JSON.stringify({
    program: process.execPath,
    node: process.versions.node,
    powertools: version('@aws-lambda-powertools/idempotency'),
    sdk: version('@aws-sdk/client-dynamodb'),
}));";

/// The versions with which the peer was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Path of Node.js. A function's environment has no `PATH` to find it with.
    #[serde(skip_serializing)]
    pub program: PathBuf,
    /// Version of Node.js.
    pub node: String,
    /// Version of Powertools for AWS Lambda.
    pub powertools: String,
    /// Version of AWS's SDK.
    pub sdk: String,
}

/// The peer, ready to run.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    /// What it was made from.
    pub versions: Versions,
}

impl Bundle {
    /// Installs the packages, unless they are there already, and bundles the handler.
    ///
    /// # Errors
    ///
    /// Says what failed: Node.js, the package registry, or the bundler.
    pub async fn prepare(workspace: &Workspace, progress: Progress) -> Result<Self> {
        let folder = workspace.state().join("node-powertools");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for file in FILES {
            let source = workspace.root().join(SOURCES).join(file);
            fs::copy(&source, folder.join(file))
                .with_context(|| format!("cannot copy {}", source.display()))?;
        }
        if fs::read(folder.join(INSTALLED)).ok() != Some(fs::read(folder.join(LOCK))?) {
            let stage = progress.stage("preparing Node.js");
            install(&folder).await?;
            stage.done("prepared Node.js with the packages of the peer in TypeScript");
        }
        let mut bundle = Command::new(folder.join("node_modules/.bin/esbuild"));
        bundle.args(BUNDLE).current_dir(&folder);
        run(bundle).await?;
        let mut node = Command::new("node");
        node.args(["-e", VERSIONS]).current_dir(&folder);
        let versions = printed(node).await?;
        Ok(Self { folder, versions })
    }

    /// The command that runs the handler on Lambda's Runtime API.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.versions.program);
        command.arg("runtime.mjs").current_dir(&self.folder);
        command
    }
}

async fn install(folder: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--no-update-notifier", "--loglevel", "error"])
        .current_dir(folder);
    run(npm).await?;
    fs::copy(folder.join(LOCK), folder.join(INSTALLED)).context("cannot copy the lock file")?;
    Ok(())
}

/// Runs a command. Its errors are shown.
async fn run(mut command: Command) -> Result<()> {
    let program = command.as_std().get_program().display().to_string();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("cannot start {program}: the peer needs Node.js 20 and npm"))?;
    ensure!(status.success(), "{program} failed: see its errors above");
    Ok(())
}
