//! Compares the model with the local stack: measures how long the emulator's steps take, lets the model
//! predict some incidents with these times, plays them, and shows both side by side.
//!
//! The emulator processes one batch of a FIFO queue at a time and has no quotas. So this checks how the
//! model takes messages, batches and waves, and not what AWS allows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stack::function_logs;
use stack::package::Profile;
use stack::progress::Progress;
use stack::report::{Out, Report, percentile};
use stack::running::{Options, Running, log_line};
use stack::settled::drained;
use stack::system::{System, Webhook};
use stack::workspace::Workspace;
use tokio::task::JoinSet;

use crate::capacity::bucket::{float, seconds};
use crate::capacity::findings::Figure;
use crate::capacity::load::{Delivery, Incident, SECOND};
use crate::capacity::model::simulate;
use crate::capacity::quotas::{Figures, Limits, Times};

/// The account of the check.
const ACCOUNT: &str = "000000000008";
/// The rates that are played, in deliveries a second, and for how many seconds.
const RATES: [u32; 3] = [10, 20, 60];
const SECONDS: u32 = 20;
/// Deliveries of each measurement.
const MEASURED: usize = 40;
/// How long to wait for the last lines of the log, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// Records of a full batch.
const FULL: usize = 10;
/// How far the last event may be from its prediction, as a share of it.
const TOLERANCE: f64 = 0.25;

/// The prediction and what was seen.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// The times of the emulator, in milliseconds.
    pub times: Times,
    /// One comparison for each rate.
    pub comparisons: Vec<Comparison>,
}

/// One incident, predicted and played. Times are in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Deliveries a second.
    pub rate: u32,
    /// The model's figures.
    pub predicted: Seen,
    /// The local stack's figures.
    pub seen: Seen,
}

/// The figures that are compared, in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// From the beginning to the last event on the bus.
    pub last_published: f64,
    /// From the delivery's arrival to the bus: the median.
    pub p50: f64,
    /// From the delivery's arrival to the bus: 99 of 100 events are faster.
    pub p99: f64,
    /// Events on the bus.
    pub published: usize,
}

/// A line of the processor's log about a batch.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchLine {
    #[serde(rename = "_aws")]
    aws: Stamp,
    records: usize,
    #[serde(default)]
    arrival_to_publish: Latencies,
    time: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stamp {
    timestamp: u64,
}

/// One figure, or as many as were published.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Latencies {
    One(f64),
    #[serde(rename_all = "PascalCase")]
    Many {
        values: Vec<f64>,
        counts: Vec<usize>,
    },
}

impl Default for Latencies {
    fn default() -> Self {
        Self::Many {
            values: Vec::new(),
            counts: Vec::new(),
        }
    }
}

impl Latencies {
    fn all(&self) -> Vec<f64> {
        match self {
            Self::One(one) => vec![*one],
            Self::Many { values, counts } => {
                let pairs = values.iter().zip(counts);
                pairs
                    .flat_map(|(value, count)| vec![*value; *count])
                    .collect()
            }
        }
    }
}

/// Starts the local stack, measures, predicts, plays and compares.
///
/// # Errors
///
/// Fails if the stack can't be started, or what was seen is far from the prediction.
pub async fn check(workspace: &Workspace, json: bool, seed: u64, progress: Progress) -> Result<()> {
    let log = workspace.capacity_log();
    let options = Options {
        account: ACCOUNT,
        port: None,
        profile: Profile::Dev,
        log: log.clone(),
        also_on: None,
    };
    let running = Running::start(workspace, options, progress).await?;
    let checked = compare(running.system(), seed, progress).await;
    running.stop(progress).await;
    checked
        .and_then(|checked| Out { json }.conclude(&checked))
        .inspect_err(|_| progress.say(&log_line(&log)))
}

async fn compare(system: &System, seed: u64, progress: Progress) -> Result<Checked> {
    let player = Player::new(system).await?;
    let stage = progress.stage("measuring the local stack");
    let times = player.measure(&Figures::read()?.times).await?;
    stage.done("measured");
    let mut comparisons = Vec::new();
    for rate in RATES {
        let incident = Incident {
            seconds: SECONDS,
            ..Incident::of_a_minute(seed, rate)
        };
        let deliveries = incident.deliveries()?;
        let outcome = simulate(&deliveries, &Limits::none(1.0), &times, 0.0);
        let figure = Figure::of(&deliveries, &outcome);
        let stage = progress.stage(&format!("playing {rate} deliveries a second"));
        let observed = player.seen(&deliveries, rate).await?;
        stage.done(&format!("{} events", observed.published));
        comparisons.push(Comparison {
            rate,
            predicted: Seen {
                last_published: figure.last_published,
                p50: figure.p50,
                p99: figure.p99,
                published: figure.sent - figure.lost,
            },
            seen: observed,
        });
    }
    Ok(Checked { times, comparisons })
}

/// Plays deliveries at a system, and reads what the processor logged of them.
struct Player<'a> {
    system: &'a System,
    webhook: Webhook,
    http: reqwest::Client,
}

impl<'a> Player<'a> {
    async fn new(system: &'a System) -> Result<Self> {
        Ok(Self {
            system,
            webhook: system.webhook().await?,
            http: shared::http_client::build()?,
        })
    }

    /// Measures the emulator's times with three kinds of batches: of one record, of ten entities, and of
    /// one entity.
    async fn measure(&self, shares: &Times) -> Result<Times> {
        let spaced = |gap: u64| (0..MEASURED).zip((0..).map(move |n| n * gap));
        let delivery = |(entity, at)| Delivery { at, entity };
        // The first deliveries start the functions.
        let first: Vec<_> = spaced(SECOND / 5).map(delivery).collect();
        self.play(&first, "start").await?;
        let alone = self.play(&first, "alone").await?;
        let many: Vec<_> = spaced(0).map(delivery).collect();
        let many = self.play(&many, "many").await?;
        let one: Vec<_> = spaced(0)
            .map(|(_, at)| Delivery { at, entity: 0 })
            .collect();
        let one = self.play(&one, "one").await?;
        let time = |lines: &[BatchLine], records| {
            let times = lines.iter().filter(|line| line.records == records);
            median(times.map(|line| line.time).collect())
        };
        let (lone, waves) = (time(&alone, 1)?, time(&one, FULL)?);
        let further = float(FULL - 1);
        let wave = (waves - lone) / further;
        let until_published = shares.until_published;
        let batch = (lone - wave).max(0.0);
        let latency = alone.iter().flat_map(|line| line.arrival_to_publish.all());
        let latency = median(latency.collect())?;
        Ok(Times {
            // What `ingest` and the queue take together.
            ingest: (latency - batch - wave * until_published).max(0.0),
            ingest_start: 0.0,
            poll: gap(&many)?,
            processor_start: 0.0,
            batch,
            wave,
            record: ((time(&many, FULL)? - lone) / further).max(0.0),
            until_claimed: shares.until_claimed,
            until_published,
        })
    }

    /// Plays deliveries, and returns the figures of what came on the bus.
    async fn seen(&self, deliveries: &[Delivery], rate: u32) -> Result<Seen> {
        let began = millis();
        let lines = self.play(deliveries, &format!("rate{rate}")).await?;
        let latencies = lines.iter().flat_map(|line| line.arrival_to_publish.all());
        let mut latencies: Vec<_> = latencies.collect();
        latencies.sort_by(f64::total_cmp);
        let ends = lines
            .iter()
            .map(|line| line.aws.timestamp + whole(line.time));
        let last = ends.max().unwrap_or(began).saturating_sub(began);
        let of = |percent| percentile(&latencies, percent).unwrap_or_default() / 1000.0;
        Ok(Seen {
            last_published: seconds(last * 1000),
            p50: of(50),
            p99: of(99),
            published: latencies.len(),
        })
    }

    /// Sends each delivery at its time, waits until all are processed, and returns the new lines of the
    /// processor's log.
    async fn play(&self, deliveries: &[Delivery], name: &str) -> Result<Vec<BatchLine>> {
        let before = self.lines().await?.len();
        let began = Instant::now();
        let mut sending = JoinSet::new();
        for delivery in deliveries {
            let due = Duration::from_micros(delivery.at);
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            let (webhook, http) = (self.webhook.clone(), self.http.clone());
            let id = format!("capacity-{name}-{}", delivery.entity);
            // Each of these counts, however often it comes.
            let body = json!({"message": "CALLOUT_EVENTS_CHANGED", "callout": {"id": id}});
            sending.spawn(async move { webhook.post(&http, body.to_string().into()).await });
        }
        while let Some(sent) = sending.join_next().await {
            let answer = sent.context("the task that sends a delivery ended")??;
            ensure!(
                answer.status == 202,
                "a delivery was answered {}",
                answer.status
            );
        }
        drained(&self.system.stack).await?;
        self.logged(before, deliveries.len()).await
    }

    /// The lines of the processor's log after the first `before`, once they have this many records.
    async fn logged(&self, before: usize, sent: usize) -> Result<Vec<BatchLine>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines().await?;
            let lines = lines.get(before..).unwrap_or_default().to_vec();
            let records: usize = lines.iter().map(|line| line.records).sum();
            if records == sent {
                return Ok(lines);
            }
            ensure!(
                records < sent && Instant::now() < deadline,
                "{records} records were logged of {sent} deliveries"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    async fn lines(&self) -> Result<Vec<BatchLine>> {
        let stack = &self.system.stack;
        let lines = function_logs::lines(stack, "ProcessorLogGroupName").await?;
        let lines = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(lines.collect())
    }
}

/// The pause between two batches that follow each other, in milliseconds.
fn gap(lines: &[BatchLine]) -> Result<f64> {
    let starts: Vec<_> = lines
        .iter()
        .map(|line| (line.aws.timestamp, line.time))
        .collect();
    let gaps = starts.iter().zip(starts.iter().skip(1));
    let gaps = gaps.map(|(one, next)| {
        let apart = seconds(next.0.saturating_sub(one.0) * 1000) * 1000.0;
        (apart - one.1).max(0.0)
    });
    median(gaps.collect())
}

fn median(mut figures: Vec<f64>) -> Result<f64> {
    figures.sort_by(f64::total_cmp);
    percentile(&figures, 50).context("the local stack made no batch of the kind to measure")
}

fn millis() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a batch takes seconds at most"
)]
fn whole(milliseconds: f64) -> u64 {
    milliseconds as u64
}

impl Comparison {
    fn is_close(&self) -> bool {
        let apart = (self.predicted.last_published - self.seen.last_published).abs();
        let all = self.predicted.published == self.seen.published;
        all && apart <= TOLERANCE * self.predicted.last_published
    }
}

impl Report for Checked {
    const FAILURE: &'static str = "the model is far from what the local stack does";

    fn is_success(&self) -> bool {
        self.comparisons.iter().all(Comparison::is_close)
    }

    fn summary(&self) -> Vec<String> {
        let times = &self.times;
        let mut lines = vec![
            format!(
                "measured: ingest and queue {:.0} ms, between batches {:.0} ms, batch {:.0} ms, wave \
                 {:.0} ms, each further record {:.1} ms",
                times.ingest, times.poll, times.batch, times.wave, times.record
            ),
            "a second | last on the bus, predicted / seen | p50 | p99".to_owned(),
        ];
        let row = |its: &Comparison| {
            let (one, other) = (&its.predicted, &its.seen);
            format!(
                "{} | {:.1} s / {:.1} s | {:.0} / {:.0} ms | {:.0} / {:.0} ms",
                its.rate,
                one.last_published,
                other.last_published,
                one.p50 * 1000.0,
                other.p50 * 1000.0,
                one.p99 * 1000.0,
                other.p99 * 1000.0,
            )
        };
        lines.extend(self.comparisons.iter().map(row));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_lines_are_read_whatever_they_count() {
        let line = |latencies: serde_json::Value| {
            let line = json!({"_aws": {"Timestamp": 5}, "Records": 3, "Time": 1.5,
                "ArrivalToPublish": latencies});
            serde_json::from_value::<BatchLine>(line).unwrap()
        };
        assert_eq!(line(json!(2.5)).arrival_to_publish.all(), [2.5]);
        let many = line(json!({"Values": [1.0, 2.0], "Counts": [2, 1]}));
        assert_eq!(many.arrival_to_publish.all(), [1.0, 1.0, 2.0]);
    }
}
