//! Reads what the status shows, with all calls at once.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricAlarm, MetricDataQuery, MetricStat, StateValue,
};
use aws_sdk_sqs::types::QueueAttributeName;
use futures::future::{try_join, try_join_all, try_join3, try_join4};
use jiff::{SignedDuration, Timestamp};
use shared::aws::CallError;
use shared::ledger::SHARDS;
use shared::ledger::last_delivery::LastDelivery;
use shared::ledger::spill::Spill;

use super::needs::{Alarm, needs};
use super::queues::{Queue, queues_of};
use super::{Alarms, Depth, LastCanary, Registration, Run, SpillDepth, Status};
use crate::logs::{Line, lines};
use crate::stack::{Resource, Stack};

/// How far to look back for the last run and the last canary.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// How far to look back for the last registration without a deployment.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How far to look back for the age of a queue's oldest message. CloudWatch has the last minutes
/// late.
const AGES: SignedDuration = SignedDuration::from_mins(10);
/// How long a stack is new. Its first canary and the reconciler's first run come within this time.
const NEW: SignedDuration = SignedDuration::from_mins(30);
/// The resource that registers the endpoint in a deployment.
const WEBHOOK: &str = "AuraWebhook";
/// The type of an alarm.
const ALARM: &str = "AWS::CloudWatch::Alarm";
/// The most alarms that one call describes.
const MOST_ALARMS: usize = 100;
/// The oldest message of a queue.
const AGE: &str = "ApproximateAgeOfOldestMessage";

/// Reads the status.
pub(super) async fn read(stack: &Stack, now: Timestamp) -> Result<Status> {
    let reads = try_join4(
        Box::pin(deployed(stack)),
        Box::pin(queues(stack, now)),
        Box::pin(ledger(stack)),
        Box::pin(logged(stack, now)),
    );
    let ((deployed_at, mut alarms), queues, (spill, last_delivery), logged) = reads.await?;
    let mut status = Status {
        stack: stack.name().to_owned(),
        region: stack.region().to_owned(),
        at: now,
        is_new: stack
            .created_at()
            .is_some_and(|at| now.duration_since(at) < NEW),
        needs: Vec::new(),
        alarms: Alarms::default(),
        registration: registration(stack, deployed_at, &logged.registrations)?,
        queues,
        spill,
        last_delivery,
        reconciler_scheduled: stack.reconciler_is_scheduled(),
        reconciler: logged.runs.last().map(Run::of),
        canary_scheduled: !["", "0"].contains(&stack.parameter("CanaryMinutes")),
        canary: logged.canaries.last().map(LastCanary::of),
    };
    let is_silenced = |alarm: &Alarm| is_silenced(stack, &status, &alarm.name);
    alarms.retain(|alarm| !is_silenced(alarm));
    status.alarms = Alarms::of(&alarms);
    status.needs = needs(&status, &alarms, stack.parameter("RunbookBaseUrl"));
    Ok(status)
}

/// Whether an alarm that rings means nothing: a parameter of the stack says so, or the stack is new
/// and has done nothing yet. Actions that somebody has turned off by hand don't silence an alarm
/// here.
fn is_silenced(stack: &Stack, status: &Status, alarm: &str) -> bool {
    let canary = status.canary.as_ref();
    let has_canary_failed = canary.is_some_and(|canary| canary.failure.is_some());
    match alarm {
        "ReconcilerStoppedAlarm" => !status.reconciler_scheduled || status.is_new,
        "CanaryFailsAlarm" => status.is_new && !has_canary_failed,
        "WebhookDownAlarm" => stack.parameter("WebhookDownAlarmActions") == "false",
        _ => false,
    }
}

/// When a deployment last registered the endpoint, and the state of all alarms.
async fn deployed(stack: &Stack) -> Result<(Option<Timestamp>, Vec<Alarm>)> {
    let resources = stack.resources().await?;
    let webhook = resources
        .iter()
        .find(|resource| resource.logical_id == WEBHOOK);
    let at = webhook.and_then(|webhook| webhook.changed_at);
    let is_alarm = |one: &&Resource| one.kind == ALARM && !one.physical_id.is_empty();
    let logical_ids: HashMap<_, _> = resources
        .iter()
        .filter(is_alarm)
        .map(|one| (one.physical_id.as_str(), one.logical_id.as_str()))
        .collect();
    let names: Vec<_> = logical_ids.keys().copied().collect();
    let chunks = names
        .chunks(MOST_ALARMS)
        .map(|names| describe(stack, names));
    let described = try_join_all(chunks).await?.into_iter().flatten();
    let alarms = described.filter_map(|alarm| {
        let name = logical_ids.get(alarm.alarm_name()?)?;
        Some(Alarm::of(name, alarm))
    });
    Ok((at, alarms.collect()))
}

async fn describe(stack: &Stack, names: &[&str]) -> Result<Vec<MetricAlarm>> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let answer = stack
        .cloudwatch()
        .describe_alarms()
        .set_alarm_names(Some(names))
        .max_records(MOST_ALARMS.try_into()?)
        .send()
        .await
        .map_err(CallError::of("alarms", "DescribeAlarms"))?;
    Ok(answer.metric_alarms.unwrap_or_default())
}

impl Alarm {
    fn of(name: &str, alarm: MetricAlarm) -> Self {
        let since = alarm
            .state_transitioned_timestamp
            .or(alarm.state_updated_timestamp);
        Self {
            name: name.to_owned(),
            state: alarm.state_value.unwrap_or(StateValue::InsufficientData),
            description: alarm.alarm_description.unwrap_or_default(),
            since: since.and_then(|at| Timestamp::from_second(at.secs()).ok()),
        }
    }
}

impl Alarms {
    fn of(alarms: &[Alarm]) -> Self {
        let count = |state| alarms.iter().filter(|alarm| alarm.state == state).count();
        Self {
            count: alarms.len(),
            ringing: count(StateValue::Alarm),
            without_data: count(StateValue::InsufficientData),
        }
    }
}

async fn queues(stack: &Stack, now: Timestamp) -> Result<Vec<Depth>> {
    let depths = try_join_all(queues_of(stack).map(|queue| depth(stack, queue)));
    let (mut depths, ages) = try_join(depths, Box::pin(ages(stack, now))).await?;
    for (depth, age) in depths.iter_mut().zip(ages) {
        // CloudWatch still has the age of a message that has just gone.
        depth.oldest_seconds = age.filter(|_| depth.waiting + depth.hidden > 0);
    }
    Ok(depths)
}

async fn depth(stack: &Stack, queue: &Queue) -> Result<Depth> {
    use QueueAttributeName::{
        ApproximateNumberOfMessages as Waiting, ApproximateNumberOfMessagesNotVisible as Hidden,
    };
    let answer = stack
        .sqs()
        .get_queue_attributes()
        .queue_url(stack.output(queue.output)?)
        .attribute_names(Waiting)
        .attribute_names(Hidden)
        .send()
        .await
        .map_err(CallError::of(queue.name, "GetQueueAttributes"))?;
    let attributes = answer.attributes.unwrap_or_default();
    let number = |attribute| attributes.get(&attribute)?.parse().ok();
    Ok(Depth {
        name: queue.name.to_owned(),
        waiting: number(Waiting).unwrap_or(0),
        hidden: number(Hidden).unwrap_or(0),
        oldest_seconds: None,
    })
}

/// The newest known age of each queue's oldest message, in seconds.
async fn ages(stack: &Stack, now: Timestamp) -> Result<Vec<Option<u64>>> {
    let queries: Result<Vec<_>> = queues_of(stack).map(|queue| age_of(stack, queue)).collect();
    let answer = stack
        .cloudwatch()
        .get_metric_data()
        .set_metric_data_queries(Some(queries?))
        .start_time(DateTime::from_secs((now - AGES).as_second()))
        .end_time(DateTime::from_secs(now.as_second()))
        .send()
        .await
        .map_err(CallError::of("queues' ages", "GetMetricData"))?;
    let results = answer.metric_data_results.unwrap_or_default();
    let newest = |queue: &Queue| {
        let result = results
            .iter()
            .find(|result| result.id() == Some(&id_of(queue)))?;
        let points = result.timestamps().iter().zip(result.values());
        let (_, seconds) = points.max_by_key(|(at, _)| at.secs())?;
        let age = Duration::try_from_secs_f64(*seconds).ok()?;
        Some(age.as_secs())
    };
    Ok(queues_of(stack).map(newest).collect())
}

/// The id of a queue's query. It begins with a small letter, as CloudWatch demands.
fn id_of(queue: &Queue) -> String {
    queue.name.replace(' ', "_")
}

fn age_of(stack: &Stack, queue: &Queue) -> Result<MetricDataQuery> {
    let url = stack.output(queue.output)?;
    let name = url.rsplit('/').next().context("a queue's URL is empty")?;
    let dimension = Dimension::builder().name("QueueName").value(name).build();
    let metric = Metric::builder().namespace("AWS/SQS").metric_name(AGE);
    let metric = metric.dimensions(dimension).build();
    let stat = MetricStat::builder()
        .metric(metric)
        .period(60)
        .stat("Maximum")
        .build();
    let query = MetricDataQuery::builder().id(id_of(queue));
    Ok(query.metric_stat(stat).build())
}

/// What waits in the spill, and when AURA's last delivery arrived.
async fn ledger(stack: &Stack) -> Result<(SpillDepth, Option<Timestamp>)> {
    let table = stack.table()?;
    let spill = Spill::new(stack.dynamodb(), table.to_owned());
    let last = LastDelivery::new(stack.dynamodb(), table.to_owned());
    let shards = try_join_all((0..SHARDS).map(|shard| spill.arrivals(shard)));
    let (shards, last) = try_join(shards, last.last()).await?;
    let arrivals = || shards.iter().flatten();
    let spill = SpillDepth {
        waiting: arrivals().count(),
        oldest: arrivals().filter_map(|at| *at).min(),
    };
    Ok((spill, last))
}

/// Lines of logs, each the oldest first.
struct Logged {
    runs: Vec<Line>,
    canaries: Vec<Line>,
    /// Registrations without a deployment, and steps of rotations.
    registrations: Vec<Line>,
}

async fn logged(stack: &Stack, now: Timestamp) -> Result<Logged> {
    let registering = r#"{ $.Request = "Reregister" || $.Request = "*Secret" }"#;
    let canary = r#"{ $.Request = "Canary" }"#;
    let (runs, canaries, registrations) = try_join3(
        lines(stack, "Reconciler", "{ $.Skipped = 0 }", now - HOUR, now),
        lines(stack, "Registrar", canary, now - HOUR, now),
        lines(stack, "Registrar", registering, now - DAY, now),
    )
    .await?;
    Ok(Logged {
        runs,
        canaries,
        registrations,
    })
}

impl Run {
    fn of(line: &Line) -> Self {
        let found = ["OpeningsRecovered", "ClosingsRecovered", "Observed"];
        Self {
            at: line.at,
            failure: line.text("Failure").map(str::to_owned),
            found: found.iter().map(|name| line.count(name)).sum(),
            unsettled: line.count("Unsettled"),
        }
    }
}

impl LastCanary {
    fn of(line: &Line) -> Self {
        let has_succeeded = line.count("Succeeded") == 1;
        Self {
            at: line.at,
            milliseconds: line.milliseconds("CanaryTime").filter(|_| has_succeeded),
            failure: (!has_succeeded).then(|| {
                line.text("Reason")
                    .unwrap_or("its reason is unknown")
                    .to_owned()
            }),
        }
    }
}

/// The last registration: of a deployment, or by the registrar alone if that was later.
fn registration(
    stack: &Stack,
    deployed_at: Option<Timestamp>,
    lines: &[Line],
) -> Result<Registration> {
    let succeeded = || {
        lines
            .iter()
            .rev()
            .filter(|line| line.count("Succeeded") == 1)
    };
    let alone = succeeded().find(|line| line.steps().contains("Registration: done"));
    let alone = alone.filter(|line| deployed_at.is_none_or(|at| at < line.at));
    let rotated = succeeded().find(|line| line.text("Request") == Some("finishSecret"));
    let by_deployment = deployed_at.filter(|_| !stack.is_standby());
    Ok(Registration {
        is_standby: stack.is_standby(),
        url: stack.output("WebhookUrl")?.to_owned(),
        events: stack.parameter("WebhookEvents").to_owned(),
        at: alone.map(|line| line.at).or(by_deployment),
        proof: match alone {
            Some(line) => line.steps(),
            None => stack.output("Registration")?.to_owned(),
        },
        rotated_at: rotated.map(|line| line.at),
    })
}
