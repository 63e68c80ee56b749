//! Counts the CPU instructions of functions with valgrind.
//!
//! The processor's own counters aren't used: virtual machines seldom have them, and they differ
//! from one processor to the next.
//!
//! Work is counted over N units and over 2 N units in processes of their own. The difference is the
//! work's, because start and end cancel out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use stack::progress::Stage;
use tempfile::TempDir;
use tokio::process::Command;

/// How many times a count is tried.
const TRIES: u32 = 4;

/// Checks that functions can be run under valgrind.
///
/// # Errors
///
/// Fails if valgrind isn't installed.
pub async fn ensure_valgrind() -> Result<()> {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null());
    let status = command.status().await;
    ensure!(
        status.is_ok_and(|status| status.success()),
        "valgrind is not installed, and it counts the instructions: install it, or switch the \
         count off with --counted 0"
    );
    Ok(())
}

/// Counts instructions in user space of functions that run under callgrind.
#[derive(Debug)]
pub struct Callgrind {
    profiles: PathBuf,
    /// Removes the profiles with this, unless somebody wants to keep them.
    _temporary: Option<TempDir>,
}

impl Callgrind {
    /// Keeps callgrind's files in the folder `kept`, or removes them in the end.
    ///
    /// # Errors
    ///
    /// Fails if the folder can't be made.
    pub fn new(kept: Option<&Path>) -> Result<Self> {
        let (profiles, temporary) = if let Some(folder) = kept {
            (folder.to_owned(), None)
        } else {
            let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
            (folder.path().to_owned(), Some(folder))
        };
        std::fs::create_dir_all(&profiles)
            .with_context(|| format!("cannot make {}", profiles.display()))?;
        Ok(Self {
            profiles,
            _temporary: temporary,
        })
    }

    /// All instructions of a function. `run` starts it by the given command, gives it work, and ends
    /// it. Returns what `run` returned, too. The profile is named `name.callgrind`.
    ///
    /// Under valgrind and on a busy machine, a function may reach its own timeouts. Then it repeats
    /// a call or refuses its work, so the count is wrong and is taken again.
    ///
    /// # Errors
    ///
    /// Fails if `run` fails each time.
    pub async fn count<T>(
        &self,
        name: &str,
        binary: &Path,
        stage: &mut Stage,
        run: impl AsyncFn(Command) -> Result<T>,
    ) -> Result<(u64, T)> {
        stage.note(name);
        for tries in 2..=TRIES {
            match self.count_once(name, binary, &run).await {
                Ok(counted) => return Ok(counted),
                Err(error) => stage.note(&format!("{name}, try {tries}: {error:#}")),
            }
        }
        self.count_once(name, binary, &run).await
    }

    async fn count_once<T>(
        &self,
        name: &str,
        binary: &Path,
        run: impl AsyncFn(Command) -> Result<T>,
    ) -> Result<(u64, T)> {
        let profile = self.profiles.join(format!("{name}.callgrind"));
        let done = run(command(binary, &profile)).await?;
        let profile = std::fs::read_to_string(&profile)
            .with_context(|| format!("cannot read {}", profile.display()))?;
        let sum = instructions(&profile).context("callgrind's file has no sum of instructions")?;
        Ok((sum, done))
    }
}

/// Instructions per unit of work, from the counts of once and of twice `units` units.
///
/// # Errors
///
/// Fails if twice the work took fewer instructions.
pub fn per_unit(once: u64, twice: u64, units: u32) -> Result<u64> {
    let more = twice.checked_sub(once);
    let more = more.context("counting failed: twice the work took fewer instructions")?;
    more.checked_div(units.into())
        .context("counting failed: there was no work")
}

/// Ratio of two counts.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio of counts needs no more digits"
)]
pub fn ratio(count: u64, to: u64) -> f64 {
    count as f64 / to as f64
}

fn command(binary: &Path, profile: &Path) -> Command {
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(profile);
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(file)
        .arg(binary);
    command
}

/// The sum at the end of callgrind's file: `totals: 12345`.
fn instructions(profile: &str) -> Option<u64> {
    let number = |line: &str| line.strip_prefix("totals:")?.trim().parse().ok();
    profile.lines().rev().find_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_at_the_end() {
        let profile = "events: Ir\nfn=(1) main\n1 5\n\ntotals: 12345\n";
        assert_eq!(instructions(profile), Some(12_345));
        assert_eq!(instructions("events: Ir\n"), None);
    }

    #[test]
    fn start_and_end_cancel_out() {
        assert_eq!(per_unit(1_000 + 7 * 100, 1_000 + 7 * 200, 100).unwrap(), 7);
        per_unit(2, 1, 100).unwrap_err();
        per_unit(1, 2, 0).unwrap_err();
    }
}
