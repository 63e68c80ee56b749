//! The audit trail: who changed something with this command or its page, when, what and how many.
//!
//! It is kept in the ledger table, in the partition `audit`. An entry is written before a change,
//! and gets its end afterwards. An entry without an end is of a change that is under way, or that
//! was killed.
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

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shared::aws::CallError;
use shared::published;
use uuid::Uuid;

use crate::stack::Stack;
use crate::words::{Time, table};

/// The partition of the ledger table that holds the entries. No entity's key is equal to it,
/// because each of those has a `#`.
const PARTITION: &str = "audit";
/// How long an entry is kept.
const RETENTION: SignedDuration = SignedDuration::from_hours(400 * 24);
/// How many ids of one change are kept.
const MOST_SUBJECTS: usize = 100;
/// How many ids of one change are printed for people.
const MOST_PRINTED: usize = 2;

/// A change of the stack that a person has to agree to.
#[derive(Debug, Clone)]
pub struct Change {
    /// The command, such as `quarantine release`.
    pub action: &'static str,
    /// What it will do, in a sentence for people, such as `Put 2 deliveries back into the ingest queue.`
    pub sentence: String,
    /// Ids of what is changed, such as delivery ids. They hold no personal data.
    pub subjects: Vec<String>,
}

/// The audit trail of a stack.
#[derive(Debug)]
pub struct Trail {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

/// The key of an entry that has begun.
#[derive(Debug, Clone)]
pub struct Entry {
    sort: String,
}

/// What was changed, the newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// The changes.
    pub changes: Vec<Changed>,
}

/// A change that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// When it began; `None` if the entry can't be read.
    pub at: Option<Timestamp>,
    /// The ARN of the caller.
    pub who: String,
    /// The command, such as `quarantine release`.
    pub action: String,
    /// Ids of what was changed, at most a hundred of them.
    pub subjects: Vec<String>,
    /// How many things were changed; `None` while the change is under way, or if it was killed.
    pub count: Option<u64>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl Trail {
    /// The trail of this stack.
    ///
    /// # Errors
    ///
    /// The stack has no ledger.
    pub fn of(stack: &Stack) -> Result<Self> {
        Ok(Self {
            client: stack.dynamodb(),
            table: stack.table()?.to_owned(),
        })
    }

    /// Notes that a change begins, and who makes it.
    ///
    /// # Errors
    ///
    /// The caller isn't known, or DynamoDB refuses the entry.
    pub async fn begin(&self, stack: &Stack, change: &Change) -> Result<Entry> {
        // In boxes, because calls of the SDK are large, and each change holds this one.
        let who = Box::pin(caller(stack)).await?;
        let begun = Box::pin(self.write(&who, change, Timestamp::now())).await;
        begun.context(
            "nothing was changed, because the audit entry can't be written (the policy OperatorAct \
             allows it)",
        )
    }

    async fn write(&self, who: &str, change: &Change, now: Timestamp) -> Result<Entry, CallError> {
        let sort = format!("{}/{}", published::time(now), Uuid::new_v4());
        let subjects = change.subjects.iter().take(MOST_SUBJECTS);
        let expires_at = now.as_second().saturating_add(RETENTION.as_secs());
        self.client
            .put_item()
            .table_name(&self.table)
            .item("pk", text(PARTITION))
            .item("sk", text(&sort))
            .item("who", text(who))
            .item("action", text(change.action))
            .item("subjects", AttributeValue::L(subjects.map(text).collect()))
            .item("expiresAt", AttributeValue::N(expires_at.to_string()))
            .send()
            .await
            .map_err(CallError::of("audit trail", "PutItem"))?;
        Ok(Entry { sort })
    }

    /// Notes how a change ended.
    ///
    /// # Errors
    ///
    /// DynamoDB refuses the entry.
    pub async fn end(
        &self,
        entry: &Entry,
        count: usize,
        failure: Option<&anyhow::Error>,
    ) -> Result<()> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(PARTITION))
            .key("sk", text(&entry.sort))
            .expression_attribute_names("#count", "count")
            .expression_attribute_values(":count", AttributeValue::N(count.to_string()));
        let update = match failure {
            None => update.update_expression("SET #count = :count"),
            Some(failure) => update
                .update_expression("SET #count = :count, failure = :failure")
                .expression_attribute_values(":failure", text(top_line(failure))),
        };
        let answer = Box::pin(update.send()).await;
        answer.map_err(CallError::of("audit trail", "UpdateItem"))?;
        Ok(())
    }
}

/// The first line of an error, without its causes. It holds nothing of what was changed.
fn top_line(error: &anyhow::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The ARN of whoever runs this command.
async fn caller(stack: &Stack) -> Result<String> {
    let answer = aws_sdk_sts::Client::new(stack.sdk())
        .get_caller_identity()
        .send()
        .await
        .map_err(CallError::of("caller", "GetCallerIdentity"))?;
    answer
        .arn
        .context("nothing was changed, because AWS doesn't say who the caller is")
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Reads the newest entries.
///
/// # Errors
///
/// DynamoDB refuses the call.
pub async fn read(stack: &Stack, limit: usize) -> Result<Audit> {
    let mut items = stack
        .dynamodb()
        .query()
        .table_name(stack.table()?)
        .key_condition_expression("pk = :partition")
        .expression_attribute_values(":partition", text(PARTITION))
        .scan_index_forward(false)
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut changes = Vec::new();
    while changes.len() < limit
        && let Some(item) = items.next().await
    {
        let item = item.map_err(CallError::of("audit trail", "Query"))?;
        changes.push(Changed::read(&item));
    }
    Ok(Audit { changes })
}

impl Changed {
    fn read(item: &HashMap<String, AttributeValue>) -> Self {
        let text = |name: &str| Some(item.get(name)?.as_s().ok()?.clone());
        let subjects = item
            .get("subjects")
            .and_then(|subjects| subjects.as_l().ok());
        let subjects = subjects.into_iter().flatten();
        let at = text("sk").and_then(|sort| sort.split_once('/')?.0.parse().ok());
        Self {
            at,
            who: text("who").unwrap_or_default(),
            action: text("action").unwrap_or_default(),
            subjects: subjects
                .filter_map(|subject| subject.as_s().ok().cloned())
                .collect(),
            count: (|| item.get("count")?.as_n().ok()?.parse().ok())(),
            failure: text("failure"),
        }
    }

    /// How it ended, in a few words.
    fn outcome(&self) -> String {
        match (self.count, &self.failure) {
            (None, _) => "under way, or killed".to_owned(),
            (Some(count), None) => format!("{count} done"),
            (Some(count), Some(failure)) => format!("{count} done, then failed: {failure}"),
        }
    }

    /// The first of the ids, and how many more there are.
    fn some_subjects(&self) -> String {
        let shown = self.subjects.iter().take(MOST_PRINTED).cloned();
        let more = self.subjects.len().saturating_sub(MOST_PRINTED);
        let more = (more > 0).then(|| format!("and {more} more"));
        shown.chain(more).collect::<Vec<_>>().join(" ")
    }
}

/// The part of an ARN that says who it is, such as `assumed-role/operators/thandi`.
fn name_in(arn: &str) -> &str {
    arn.splitn(6, ':').last().unwrap_or(arn)
}

impl Display for Audit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return f
                .write_str("Nobody has changed anything with this command in the last 400 days.");
        }
        let row = |change: &Changed| {
            [
                change
                    .at
                    .map_or_else(|| "unknown".to_owned(), |at| Time(at).to_string()),
                name_in(&change.who).to_owned(),
                change.action.clone(),
                change.outcome(),
                change.some_subjects(),
            ]
        };
        let rows: Vec<_> = self.changes.iter().map(row).collect();
        f.write_str(&table(["when", "who", "action", "outcome", "ids"], &rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(sort: &str) -> HashMap<String, AttributeValue> {
        let ids = AttributeValue::L(["a", "b", "c"].map(text).into());
        [
            ("pk", text(PARTITION)),
            ("sk", text(sort)),
            ("who", text("arn:aws:sts::1:assumed-role/operators/thandi")),
            ("action", text("quarantine release")),
            ("subjects", ids),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    #[test]
    fn an_entry_without_an_end_is_under_way_or_killed() {
        let mut item = item("2026-11-28T19:00:00.000Z/x");
        let begun = Changed::read(&item);
        assert_eq!(begun.at, Some("2026-11-28T19:00:00Z".parse().unwrap()));
        assert_eq!(begun.outcome(), "under way, or killed");
        item.insert("count".to_owned(), AttributeValue::N("2".to_owned()));
        assert_eq!(Changed::read(&item).outcome(), "2 done");
        item.insert("failure".to_owned(), text("SQS: timed out"));
        assert_eq!(
            Changed::read(&item).outcome(),
            "2 done, then failed: SQS: timed out"
        );
    }

    #[test]
    fn the_table_names_the_caller_and_a_few_ids() {
        let change = Changed::read(&item("2026-11-28T19:00:00.000Z/x"));
        let text = Audit {
            changes: vec![change],
        }
        .to_string();
        assert!(
            text.contains("assumed-role/operators/thandi  quarantine release"),
            "{text}"
        );
        assert!(text.ends_with("a b and 1 more"), "{text}");
    }

    #[test]
    fn a_failure_is_noted_without_its_causes() {
        let error = anyhow::anyhow!("what AURA sent").context("2 of 3 were put back\nmore");
        assert_eq!(top_line(&error), "2 of 3 were put back");
    }
}
