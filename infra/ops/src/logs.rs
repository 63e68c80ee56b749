//! Lines of the functions' logs.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;
use shared::aws::CallError;

use crate::stack::Stack;

/// A JSON line of a log.
#[derive(Debug, Clone)]
pub struct Line {
    /// When CloudWatch got it.
    pub at: Timestamp,
    /// The line; `docs/telemetry.md` has its fields.
    pub fields: Value,
}

impl Line {
    fn read(at: Option<i64>, message: Option<String>) -> Option<Self> {
        Some(Self {
            at: Timestamp::from_millisecond(at?).ok()?,
            fields: serde_json::from_str(&message?).ok()?,
        })
    }

    /// A field with a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// A field with a count; 0 if the line lacks it.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.fields.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// A field with milliseconds. `None` if the line lacks it.
    #[must_use]
    pub fn milliseconds(&self, name: &str) -> Option<u64> {
        let seconds = self.fields.get(name)?.as_f64()? / 1000.0;
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        time.as_millis().try_into().ok()
    }

    /// The steps of a registration, as one text; empty if the line has none.
    #[must_use]
    pub fn steps(&self) -> String {
        let steps = self.fields.get("Steps").and_then(Value::as_array);
        let steps = steps.into_iter().flatten().filter_map(Value::as_str);
        steps.collect::<Vec<_>>().join("; ")
    }
}

/// Lines of a function's log, the oldest first. `function` is the first part of the output's name,
/// such as `Ingest`, and `pattern` is a filter pattern of CloudWatch Logs. Lines that aren't JSON
/// are skipped.
///
/// # Errors
///
/// CloudWatch Logs refuses the call.
pub async fn lines(
    stack: &Stack,
    function: &str,
    pattern: &str,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<Line>> {
    let mut pages = stack
        .logs()
        .filter_log_events()
        .log_group_name(stack.output(&format!("{function}LogGroupName"))?)
        .filter_pattern(pattern)
        .start_time(from.as_millisecond())
        .end_time(until.as_millisecond())
        .into_paginator()
        .send();
    let mut lines = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(CallError::of("log", "FilterLogEvents"))?;
        let events = page.events.unwrap_or_default().into_iter();
        lines.extend(events.filter_map(|event| Line::read(event.timestamp, event.message)));
    }
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}
