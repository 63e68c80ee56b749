//! Keeps the lines of units of work, so that a test can read them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrique::writer::BoxEntrySink;
use serde_json::Value;

/// The lines that were written to its sink. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct WrittenLines(Arc<Mutex<Vec<u8>>>);

impl WrittenLines {
    /// A sink that writes as a function does.
    #[must_use]
    pub fn sink(&self) -> BoxEntrySink {
        super::sink("test", self.clone())
    }

    /// Takes the lines that were written so far. A line that isn't JSON is null.
    #[must_use]
    pub fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.bytes());
        let lines = bytes.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap_or_default())
            .collect()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for WrittenLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The names of the metrics that CloudWatch takes from a line, sorted.
#[must_use]
pub fn metrics_of(line: &Value) -> Vec<&str> {
    let metrics = line.pointer("/_aws/CloudWatchMetrics/0/Metrics");
    let metrics = metrics.and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<_> = metrics
        .filter_map(|metric| metric["Name"].as_str())
        .collect();
    names.sort_unstable();
    names
}

/// The names of the metrics that a function may write, from [`METRICS`](super::levels::METRICS).
#[must_use]
pub fn metrics_of_function(function: &str) -> Vec<&'static str> {
    let its = super::levels::METRICS.into_iter();
    its.filter(|(whose, _)| *whose == function)
        .map(|(_, name)| name)
        .collect()
}
