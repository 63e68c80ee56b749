//! What the simulation says to somebody who runs the stack.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Result, anyhow};
use serde::Serialize;
use stack::report::{grouped, percentile};

use crate::capacity::bucket::{float, seconds};
use crate::capacity::load::{Delivery, Incident, USUAL_SKEW};
use crate::capacity::model::{Fate, Outcome, simulate};
use crate::capacity::quotas::{Figures, Limits, Quota, Region};

/// The rates of the report, in deliveries a second.
pub const RATES: [u32; 4] = [10, 100, 1_000, 10_000];
/// Nothing has to be raised if the last event is on its queue this many seconds after the last delivery.
pub const SOON: f64 = 10.0;
/// How often the search doubles a limit before it gives up.
const DOUBLINGS: usize = 40;
/// A limit stays doubled only if it takes this share off what is lost, or off the time to catch up.
const WORTHWHILE: f64 = 0.05;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The seed of the deliveries.
    pub seed: u64,
    /// The exponent of the skew over entities.
    pub skew: f64,
    /// The rates, in deliveries a second.
    pub rates: Vec<u32>,
    /// The only region; all if there is none.
    pub region: Option<String>,
    /// Limits that the account or the stack has set to other values.
    pub changes: Changes,
}

/// Limits that differ from the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    /// Lambda's concurrency.
    pub lambda_concurrency: Option<u32>,
    /// The parameter `IngestConcurrency`.
    pub ingest_concurrency: Option<u32>,
    /// The parameter `ProcessorConcurrency`.
    pub processor_concurrency: Option<u32>,
    /// The warm throughput of the ledger's table, in writes.
    pub ledger_writes: Option<u32>,
}

/// What was found for all rates and regions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// When the quotas were looked up.
    pub quotas_as_of: String,
    /// The seed of the deliveries.
    pub seed: u64,
    /// The exponent of the skew over entities.
    pub skew: f64,
    /// One case for each region and rate.
    pub cases: Vec<Case>,
}

/// What was found for one region and one rate.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// The region.
    pub region: String,
    /// Deliveries a second.
    pub rate: u32,
    /// How it goes with the limits as they are.
    pub result: Figure,
    /// Quotas that were met, in the order of time.
    pub met: Vec<Reached>,
    /// What has to be raised so that nothing is lost and all is with the consumers [`SOON`].
    pub raise: Vec<Raise>,
    /// How it goes after that.
    pub raised: Figure,
    /// Quotas that are met even then.
    pub still_met: Vec<Reached>,
    /// Events on the bus after each second, with the limits as they are.
    #[serde(skip)]
    pub published: Vec<usize>,
    /// The same after the limits were raised.
    #[serde(skip)]
    pub published_raised: Vec<usize>,
}

/// The figures of one simulation. Times are in seconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Deliveries that AURA sent.
    pub sent: usize,
    /// Deliveries that were refused. AURA doesn't send them again.
    pub lost: usize,
    /// Deliveries that waited in the spill.
    pub spilled: usize,
    /// Events in the dead letters.
    pub dead: usize,
    /// From the first delivery to the last event on the bus.
    pub last_published: f64,
    /// From the first delivery to the last event on a consumer's queue.
    pub last_delivered: f64,
    /// From the last delivery to the last event on a consumer's queue.
    pub catches_up_in: f64,
    /// From the delivery to the bus: the median.
    pub p50: f64,
    /// From the delivery to the bus: 99 of 100 events are faster.
    pub p99: f64,
}

/// A quota that was met.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// The quota.
    pub quota: Quota,
    /// Seconds from the first delivery.
    pub first: f64,
    /// How often it refused or delayed something.
    pub times: u64,
    /// Deliveries that were lost for it.
    pub lost: u64,
}

/// A limit that has to be raised.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Raise {
    /// The quota.
    pub quota: Quota,
    /// What raises it.
    pub by: &'static str,
    /// The limit as it is.
    pub from: f64,
    /// The least tried limit that is enough.
    pub to: f64,
}

impl Question {
    /// All rates and regions, with the template's defaults: what `docs/capacity.md` shows.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            seed: 1,
            skew: USUAL_SKEW,
            rates: RATES.to_vec(),
            region: None,
            changes: Changes::default(),
        }
    }
}

impl Findings {
    /// Simulates all rates and regions.
    ///
    /// # Errors
    ///
    /// Fails if the deliveries can't be drawn.
    pub fn find(figures: &Figures, question: &Question) -> Result<Self> {
        let is_asked = |its: &&Region| {
            question
                .region
                .as_ref()
                .is_none_or(|name| *name == its.name)
        };
        let mut incidents = Vec::new();
        for rate in &question.rates {
            let incident = Incident {
                skew: question.skew,
                ..Incident::of_a_minute(question.seed, *rate)
            };
            incidents.push((*rate, incident.deliveries()?));
        }
        let of_region = &|region: &Region| -> Vec<_> {
            let limits = question.changes.applied_to(figures.limits(region));
            let case = |(rate, deliveries): &(u32, Vec<Delivery>)| {
                Case::find(figures, &limits, &region.name, *rate, deliveries)
            };
            incidents.iter().map(case).collect()
        };
        // The regions are simulated at the same time.
        let cases = thread::scope(|scope| -> Result<Vec<_>> {
            let regions = figures.regions.iter().filter(is_asked);
            let threads = regions.map(|region| scope.spawn(move || of_region(region)));
            let threads: Vec<_> = threads.collect();
            let cases = threads.into_iter().map(ScopedJoinHandle::join);
            let cases: Result<Vec<_>, _> = cases.collect();
            Ok(cases
                .map_err(|_panic| anyhow!("the simulation of a region panicked"))?
                .concat())
        })?;
        Ok(Self {
            quotas_as_of: figures.as_of.clone(),
            seed: question.seed,
            skew: question.skew,
            cases,
        })
    }

    /// The findings as a table in Markdown, as in `docs/capacity.md`.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::from(
            "| region | a second | lost | last event on the bus | p50, p99 | met first | raise | then |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for case in &self.cases {
            let _ = writeln!(table, "{}", case.row());
        }
        table.trim_end().to_owned()
    }
}

impl Case {
    fn find(
        figures: &Figures,
        limits: &Limits,
        region: &str,
        rate: u32,
        deliveries: &[Delivery],
    ) -> Self {
        let run = |limits: &Limits| {
            let (times, writes) = (&figures.times, figures.writes_per_event);
            Run::of(deliveries, &simulate(deliveries, limits, times, writes))
        };
        let usual = run(limits);
        let (raised_limits, order, raised) = raise(limits, &usual, run);
        Self {
            region: region.to_owned(),
            rate,
            raise: Raise::all(limits, &raised_limits, &order),
            result: usual.figure,
            met: usual.met,
            published: usual.published,
            raised: raised.figure,
            still_met: raised.met,
            published_raised: raised.published,
        }
    }

    fn row(&self) -> String {
        let (region, rate, result) = (&self.region, grouped(self.rate), &self.result);
        let first = self.met.first().map_or_else(
            || "nothing".to_owned(),
            |met| format!("{}, after {} s", met.quota.name(), short(met.first)),
        );
        let raise: Vec<_> = self.raise.iter().map(Raise::words).collect();
        let (raise, then) = if raise.is_empty() {
            ("nothing".to_owned(), String::new())
        } else {
            (raise.join("; "), self.then())
        };
        format!(
            "| {region} | {rate} | {} | {} | {}, {} | {first} | {raise} | {then} |",
            lost(result.lost, &self.met),
            length(result.last_published),
            length(result.p50),
            length(result.p99),
        )
    }

    /// How it goes after the limits were raised, and what is in the way then.
    fn then(&self) -> String {
        let raised = &self.raised;
        let mut words = length(raised.last_published);
        if raised.lost > 0 {
            let _ = write!(words, "; lost {}", lost(raised.lost, &self.still_met));
        }
        let waits = self.still_met.iter().filter(|met| met.lost < met.times);
        let longest = waits.max_by_key(|met| met.times - met.lost);
        if raised.catches_up_in > SOON
            && let Some(met) = longest
        {
            let _ = write!(words, "; waits for {}", met.quota.name());
        }
        words
    }
}

/// What one simulation found.
#[derive(Clone)]
struct Run {
    figure: Figure,
    met: Vec<Reached>,
    published: Vec<usize>,
}

impl Run {
    fn of(deliveries: &[Delivery], outcome: &Outcome) -> Self {
        Self {
            figure: Figure::of(deliveries, outcome),
            met: Reached::all(outcome),
            published: published(outcome),
        }
    }

    /// The limits that lose deliveries, then those that keep events waiting for too long, if somebody can
    /// raise them.
    fn in_the_way(&self) -> Vec<Quota> {
        let is_late = self.figure.catches_up_in > SOON;
        let mut met: Vec<_> = self.met.iter().collect();
        met.retain(|met| met.lost > 0 || is_late);
        met.sort_by_key(|met| met.lost == 0);
        let mut limits: Vec<Quota> = Vec::new();
        for quota in met.iter().map(|met| met.quota) {
            let by = quota.raised_by();
            if by.is_some() && limits.iter().all(|known| known.raised_by() != by) {
                limits.push(quota);
            }
        }
        limits
    }

    /// Whether much less is lost than before, or, if nothing was lost for the quota, all is over sooner.
    /// What is over sooner may lose more for another quota. That one is raised next.
    fn is_worthwhile(&self, before: &Self, quota: Option<Quota>) -> bool {
        let much = |now: f64, before: f64| now < (1.0 - WORTHWHILE) * before;
        let was_lost = before
            .met
            .iter()
            .any(|met| Some(met.quota) == quota && met.lost > 0);
        if was_lost {
            much(float(self.figure.lost), float(before.figure.lost))
        } else {
            much(self.figure.catches_up_in, before.figure.catches_up_in)
        }
    }
}

/// Doubles one limit after the other until nothing is lost and the last event is soon with the consumers,
/// or no limit makes it much better, nor do all that are in the way together. Returns the limits, the order
/// in which they were raised, and how it goes with them.
fn raise(limits: &Limits, usual: &Run, run: impl Fn(&Limits) -> Run) -> (Limits, Vec<Quota>, Run) {
    let (mut limits, mut best) = (limits.clone(), usual.clone());
    let mut order: Vec<Quota> = Vec::new();
    // What didn't help. It may once another limit is higher.
    let mut useless: Vec<Quota> = Vec::new();
    for _ in 0..DOUBLINGS {
        let raisable = best.in_the_way();
        if raisable.is_empty() {
            break;
        }
        let next = raisable.iter().find(|quota| !useless.contains(quota));
        let tried = next.map_or_else(|| raisable.clone(), |next| vec![*next]);
        let mut higher = limits.clone();
        for quota in &tried {
            if let Some(limit) = higher.raisable(*quota) {
                *limit *= 2.0;
            }
        }
        let found = run(&higher);
        if found.is_worthwhile(&best, next.copied()) {
            (limits, best) = (higher, found);
            useless.clear();
            let is_new = |quota: &Quota| !order.contains(quota);
            let new: Vec<_> = tried.into_iter().filter(is_new).collect();
            order.extend(new);
        } else if let Some(quota) = next {
            useless.push(*quota);
        } else {
            break;
        }
    }
    (limits, order, best)
}

impl Changes {
    fn applied_to(self, mut limits: Limits) -> Limits {
        let changes = [
            (self.lambda_concurrency, &mut limits.lambda_concurrency),
            (self.ingest_concurrency, &mut limits.ingest_concurrency),
            (
                self.processor_concurrency,
                &mut limits.processor_concurrency,
            ),
            (self.ledger_writes, &mut limits.ledger_writes),
        ];
        for (change, limit) in changes {
            if let Some(change) = change {
                *limit = change.into();
            }
        }
        limits
    }
}

impl Figure {
    /// The figures of an outcome.
    #[must_use]
    pub fn of(deliveries: &[Delivery], outcome: &Outcome) -> Self {
        let fates = &outcome.fates;
        let count = |is: fn(&&Fate) -> bool| fates.iter().filter(is).count();
        let delay = |(delivery, fate): (&Delivery, &Fate)| {
            fate.published.map(|at| at.saturating_sub(delivery.at))
        };
        let mut delays: Vec<_> = deliveries.iter().zip(fates).filter_map(delay).collect();
        delays.sort_unstable();
        let delay = |percent| percentile(&delays, percent).map_or(0.0, seconds);
        let last =
            |at: fn(&Fate) -> Option<u64>| fates.iter().filter_map(at).max().map_or(0.0, seconds);
        let last_delivered = last(|fate| fate.delivered);
        let end = deliveries.last().map_or(0.0, |last| seconds(last.at));
        Self {
            sent: deliveries.len(),
            lost: count(|fate| fate.stored.is_none()),
            spilled: count(|fate| fate.spilled),
            dead: outcome.dead,
            last_published: last(|fate| fate.published),
            last_delivered,
            catches_up_in: last_delivered - end,
            p50: delay(50),
            p99: delay(99),
        }
    }
}

impl Reached {
    fn all(outcome: &Outcome) -> Vec<Self> {
        let met = outcome.met.iter().map(|(quota, met)| Self {
            quota: *quota,
            first: seconds(met.first),
            times: met.times,
            lost: met.lost,
        });
        let mut met: Vec<_> = met.collect();
        met.sort_by(|a, b| a.first.total_cmp(&b.first));
        met
    }
}

impl Raise {
    fn all(before: &Limits, after: &Limits, order: &[Quota]) -> Vec<Self> {
        let (mut before, mut after) = (before.clone(), after.clone());
        let raise = |quota: &Quota| {
            let (by, quota) = (quota.raised_by()?, *quota);
            let (from, to) = (*before.raisable(quota)?, *after.raisable(quota)?);
            Some(Self {
                quota,
                by,
                from,
                to,
            })
        };
        let mut raises: Vec<_> = order.iter().filter_map(raise).collect();
        // Two quotas may be of the same limit.
        let mut known = BTreeSet::new();
        raises.retain(|raise| known.insert(raise.by));
        raises
    }

    fn words(&self) -> String {
        format!(
            "{} {} → {}",
            self.quota.name(),
            plain(self.from),
            plain(self.to)
        )
    }
}

/// Events on the bus at the end of each second, until all are.
fn published(outcome: &Outcome) -> Vec<usize> {
    let mut times: Vec<_> = outcome
        .fates
        .iter()
        .filter_map(|fate| fate.published)
        .collect();
    times.sort_unstable();
    let end = times.last().copied().map_or(0.0, seconds) + 1.0;
    let until = |second: u32| times.partition_point(|at| seconds(*at) <= f64::from(second));
    let all = (0_u32..).take_while(|second| f64::from(*second) < end);
    all.map(until).collect()
}

/// How many deliveries are lost, and what loses most of them.
fn lost(count: usize, met: &[Reached]) -> String {
    let most = met.iter().max_by_key(|met| met.lost);
    match most.filter(|_| count > 0) {
        Some(most) => format!("{} ({})", grouped(count), most.quota.name()),
        None => grouped(count),
    }
}

/// A duration for people.
fn length(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{} s", short(seconds))
    } else {
        format!("{} min", short(seconds / 60.0))
    }
}

fn short(number: f64) -> String {
    if number < 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

/// A limit for people.
pub(crate) fn plain(limit: f64) -> String {
    grouped(format!("{limit:.0}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::capacity::plots::pictures;

    #[test]
    fn the_documentation_shows_what_the_command_finds() {
        let findings = Findings::find(&Figures::read().unwrap(), &Question::usual()).unwrap();
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let read = |path: &str| std::fs::read_to_string(docs.join(path)).unwrap();
        let how = "run `cargo prove capacity --plots docs/capacity`, and copy its table";
        assert!(
            read("capacity.md").contains(&findings.table()),
            "{how}:\n{}",
            findings.table()
        );
        for (name, picture) in pictures(&findings).unwrap() {
            assert!(
                read(&format!("capacity/{name}")) == picture,
                "{name} is old: {how}"
            );
        }
    }

    #[test]
    fn what_is_raised_is_enough_or_nothing_more_can_be_raised() {
        let mut question = Question::usual();
        question.rates = vec![800];
        question.region = Some("eu-west-2".to_owned());
        let findings = Findings::find(&Figures::read().unwrap(), &question).unwrap();
        let case = findings.cases.first().unwrap();
        assert_eq!(case.met.first().unwrap().quota, Quota::ProcessorConcurrency);
        assert_eq!(
            case.raise.first().unwrap().quota,
            Quota::ProcessorConcurrency
        );
        assert!(case.result.last_published > 60.0 + SOON);
        assert!(case.raised.last_published < 60.0 + SOON);
        assert_eq!(case.raised.lost, 0);
    }
}
