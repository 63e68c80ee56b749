//! Pythons with something in them: the virtual environments that the project owns.
//!
//! One is made once from its `requirements.txt` and made anew when that file changes. A stamp written
//! last, with the file's content, tells a whole environment from a half-made one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::process::Command;

use crate::folder::RunFolder;
use crate::log;
use crate::process::ProcessGroup;
use crate::progress::{Progress, Stage};
use crate::workspace::Workspace;

/// The oldest Python that what is installed runs on.
const OLDEST: Version = Version(3, 10, 0);
/// Where to look, in this order. The plain name first: it is the one people mean.
const NAMES: [&str; 7] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python",
];
/// Says the version, and `venv` if virtual environments can be made. Debian's Python without the
/// package `python3-venv` has the module `venv`, but not the `ensurepip` that it needs.
const PROBE: &str = "import sys; print('%d.%d.%d' % sys.version_info[:3]); \
                     import venv, ensurepip; print('venv')";
/// Between two tries for a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// How many of pip's last lines an error shows.
const LAST_LINES: usize = 8;

/// What an environment is made from and where, by paths from the workspace's root.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// The environment's folder, below `target/local`.
    pub folder: &'static str,
    /// All that is in it.
    pub requirements: &'static str,
    /// One of these packages: an environment that finds it works.
    pub package: &'static str,
}

/// MiniStack's environment.
pub const MINISTACK: Recipe = Recipe {
    folder: "target/local/venv",
    requirements: "infra/stack/requirements.txt",
    package: "ministack",
};

/// A virtual environment with everything of its `requirements.txt`.
#[derive(Debug, Clone)]
pub struct Venv {
    python: PathBuf,
}

impl Venv {
    /// MiniStack's environment: see [`Venv::prepare_from`].
    ///
    /// # Errors
    ///
    /// Says what is missing and how to get it.
    pub async fn prepare(workspace: &Workspace, progress: Progress) -> Result<Self> {
        Self::prepare_from(&MINISTACK, workspace, progress).await
    }

    /// Makes an environment, or finds that it is there already.
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
        fs::create_dir_all(workspace.state()).context("cannot create target/local")?;
        let venv = Self {
            python: folder.join("bin/python"),
        };
        let lock = lock(&folder.with_extension("lock"), recipe, progress).await?;
        if !(venv.is_made_from(&requirements) && venv.works(recipe.package)) {
            venv.make(recipe, workspace, &lock, progress).await?;
            fs::write(venv.stamp(), requirements).context("cannot write the stamp")?;
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

    fn is_made_from(&self, requirements: &str) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == requirements)
    }

    /// Whether the interpreter runs and finds what was installed. It is a link to the system's
    /// Python: after an upgrade it may lead nowhere, or to a version that looks elsewhere.
    fn works(&self, package: &str) -> bool {
        StdCommand::new(&self.python)
            .args([
                "-c",
                "import sys; from importlib.metadata import version; version(sys.argv[1])",
                package,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    async fn make(
        &self,
        recipe: &Recipe,
        workspace: &Workspace,
        lock: &File,
        progress: Progress,
    ) -> Result<()> {
        let mut stage = progress.stage("preparing Python");
        let interpreter = find()?;
        let folder = workspace.root().join(recipe.folder);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove the old {}", recipe.folder))?;
        }
        let scratch = RunFolder::create(workspace)?;
        let run = Run {
            recipe,
            root: workspace.root(),
            log: &folder.with_extension("log"),
            lock,
            scratch: scratch.path(),
        };
        run.venv(&interpreter, &mut stage).await?;
        run.pip(&self.python, &mut stage).await?;
        stage.done(&format!(
            "Python {} with {}",
            interpreter.version, recipe.requirements
        ));
        Ok(())
    }
}

/// How the environment's makers run.
struct Run<'a> {
    recipe: &'a Recipe,
    /// The workspace's.
    root: &'a Path,
    log: &'a Path,
    lock: &'a File,
    /// For their temporary files: pip leaves them behind when a signal ends it.
    scratch: &'a Path,
}

impl Run<'_> {
    async fn venv(&self, python: &Interpreter, stage: &mut Stage) -> Result<()> {
        let folder = self.recipe.folder;
        stage.note(&format!("python -m venv {folder}"));
        let mut command = Command::new(&python.program);
        command.args(["-m", "venv"]).arg(self.root.join(folder));
        if self.succeeds(command).await? {
            return Ok(());
        }
        bail!(
            "`{} -m venv` failed. On Debian and Ubuntu it needs `apt-get install python3-venv`. \
             It said:\n{}",
            python.program,
            self.said()
        )
    }

    async fn pip(&self, python: &Path, stage: &mut Stage) -> Result<()> {
        let requirements = self.recipe.requirements;
        stage.note(&format!("pip install -r {requirements}"));
        let mut command = Command::new(python);
        command
            .args([
                "-m",
                "pip",
                "install",
                "--no-input",
                "--disable-pip-version-check",
            ])
            // pip's own patience with a registry that is out of reach is minutes.
            .args(["--retries", "2", "--timeout", "20", "--requirement"])
            .arg(self.root.join(requirements));
        if self.succeeds(command).await? {
            return Ok(());
        }
        bail!(
            "pip could not install {requirements}. Can this machine reach the \
             package registry (https://pypi.org, or what PIP_INDEX_URL or pip's configuration \
             names)? pip's last lines:\n{}",
            self.said()
        )
    }

    /// Runs a command with its output in the log.
    ///
    /// Its standard input is the lock file, which is empty: the lock belongs to whoever has it
    /// open. If this program is killed while pip works, the next one waits for pip's end instead
    /// of making the same folder beside it.
    async fn succeeds(&self, mut command: Command) -> Result<bool> {
        let log = File::create(self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        command
            .env("TMPDIR", self.scratch)
            .stdin(Stdio::from(
                self.lock.try_clone().context("cannot share the lock")?,
            ))
            .stdout(Stdio::from(
                log.try_clone().context("cannot share the log")?,
            ))
            .stderr(Stdio::from(log));
        let mut child = ProcessGroup::spawn(&mut command)
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(child
            .wait()
            .await
            .context("cannot wait for Python")?
            .success())
    }

    fn said(&self) -> String {
        log::last_lines(self.log, LAST_LINES)
    }
}

/// Waits for the lock without giving up the thread, so that Ctrl-C works meanwhile.
async fn lock(path: &Path, recipe: &Recipe, progress: Progress) -> Result<File> {
    let folder = recipe.folder;
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut waiting = None;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                waiting.get_or_insert_with(|| {
                    progress.stage(&format!(
                        "waiting for another process that prepares {folder}"
                    ))
                });
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    if let Some(stage) = waiting {
        stage.done(&format!("the other process is done with {folder}"));
    }
    Ok(file)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u16, u16, u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A Python that is good enough.
#[derive(Debug, PartialEq, Eq)]
struct Interpreter {
    program: String,
    version: Version,
}

/// What a look at one program found.
#[derive(Debug, PartialEq, Eq)]
enum Probe {
    Good(Interpreter),
    TooOld(Interpreter),
    WithoutVenv(Interpreter),
}

/// The first Python that is good enough; an error about the nearest miss otherwise.
fn find() -> Result<Interpreter> {
    let probes: Vec<Probe> = NAMES.into_iter().filter_map(probe).collect();
    choose(probes)
}

fn probe(program: &str) -> Option<Probe> {
    let output = StdCommand::new(program)
        .args(["-c", PROBE])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    judge(program, &String::from_utf8_lossy(&output.stdout))
}

/// Reads what [`PROBE`] printed; `None` if that is no Python.
fn judge(program: &str, printed: &str) -> Option<Probe> {
    let mut lines = printed.lines();
    let version = parse_version(lines.next()?)?;
    let interpreter = Interpreter {
        program: program.to_owned(),
        version,
    };
    Some(if version < OLDEST {
        Probe::TooOld(interpreter)
    } else if lines.next() == Some("venv") {
        Probe::Good(interpreter)
    } else {
        Probe::WithoutVenv(interpreter)
    })
}

fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text.trim().split('.').map(|number| number.parse().ok());
    match (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) {
        (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
            Some(Version(major, minor, patch))
        }
        _ => None,
    }
}

fn choose(probes: Vec<Probe>) -> Result<Interpreter> {
    let mut nearest_miss = None;
    for probe in probes {
        match probe {
            Probe::Good(interpreter) => return Ok(interpreter),
            Probe::WithoutVenv(found) => nearest_miss = Some(without_venv(&found)),
            Probe::TooOld(found) => nearest_miss = nearest_miss.or(Some(too_old(&found))),
        }
    }
    Err(nearest_miss.unwrap_or_else(|| {
        anyhow!(
            "Python 3.10 or newer is needed, and there is none on the PATH (tried {}). On \
             Debian and Ubuntu: `apt-get install python3 python3-venv`",
            NAMES.join(", ")
        )
    }))
}

fn without_venv(found: &Interpreter) -> anyhow::Error {
    anyhow!(
        "{} is Python {}, but it can't make virtual environments: its modules venv and ensurepip \
         are missing. On Debian and Ubuntu: `apt-get install python3-venv`",
        found.program,
        found.version
    )
}

fn too_old(found: &Interpreter) -> anyhow::Error {
    anyhow!(
        "Python 3.10 or newer is needed, and {} is {}. Install a newer one beside \
         it (as python3.12, say): it is found by its name",
        found.program,
        found.version
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(program: &str, version: Version) -> Interpreter {
        Interpreter {
            program: program.into(),
            version,
        }
    }

    #[test]
    fn a_python_with_venv_is_good() {
        let expected = Probe::Good(found("python3", Version(3, 11, 7)));
        assert_eq!(judge("python3", "3.11.7\nvenv\n"), Some(expected));
    }

    #[test]
    fn versions_compare_as_numbers() {
        let expected = Probe::Good(found("python3", Version(3, 10, 0)));
        assert_eq!(judge("python3", "3.10.0\nvenv\n"), Some(expected));
        let expected = Probe::TooOld(found("python3", Version(3, 9, 18)));
        assert_eq!(judge("python3", "3.9.18\nvenv\n"), Some(expected));
    }

    #[test]
    fn debians_python_without_its_venv_package_is_told_apart() {
        let expected = Probe::WithoutVenv(found("python3", Version(3, 12, 3)));
        assert_eq!(judge("python3", "3.12.3\n"), Some(expected));
    }

    #[test]
    fn what_is_not_python_is_no_candidate() {
        for printed in [
            "",
            "pyenv: python3.14: command not found",
            "3.11",
            "3.11.7.1",
        ] {
            assert_eq!(judge("python3", printed), None, "{printed:?}");
        }
    }

    #[test]
    fn a_good_one_behind_bad_ones_is_chosen() {
        let good = found("python3.12", Version(3, 12, 0));
        let chosen = choose(vec![
            Probe::TooOld(found("python3", Version(3, 8, 0))),
            Probe::WithoutVenv(found("python3.11", Version(3, 11, 0))),
            Probe::Good(found("python3.12", Version(3, 12, 0))),
        ]);
        assert_eq!(chosen.unwrap(), good);
    }

    #[test]
    fn the_error_names_the_nearest_miss() {
        let old = || Probe::TooOld(found("python3", Version(3, 8, 0)));
        let bare = || Probe::WithoutVenv(found("python3.11", Version(3, 11, 0)));
        let message = |probes| choose(probes).unwrap_err().to_string();
        assert!(message(vec![]).contains("apt-get install python3 python3-venv"));
        assert!(message(vec![old()]).contains("3.8.0"));
        assert!(message(vec![old(), bare()]).contains("python3.11"));
        assert!(message(vec![bare(), old()]).contains("python3.11"));
    }

    #[test]
    fn a_half_made_environment_is_not_taken_for_a_whole_one() {
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
    fn an_interpreter_that_is_gone_or_finds_nothing_does_not_work() {
        let interpreter = |python: &str| Venv {
            python: python.into(),
        };
        assert!(!interpreter("/nowhere/python").works("ministack"));
        assert!(!interpreter("false").works("ministack"));
        assert!(interpreter("true").works("ministack"));
    }
}
