//! The command line of `cargo processor-bench`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use stack::package::{self, Profile};
use stack::progress::Progress;
use stack::python::Venv;
use stack::workspace::Workspace;

use super::function::{POWERTOOLS, Programs};
use super::report::Report;
use super::stubbed::Measuring;
use crate::report::print;

/// Measures what processor costs on this machine: CPU time, memory and calls of the release build,
/// beside those of an equal handler in Python with Powertools for AWS Lambda
///
/// The first run takes some minutes, because it builds the function. This is a benchmark: a missed
/// bar is printed and is not an error; an event that failed is an error.
#[derive(Debug, Parser)]
#[command(
    name = "cargo processor-bench",
    bin_name = "cargo processor-bench",
    max_term_width = 100
)]
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
    /// Measure this binary of processor instead of building it
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

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
        let workspace = Workspace::here()?;
        let venv = Venv::prepare_from(&POWERTOOLS, &workspace, progress).await?;
        let binary = self.binary(&workspace, progress).await?;
        let programs = Programs::new(binary, &venv, &workspace);
        let versions = programs.versions().await?;
        let mut stage = progress.stage("processing against stubs");
        let measuring = Measuring {
            programs: &programs,
            rounds: self.rounds,
            batches: self.batches,
            duplicates: self.duplicates,
        };
        let stubbed = measuring.measure(&mut stage).await?;
        stage.done(&format!("measured {} rounds against stubs", self.rounds));
        Ok(Report::new(versions, stubbed))
    }

    async fn binary(&self, workspace: &Workspace, progress: Progress) -> Result<PathBuf> {
        if let Some(binary) = &self.binary {
            ensure!(
                binary.exists(),
                "cannot find the binary {}",
                binary.display()
            );
            return Ok(binary.clone());
        }
        let stage = progress.loud_stage("building processor");
        let built = package::build(workspace, Profile::Release, &["processor"]).await?;
        stage.done("built processor");
        built
            .into_iter()
            .next()
            .context("cargo built no binary of processor")
    }
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
