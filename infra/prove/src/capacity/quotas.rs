//! What a region allows, what the template sets, and how long each step takes. The figures stand in
//! `quotas.json`, with the date on which they were looked up. `docs/capacity.md` names the sources.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// `ProcessorConcurrency` of the template, if nobody changes it.
pub const USUAL_PROCESSOR_CONCURRENCY: f64 = 5.0;

/// What is looked up: the file `quotas.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Figures {
    /// The day on which the quotas were looked up.
    pub as_of: String,
    /// The regions.
    pub regions: Vec<Region>,
    everywhere: Everywhere,
    /// How long each step takes on AWS, as `docs/costs.md` assumes it.
    pub times: Times,
    /// Writes of the ledger for one event: the claim, the mark, and the note of each opening and closing.
    pub writes_per_event: f64,
}

/// The default quotas of a region.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Region {
    /// The region's name.
    pub name: String,
    api_requests: f64,
    api_burst: f64,
    queue_calls: f64,
    put_events: f64,
    target_calls: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Everywhere {
    lambda_concurrency: f64,
    lambda_scaling: f64,
    group_calls: f64,
    ledger_writes: f64,
    pollers: f64,
}

/// How long each step takes, in milliseconds.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Times {
    /// `ingest` answers a delivery.
    pub ingest: f64,
    /// A new instance of `ingest` starts.
    pub ingest_start: f64,
    /// Lambda finds a message that waits, and hands over the batch.
    pub poll: f64,
    /// A new instance of the processor starts.
    pub processor_start: f64,
    /// A batch, beside its waves.
    pub batch: f64,
    /// A wave with one record.
    pub wave: f64,
    /// Each further record of a wave.
    pub record: f64,
    /// The share of a wave after which its events are claimed.
    pub until_claimed: f64,
    /// The share of a wave after which its events are on the bus.
    pub until_published: f64,
}

/// The limits that an incident can meet. Rates are for a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Requests that API Gateway takes.
    pub api_requests: f64,
    /// Requests that it takes beyond that at once.
    pub api_burst: f64,
    /// Invocations at the same time, of all functions. Ten times as many may begin in a second.
    pub lambda_concurrency: f64,
    /// The share of them that is reserved for `ingest`; 0 reserves nothing.
    pub ingest_concurrency: f64,
    /// Instances that a function may start at once; a tenth of them comes back each second.
    pub lambda_scaling: f64,
    /// Calls of one kind to a FIFO queue.
    pub queue_calls: f64,
    /// The same for one message group, which is one entity.
    pub group_calls: f64,
    /// Batches at the same time, at most.
    pub processor_concurrency: f64,
    /// Batches at the same time at first, and how many are added in each second.
    pub pollers: f64,
    /// Writes of the ledger's table. A partition has [`PARTITION`] of them.
    pub ledger_writes: f64,
    /// Calls that publish.
    pub put_events: f64,
    /// Targets that EventBridge calls.
    pub target_calls: f64,
}

/// Writes a second of one partition of a DynamoDB table.
pub const PARTITION: f64 = 1000.0;

/// Something that an incident can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Quota {
    /// API Gateway answers 429.
    ApiRequests,
    /// Lambda has no concurrency left.
    LambdaConcurrency,
    /// Lambda takes no more invocations in this second.
    LambdaRequests,
    /// Lambda can't start instances faster.
    LambdaScaling,
    /// `ingest` uses all that is reserved for it.
    IngestConcurrency,
    /// The ingest queue takes no more calls.
    QueueCalls,
    /// The ingest queue takes no more calls for one entity.
    GroupCalls,
    /// As many batches are processed as the parameter allows.
    ProcessorConcurrency,
    /// Lambda adds pollers to the queue slowly.
    Pollers,
    /// An event waits for an earlier one of its entity.
    EntityOrder,
    /// The ledger's table takes no more writes.
    LedgerWrites,
    /// EventBridge takes no more calls.
    PutEvents,
    /// EventBridge calls targets later.
    TargetCalls,
}

impl Quota {
    /// A short name for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiRequests => "API Gateway requests",
            Self::LambdaConcurrency => "Lambda concurrency",
            Self::LambdaRequests => "Lambda requests a second",
            Self::LambdaScaling => "Lambda new instances",
            Self::IngestConcurrency => "IngestConcurrency",
            Self::QueueCalls => "SQS calls a second",
            Self::GroupCalls => "SQS calls of one entity",
            Self::ProcessorConcurrency => "ProcessorConcurrency",
            Self::Pollers => "Lambda pollers of the queue",
            Self::EntityOrder => "order within an entity",
            Self::LedgerWrites => "DynamoDB writes",
            Self::PutEvents => "EventBridge PutEvents",
            Self::TargetCalls => "EventBridge targets",
        }
    }

    /// What raises it: a parameter, a quota's code, or a setting. `None` if nothing does.
    #[must_use]
    pub fn raised_by(self) -> Option<&'static str> {
        match self {
            Self::ApiRequests => Some("quota L-8A5B8E43 (apigateway)"),
            Self::LambdaConcurrency | Self::LambdaRequests => Some("quota L-B99A9384 (lambda)"),
            Self::IngestConcurrency => Some("parameter IngestConcurrency"),
            Self::ProcessorConcurrency => Some("parameter ProcessorConcurrency"),
            Self::LedgerWrites => {
                Some("the table's warm throughput; over 40,000 quota L-AB614373 (dynamodb) first")
            }
            Self::PutEvents => Some("quota L-9B653E91 (events)"),
            Self::TargetCalls => Some("quota L-5540C5E3 (events)"),
            Self::LambdaScaling
            | Self::QueueCalls
            | Self::GroupCalls
            | Self::Pollers
            | Self::EntityOrder => None,
        }
    }
}

impl Figures {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Fails if the file lacks a figure.
    pub fn read() -> Result<Self> {
        serde_json::from_str(include_str!("quotas.json")).context("quotas.json can't be read")
    }

    /// The limits of a stack with the template's defaults in a region.
    #[must_use]
    pub fn limits(&self, region: &Region) -> Limits {
        let everywhere = &self.everywhere;
        Limits {
            api_requests: region.api_requests,
            api_burst: region.api_burst,
            lambda_concurrency: everywhere.lambda_concurrency,
            ingest_concurrency: 0.0,
            lambda_scaling: everywhere.lambda_scaling,
            queue_calls: region.queue_calls,
            group_calls: everywhere.group_calls,
            processor_concurrency: USUAL_PROCESSOR_CONCURRENCY,
            pollers: everywhere.pollers,
            ledger_writes: everywhere.ledger_writes,
            put_events: region.put_events,
            target_calls: region.target_calls,
        }
    }
}

impl Limits {
    /// Limits that nothing can meet, except the one of batches at the same time.
    #[must_use]
    pub fn none(processor_concurrency: f64) -> Self {
        let most = 1e12;
        Self {
            api_requests: most,
            api_burst: most,
            lambda_concurrency: most,
            ingest_concurrency: 0.0,
            lambda_scaling: most,
            queue_calls: most,
            group_calls: most,
            processor_concurrency,
            pollers: processor_concurrency,
            ledger_writes: most,
            put_events: most,
            target_calls: most,
        }
    }

    /// The limit that somebody can raise, if there is one for this quota.
    pub fn raisable(&mut self, quota: Quota) -> Option<&mut f64> {
        quota.raised_by()?;
        match quota {
            Quota::ApiRequests => Some(&mut self.api_requests),
            Quota::LambdaConcurrency | Quota::LambdaRequests => Some(&mut self.lambda_concurrency),
            Quota::IngestConcurrency => Some(&mut self.ingest_concurrency),
            Quota::ProcessorConcurrency => Some(&mut self.processor_concurrency),
            Quota::LedgerWrites => Some(&mut self.ledger_writes),
            Quota::PutEvents => Some(&mut self.put_events),
            Quota::TargetCalls => Some(&mut self.target_calls),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_says_the_same() {
        let template = include_str!("../../../../template.yaml");
        let parameter = template
            .split("\n  ProcessorConcurrency:\n")
            .nth(1)
            .unwrap();
        let default = parameter.split("Default: ").nth(1).unwrap();
        let default = default.lines().next().unwrap().parse();
        assert_eq!(default, Ok(USUAL_PROCESSOR_CONCURRENCY));
    }

    #[test]
    fn what_can_be_raised_has_a_limit_to_raise() {
        let figures = Figures::read().unwrap();
        for region in &figures.regions {
            let mut limits = figures.limits(region);
            for quota in [
                Quota::ApiRequests,
                Quota::LambdaConcurrency,
                Quota::LambdaRequests,
                Quota::LambdaScaling,
                Quota::IngestConcurrency,
                Quota::QueueCalls,
                Quota::GroupCalls,
                Quota::ProcessorConcurrency,
                Quota::Pollers,
                Quota::EntityOrder,
                Quota::LedgerWrites,
                Quota::PutEvents,
                Quota::TargetCalls,
            ] {
                let is_raisable = limits.raisable(quota).is_some();
                assert_eq!(is_raisable, quota.raised_by().is_some(), "{quota:?}");
            }
        }
    }
}
