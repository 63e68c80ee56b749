//! Lines of the functions' logs.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use crate::stack::Stack;

/// A JSON line of a log.
#[derive(Debug, Clone)]
pub struct Line {
    /// When CloudWatch got it.
    pub at: Timestamp,
    /// The line; `docs/telemetry.md` has its fields.
    pub fields: Value,
}

/// Lines of a function's log, the oldest first. `function` is the first part of the output's name, such as
/// `Ingest`, and `pattern` is a filter pattern of CloudWatch Logs. Lines that aren't JSON are left out.
///
/// # Errors
///
/// CloudWatch Logs refuses the call.
pub async fn lines(
    _stack: &Stack,
    _function: &str,
    _pattern: &str,
    _from: Timestamp,
    _until: Timestamp,
) -> Result<Vec<Line>> {
    todo!()
}
