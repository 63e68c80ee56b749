//! One `cargo local up` at a time.
//!
//! Whoever is up holds a lock on a file, which the operating system gives back however the
//! holder ends: a lock that is free means that nobody is up, whatever else was left behind. The
//! file holds the holder's process id.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::Pid;

/// The right to be up, until this is dropped.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

impl Instance {
    /// Takes the lock; `None` if another process holds it.
    ///
    /// # Errors
    ///
    /// The lock file can't be made.
    pub fn acquire(path: &Path) -> Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).context("cannot create target/local")?;
        }
        // Not truncated before it is locked: it may hold the id of one that is up.
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path);
        let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).context("cannot take the lock"),
        }
        file.set_len(0).context("cannot write the lock file")?;
        write!(file, "{}", std::process::id()).context("cannot write the lock file")?;
        Ok(Some(Self { _lock: file }))
    }
}

/// The process that holds the lock.
///
/// # Errors
///
/// The file holds no process id.
pub fn holder(path: &Path) -> Result<Pid> {
    let text = fs::read_to_string(path).context("cannot read target/local/lock")?;
    let id: Option<i32> = text.trim().parse().ok();
    id.and_then(Pid::from_raw)
        .context("target/local/lock holds no process id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_up_and_the_others_know_which() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("local/lock");
        let first = Instance::acquire(&path).unwrap();
        assert!(first.is_some());
        assert!(Instance::acquire(&path).unwrap().is_none());
        let id = i32::try_from(std::process::id()).unwrap();
        assert_eq!(holder(&path).unwrap().as_raw_nonzero().get(), id);
        drop(first);
        assert!(Instance::acquire(&path).unwrap().is_some());
    }
}
