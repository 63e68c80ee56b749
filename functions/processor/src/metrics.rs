//! The log lines: one of each record, and one of each batch, which carries its metrics. Only what an
//! alarm reads is a metric; see [`shared::telemetry::levels`].

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use metrique::emf::flags::NoMetric;
use metrique::timers::Timer;
use metrique::unit::Millisecond;
use metrique::unit_of_work::metrics;
use metrique::writer::unit::{NegativeScale, Unit};
use metrique::writer::{MetricFlags, Observation, Value, ValueWriter};
use shared::catalogue;
use shared::telemetry::levels::{Counter, Level};

use crate::outcome::RecordOutcome;
use crate::record::incoming::Record;
use crate::timing::between;

/// The log line of one record. `DeliveryId` is the id that `ingest` answered and logged, so one
/// filter finds a delivery's whole way. It holds nothing of the payload except documented names.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug)]
pub struct RecordLine {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    /// SQS's id of the message.
    message_id: String,
    /// Absent if the record is no envelope.
    delivery_id: Option<String>,
    /// The event's name, or `other`. Absent if the record has no event that can be read.
    message: Option<&'static str>,
    /// See [`RecordOutcome::name`].
    outcome: &'static str,
}

impl RecordLine {
    /// The line of a record that is done.
    pub(crate) fn new(record: &Record, outcome: RecordOutcome, now: Timestamp) -> Self {
        let delivery_id = record.envelope().map(|envelope| envelope.delivery_id);
        Self {
            timestamp: now.into(),
            function: FUNCTION,
            message_id: record.message_id.clone(),
            delivery_id: delivery_id.map(|id| id.to_string()),
            message: record
                .event_read()
                .map(|event| catalogue::loggable_name(&event.message)),
            outcome: outcome.name(),
        }
    }
}

const FUNCTION: &str = "processor";

/// The log line and the metrics of one batch.
#[metrics(rename_all = "PascalCase", default_flags(NoMetric))]
#[derive(Debug)]
pub struct BatchMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    records: usize,
    published: usize,
    /// Published events that could not be marked in the ledger.
    #[metrics(no_close, flags(skip(NoMetric)))]
    unmarked: Counter,
    /// Published events without their payload, which is in the quarantine.
    #[metrics(no_close)]
    payloads_omitted: Counter,
    #[metrics(no_close)]
    duplicates: Counter,
    #[metrics(no_close)]
    conflicts: Counter,
    #[metrics(no_close)]
    quarantined: Counter,
    /// Messages that are in the quarantine because of this batch: quarantined records, conflicts
    /// and omitted payloads.
    #[metrics(no_close, flags(skip(NoMetric)))]
    into_quarantine: Counter,
    /// Records that were reported to SQS as failed, for any reason.
    #[metrics(no_close)]
    failed: Counter,
    /// The longest time since the arrival of a failed record at ingest. Zero if none failed, though
    /// some had failed before. SQS's own age may leave out what was received more than three
    /// times.
    #[metrics(no_close, flags(skip(NoMetric)))]
    oldest_failed: Level,
    #[metrics(no_close)]
    held: Counter,
    #[metrics(no_close)]
    panicked: Counter,
    /// Canaries that the registrar has not announced.
    #[metrics(no_close, flags(skip(NoMetric)))]
    foreign_canaries: Counter,
    /// For each published event, the time from its arrival at ingest until the bus answered for its
    /// wave.
    #[metrics(no_close)]
    arrival_to_publish: Latencies,
    #[metrics(unit = Millisecond)]
    time: Timer,
}

/// Durations in milliseconds. Without durations, the field is absent.
#[derive(Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Value for Latencies {
    fn write(&self, writer: impl ValueWriter) {
        let milliseconds = self.0.iter().map(|time| time.as_secs_f64() * 1000.0);
        let unit = Unit::Second(NegativeScale::Milli);
        let observations = milliseconds.map(Observation::Floating);
        writer.metric(observations, unit, [], MetricFlags::empty());
    }
}

impl BatchMetrics {
    /// Starts the clock.
    #[must_use]
    pub fn start(now: Timestamp) -> Self {
        Self {
            timestamp: now.into(),
            function: FUNCTION,
            records: 0,
            published: 0,
            unmarked: Counter::default(),
            payloads_omitted: Counter::default(),
            duplicates: Counter::default(),
            conflicts: Counter::default(),
            quarantined: Counter::default(),
            into_quarantine: Counter::default(),
            failed: Counter::default(),
            oldest_failed: Level::default(),
            held: Counter::default(),
            panicked: Counter::default(),
            foreign_canaries: Counter::default(),
            arrival_to_publish: Latencies::default(),
            time: Timer::start_now(),
        }
    }

    /// Counts one canary that the registrar has not announced.
    pub(crate) fn foreign_canary(&mut self) {
        self.foreign_canaries.add(1);
    }

    /// Counts one record.
    pub(crate) fn record(&mut self, record: &Record, outcome: RecordOutcome, now: Timestamp) {
        self.records += 1;
        match outcome {
            RecordOutcome::Published(publication) => {
                self.published += 1;
                self.unmarked.add(usize::from(!publication.marked));
                let omitted = usize::from(publication.payload_omitted);
                self.payloads_omitted.add(omitted);
                self.into_quarantine.add(omitted);
                self.arrival_to_publish.0.push(publication.latency);
            }
            RecordOutcome::Duplicate => self.duplicates.add(1),
            RecordOutcome::Conflict => {
                self.conflicts.add(1);
                self.into_quarantine.add(1);
            }
            RecordOutcome::Quarantined => {
                self.quarantined.add(1);
                self.into_quarantine.add(1);
            }
            RecordOutcome::Held { .. } => self.held.add(1),
            RecordOutcome::Panicked => self.panicked.add(1),
            RecordOutcome::Failed | RecordOutcome::Postponed => {}
        }
        if outcome.is_settled() {
            if record.receives > 1 {
                self.oldest_failed.was_raised();
                self.oldest_failed.raise_age(Duration::ZERO);
            }
        } else {
            self.failed.add(1);
            let age = record.arrived_at().map(|at| between(at, now));
            self.oldest_failed.raise_age(age.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::event::sqs::SqsMessage;
    use jiff::SignedDuration;
    use serde_json::{Value, json};
    use shared::telemetry::lines::{WrittenLines, metrics_of, metrics_of_function};

    use super::*;
    use crate::outcome::Publication;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// A record that SQS hands over for the first time.
    fn record(id: &str) -> Record {
        received(id, 1)
    }

    fn received(id: &str, times: u32) -> Record {
        let mut message = SqsMessage::default();
        message.message_id = Some(id.to_owned());
        message.attributes = [("ApproximateReceiveCount".into(), times.to_string())].into();
        Record::from(message)
    }

    /// The log line of a batch whose records have these outcomes.
    fn line(outcomes: &[RecordOutcome]) -> Value {
        let numbers = outcomes.iter().enumerate();
        let records = numbers.map(|(number, outcome)| (record(&format!("m{number}")), *outcome));
        line_of(records)
    }

    fn line_of(records: impl IntoIterator<Item = (Record, RecordOutcome)>) -> Value {
        line_after(|metrics| {
            for (record, outcome) in records {
                metrics.record(&record, outcome, NOW);
            }
        })
    }

    fn line_after(work: impl FnOnce(&mut BatchMetrics)) -> Value {
        let lines = WrittenLines::default();
        let mut metrics = BatchMetrics::start(NOW).append_on_drop(lines.sink());
        work(&mut metrics);
        drop(metrics);
        let [line] = lines.take().try_into().unwrap();
        line
    }

    fn published(milliseconds: u64) -> Publication {
        Publication {
            latency: Duration::from_millis(milliseconds),
            payload_omitted: false,
            marked: true,
        }
    }

    #[test]
    fn the_latency_of_each_published_event_is_a_value_in_milliseconds() {
        let of = |latencies: &[u64]| {
            let outcomes = latencies
                .iter()
                .map(|time| RecordOutcome::Published(published(*time)));
            line(
                &outcomes
                    .chain([RecordOutcome::Duplicate])
                    .collect::<Vec<_>>(),
            )
        };
        let one = of(&[20]);
        assert_eq!(one["ArrivalToPublish"], json!(20));
        let three = of(&[20, 30, 20]);
        // Each value, and how often it occurred.
        let expected = json!({"Values": [20, 30, 20], "Counts": [1, 1, 1]});
        assert_eq!(three["ArrivalToPublish"], expected);
    }

    #[test]
    fn a_batch_that_published_nothing_has_no_latency() {
        let line = line(&[RecordOutcome::Duplicate]);
        assert_eq!(line.get("ArrivalToPublish"), None);
    }

    const COUNTERS: [&str; 9] = [
        "Unmarked",
        "PayloadsOmitted",
        "Duplicates",
        "Conflicts",
        "Quarantined",
        "IntoQuarantine",
        "Failed",
        "Held",
        "Panicked",
    ];

    /// Checks the name of this outcome in the log line, and which counters count two records with
    /// it.
    fn check(outcome: RecordOutcome, name: &str, counted: &[&str]) {
        let line = line(&[outcome, outcome]);
        let published = matches!(outcome, RecordOutcome::Published(_));
        assert_eq!(line["Published"], if published { 2 } else { 0 });
        assert_eq!(line["Function"], "processor");
        assert_eq!(line["Records"], 2);
        assert_eq!(outcome.name(), name);
        for counter in COUNTERS {
            let expected = counted.contains(&counter).then_some(2);
            let count = line.get(counter).and_then(Value::as_u64);
            assert_eq!(count, expected, "{outcome:?}: {counter}");
        }
    }

    #[test]
    fn each_outcome_is_counted_as_what_it_is() {
        let lease_until = Timestamp::UNIX_EPOCH;
        let publication = |marked, payload_omitted| {
            RecordOutcome::Published(Publication {
                payload_omitted,
                marked,
                ..published(1)
            })
        };
        let omitted = &["PayloadsOmitted", "IntoQuarantine"];
        check(publication(true, false), "published", &[]);
        check(publication(false, false), "unmarked", &["Unmarked"]);
        check(publication(true, true), "published", omitted);
        check(RecordOutcome::Duplicate, "duplicate", &["Duplicates"]);
        let conflict = &["Conflicts", "IntoQuarantine"];
        check(RecordOutcome::Conflict, "conflict", conflict);
        let quarantined = &["Quarantined", "IntoQuarantine"];
        check(RecordOutcome::Quarantined, "quarantined", quarantined);
        check(
            RecordOutcome::Held { lease_until },
            "held",
            &["Failed", "Held"],
        );
        check(RecordOutcome::Panicked, "panicked", &["Failed", "Panicked"]);
        check(RecordOutcome::Failed, "failed", &["Failed"]);
        check(RecordOutcome::Postponed, "postponed", &["Failed"]);
    }

    #[test]
    fn a_batch_in_which_all_is_well_sends_no_metric() {
        let well = [
            RecordOutcome::Published(published(20)),
            RecordOutcome::Duplicate,
        ];
        assert_eq!(metrics_of(&line(&well)), [""; 0]);
        assert_eq!(metrics_of(&line(&[])), [""; 0]);
    }

    #[test]
    fn a_batch_with_every_outcome_sends_what_alarms_read_and_nothing_else() {
        let unmarked = Publication {
            marked: false,
            ..published(20)
        };
        let all = [
            RecordOutcome::Published(unmarked),
            RecordOutcome::Duplicate,
            RecordOutcome::Conflict,
            RecordOutcome::Quarantined,
            RecordOutcome::Held { lease_until: NOW },
            RecordOutcome::Failed,
            RecordOutcome::Panicked,
            RecordOutcome::Postponed,
        ];
        let line = line_after(|metrics| {
            for outcome in all {
                metrics.record(&sent_before("m", 90), outcome, NOW);
            }
            metrics.foreign_canary();
        });
        assert_eq!(metrics_of(&line), metrics_of_function("processor"));
        assert_eq!(
            (&line["Unmarked"], &line["IntoQuarantine"]),
            (&json!(1), &json!(2))
        );
        assert_eq!(line["OldestFailed"], 90);
    }

    /// A record that reached the queue this many seconds ago, and can't be read.
    fn sent_before(id: &str, seconds: i64) -> Record {
        let mut message = SqsMessage::default();
        message.message_id = Some(id.to_owned());
        let sent_at = (NOW - SignedDuration::from_secs(seconds)).as_millisecond();
        message.attributes = [("SentTimestamp".into(), sent_at.to_string())].into();
        Record::from(message)
    }

    #[test]
    fn the_age_of_the_oldest_failed_record_ends_with_a_zero_once_it_is_settled() {
        let failed =
            [30, 900, 60].map(|seconds| (sent_before("m", seconds), RecordOutcome::Failed));
        assert_eq!(line_of(failed)["OldestFailed"], 900);

        let settled = [(received("m", 7), RecordOutcome::Duplicate)];
        let ended = line_of(settled);
        assert_eq!(metrics_of(&ended), ["OldestFailed"]);
        assert_eq!(ended["OldestFailed"], 0);

        // One that is settled doesn't end what another one still raises.
        let both = [
            (received("m", 7), RecordOutcome::Duplicate),
            (sent_before("n", 30), RecordOutcome::Failed),
        ];
        assert_eq!(line_of(both)["OldestFailed"], 30);
        let none = line(&[RecordOutcome::Duplicate]);
        assert_eq!(none.get("OldestFailed"), None);
    }

    /// The line of a record with this body.
    fn record_line(body: &str, outcome: RecordOutcome) -> Value {
        let mut message = SqsMessage::default();
        message.message_id = Some("m".to_owned());
        message.body = Some(body.to_owned());
        let record = Record::from(message);
        let _ = record.event();
        let lines = WrittenLines::default();
        drop(RecordLine::new(&record, outcome, NOW).append_on_drop(lines.sink()));
        let [mut line] = lines.take().try_into().unwrap();
        assert_eq!(metrics_of(&line), [""; 0]);
        line.as_object_mut().unwrap().remove("_aws");
        line
    }

    #[test]
    fn the_line_of_a_record_has_the_id_of_the_delivery_and_nothing_of_the_payload() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let envelope = |payload: &str| {
            format!(
                r#"{{"version":1,"deliveryId":"{id}","receivedAt":"1970-01-01T00:00:00Z",
                    "origin":"webhook","payload":{payload}}}"#
            )
        };
        let of = |message: &str| {
            let payload = format!(r#"{{"message":"{message}","callout":{{"id":77123}}}}"#);
            record_line(&envelope(&payload), RecordOutcome::Duplicate)
        };
        let expected = |message: &str| {
            json!({
                "Function": "processor", "MessageId": "m", "DeliveryId": id, "Message": message,
                "Outcome": "duplicate",
            })
        };
        assert_eq!(of("NEW_CALLOUT"), expected("NEW_CALLOUT"));
        assert_eq!(of("Jane Doe pressed panic"), expected("other"));

        let no_event = record_line(&envelope("[77123]"), RecordOutcome::Quarantined);
        let quarantined = |fields: Value| {
            let mut line = json!({
                "Function": "processor", "MessageId": "m", "Outcome": "quarantined",
            });
            let fields = fields.as_object().cloned().unwrap();
            line.as_object_mut().unwrap().extend(fields);
            line
        };
        assert_eq!(no_event, quarantined(json!({"DeliveryId": id})));
        let no_envelope = record_line("77123", RecordOutcome::Quarantined);
        assert_eq!(no_envelope, quarantined(json!({})));
    }
}
