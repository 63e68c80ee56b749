//! The log line of each batch, which carries its metrics.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use metrique::timers::Timer;
use metrique::unit::Millisecond;
use metrique::unit_of_work::metrics;
use metrique::writer::unit::{NegativeScale, Unit};
use metrique::writer::{MetricFlags, Observation, Value, ValueWriter};

use crate::outcome::RecordOutcome;

/// The log line and the metrics of one batch.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug)]
pub struct BatchMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    records: usize,
    published: usize,
    /// Published events that could not be marked in the ledger.
    unmarked: usize,
    /// Published events without their payload, which is in the quarantine.
    payloads_omitted: usize,
    duplicates: usize,
    conflicts: usize,
    quarantined: usize,
    /// Records that were reported to SQS as failed, for any reason.
    failed: usize,
    held: usize,
    panicked: usize,
    /// SQS's message id and the outcome of each record.
    outcomes: Vec<String>,
    /// For each published event, the time from its arrival at ingest until the bus answered for its
    /// wave.
    #[metrics(no_close)]
    arrival_to_publish: Latencies,
    #[metrics(unit = Millisecond)]
    time: Timer,
}

/// The durations of one metric, in milliseconds. Without durations, the metric is absent.
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
            function: "processor",
            records: 0,
            published: 0,
            unmarked: 0,
            payloads_omitted: 0,
            duplicates: 0,
            conflicts: 0,
            quarantined: 0,
            failed: 0,
            held: 0,
            panicked: 0,
            outcomes: Vec::new(),
            arrival_to_publish: Latencies::default(),
            time: Timer::start_now(),
        }
    }

    /// Counts one record.
    pub fn record(&mut self, message_id: &str, outcome: RecordOutcome) {
        self.records += 1;
        match outcome {
            RecordOutcome::Published(publication) => {
                self.published += 1;
                self.unmarked += usize::from(!publication.marked);
                self.payloads_omitted += usize::from(publication.payload_omitted);
                self.arrival_to_publish.0.push(publication.latency);
            }
            RecordOutcome::Duplicate => self.duplicates += 1,
            RecordOutcome::Conflict => self.conflicts += 1,
            RecordOutcome::Quarantined => self.quarantined += 1,
            RecordOutcome::Held { .. } => self.held += 1,
            RecordOutcome::Panicked => self.panicked += 1,
            RecordOutcome::Failed | RecordOutcome::Postponed => {}
        }
        if !outcome.is_settled() {
            self.failed += 1;
        }
        self.outcomes
            .push(format!("{message_id} {}", outcome.name()));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use metrique::emf::Emf;
    use metrique::writer::FormatExt as _;
    use metrique::writer::sink::FlushImmediatelyBuilder;
    use serde_json::{Value, json};

    use super::*;
    use crate::outcome::Publication;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The log line of a batch whose records have these outcomes.
    fn line(outcomes: &[RecordOutcome]) -> Value {
        let buffer = Buffer::default();
        let format = Emf::no_validations("n".to_owned(), vec![vec!["Function".to_owned()]]);
        let sink = FlushImmediatelyBuilder::new().build_boxed(format.output_to(buffer.clone()));
        let mut metrics = BatchMetrics::start(Timestamp::UNIX_EPOCH).append_on_drop(sink);
        for (number, outcome) in outcomes.iter().enumerate() {
            metrics.record(&format!("m{number}"), *outcome);
        }
        drop(metrics);
        let bytes = buffer.0.lock().unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn published(milliseconds: u64) -> Publication {
        Publication {
            latency: Duration::from_millis(milliseconds),
            payload_omitted: false,
            marked: true,
        }
    }

    /// The definition of a metric for CloudWatch, without its name.
    fn definition(line: &Value, name: &str) -> Option<Value> {
        let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
        let metrics = metrics.into_iter().flatten();
        let mut its = metrics.filter(|metric| metric["Name"] == name).cloned();
        let mut definition = its.next()?;
        definition.as_object_mut()?.remove("Name");
        Some(definition)
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
        assert_eq!(
            definition(&one, "ArrivalToPublish"),
            Some(json!({"Unit": "Milliseconds"}))
        );
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
        assert_eq!(definition(&line, "ArrivalToPublish"), None);
    }

    const COUNTERS: [&str; 9] = [
        "Published",
        "Unmarked",
        "PayloadsOmitted",
        "Duplicates",
        "Conflicts",
        "Quarantined",
        "Failed",
        "Held",
        "Panicked",
    ];

    /// Checks the name of this outcome in the log line, and which counters count two records with
    /// it.
    fn check(outcome: RecordOutcome, name: &str, counted: &[&str]) {
        let line = line(&[outcome, outcome]);
        assert_eq!(line["Function"], "processor");
        assert_eq!(line["Records"], 2);
        let outcomes = json!([format!("m0 {name}"), format!("m1 {name}")]);
        assert_eq!(line["Outcomes"], outcomes);
        for counter in COUNTERS {
            let expected = if counted.contains(&counter) { 2 } else { 0 };
            assert_eq!(line[counter], expected, "{outcome:?}: {counter}");
            let is_metric = definition(&line, counter).is_some();
            assert!(is_metric, "{counter} is not a metric");
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
        let omitted = &["Published", "PayloadsOmitted"];
        check(publication(true, false), "published", &["Published"]);
        check(
            publication(false, false),
            "unmarked",
            &["Published", "Unmarked"],
        );
        check(publication(true, true), "published", omitted);
        check(RecordOutcome::Duplicate, "duplicate", &["Duplicates"]);
        check(RecordOutcome::Conflict, "conflict", &["Conflicts"]);
        check(RecordOutcome::Quarantined, "quarantined", &["Quarantined"]);
        check(
            RecordOutcome::Held { lease_until },
            "held",
            &["Failed", "Held"],
        );
        check(RecordOutcome::Panicked, "panicked", &["Failed", "Panicked"]);
        check(RecordOutcome::Failed, "failed", &["Failed"]);
        check(RecordOutcome::Postponed, "postponed", &["Failed"]);
    }
}
