//! The page of `aura-ops console`, for a stack that is up.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use stack::ops::{Identity, Ops};
use stack::process::ProcessGroup;
use stack::progress::Progress;
use stack::stack::Stack;
use stack::workspace::Workspace;

/// The page of a stack. It ends when this is dropped.
#[derive(Debug)]
pub struct Page {
    address: String,
    _process: ProcessGroup,
}

impl Page {
    /// Builds `aura-ops`.
    ///
    /// # Errors
    ///
    /// It doesn't compile.
    pub async fn build(workspace: &Workspace, progress: Progress) -> Result<Ops> {
        let stage = progress.loud_stage("building aura-ops");
        let ops = Ops::build(workspace).await?;
        stage.done("built aura-ops");
        Ok(ops)
    }

    /// Starts the page of a stack, with somebody's credentials. Without options, it is read-only.
    ///
    /// # Errors
    ///
    /// It can't be started, or it ends at once.
    pub async fn start(
        ops: &Ops,
        stack: &Stack,
        identity: &Identity,
        options: &[&str],
    ) -> Result<Self> {
        let arguments = [&["console"], options].concat();
        let mut command = ops.command(stack, identity, &arguments);
        command.stdout(Stdio::piped());
        let mut process = ProcessGroup::spawn(&mut command).context("cannot start aura-ops")?;
        let output = process.take_stdout();
        let output = output.context("aura-ops has no standard output")?;
        let mut address = String::new();
        let mut output = BufReader::new(output);
        output
            .read_line(&mut address)
            .await
            .context("cannot read the page's address")?;
        ensure!(
            !address.is_empty(),
            "`aura-ops console` ended: it says why above"
        );
        Ok(Self {
            address: address.trim_end().to_owned(),
            _process: process,
        })
    }

    /// The page's address, for a browser on this machine.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}
