//! The audit trail: who changed something with this command or its page, when, what and how many.
//!
//! It is kept in the ledger table, in the partition `audit`. An entry is written before a change, and gets its
//! end afterwards. An entry without an end is of a change that is under way, or that was killed.
//!
//! | attribute | holds |
//! | --- | --- |
//! | `pk` | `audit` |
//! | `sk` | when the change began, in UTC, `/`, and an id |
//! | `who` | the ARN of the caller, from `sts:GetCallerIdentity` |
//! | `action` | the command, such as `quarantine release` |
//! | `subjects` | ids of what was changed, at most a hundred of them |
//! | `count` | how many things were changed; absent while it is under way |
//! | `failure` | why it failed, if it did |
//! | `expiresAt` | when DynamoDB's TTL may remove the entry, in seconds since 1970: after 400 days |

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use serde::Serialize;

use crate::consent::Change;
use crate::stack::Stack;

/// The audit trail of a stack.
#[derive(Debug)]
pub struct Trail {}

/// The key of an entry that has begun.
#[derive(Debug, Clone)]
pub struct Entry {}

/// What was changed, the newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {}

impl Trail {
    /// The trail of this stack.
    ///
    /// # Errors
    ///
    /// The stack has no ledger.
    pub fn of(_stack: &Stack) -> Result<Self> {
        todo!()
    }

    /// Notes that a change begins, and who makes it.
    ///
    /// # Errors
    ///
    /// The caller isn't known, or DynamoDB refuses the entry.
    pub async fn begin(&self, _stack: &Stack, _change: &Change) -> Result<Entry> {
        todo!()
    }

    /// Notes how a change ended.
    ///
    /// # Errors
    ///
    /// DynamoDB refuses the entry.
    pub async fn end(
        &self,
        _entry: &Entry,
        _count: usize,
        _failure: Option<&anyhow::Error>,
    ) -> Result<()> {
        todo!()
    }
}

/// Reads the newest entries.
///
/// # Errors
///
/// DynamoDB refuses the call.
pub async fn read(_stack: &Stack, _limit: usize) -> Result<Audit> {
    todo!()
}

impl Display for Audit {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
