//! Where things are in the checkout.
//!
//! All that this crate makes lives below `target/local`: cargo ignores it, `git` ignores it, and
//! `cargo clean` takes it away.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A checkout, found when a program runs: the one that it was built in may have been moved, or be
/// another one by now.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The checkout whose program cargo runs, or, if cargo doesn't, the one that the current folder
    /// is in.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn here() -> Result<Self> {
        let current = std::env::current_dir().context("the current folder is gone")?;
        // Cargo says it to all that it runs, and to what that runs in turn.
        let of_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let found = of_cargo.as_deref().and_then(Self::around);
        found.or_else(|| Self::around(&current)).with_context(|| {
            format!(
                "{} is in no checkout of aura-webhooks: go into one",
                current.display()
            )
        })
    }

    /// The checkout that a folder is in.
    fn around(folder: &Path) -> Option<Self> {
        let mut found = folder.ancestors().map(|root| Self {
            root: root.to_owned(),
        });
        found.find(Self::is_whole)
    }

    /// Whether this is a checkout of this repository.
    fn is_whole(&self) -> bool {
        let manifest = fs::read_to_string(self.root.join("Cargo.toml"));
        manifest.is_ok_and(|manifest| manifest.contains("\"infra/stack\""))
            && self.template().is_file()
            && self.launcher().is_file()
    }

    /// The folder of the workspace's `Cargo.toml`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The SAM template.
    #[must_use]
    pub fn template(&self) -> PathBuf {
        self.root.join("template.yaml")
    }

    /// The SAM template of the consumer's example.
    #[must_use]
    pub fn consumer_template(&self) -> PathBuf {
        self.root.join("infra/consumer/template.yaml")
    }

    /// The program that runs MiniStack.
    #[must_use]
    pub fn launcher(&self) -> PathBuf {
        self.root.join("infra/stack/ministack/__main__.py")
    }

    /// The program that calls the local AWS with botocore.
    #[must_use]
    pub fn aws_calls(&self) -> PathBuf {
        self.root.join("infra/stack/aws.py")
    }

    /// The folder of everything that is made here.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("target/local")
    }

    /// Held by `cargo local up` for as long as it runs; holds its process id.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state().join("lock")
    }

    /// How to reach the stack of `cargo local up`; there only while it is ready.
    #[must_use]
    pub fn stack_file(&self) -> PathBuf {
        self.state().join("stack.json")
    }

    /// What was published since `cargo local up`, one JSON object a line.
    #[must_use]
    pub fn events_file(&self) -> PathBuf {
        self.state().join("events.jsonl")
    }

    /// The log of `cargo local up`'s MiniStack, functions included. It stays until the next run,
    /// for whoever wants to know what went wrong.
    #[must_use]
    pub fn up_log(&self) -> PathBuf {
        self.state().join("ministack.log")
    }

    /// The same of `cargo local demo`.
    #[must_use]
    pub fn demo_log(&self) -> PathBuf {
        self.state().join("demo.log")
    }

    /// The same of `cargo prove torture`.
    #[must_use]
    pub fn torture_log(&self) -> PathBuf {
        self.state().join("torture.log")
    }

    /// The same of `cargo prove soak`.
    #[must_use]
    pub fn soak_log(&self) -> PathBuf {
        self.state().join("soak.log")
    }

    /// The loss ledger of the last `cargo prove soak`, one JSON object a line.
    #[must_use]
    pub fn soak_ledger(&self) -> PathBuf {
        self.state().join("soak-ledger.jsonl")
    }
}
