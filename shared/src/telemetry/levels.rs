//! The numbers of a log line that alarms read as metrics.
//!
//! CloudWatch charges a metric for each hour in which it is sent, and each byte of a log line. So a
//! count of zero is not written, and a level of zero that no alarm needs is only a field of the log
//! line.

use std::time::Duration;

use metrique::emf::NoMetric;
use metrique::writer::unit::{NegativeScale, Unit};
use metrique::writer::{MetricFlags, Observation, Value, ValueWriter};

/// Every metric of a log line: a function that writes it, and its name. An alarm reads each of them.
/// All other numbers are fields of log lines, because each metric has a cost.
pub const METRICS: [(&str, &str); 14] = [
    ("ingest", "IntoQuarantine"),
    ("ingest", "Refused"),
    ("ingest", "RefusedWithSecret"),
    ("ingest", "Spilled"),
    ("processor", "ForeignCanaries"),
    ("processor", "IntoQuarantine"),
    ("processor", "OldestFailed"),
    ("processor", "Unmarked"),
    ("reconciler", "AuraRefuses"),
    ("reconciler", "Held"),
    ("reconciler", "OldestSpill"),
    ("reconciler", "Unsettled"),
    ("reconciler", "WebhookDown"),
    ("registrar", "CanaryTime"),
];

/// A count that somebody sums up. A sum needs no zeros, so a zero is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter(u64);

/// A level that an alarm reads, such as an age. Above zero it is a metric.
///
/// The zero that ends it is a metric, too: over a gap, CloudWatch would evaluate the alarm by the
/// last values that it has, and the alarm would end late. Each further zero is only a field of the
/// log line. So is a level that isn't known: it is absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Level {
    now: Option<Observation>,
    unit: Unit,
    was_raised: bool,
}

impl Counter {
    /// Adds to the count.
    pub fn add(&mut self, count: usize) {
        self.0 += count as u64;
    }
}

impl From<bool> for Counter {
    /// Counts one thing that happened, or none.
    fn from(happened: bool) -> Self {
        Self(happened.into())
    }
}

impl Value for Counter {
    fn write(&self, writer: impl ValueWriter) {
        if self.0 > 0 {
            self.0.write(writer);
        }
    }
}

impl Level {
    /// Adds to a number without a unit. A level that wasn't known is known then.
    pub fn add(&mut self, number: usize) {
        let before = match self.now {
            Some(Observation::Unsigned(before)) => before,
            _ => 0,
        };
        self.now = Some(Observation::Unsigned(before + number as u64));
    }

    /// Raises an age, in seconds, unless it is greater already.
    pub fn raise_age(&mut self, age: Duration) {
        let before = match self.now {
            Some(Observation::Floating(before)) => before,
            _ => 0.0,
        };
        self.now = Some(Observation::Floating(age.as_secs_f64().max(before)));
        self.unit = Unit::Second(NegativeScale::One);
    }

    /// Notes that the level was above zero when it was known last, so that its end is sent.
    pub fn was_raised(&mut self) {
        self.was_raised = true;
    }

    /// Whether the level is above zero, or was when it was known last.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.now.map_or(self.was_raised, is_above_zero)
    }
}

impl Value for Level {
    fn write(&self, writer: impl ValueWriter) {
        let Some(level) = self.now else {
            return;
        };
        let number = Number(level, self.unit);
        if is_above_zero(level) || self.was_raised {
            number.write(writer);
        } else {
            NoMetric::from(number).write(writer);
        }
    }
}

struct Number(Observation, Unit);

impl Value for Number {
    fn write(&self, writer: impl ValueWriter) {
        writer.metric([self.0], self.1, [], MetricFlags::empty());
    }
}

fn is_above_zero(level: Observation) -> bool {
    match level {
        Observation::Unsigned(number) => number > 0,
        Observation::Floating(number) => number > 0.0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use metrique::unit_of_work::metrics;
    use serde_json::{Value, json};

    use super::*;
    use crate::telemetry::lines::{WrittenLines, metrics_of};

    #[metrics(rename_all = "PascalCase")]
    struct Line {
        function: &'static str,
        #[metrics(no_close)]
        counter: Counter,
        #[metrics(no_close)]
        level: Level,
        #[metrics(no_close)]
        age: Level,
    }

    fn written(counter: Counter, level: Level, age: Level) -> Value {
        let lines = WrittenLines::default();
        let function = "test";
        drop(
            Line {
                function,
                counter,
                level,
                age,
            }
            .append_on_drop(lines.sink()),
        );
        let [line] = lines.take().try_into().unwrap();
        line
    }

    #[test]
    fn a_count_of_zero_and_an_unknown_level_are_absent_and_a_level_of_zero_is_no_metric() {
        let mut level = Level::default();
        level.add(0);
        let line = written(Counter::default(), level, Level::default());
        assert_eq!(metrics_of(&line), [""; 0]);
        assert_eq!((line.get("Counter"), &line["Level"]), (None, &json!(0)));
        assert_eq!(line.get("Age"), None);
    }

    #[test]
    fn what_is_above_zero_is_a_metric_with_its_unit() {
        let (mut level, mut age) = (Level::default(), Level::default());
        level.add(3);
        age.raise_age(Duration::from_millis(1500));
        let mut counter = Counter::from(true);
        counter.add(1);
        let line = written(counter, level, age);
        assert_eq!(metrics_of(&line), ["Age", "Counter", "Level"]);
        let values = (&line["Counter"], &line["Level"], &line["Age"]);
        assert_eq!(values, (&json!(2), &json!(3), &json!(1.5)));
        let set = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(set["Dimensions"], json!([[]]));
        let definitions = set.to_string();
        assert!(
            definitions.contains(r#"{"Name":"Age","Unit":"Seconds"}"#),
            "{definitions}"
        );
    }

    #[test]
    fn the_end_of_a_level_is_sent_and_a_level_that_is_unknown_has_not_ended() {
        let mut level = Level::default();
        level.was_raised();
        assert!(level.is_raised());
        let line = written(Counter::default(), level, Level::default());
        assert_eq!(line.get("Level"), None);
        level.add(0);
        assert!(!level.is_raised());
        let line = written(Counter::default(), level, Level::default());
        assert_eq!(metrics_of(&line), ["Level"]);
        assert_eq!(line["Level"], 0);
    }

    #[test]
    fn each_metric_is_listed_once() {
        assert!(METRICS.is_sorted_by(|one, next| one < next), "{METRICS:?}");
    }
}
