//! Decides what needs a person.

use aws_sdk_cloudwatch::types::StateValue;
use jiff::{SignedDuration, Timestamp};

use super::queues::with_depths;
use super::{Need, Status};
use crate::words::Span;

/// The alarms, by what they mean for emergencies: the order of `docs/on-call.md`.
const URGENCY: [&str; 39] = [
    // Events may be lost.
    "DeliveriesFailAlarm",
    "DeliveriesThrottledAlarm",
    "IngestFailsAlarm",
    "IngestThrottledAlarm",
    "RefusedWithSecretAlarm",
    "DeliveriesRefusedAlarm",
    "RefusedFloodAlarm",
    "WebhookDownAlarm",
    "CanaryFailsAlarm",
    "RulesFailAlarm",
    "ForwardFailsAlarm",
    // Events are late.
    "DeliveriesSpilledAlarm",
    "SpillWaitsAlarm",
    "DeliveriesWaitAlarm",
    "EventsFailAlarm",
    "ProcessorFailsAlarm",
    "ProcessorThrottledAlarm",
    "DeadLettersAlarm",
    "CalloutsUnsettledAlarm",
    "CanarySlowAlarm",
    "ForwardDeadLettersAlarm",
    "ForwardRetriesAlarm",
    "CalloutEventsDeadLettersAlarm",
    "CustomerEventsDeadLettersAlarm",
    "SubscriptionEventsDeadLettersAlarm",
    "OtherEventsDeadLettersAlarm",
    "CalloutEventsWaitAlarm",
    "CustomerEventsWaitAlarm",
    "SubscriptionEventsWaitAlarm",
    "OtherEventsWaitAlarm",
    "CalloutsHeldAlarm",
    // Events are put aside, may come twice, or are not affected.
    "EventsQuarantinedAlarm",
    "QuarantineAlarm",
    "EventsUnmarkedAlarm",
    "AuraRefusesAlarm",
    "ReconcilerFailsAlarm",
    "ReconcilerStoppedAlarm",
    "RegistrarFailsAlarm",
    "ForeignCanaryAlarm",
];

/// How long a delivery may wait in the spill, as in the template's `SpillWaitsAlarm`.
const SPILL_PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// The quarantine among the queues.
const QUARANTINE: &str = "quarantine";
/// How long the reconciler may not run, as in the template's `ReconcilerStoppedAlarm`.
const RECONCILER_PATIENCE: SignedDuration = SignedDuration::from_mins(30);

/// An alarm of the stack.
pub(super) struct Alarm {
    /// Its name in the template.
    pub name: String,
    /// Its state.
    pub state: StateValue,
    /// What it means, and the address of its section in the runbook.
    pub description: String,
    /// When it got its state.
    pub since: Option<Timestamp>,
}

/// Something that needs a person before its alarm says so.
struct Finding {
    what: String,
    alarm: &'static str,
    since: Option<Timestamp>,
}

/// What needs a person, the most urgent first: the alarms that ring, and what no alarm says yet.
/// `runbook` is the runbook's address.
pub(super) fn needs(status: &Status, alarms: &[Alarm], runbook: &str) -> Vec<Need> {
    let ringing = || {
        alarms
            .iter()
            .filter(|alarm| alarm.state == StateValue::Alarm)
    };
    let is_said = |finding: &Finding| ringing().any(|alarm| says(&alarm.name, finding.alarm));
    let findings = findings(status).into_iter();
    let findings = findings.filter(|finding| !is_said(finding));
    let is_over = |alarm: &Alarm| {
        let mut queues = with_depths(status);
        let quarantine = queues.find(|(queue, _)| queue.name == QUARANTINE);
        let is_empty = quarantine.is_some_and(|(_, depth)| depth.waiting + depth.hidden == 0);
        is_empty && ["EventsQuarantinedAlarm", "QuarantineAlarm"].contains(&alarm.name.as_str())
    };
    let mut needs: Vec<_> = ringing()
        .map(|alarm| {
            let mut need = alarm.need(runbook);
            if is_over(alarm) {
                need.what.push_str(
                    " Nothing waits there now: the alarm ends by itself within some minutes.",
                );
            }
            need
        })
        .chain(findings.map(|finding| finding.need(runbook)))
        .collect();
    needs.sort_by_key(|need| urgency(&need.alarm));
    needs
}

fn urgency(alarm: &str) -> usize {
    let known = URGENCY.iter().position(|known| *known == alarm);
    known.unwrap_or(URGENCY.len())
}

/// Whether an alarm that rings says what this alarm is about.
fn says(ringing: &str, alarm: &str) -> bool {
    ringing == alarm || (ringing, alarm) == ("EventsQuarantinedAlarm", "QuarantineAlarm")
}

impl Alarm {
    fn need(&self, runbook: &str) -> Need {
        let described = self.description.rsplit_once("Runbook: ");
        let (text, address) = described.unwrap_or((&self.description, ""));
        let address = if address.is_empty() {
            section(runbook, &self.name)
        } else {
            address.trim().to_owned()
        };
        Need {
            what: meaning(text),
            alarm: self.name.clone(),
            rings: true,
            runbook: address,
            command: command(&self.name),
            since: self.since,
        }
    }
}

impl Finding {
    fn need(self, runbook: &str) -> Need {
        Need {
            what: self.what,
            alarm: self.alarm.to_owned(),
            rings: false,
            runbook: section(runbook, self.alarm),
            command: command(self.alarm),
            since: self.since,
        }
    }
}

fn section(runbook: &str, alarm: &str) -> String {
    format!("{runbook}#{}", alarm.to_lowercase())
}

/// The sentences of an alarm's description that say what it means: at most two, before those that
/// say where to look.
fn meaning(description: &str) -> String {
    let sentences = description.split_inclusive(". ");
    let sentences = sentences.take_while(|sentence| !sentence.starts_with("Look at "));
    let meaning: String = sentences.take(2).collect();
    meaning.trim().to_owned()
}

/// The command that looks closer.
fn command(alarm: &str) -> Option<&'static str> {
    Some(match alarm {
        "EventsQuarantinedAlarm" | "QuarantineAlarm" => "aura-ops quarantine list",
        "DeliveriesSpilledAlarm" | "SpillWaitsAlarm" => "aura-ops spill list",
        "DeliveriesFailAlarm" | "IngestFailsAlarm" | "CanaryFailsAlarm" | "CanarySlowAlarm" => {
            "aura-ops canary"
        }
        alarm if alarm.ends_with("DeadLettersAlarm") => "aura-ops dead-letters list",
        _ => return None,
    })
}

fn findings(status: &Status) -> Vec<Finding> {
    let queues = with_depths(status).filter_map(|(queue, depth)| {
        let (alarm, count) = (queue.alarm?, depth.waiting + depth.hidden);
        let age = depth.oldest_seconds.and_then(|age| age.try_into().ok());
        (count > 0).then(|| Finding {
            what: in_a_queue(queue.name, count),
            alarm,
            since: age.map(|age| status.at - SignedDuration::from_secs(age)),
        })
    });
    let others = [spill(status), canary(status), reconciler(status)];
    queues.chain(others.into_iter().flatten()).collect()
}

fn in_a_queue(name: &str, count: u64) -> String {
    let holds = if name == QUARANTINE { "holds" } else { "hold" };
    let s = if count == 1 { "" } else { "s" };
    format!("The {name} {holds} {count} message{s}. SQS deletes a message after 14 days.")
}

fn spill(status: &Status) -> Option<Finding> {
    let oldest = status.spill.oldest?;
    let age = status.at.duration_since(oldest);
    (age > SPILL_PATIENCE).then(|| Finding {
        what: format!(
            "Events are late: a delivery has waited in the spill for {}.",
            Span(age)
        ),
        alarm: "SpillWaitsAlarm",
        since: Some(oldest),
    })
}

fn canary(status: &Status) -> Option<Finding> {
    let canary = status.canary.as_ref()?;
    let failure = canary.failure.as_ref()?;
    Some(Finding {
        what: format!("Events may be lost: the last canary failed, because {failure}."),
        alarm: "CanaryFailsAlarm",
        since: Some(canary.at),
    })
}

/// A new stack may have had no run yet.
fn reconciler(status: &Status) -> Option<Finding> {
    let last = status.reconciler.as_ref().map(|run| run.at);
    let is_over = |at| status.at.duration_since(at) > RECONCILER_PATIENCE;
    let has_stopped = status.reconciler_scheduled && !status.is_new && last.is_none_or(is_over);
    has_stopped.then(|| Finding {
        what: "The reconciler has not run for half an hour. What AURA doesn't deliver is not found, and \
               the spill is not emptied."
            .to_owned(),
        alarm: "ReconcilerStoppedAlarm",
        since: last,
    })
}

#[cfg(test)]
mod tests;
