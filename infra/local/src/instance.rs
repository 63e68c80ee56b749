//! The lock that lets only one `cargo local up` run at a time.
//!
//! `cargo local up` holds a lock on a file. The operating system releases it however the process
//! ends. So a free lock means that no `cargo local up` runs, whatever files are left behind. The
//! file contains the process id of the holder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::Pid;

/// The lock of a running `cargo local up`, held until this is dropped.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

impl Instance {
    /// Takes the lock; `None` if another process holds it.
    ///
    /// # Errors
    ///
    /// The lock file can't be created, locked or written.
    pub fn acquire(path: &Path) -> Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).context("cannot create target/local")?;
        }
        // The file is truncated only after it is locked, because another process's id may be in it.
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
/// The file can't be read, or contains no process id.
pub fn holder(path: &Path) -> Result<Pid> {
    let text = fs::read_to_string(path).context("cannot read target/local/lock")?;
    let id: Option<i32> = text.trim().parse().ok();
    id.and_then(Pid::from_raw)
        .context("target/local/lock contains no process id")
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
