//! The command line of `cargo ingest-bench`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use stack::package::{self, FUNCTIONS, Profile};
use stack::progress::Progress;
use stack::workspace::Workspace;

use super::function::{BINARIES, Binaries};
use super::instructions::{Counting, Instructions};
use super::report::Report;
use super::{start, warm};
use crate::instructions::{Callgrind, ensure_valgrind};
use crate::report::print;

/// Measures what ingest costs on this machine: start, time, instructions, memory and size of the
/// release build, beside those of a function that does nothing
///
/// The first run takes some minutes, because it builds the functions. This is a benchmark: a missed
/// bar is printed and is not an error.
#[derive(Debug, Parser)]
#[command(
    name = "cargo ingest-bench",
    bin_name = "cargo ingest-bench",
    max_term_width = 100
)]
#[command(after_help = PROFILE)]
pub struct Cli {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// How often each function is started
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    starts: u32,
    /// How many deliveries each function gets, for times and memory
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(200..))]
    deliveries: u32,
    /// Over how many deliveries instructions are counted; with 0 they aren't counted, and valgrind
    /// isn't needed
    #[arg(long, default_value_t = 500, value_name = "N")]
    counted: u32,
    /// Measure the binaries in this folder instead of building them
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Keep callgrind's files in this folder
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<PathBuf>,
}

const PROFILE: &str = "\
For a profile with names, build the functions with symbols, apart from the stripped ones:
  CARGO_PROFILE_RELEASE_STRIP=false CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \\
      cargo build --release --target-dir target/profile \\
      --bin ingest --bin bench-empty --bin bench-sdk-call
  cargo ingest-bench --binaries target/profile/release --profiles target/profile
  callgrind_annotate --inclusive=yes target/profile/ingest.1000.callgrind";

impl Cli {
    /// Measures, and prints the result.
    ///
    /// # Errors
    ///
    /// Fails if the measuring fails; the error says why. Returns
    /// [`Interrupted`](stack::signals::Interrupted) if a signal ended it.
    pub async fn run(self) -> Result<()> {
        print(self.measure(Progress::to_stderr()), self.json).await
    }

    async fn measure(&self, progress: Progress) -> Result<Report> {
        if self.counted > 0 {
            ensure_valgrind().await?;
        }
        let binaries = self.binaries(progress).await?;
        let mut stage = progress.stage("starting the functions");
        let start = start::measure(&binaries, self.starts, &mut stage).await?;
        stage.done(&format!("started each function {} times", self.starts));
        let mut stage = progress.stage("delivering");
        let warm = warm::measure(&binaries, self.deliveries, &mut stage).await?;
        stage.done(&format!(
            "made {} deliveries to each function",
            self.deliveries
        ));
        let instructions = self.count(&binaries, progress).await?;
        Ok(Report::new(
            start,
            warm,
            instructions,
            zip_bytes(&binaries)?,
        ))
    }

    async fn binaries(&self, progress: Progress) -> Result<Binaries> {
        if let Some(folder) = &self.binaries {
            return Ok(Binaries::in_folder(folder));
        }
        let stage = progress.loud_stage("building the functions");
        let built = package::build(&Workspace::here()?, Profile::Release, &BINARIES).await?;
        stage.done("built the functions");
        Ok(Binaries::new(built))
    }

    async fn count(&self, binaries: &Binaries, progress: Progress) -> Result<Option<Instructions>> {
        if self.counted == 0 {
            return Ok(None);
        }
        let mut stage = progress.stage("counting instructions");
        let counting = Counting {
            binaries,
            deliveries: self.counted,
            callgrind: Callgrind::new(self.profiles.as_deref())?,
        };
        let instructions = counting.measure(&mut stage).await?;
        stage.done(&format!(
            "counted instructions over {} deliveries",
            self.counted
        ));
        Ok(Some(instructions))
    }
}

/// Sizes of the functions' zips in bytes, by the functions' names.
fn zip_bytes(binaries: &Binaries) -> Result<BTreeMap<&'static str, usize>> {
    let size = |function| {
        let path = binaries.named(function)?;
        let binary =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((function, package::zip(&binary, Profile::Release)?.len()))
    };
    FUNCTIONS.into_iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
