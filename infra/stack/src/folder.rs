//! Folders for one run, removed when it ends.
//!
//! A run that is killed can't remove its folder, so the next one does. To know a dead run's
//! folder from a live one's, each holds a file that is locked for as long as its run lives: the
//! operating system gives the lock back however the run ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::workspace::Workspace;

const PREFIX: &str = "run-";
const LOCK: &str = "lock";

/// A folder that lives as long as this value.
#[derive(Debug)]
pub struct RunFolder {
    folder: TempDir,
    _lock: File,
}

impl RunFolder {
    /// Makes one below `target/local`, after removing those of dead runs.
    ///
    /// # Errors
    ///
    /// The folder can't be made.
    pub fn create(workspace: &Workspace) -> Result<Self> {
        let state = workspace.state();
        fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
        let _gate = gate(&state)?;
        remove_dead(&state)?;
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&state)
            .with_context(|| format!("cannot create a folder in {}", state.display()))?;
        let lock = File::create(folder.path().join(LOCK)).context("cannot create a lock file")?;
        lock.lock().context("cannot lock the run's folder")?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of runs that were killed, and says how many there were.
///
/// # Errors
///
/// One can't be removed.
pub fn sweep(workspace: &Workspace) -> Result<usize> {
    let state = workspace.state();
    if !state.is_dir() {
        return Ok(0);
    }
    let _gate = gate(&state)?;
    remove_dead(&state)
}

/// Held while folders come and go, so that nobody takes a folder for dead between its making
/// and its locking.
fn gate(state: &Path) -> Result<File> {
    let gate = File::create(state.join("folders.lock")).context("cannot create a lock file")?;
    gate.lock().context("cannot lock target/local")?;
    Ok(gate)
}

fn remove_dead(state: &Path) -> Result<usize> {
    let mut removed = 0;
    for folder in run_folders(state)? {
        if is_dead(&folder)? {
            match fs::remove_dir_all(&folder) {
                Ok(()) => removed += 1,
                // Its MiniStack is just about to end and removes it too.
                Err(error) if is_being_removed(&error) => {}
                Err(error) => {
                    let folder = folder.display();
                    return Err(error).with_context(|| format!("cannot remove {folder}"));
                }
            }
        }
    }
    Ok(removed)
}

fn is_being_removed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
    )
}

fn run_folders(state: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(state).context("cannot list target/local")?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths
        .collect::<io::Result<_>>()
        .context("cannot list target/local")?;
    let is_run = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
    };
    Ok(paths.into_iter().filter(is_run).collect())
}

fn is_dead(folder: &Path) -> Result<bool> {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error).context("cannot look at a run's lock"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).context("cannot look at a run's lock"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_runs_are_removed() {
        let state = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = state.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let alive = folder("run-alive");
        let lock = File::create(alive.join(LOCK)).unwrap();
        lock.lock().unwrap();
        let dead = folder("run-dead");
        File::create(dead.join(LOCK)).unwrap();
        let unlocked = folder("run-unlocked");
        let other = folder("venv");

        assert_eq!(remove_dead(state.path()).unwrap(), 2);
        assert!(alive.exists() && other.exists());
        assert!(!dead.exists() && !unlocked.exists());
    }
}
