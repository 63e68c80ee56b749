//! The result of all scenarios and mutants, for people and for programs.

use std::fmt::{self, Display};

use serde::Serialize;
use stack::report::grouped;

use crate::ledger::explore::{Explored, Kind, Size, Tried};

/// The result of all scenarios and mutants.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether every property holds and every mutant is as expected.
    pub proven: bool,
    /// Sum of all scenarios; the depth is the greatest of theirs.
    pub total: Size,
    /// Results of the real design, by scenario.
    pub scenarios: Vec<Explored>,
    /// Results of the mutants.
    pub mutants: Vec<Tried>,
}

impl Report {
    /// Adds up the results.
    #[must_use]
    pub fn new(scenarios: Vec<Explored>, mutants: Vec<Tried>) -> Self {
        let mut verdicts = scenarios.iter().flat_map(|scenario| &scenario.verdicts);
        let all_hold = verdicts.all(|verdict| verdict.holds);
        let all_expected = mutants.iter().all(|mutant| mutant.as_expected);
        let sizes = scenarios.iter().map(|scenario| scenario.size);
        Self {
            proven: all_hold && all_expected,
            total: sizes.fold(Size::NONE, Size::and),
            scenarios,
            mutants,
        }
    }
}

impl Size {
    const NONE: Self = Self {
        states: 0,
        unique_states: 0,
        depth: 0,
        seconds: 0.0,
    };

    fn and(self, other: Self) -> Self {
        Self {
            states: self.states + other.states,
            unique_states: self.unique_states + other.unique_states,
            depth: self.depth.max(other.depth),
            seconds: self.seconds + other.seconds,
        }
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} different, {} deep, {:.1} s",
            grouped(self.states),
            grouped(self.unique_states),
            self.depth,
            self.seconds
        )
    }
}

impl stack::report::Report for Report {
    const FAILURE: &'static str = "a property doesn't hold, or a mutant isn't as expected";

    fn is_success(&self) -> bool {
        self.proven
    }

    fn summary(&self) -> Vec<String> {
        self.to_string().lines().map(str::to_owned).collect()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The real rules, two deliveries of one event")?;
        for scenario in &self.scenarios {
            write_scenario(f, scenario)?;
        }
        writeln!(f, "\nAll scenarios: {}", self.total)?;
        writeln!(f, "\nWrong on purpose: each must be caught")?;
        for (index, mutant) in self.wrong().enumerate() {
            write_wrong(f, mutant, index == 0)?;
        }
        writeln!(
            f,
            "\nSafe on purpose: another part makes up for the missing one"
        )?;
        for mutant in self
            .mutants
            .iter()
            .filter(|mutant| mutant.violates.is_none())
        {
            writeln!(f, "  {} {}", sign(mutant.as_expected), mutant.mutant)?;
            write_story(f, &mutant.counter_example)?;
        }
        let caught = self.wrong().filter(|mutant| mutant.as_expected).count();
        writeln!(
            f,
            "\n{} of {} wrong designs caught. {}",
            caught,
            self.wrong().count(),
            if self.proven {
                "Every property holds."
            } else {
                "NOT PROVEN."
            }
        )
    }
}

impl Report {
    fn wrong(&self) -> impl Iterator<Item = &Tried> {
        self.mutants
            .iter()
            .filter(|mutant| mutant.violates.is_some())
    }
}

fn write_scenario(f: &mut fmt::Formatter<'_>, scenario: &Explored) -> fmt::Result {
    writeln!(f, "\n{}: {}", scenario.scenario, scenario.bounds)?;
    writeln!(f, "  {}", scenario.size)?;
    for verdict in &scenario.verdicts {
        let kind = match verdict.kind {
            Kind::Always => "always",
            Kind::Sometimes => "sometimes",
        };
        writeln!(
            f,
            "  {} {kind:<9} {}",
            sign(verdict.holds),
            verdict.property
        )?;
        write_story(f, &verdict.counter_example)?;
    }
    Ok(())
}

fn write_wrong(f: &mut fmt::Formatter<'_>, mutant: &Tried, in_full: bool) -> fmt::Result {
    writeln!(f, "  {} {}", sign(mutant.as_expected), mutant.mutant)?;
    let property = mutant.violates.unwrap_or_default();
    if !mutant.as_expected {
        return writeln!(f, "      NOT CAUGHT: it should violate \"{property}\"");
    }
    let steps = mutant.counter_example.len();
    writeln!(f, "      violates \"{property}\" in {steps} steps")?;
    if in_full {
        write_story(f, &mutant.counter_example)?;
    }
    Ok(())
}

fn write_story(f: &mut fmt::Formatter<'_>, story: &[String]) -> fmt::Result {
    story
        .iter()
        .try_for_each(|line| writeln!(f, "      {line}"))
}

fn sign(is_good: bool) -> char {
    if is_good { '✓' } else { '✗' }
}
