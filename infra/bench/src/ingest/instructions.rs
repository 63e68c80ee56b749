//! Counts the CPU instructions per delivery with valgrind.
//!
//! The processor's own counters aren't used: virtual machines seldom have them, and they differ
//! from one processor to the next.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use stack::progress::Stage;
use tokio::process::Command;

use super::delivery::Deliveries;
use super::function::{Binaries, Function, Kind};

/// How many times a count is tried.
const TRIES: u32 = 4;

/// Instructions in user space per delivery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instructions {
    /// Number of deliveries that the difference is divided by.
    pub deliveries: u32,
    /// Instructions of `ingest`.
    pub ingest: u64,
    /// Instructions of the empty handler.
    pub empty: u64,
    /// Instructions of the handler with one `SendMessage`.
    pub sdk_call: u64,
    /// Instructions that `ingest` needs beyond the handler with one `SendMessage`.
    pub beyond_sdk_call: u64,
}

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

/// Counts instructions of functions that run under callgrind.
#[derive(Debug)]
pub struct Counting<'a> {
    /// The functions' binaries.
    pub binaries: &'a Binaries,
    /// Number of deliveries that the difference is divided by.
    pub deliveries: u32,
    /// Folder for callgrind's files.
    pub profiles: &'a Path,
}

impl Counting<'_> {
    /// Counts the instructions per delivery of each function.
    ///
    /// # Errors
    ///
    /// Fails if a function ends or answers wrongly.
    pub async fn measure(&self, stage: &mut Stage) -> Result<Instructions> {
        let ingest = self.per_delivery(Kind::Ingest, stage).await?;
        let empty = self.per_delivery(Kind::Empty, stage).await?;
        let sdk_call = self.per_delivery(Kind::SdkCall, stage).await?;
        Ok(Instructions {
            deliveries: self.deliveries,
            ingest,
            empty,
            sdk_call,
            beyond_sdk_call: ingest.saturating_sub(sdk_call),
        })
    }

    async fn per_delivery(&self, kind: Kind, stage: &mut Stage) -> Result<u64> {
        let once = self.count(kind, self.deliveries, stage).await?;
        let twice = self.count(kind, 2 * self.deliveries, stage).await?;
        let more = twice.checked_sub(once);
        let more = more.context("counting failed: twice the deliveries took fewer instructions")?;
        Ok(more / u64::from(self.deliveries))
    }

    /// All instructions of a process that gets `deliveries` deliveries.
    ///
    /// Under valgrind and on a busy machine, a function may reach its own timeouts. Then it repeats
    /// a call or refuses a delivery, so the count is wrong and is taken again.
    async fn count(&self, kind: Kind, deliveries: u32, stage: &mut Stage) -> Result<u64> {
        let what = format!("{}, {deliveries} deliveries", kind.binary());
        stage.note(&what);
        for tries in 2..=TRIES {
            match self.count_once(kind, deliveries).await {
                Ok(count) => return Ok(count),
                Err(error) => stage.note(&format!("{what}, try {tries}: {error:#}")),
            }
        }
        self.count_once(kind, deliveries).await
    }

    async fn count_once(&self, kind: Kind, deliveries: u32) -> Result<u64> {
        let name = format!("{}.{deliveries}.callgrind", kind.binary());
        let profile = self.profiles.join(name);
        let mut function = Function::start_as(kind, self.command(kind, &profile)?).await?;
        function.started().await?;
        let mut supply = Deliveries::default();
        for _ in 0..deliveries {
            function.deliver(supply.make()).await?;
        }
        function.end()?;
        let profile = std::fs::read_to_string(&profile)
            .with_context(|| format!("cannot read {}", profile.display()))?;
        instructions(&profile).context("callgrind's file has no sum of instructions")
    }

    fn command(&self, kind: Kind, profile: &Path) -> Result<Command> {
        let mut file = OsString::from("--callgrind-out-file=");
        file.push(profile);
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--quiet"])
            .arg(file)
            .arg(self.binaries.path(kind)?);
        Ok(command)
    }
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
}
