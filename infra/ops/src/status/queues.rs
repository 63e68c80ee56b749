//! The queues on the event's path, and which of them a stack has.

use super::{Depth, Status};
use crate::stack::Stack;

/// A queue on the event's path.
pub(super) struct Queue {
    /// Its name in this system's words.
    pub name: &'static str,
    /// The output with its URL.
    pub output: &'static str,
    /// The alarm that says that anything at all is in it. Other queues hold messages at any time.
    pub alarm: Option<&'static str>,
}

/// The queues, in the order of the event's path.
pub(super) const QUEUES: [Queue; 12] = [
    queue("ingest", "IngestQueueUrl", None),
    queue(
        "ingest dead letters",
        "DeadLetterQueueUrl",
        Some("DeadLettersAlarm"),
    ),
    queue("quarantine", "QuarantineQueueUrl", Some("QuarantineAlarm")),
    queue("callout events", "CalloutEventsQueueUrl", None),
    queue(
        "callout dead letters",
        "CalloutEventsDeadLetterQueueUrl",
        Some("CalloutEventsDeadLettersAlarm"),
    ),
    queue("customer events", "CustomerEventsQueueUrl", None),
    queue(
        "customer dead letters",
        "CustomerEventsDeadLetterQueueUrl",
        Some("CustomerEventsDeadLettersAlarm"),
    ),
    queue("subscription events", "SubscriptionEventsQueueUrl", None),
    queue(
        "subscription dead letters",
        "SubscriptionEventsDeadLetterQueueUrl",
        Some("SubscriptionEventsDeadLettersAlarm"),
    ),
    queue("other events", "OtherEventsQueueUrl", None),
    queue(
        "other dead letters",
        "OtherEventsDeadLetterQueueUrl",
        Some("OtherEventsDeadLettersAlarm"),
    ),
    queue(
        "backend dead letters",
        BACKEND,
        Some("ForwardDeadLettersAlarm"),
    ),
];
/// The output with the dead letters of a backend, which only a stack that forwards events has.
const BACKEND: &str = "ForwardDeadLetterQueueUrl";

/// The queues that this stack has.
pub(super) fn queues_of(stack: &Stack) -> impl Iterator<Item = &'static Queue> {
    let is_there = |queue: &&Queue| queue.output != BACKEND || stack.output(BACKEND).is_ok();
    QUEUES.iter().filter(is_there)
}

/// The queues of a status, each with how much waits there.
pub(super) fn with_depths(status: &Status) -> impl Iterator<Item = (&'static Queue, &Depth)> {
    let of = |depth: &Depth| QUEUES.iter().find(|queue| queue.name == depth.name);
    let depths = status.queues.iter();
    depths.filter_map(move |depth| Some((of(depth)?, depth)))
}

const fn queue(name: &'static str, output: &'static str, alarm: Option<&'static str>) -> Queue {
    Queue {
        name,
        output,
        alarm,
    }
}
