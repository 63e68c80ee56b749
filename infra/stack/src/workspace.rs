//! Paths in the checkout.
//!
//! All files that this crate makes are below `target/local`. Cargo and git ignore that folder, and
//! `cargo clean` removes it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A checkout of this repository. A program looks for it when it runs, because the checkout that it was
/// built in may have been moved or replaced since.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the checkout. If cargo runs the program, that is cargo's; otherwise it is the one that the
    /// current folder is in.
    ///
    /// # Errors
    ///
    /// The current folder is not in a checkout.
    pub fn here() -> Result<Self> {
        let current = std::env::current_dir().context("cannot find the current folder")?;
        // Cargo sets this variable for all programs that it runs, and these pass it on.
        let of_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let found = of_cargo.as_deref().and_then(Self::around);
        found.or_else(|| Self::around(&current)).with_context(|| {
            format!(
                "{} is in no checkout of aura-webhooks: change to a folder of one",
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

    /// The folder of all files that this crate makes.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("target/local")
    }

    /// The file that `cargo local up` locks while it runs. It contains the process id.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state().join("lock")
    }

    /// The file that says how to reach the stack of `cargo local up`. It exists only while the stack is
    /// ready.
    #[must_use]
    pub fn stack_file(&self) -> PathBuf {
        self.state().join("stack.json")
    }

    /// The file with all events published since `cargo local up`, one JSON object a line.
    #[must_use]
    pub fn events_file(&self) -> PathBuf {
        self.state().join("events.jsonl")
    }

    /// The log of MiniStack and the functions under `cargo local up`. It stays until the next run, so
    /// that people can see what went wrong.
    #[must_use]
    pub fn up_log(&self) -> PathBuf {
        self.state().join("ministack.log")
    }

    /// The log of MiniStack and the functions under `cargo local demo`.
    #[must_use]
    pub fn demo_log(&self) -> PathBuf {
        self.state().join("demo.log")
    }

    /// The log of MiniStack and the functions under `cargo local drill`.
    #[must_use]
    pub fn drill_log(&self) -> PathBuf {
        self.state().join("drill.log")
    }

    /// The log of MiniStack and the functions under `cargo prove torture`.
    #[must_use]
    pub fn torture_log(&self) -> PathBuf {
        self.state().join("torture.log")
    }

    /// The log of MiniStack and the functions under `cargo prove soak`.
    #[must_use]
    pub fn soak_log(&self) -> PathBuf {
        self.state().join("soak.log")
    }

    /// The log of MiniStack and the functions under `cargo prove capacity --check`.
    #[must_use]
    pub fn capacity_log(&self) -> PathBuf {
        self.state().join("capacity.log")
    }

    /// The log of MiniStack and the functions under `cargo prove latency`.
    #[must_use]
    pub fn latency_log(&self) -> PathBuf {
        self.state().join("latency.log")
    }

    /// The loss ledger of the last `cargo prove soak`, one JSON object a line.
    #[must_use]
    pub fn soak_ledger(&self) -> PathBuf {
        self.state().join("soak-ledger.jsonl")
    }
}
