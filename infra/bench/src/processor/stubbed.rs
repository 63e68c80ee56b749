//! Measures CPU, times, calls and memory against stubs of AWS that answer at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use stack::progress::Stage;

use super::batch::{Batches, Case};
use super::function::{Function, Programs, Side};
use super::series::{Both, SIDES, Series, Times, alternate, warm_up};
use super::services::{ProcessorServices, ensure_same};
use crate::aws::{Aws, Calls};
use crate::statistics::{Samples, microseconds, milliseconds};

/// The measurement to make.
#[derive(Debug)]
pub struct Measuring<'a> {
    /// The programs of both functions.
    pub programs: &'a Programs,
    /// Number of rounds; each starts the functions anew.
    pub rounds: u32,
    /// Number of batches of each kind in a round.
    pub batches: u32,
    /// How many percent of the events in [`Case::Duplicates`] are duplicates.
    pub duplicates: u32,
}

/// Figures of both functions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stubbed {
    /// Number of rounds.
    pub rounds: u32,
    /// Number of batches of each kind in a round.
    pub batches: u32,
    /// How many percent of the events in [`Case::Duplicates`] were duplicates.
    pub duplicates_percent: u32,
    /// Figures by kind of batch, in the order of [`Case::ALL`].
    pub cases: Vec<CaseFigures>,
    /// The most memory of all rounds.
    pub peak_kib: Both<u32>,
    /// Time from the start to the first `/next`.
    pub start_ms: Both<f64>,
}

/// Figures of both sides for one kind of batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseFigures {
    /// Kind of the batches.
    pub case: Case,
    /// Both sides' figures.
    #[serde(flatten)]
    pub figures: Both<Figures>,
    /// Ratio of `processor`'s events per CPU second to the peer's.
    pub cpu_ratio: f64,
}

/// Figures of one side for one kind of batch: medians of the rounds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Processor time per event, user and system, in microseconds.
    pub cpu_us_per_event: f64,
    /// Events per second of processor time, the inverse of [`Self::cpu_us_per_event`].
    pub events_per_cpu_second: f64,
    /// Times of a batch, from the Runtime API and back.
    #[serde(flatten)]
    pub times: Times,
    /// Number of calls per event, by operation.
    pub calls_per_event: BTreeMap<String, f64>,
}

/// Figures of one side in all rounds.
#[derive(Debug, Default)]
struct Rounds {
    starts: Samples,
    peak_kib: u32,
    /// Figures by kind of batch.
    cases: Vec<Vec<Counted>>,
}

#[derive(Debug)]
struct Counted {
    series: Series,
    calls: Calls,
}

/// The functions of one round, and the stubs of AWS that each calls.
struct Running {
    // This field is first, so that the functions end before the servers that they talk to.
    functions: Both<Function>,
    aws: Both<Aws<ProcessorServices>>,
    starts: Both<Duration>,
}

impl Measuring<'_> {
    /// Measures both functions.
    ///
    /// # Errors
    ///
    /// Fails if an event failed or was not published exactly once, or if a function ended.
    pub async fn measure(&self, stage: &mut Stage) -> Result<Stubbed> {
        // One start that isn't counted; otherwise the first function alone would wait for the disk.
        self.start().await?.end()?;
        let mut rounds = Both::<Rounds>::default();
        for round in 1..=self.rounds {
            stage.note(&format!("round {round} of {}", self.rounds));
            self.round(&mut rounds).await?;
        }
        Ok(Stubbed {
            rounds: self.rounds,
            batches: self.batches,
            duplicates_percent: self.duplicates,
            cases: cases(&rounds),
            peak_kib: rounds.as_ref().map(|rounds| rounds.peak_kib),
            start_ms: rounds
                .as_ref()
                .map(|rounds| milliseconds(rounds.starts.median())),
        })
    }

    async fn round(&self, rounds: &mut Both<Rounds>) -> Result<()> {
        let mut running = self.start().await?;
        let mut batches = Batches::new(self.duplicates);
        let warmed_up = warm_up(&mut running.functions, &mut batches).await?;
        running.ensure_same_published(&warmed_up)?;
        for (number, case) in Case::ALL.into_iter().enumerate() {
            let counted = running.measure(case, &mut batches, self.batches).await?;
            for (rounds, counted) in rounds.as_mut().zip(counted).in_turn() {
                rounds.push(number, counted);
            }
        }
        let peaks = running.functions.as_ref().try_map(Function::peak_kib)?;
        let ended = rounds.as_mut().zip(running.starts.zip(peaks));
        for (rounds, (start, peak)) in ended.in_turn() {
            rounds.starts.push(start);
            rounds.peak_kib = rounds.peak_kib.max(peak);
        }
        running.end()
    }

    async fn start(&self) -> Result<Running> {
        let aws = Both {
            processor: Aws::start(ProcessorServices::default()).await?,
            powertools: Aws::start(ProcessorServices::default()).await?,
        };
        let (processor, processor_start) = self.start_side(Side::Processor, &aws.processor).await?;
        let (powertools, powertools_start) =
            self.start_side(Side::Powertools, &aws.powertools).await?;
        Ok(Running {
            functions: Both {
                processor,
                powertools,
            },
            aws,
            starts: Both {
                processor: processor_start,
                powertools: powertools_start,
            },
        })
    }

    async fn start_side(
        &self,
        side: Side,
        aws: &Aws<ProcessorServices>,
    ) -> Result<(Function, Duration)> {
        let endpoint = aws.endpoint();
        let mut function = Function::start(side, self.programs, &endpoint).await?;
        let start = function.started().await?;
        Ok((function, start))
    }
}

impl Running {
    async fn measure(
        &mut self,
        case: Case,
        batches: &mut Batches,
        count: u32,
    ) -> Result<Both<Counted>> {
        let before = self.aws.as_ref().map(Aws::calls);
        let series = alternate(&mut self.functions, batches, case, count).await?;
        let after = self.aws.as_ref().map(Aws::calls);
        self.ensure_same_published(&series)
            .with_context(|| format!("batches of {case:?}"))?;
        let calls = after
            .zip(before)
            .map(|(after, before)| since(after, &before));
        Ok(series
            .zip(calls)
            .map(|(series, calls)| Counted { series, calls }))
    }

    /// Checks that both sides published every new event of a series exactly once, and published the
    /// same.
    fn ensure_same_published(&self, series: &Both<Series>) -> Result<()> {
        let new = series.as_ref().map(|series| series.new);
        let published = self
            .aws
            .as_ref()
            .zip(new)
            .zip(SIDES)
            .try_map(|((aws, new), side)| {
                let published = aws.services().take_published(new);
                published.context(side.name())
            })?;
        ensure_same(&published)
    }

    /// Ends the functions, and checks that they handled what they were given.
    fn end(self) -> Result<()> {
        let Self { functions, aws, .. } = self;
        let events = functions.as_ref().map(Function::new_events);
        drop(functions);
        for (side, (aws, events)) in SIDES.zip(aws.zip(events)).in_turn() {
            aws.ensure_all_expected().context(side.name())?;
            aws.services().verify(events).context(side.name())?;
        }
        Ok(())
    }
}

impl Rounds {
    fn push(&mut self, case: usize, counted: Counted) {
        match self.cases.get_mut(case) {
            Some(rounds) => rounds.push(counted),
            None => self.cases.push(vec![counted]),
        }
    }
}

/// Subtracts the calls made before.
fn since(mut after: Calls, before: &Calls) -> Calls {
    for (operation, calls) in before {
        if let Some(after) = after.get_mut(operation) {
            *after -= calls;
        }
    }
    after.retain(|_, calls| *calls > 0);
    after
}

fn cases(rounds: &Both<Rounds>) -> Vec<CaseFigures> {
    let both = rounds.processor.cases.iter().zip(&rounds.powertools.cases);
    let figures = |(case, (processor, powertools)): (Case, (&Vec<_>, &Vec<_>))| {
        let figures = Both {
            processor: Figures::of(processor),
            powertools: Figures::of(powertools),
        };
        let cpu = figures.as_ref().map(|figures| figures.cpu_us_per_event);
        CaseFigures {
            case,
            figures,
            cpu_ratio: cpu.powertools / cpu.processor,
        }
    };
    Case::ALL.into_iter().zip(both).map(figures).collect()
}

impl Figures {
    fn of(rounds: &[Counted]) -> Self {
        let mut cpu = Samples::default();
        let mut calls = Calls::new();
        let mut events = 0;
        for round in rounds {
            cpu.push(round.series.cpu_per_event());
            events += round.series.events;
            for (operation, count) in &round.calls {
                *calls.entry(operation.clone()).or_default() += count;
            }
        }
        let cpu = cpu.median();
        let per_event = |(operation, calls)| (operation, per(calls, events));
        Self {
            cpu_us_per_event: microseconds(cpu),
            events_per_cpu_second: 1.0 / cpu.as_secs_f64(),
            times: Times::of(rounds.iter().map(|round| &round.series)),
            calls_per_event: calls.into_iter().map(per_event).collect(),
        }
    }
}

fn per(calls: u64, events: u32) -> f64 {
    u32::try_from(calls).map_or(f64::INFINITY, f64::from) / f64::from(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(calls: &[(&str, u64)]) -> Calls {
        calls
            .iter()
            .map(|(operation, calls)| ((*operation).to_owned(), *calls))
            .collect()
    }

    #[test]
    fn only_the_calls_of_a_series_are_counted() {
        let before = calls(&[("DescribeEventBus", 1), ("UpdateItem", 400)]);
        let after = calls(&[
            ("DescribeEventBus", 1),
            ("PutEvents", 5),
            ("UpdateItem", 500),
        ]);
        let expected = calls(&[("PutEvents", 5), ("UpdateItem", 100)]);
        assert_eq!(since(after, &before), expected);
    }

    #[test]
    fn calls_are_counted_per_event() {
        let round = |count| Counted {
            series: Series {
                events: 10,
                cpu: Duration::from_millis(1),
                ..Series::default()
            },
            calls: calls(&[("PutEvents", count)]),
        };
        let figures = Figures::of(&[round(1), round(1)]);
        assert!((figures.calls_per_event["PutEvents"] - 0.1).abs() < 0.001);
        assert!((figures.cpu_us_per_event - 100.0).abs() < 0.001);
    }
}
