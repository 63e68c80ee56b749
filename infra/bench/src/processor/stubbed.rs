//! Measures CPU, times, calls and memory against stubs of AWS that answer at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use stack::progress::Stage;

use super::batch::{Batches, Case};
use super::function::{Function, Programs, Side};
use super::instructions::since;
use super::series::{SIDES, Series, Sides, Times, alternate, warm_up};
use super::services::{ProcessorServices, ensure_same};
use crate::aws::{Aws, Calls};
use crate::statistics::{Samples, Spread, microseconds, milliseconds};

/// The measurement to make.
#[derive(Debug)]
pub struct Measuring<'a> {
    /// The functions' programs.
    pub programs: &'a Programs<'a>,
    /// Number of rounds; each starts the functions anew.
    pub rounds: u32,
    /// Number of batches of each kind in a round.
    pub batches: u32,
    /// How many percent of the events in [`Case::Duplicates`] are duplicates.
    pub duplicates: u32,
}

/// Figures of all sides.
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
    pub peak_kib: Sides<u32>,
    /// Time from the start to the first `/next`: medians of the rounds.
    pub start_ms: Sides<f64>,
}

/// Figures of all sides for one kind of batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseFigures {
    /// Kind of the batches.
    pub case: Case,
    /// All sides' figures.
    #[serde(flatten)]
    pub figures: Sides<Figures>,
    /// Ratios of `processor`'s events per CPU second to its peers'.
    pub cpu_ratios: Ratios,
}

/// How many times more events than each peer `processor` handles, in the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ratios {
    /// Compared with the peer in Python.
    pub python: Spread,
    /// Compared with the peer in TypeScript.
    pub typescript: Spread,
}

/// Figures of one side for one kind of batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Processor time per event, user and system, in microseconds, in the rounds.
    pub cpu_us_per_event: Spread,
    /// Events per second of processor time, by the median of [`Self::cpu_us_per_event`].
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
    functions: Sides<Function>,
    aws: Sides<Aws<ProcessorServices>>,
    starts: Sides<Duration>,
}

impl Measuring<'_> {
    /// Measures all sides.
    ///
    /// # Errors
    ///
    /// Fails if an event failed or was not published exactly once, or if a function ended.
    pub async fn measure(&self, stage: &mut Stage) -> Result<Stubbed> {
        // One start that isn't counted; otherwise the first function alone would wait for the disk.
        self.start().await?.end()?;
        let mut rounds = Sides::<Rounds>::default();
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

    async fn round(&self, rounds: &mut Sides<Rounds>) -> Result<()> {
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
        let aws = Sides {
            processor: Aws::start(ProcessorServices::default()).await?,
            python: Aws::start(ProcessorServices::default()).await?,
            typescript: Aws::start(ProcessorServices::default()).await?,
        };
        let (processor, its_start) = self.start_side(Side::Processor, &aws.processor).await?;
        let (python, python_start) = self.start_side(Side::Python, &aws.python).await?;
        let (typescript, typescript_start) =
            self.start_side(Side::TypeScript, &aws.typescript).await?;
        Ok(Running {
            functions: Sides {
                processor,
                python,
                typescript,
            },
            aws,
            starts: Sides {
                processor: its_start,
                python: python_start,
                typescript: typescript_start,
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
    ) -> Result<Sides<Counted>> {
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

    /// Checks that all sides published every new event of a series exactly once, and published the
    /// same.
    fn ensure_same_published(&self, series: &Sides<Series>) -> Result<()> {
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

    fn of(&self, case: usize) -> &[Counted] {
        self.cases.get(case).map(Vec::as_slice).unwrap_or_default()
    }
}

fn cases(rounds: &Sides<Rounds>) -> Vec<CaseFigures> {
    let figures = |(number, case)| {
        let rounds = rounds.as_ref().map(|rounds| rounds.of(number));
        CaseFigures {
            case,
            figures: rounds.map(Figures::of),
            cpu_ratios: Ratios::of(rounds),
        }
    };
    Case::ALL.into_iter().enumerate().map(figures).collect()
}

impl Ratios {
    /// Compares the sides in each round, because both sides of a round meet the same machine.
    fn of(rounds: Sides<&[Counted]>) -> Self {
        let cpu = |counted: &Counted| counted.series.cpu_per_event().as_secs_f64();
        let compared = |peer: &[Counted]| {
            let both = rounds.processor.iter().zip(peer);
            Spread::of(both.map(|(processor, peer)| cpu(peer) / cpu(processor)))
        };
        Self {
            python: compared(rounds.python),
            typescript: compared(rounds.typescript),
        }
    }
}

impl Figures {
    fn of(rounds: &[Counted]) -> Self {
        let mut calls = BTreeMap::<String, u64>::new();
        let mut events = 0;
        for round in rounds {
            events += round.series.events;
            for (operation, sent) in &round.calls {
                *calls.entry(operation.clone()).or_default() += sent.calls;
            }
        }
        let cpu = rounds.iter().map(|round| round.series.cpu_per_event());
        let cpu = Spread::of(cpu.map(microseconds));
        let per_event = |(operation, calls)| (operation, per(calls, events));
        Self {
            cpu_us_per_event: cpu,
            events_per_cpu_second: 1e6 / cpu.median,
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
    use crate::aws::Sent;

    fn round(cpu: u64, calls: u64) -> Counted {
        Counted {
            series: Series {
                events: 10,
                cpu: Duration::from_micros(cpu),
                ..Series::default()
            },
            calls: Calls::from([("PutEvents".to_owned(), Sent { calls, bytes: 0 })]),
        }
    }

    #[test]
    fn calls_are_counted_per_event() {
        let figures = Figures::of(&[round(1_000, 1), round(1_000, 1)]);
        assert!((figures.calls_per_event["PutEvents"] - 0.1).abs() < 0.001);
        assert!((figures.cpu_us_per_event.median - 100.0).abs() < 0.001);
    }

    #[test]
    fn sides_are_compared_in_each_round() {
        let rounds = Sides {
            processor: [round(100, 1), round(200, 1)],
            python: [round(900, 1), round(2_200, 1)],
            typescript: [round(100, 1), round(200, 1)],
        };
        let ratios = Ratios::of(rounds.as_ref().map(<[_; 2]>::as_slice));
        assert!((ratios.python.lowest - 9.0).abs() < 0.001, "{ratios:?}");
        assert!((ratios.python.highest - 11.0).abs() < 0.001, "{ratios:?}");
        assert!(
            (ratios.typescript.highest - 1.0).abs() < 0.001,
            "{ratios:?}"
        );
    }
}
