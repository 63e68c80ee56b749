//! Writes the loss ledger to a file, so that a person can look up what became of one event.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;

use crate::soak::loss::{Class, Entry};
use aura_sim::client::{EventName, Fate};
use stack::consumers::Entity;

/// A line of the file: an event, or the repeat of a delivery.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    n: u64,
    message: EventName,
    entity: Entity,
    at: Timestamp,
    fate: Fate,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<u64>,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered_after_seconds: Option<f64>,
}

/// Writes the loss ledger, one JSON object a line.
///
/// # Errors
///
/// Fails if the file can't be written.
pub fn write(ledger: &[Entry], path: &Path) -> Result<()> {
    let cannot_write = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(cannot_write)?);
    for entry in ledger {
        let line = serde_json::to_string(&Line::of(entry))?;
        writeln!(file, "{line}").with_context(cannot_write)?;
    }
    file.flush().with_context(cannot_write)
}

impl Line {
    fn of(entry: &Entry) -> Self {
        let after = match entry.class {
            Class::Recovered { after } => Some(after.as_secs_f64()),
            _ => None,
        };
        Self {
            n: entry.n,
            message: entry.message,
            entity: entry.entity.into(),
            at: entry.at,
            fate: entry.fate,
            repeat: entry.repeat,
            class: class(entry.class),
            recovered_after_seconds: after,
        }
    }
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Published => "published",
        Class::Duplicate => "duplicate",
        Class::Quarantined => "quarantined",
        Class::Recovered { .. } => "recovered",
        Class::Missing => "missing",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::soak::evidence::Evidence;
    use crate::soak::loss;
    use crate::soak::samples::{found_out, happened, sent, told};

    #[test]
    fn each_event_and_each_repeat_has_its_line() {
        let original = sent(1, "NEW_CALLOUT", "1", None);
        let evidence = Evidence {
            happened: vec![
                happened(1, "NEW_CALLOUT", "1", &[1, 2]),
                happened(2, "CALLOUT_CLOSED", "1", &[]),
            ],
            received: vec![told(&original, 1), found_out("CALLOUT_CLOSED", "1", 4)],
            deliveries: vec![original, sent(2, "NEW_CALLOUT", "1", Some(1))],
            ..Evidence::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        write(&loss::ledger(&evidence), &path).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let callout = json!({"kind": "callout", "id": "1"});
        let expected = [
            json!({"n": 1, "message": "NEW_CALLOUT", "entity": callout, "fate": "sent",
                "at": "1970-01-01T00:00:01Z", "class": "published"}),
            json!({"n": 1, "message": "NEW_CALLOUT", "entity": callout, "fate": "sent",
                "at": "1970-01-01T00:00:01Z", "repeat": 2, "class": "duplicate"}),
            json!({"n": 2, "message": "CALLOUT_CLOSED", "entity": callout, "fate": "dropped",
                "at": "1970-01-01T00:00:02Z", "class": "recovered",
                "recoveredAfterSeconds": 2.0}),
        ];
        assert_eq!(lines, expected);
    }
}
