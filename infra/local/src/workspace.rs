//! Where things are in the checkout.
//!
//! All that this crate makes lives below `target/local`: cargo ignores it, `git` ignores it, and
//! `cargo clean` takes it away.

use std::path::{Path, PathBuf};

/// The checkout this program was built from.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that holds this crate.
    #[must_use]
    pub fn here() -> Self {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self {
            root: crate_folder
                .ancestors()
                .nth(2)
                .unwrap_or(crate_folder)
                .to_owned(),
        }
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
        self.root.join("infra/local/ministack.py")
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

    /// The same of `cargo local torture`.
    #[must_use]
    pub fn torture_log(&self) -> PathBuf {
        self.state().join("torture.log")
    }

    /// The same of `cargo local soak`.
    #[must_use]
    pub fn soak_log(&self) -> PathBuf {
        self.state().join("soak.log")
    }

    /// The loss ledger of the last `cargo local soak`, one JSON object a line.
    #[must_use]
    pub fn soak_ledger(&self) -> PathBuf {
        self.state().join("soak-ledger.jsonl")
    }
}
