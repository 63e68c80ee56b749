//! The command line of `cargo ledger-model`.

use anyhow::{Result, bail};
use clap::Parser;
use local::progress::{Progress, Stage};

use crate::bounds::Scenario;
use crate::explore::{self, Explored, Tried};
use crate::mutants;
use crate::report::{Report, thousands};

/// So many states are a step of the progress.
const STEP: usize = 1_000_000;

/// Every order of events that workers, queue, ledger and bus can come to with two deliveries of one
/// event, by the real rules; and that the checker finds what is wrong with other rules.
#[derive(Debug, Parser)]
#[command(
    name = "cargo ledger-model",
    bin_name = "cargo ledger-model",
    max_term_width = 100
)]
pub struct Cli {
    /// Print one JSON object, with every counter-example in full
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Explores and prints.
    ///
    /// # Errors
    ///
    /// A property doesn't hold, or a mutant isn't caught.
    pub fn run(&self) -> Result<()> {
        let progress = Progress::to_stderr();
        let scenarios = Scenario::ALL.iter();
        let scenarios = scenarios.map(|scenario| explored(progress, scenario));
        let report = Report::new(scenarios.collect(), tried(progress));
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print!("{report}");
        }
        if !report.proven {
            bail!("a property doesn't hold, or a mutant isn't as expected");
        }
        Ok(())
    }
}

fn explored(progress: Progress, scenario: &Scenario) -> Explored {
    let mut stage = progress.stage(&format!("exploring: {}", scenario.name));
    let explored = explore::explore(scenario, |states| note(&mut stage, states));
    stage.done(&format!("explored: {}", scenario.name));
    explored
}

fn tried(progress: Progress) -> Vec<Tried> {
    let mut stage = progress.stage("trying what is wrong on purpose");
    let mutants = mutants::all();
    let tried = mutants
        .iter()
        .map(|mutant| explore::try_mutant(mutant, |states| note(&mut stage, states)))
        .collect();
    stage.done(&format!("tried {} mutants", mutants.len()));
    tried
}

fn note(stage: &mut Stage, states: usize) {
    let full = states - states % STEP;
    if full > 0 {
        stage.note(&format!("{} states", thousands(full)));
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
