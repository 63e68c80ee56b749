//! Python virtual environments that belong to the project.
//!
//! An environment is made from its `requirements.txt`. It is made again when that file changes or the
//! checkout is moved. A stamp file with both is written last, so an environment without it is
//! incomplete.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::log;
use crate::process::ProcessGroup;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The name on the PATH of the Python that makes the environments.
const PYTHON: &str = "python3";
/// The oldest Python that the installed packages run on.
const OLDEST: &str = "3.10";
/// A Python program that fails in two cases: Python is older than its argument, or can't make virtual
/// environments. Debian's Python without the package `python3-venv` lacks `ensurepip`, which it needs.
const PROBE: &str = "import sys, venv, ensurepip
if sys.version_info < tuple(map(int, sys.argv[1].split('.'))): sys.exit('it is Python ' + sys.version.split()[0])";
/// How long to wait between two tries to take a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// How many of the last lines of pip's output an error shows.
const LAST_LINES: usize = 8;

/// How an environment is made. Paths are relative to the workspace's root.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// The environment's folder, below `target/local`.
    pub folder: &'static str,
    /// The file that lists the packages.
    pub requirements: &'static str,
}

/// MiniStack's environment.
pub const MINISTACK: Recipe = Recipe {
    folder: "target/local/venv",
    requirements: "infra/stack/requirements.txt",
};

/// A virtual environment with all packages of its `requirements.txt`.
#[derive(Debug, Clone)]
pub struct Venv {
    python: PathBuf,
}

impl Venv {
    /// Prepares MiniStack's environment: see [`Venv::prepare_from`].
    ///
    /// # Errors
    ///
    /// Says what is missing and how to get it.
    pub async fn prepare(workspace: &Workspace, progress: Progress) -> Result<Self> {
        Self::prepare_from(&MINISTACK, workspace, progress).await
    }

    /// Makes an environment, unless it is there already.
    ///
    /// # Errors
    ///
    /// Says what is missing (Python, its venv module, the package registry) and how to get it.
    pub async fn prepare_from(
        recipe: &Recipe,
        workspace: &Workspace,
        progress: Progress,
    ) -> Result<Self> {
        let folder = workspace.root().join(recipe.folder);
        let requirements = fs::read_to_string(workspace.root().join(recipe.requirements))
            .with_context(|| format!("cannot read {}", recipe.requirements))?;
        let made_from = format!("{}\n{requirements}", folder.display());
        fs::create_dir_all(workspace.state()).context("cannot create target/local")?;
        let venv = Self {
            python: folder.join("bin/python"),
        };
        let lock = lock(&folder.with_extension("lock"), recipe, progress).await?;
        if !(venv.is_made_from(&made_from) && venv.works()) {
            make(recipe, workspace, &lock, progress).await?;
            fs::write(venv.stamp(), made_from).context("cannot write made-from.txt")?;
        }
        Ok(venv)
    }

    /// The environment's interpreter.
    #[must_use]
    pub fn python(&self) -> &Path {
        &self.python
    }

    fn stamp(&self) -> PathBuf {
        self.python.with_file_name("made-from.txt")
    }

    fn is_made_from(&self, made_from: &str) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == made_from)
    }

    /// Whether the interpreter runs and finds the installed packages. It is a link to the system's
    /// Python. After an upgrade it may lead nowhere, or to a version that looks for packages elsewhere.
    fn works(&self) -> bool {
        StdCommand::new(&self.python)
            .args(["-c", "import pip"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

async fn make(
    recipe: &Recipe,
    workspace: &Workspace,
    lock: &File,
    progress: Progress,
) -> Result<()> {
    let Recipe {
        folder: name,
        requirements,
    } = recipe;
    let mut stage = progress.stage("preparing Python");
    check(PYTHON, OLDEST)?;
    let folder = workspace.root().join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove the old {name}"))?;
    }
    // pip's temporary files go here, because it leaves them behind when a signal ends it.
    let scratch = folder.join("tmp");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {name}"))?;

    stage.note(&format!("{PYTHON} -m venv {name}"));
    let mut venv = Command::new(PYTHON);
    venv.args(["-m", "venv"]).arg(&folder);
    let log = folder.with_extension("log");
    if !succeeds(venv, &scratch, &log, lock).await? {
        let said = log::last_lines(&log, LAST_LINES);
        bail!("`{PYTHON} -m venv {name}` failed. The end of its output:\n{said}");
    }

    stage.note(&format!("pip install -r {requirements}"));
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install"])
        .args(["--no-input", "--disable-pip-version-check"])
        // By default, pip tries for minutes to reach a registry.
        .args(["--retries", "2", "--timeout", "20", "--requirement"])
        .arg(workspace.root().join(requirements));
    if !succeeds(pip, &scratch, &log, lock).await? {
        let said = log::last_lines(&log, LAST_LINES);
        bail!(
            "pip could not install {requirements}. Can this machine reach the package registry \
             (https://pypi.org, or the one in PIP_INDEX_URL or pip's configuration)? The end of \
             pip's output:\n{said}"
        );
    }
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot empty {name}/tmp"))?;
    stage.done(&format!("prepared Python with {requirements}"));
    Ok(())
}

/// Runs a command and returns whether it succeeded. Its output goes to the log.
///
/// The command's standard input is the lock file, which is empty. Every process that has the file open
/// keeps the lock. So if this program is killed while pip works, the next one waits until pip ends,
/// and does not make the same folder at the same time.
async fn succeeds(mut command: Command, scratch: &Path, log: &Path, lock: &File) -> Result<bool> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command
        .env("TMPDIR", scratch)
        .stdin(lock.try_clone().context("cannot share the lock")?)
        .stdout(output.try_clone().context("cannot share the log")?)
        .stderr(output);
    let mut child =
        ProcessGroup::spawn(&mut command).with_context(|| format!("cannot start {command:?}"))?;
    let status = child.wait().await.context("cannot wait for Python")?;
    Ok(status.success())
}

/// Waits for the lock without blocking the thread, so that Ctrl-C works meanwhile.
async fn lock(path: &Path, recipe: &Recipe, progress: Progress) -> Result<File> {
    let folder = recipe.folder;
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut waiting = None;
    while let Err(error) = file.try_lock() {
        if let TryLockError::Error(error) = error {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
        let name = format!("waiting for another process that is preparing {folder}");
        waiting.get_or_insert_with(|| progress.stage(&name));
        tokio::time::sleep(LOCK_POLL).await;
    }
    if let Some(stage) = waiting {
        stage.done(&format!("the other process has prepared {folder}"));
    }
    Ok(file)
}

/// Checks that a Python is new enough and makes virtual environments.
fn check(python: &str, oldest: &str) -> Result<()> {
    let probed = StdCommand::new(python)
        .args(["-c", PROBE, oldest])
        .stdin(Stdio::null())
        .output();
    let said = match probed {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    bail!(
        "`{python}` must be Python {oldest} or newer with the modules venv and ensurepip. On \
         Debian and Ubuntu: `apt-get install python3 python3-venv`. The check failed: {}",
        said.lines().last().unwrap_or("it isn't Python")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_with_venv_is_good() {
        check(PYTHON, OLDEST).unwrap();
    }

    #[test]
    fn the_error_names_what_python_lacks() {
        let error = |python, oldest| check(python, oldest).unwrap_err().to_string();
        assert!(error(PYTHON, "3.99").contains("it is Python 3."));
        assert!(error("/nowhere/python3", OLDEST).contains("No such file"));
        let no_python = error("false", OLDEST);
        assert!(no_python.contains("it isn't Python"), "{no_python}");
        assert!(no_python.contains("apt-get install python3 python3-venv"));
    }

    #[test]
    fn an_environment_without_a_current_stamp_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let venv = Venv {
            python: folder.path().join("python"),
        };
        assert!(!venv.is_made_from("ministack==1"));
        fs::write(venv.stamp(), "ministack==1").unwrap();
        assert!(venv.is_made_from("ministack==1"));
        assert!(!venv.is_made_from("ministack==2"));
    }

    #[test]
    fn an_interpreter_that_is_gone_or_finds_no_packages_does_not_work() {
        let interpreter = |python: &str| Venv {
            python: python.into(),
        };
        assert!(!interpreter("/nowhere/python").works());
        assert!(!interpreter("false").works());
        assert!(interpreter("true").works());
    }
}
