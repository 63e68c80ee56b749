//! The command line of `cargo processor-bench`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use stack::package::{self, Profile};
use stack::progress::Progress;
use stack::python::Venv;
use stack::workspace::Workspace;

use super::function::{Binaries, POWERTOOLS, Programs, Side};
use super::instructions::{Counting, Instructions};
use super::report::{Report, Versions};
use super::stubbed::Measuring;
use super::typescript::Bundle;
use crate::instructions::{Callgrind, ensure_valgrind};
use crate::report::print;

/// Measures what processor costs on this machine: CPU time, instructions, memory and calls of the
/// release build, beside those of equal handlers in Python and in TypeScript with Powertools for AWS
/// Lambda
///
/// The first run takes some minutes, because it builds the function. This is a benchmark: a missed
/// bar is printed and is not an error; an event that failed is an error.
#[derive(Debug, Parser)]
#[command(
    name = "cargo processor-bench",
    bin_name = "cargo processor-bench",
    max_term_width = 100
)]
#[command(after_help = PROFILE)]
pub struct Cli {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// How often everything is measured; each round starts the functions anew
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many batches of each kind a round has
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batches: u32,
    /// How many percent of the events in batches with duplicates are duplicates
    #[arg(long, default_value_t = 100, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    duplicates: u32,
    /// Over how many batches of each kind instructions are counted; with 0 they aren't counted, and
    /// valgrind isn't needed
    #[arg(long, default_value_t = 50, value_name = "N")]
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
      --bin processor --bin bench-processor-calls
  cargo processor-bench --rounds 1 --binaries target/profile/release --profiles target/profile
  callgrind_annotate --inclusive=yes target/profile/processor.oneEvent.100.callgrind";

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
        let workspace = Workspace::here()?;
        let venv = Venv::prepare_from(&POWERTOOLS, &workspace, progress).await?;
        let typescript = Bundle::prepare(&workspace, progress).await?;
        let binaries = self.binaries(&workspace, progress).await?;
        let programs = Programs::new(&binaries, &venv, &typescript, &workspace);
        let versions = Versions {
            python: programs.python_versions().await?,
            typescript: typescript.versions.clone(),
        };
        let mut stage = progress.stage("processing against stubs");
        let measuring = Measuring {
            programs: &programs,
            rounds: self.rounds,
            batches: self.batches,
            duplicates: self.duplicates,
        };
        let stubbed = measuring.measure(&mut stage).await?;
        stage.done(&format!("measured {} rounds against stubs", self.rounds));
        let instructions = self.count(&binaries, progress).await?;
        Ok(Report::new(versions, stubbed, instructions))
    }

    async fn count(&self, binaries: &Binaries, progress: Progress) -> Result<Vec<Instructions>> {
        if self.counted == 0 {
            return Ok(Vec::new());
        }
        let mut stage = progress.stage("counting instructions");
        let counting = Counting {
            binaries,
            batches: self.counted,
            duplicates: self.duplicates,
            callgrind: Callgrind::new(self.profiles.as_deref())?,
        };
        let instructions = counting.measure(&mut stage).await?;
        stage.done(&format!(
            "counted instructions over {} batches of each kind",
            self.counted
        ));
        Ok(instructions)
    }

    async fn binaries(&self, workspace: &Workspace, progress: Progress) -> Result<Binaries> {
        let names = [Side::Processor, Side::BareCalls].map(Side::name);
        let paths = if let Some(folder) = &self.binaries {
            names.map(|name| folder.join(name)).to_vec()
        } else {
            let stage = progress.loud_stage("building processor");
            let built = package::build(workspace, Profile::Release, &names).await?;
            stage.done("built processor");
            built
        };
        let Ok([processor, bare_calls]) = <[PathBuf; 2]>::try_from(paths) else {
            bail!("cargo built other binaries than {names:?}");
        };
        ensure_exists(&processor)?;
        if self.counted > 0 {
            ensure_exists(&bare_calls)?;
        }
        Ok(Binaries {
            processor,
            bare_calls,
        })
    }
}

fn ensure_exists(binary: &Path) -> Result<()> {
    ensure!(
        binary.exists(),
        "cannot find the binary {}",
        binary.display()
    );
    Ok(())
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
