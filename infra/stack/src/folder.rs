//! Folders that belong to one run and are removed when it ends.
//!
//! A run that is killed can't remove its folder, so the next run does. Each run locks its folder, and
//! the operating system releases the lock however the run ends. So a folder without a lock belongs to
//! a dead run.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::workspace::Workspace;

const PREFIX: &str = "run-";
/// How many times to try to create a folder. Another run may remove it before it is locked.
const TRIES: usize = 10;

/// A folder that lives as long as this value.
#[derive(Debug)]
pub struct RunFolder {
    folder: TempDir,
    _lock: File,
}

impl RunFolder {
    /// Removes the folders of dead runs, then creates one below `target/local`.
    ///
    /// # Errors
    ///
    /// The folder can't be created.
    pub fn create(workspace: &Workspace) -> Result<Self> {
        let state = workspace.state();
        fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
        remove_dead(&state)?;
        for _ in 0..TRIES {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(&state)
                .with_context(|| format!("cannot create a folder in {}", state.display()))?;
            // Another run may have removed it before it was locked.
            if let Some(lock) = lock(folder.path())
                && folder.path().exists()
            {
                return Ok(Self {
                    folder,
                    _lock: lock,
                });
            }
        }
        bail!(
            "cannot lock a new folder in {}: gave up after {TRIES} tries",
            state.display()
        )
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of runs that were killed, and returns how many.
///
/// # Errors
///
/// A folder can't be removed.
pub fn sweep(workspace: &Workspace) -> Result<usize> {
    let state = workspace.state();
    if state.is_dir() {
        remove_dead(&state)
    } else {
        Ok(0)
    }
}

fn remove_dead(state: &Path) -> Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(state).context("cannot list target/local")? {
        let entry = entry.context("cannot list target/local")?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let folder = entry.path();
        let Some(_lock) = lock(&folder) else {
            continue;
        };
        match fs::remove_dir_all(&folder) {
            Ok(()) => removed += 1,
            // The dead run's MiniStack is just ending and removes the folder too.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
            }
        }
    }
    Ok(removed)
}

/// Locks a folder; `None` if a live run has locked it or it doesn't exist.
fn lock(folder: &Path) -> Option<File> {
    let lock = File::open(folder).ok()?;
    lock.try_lock().ok()?;
    Some(lock)
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
        let _lock = lock(&alive).unwrap();
        let dead = folder("run-dead");
        drop(lock(&dead).unwrap());
        let unlocked = folder("run-unlocked");
        let other = folder("venv");

        assert_eq!(remove_dead(state.path()).unwrap(), 2);
        assert!(alive.exists() && other.exists());
        assert!(!dead.exists() && !unlocked.exists());
    }
}
