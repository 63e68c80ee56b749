//! The same batches against MiniStack.
//!
//! It says that both functions work against a DynamoDB and an EventBridge that know nothing of
//! this benchmark. Of their speed it says little: MiniStack is one Python process, and nearly all
//! the time is its own.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use serde::Serialize;
use stack::account::{Account, REGION, SECRET_ACCESS_KEY};
use stack::ministack::{LocalAws, LocalAwsOptions};
use stack::progress::{Progress, Stage};
use stack::python::Venv;
use stack::workspace::Workspace;

use super::batch::{Batches, Case};
use super::function::{BUS, Function, Programs, Side};
use super::series::{Both, SIDES, Times, alternate, warm_up};
use crate::function::Environment;

const ACCOUNT: &str = "000000000000";

/// What batches take against MiniStack.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgainstMiniStack {
    /// Batches of each kind.
    pub batches: u32,
    /// By kind of batch, as in [`Case::ALL`].
    pub cases: Vec<CaseTimes>,
}

/// What one kind of batch takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseTimes {
    /// What the batches held.
    pub case: Case,
    /// Both sides' times.
    #[serde(flatten)]
    pub times: Both<Times>,
}

/// A MiniStack with what both functions need in it.
#[derive(Debug)]
pub struct MiniStack {
    aws: LocalAws,
    account: Account,
    queue_url: String,
    receipt_handle: String,
}

impl MiniStack {
    /// Starts it, and makes the tables, the bus and the queue, with one message that stands for
    /// all.
    ///
    /// # Errors
    ///
    /// It doesn't start, or refuses them.
    pub async fn start(workspace: &Workspace, progress: Progress) -> Result<Self> {
        let venv = Venv::prepare(workspace, progress).await?;
        let options = LocalAwsOptions::default();
        let aws = LocalAws::start(workspace, &venv, options, progress).await?;
        let account = aws.account(ACCOUNT);
        create_table(&account, Side::Processor, &["pk", "sk"]).await?;
        create_table(&account, Side::Powertools, &["id"]).await?;
        let bus = account.eventbridge().create_event_bus().name(BUS).send();
        bus.await.context("cannot create the bus")?;
        let (queue_url, receipt_handle) = create_queue(&account).await?;
        Ok(Self {
            aws,
            account,
            queue_url,
            receipt_handle,
        })
    }

    /// Gives both functions `count` batches of each kind, by turns.
    ///
    /// # Errors
    ///
    /// An event failed or is not marked in its table, or a function ended.
    pub async fn measure(
        &self,
        programs: &Programs,
        duplicates: u32,
        count: u32,
        stage: &mut Stage,
    ) -> Result<AgainstMiniStack> {
        let mut functions = Both {
            processor: self.function(Side::Processor, programs).await?,
            powertools: self.function(Side::Powertools, programs).await?,
        };
        let mut batches = Batches::new(duplicates, self.receipt_handle.clone());
        warm_up(&mut functions, &mut batches).await?;
        let mut cases = Vec::new();
        for case in Case::ALL {
            stage.note(&format!("{} of {} kinds", cases.len() + 1, Case::ALL.len()));
            let series = alternate(&mut functions, &mut batches, case, count).await?;
            let times = series.map(|series| Times::of([&series].into_iter()));
            cases.push(CaseTimes { case, times });
        }
        for (side, function) in SIDES.zip(functions.as_ref()).in_turn() {
            self.ensure_all_marked(side, function.new_events()).await?;
        }
        Ok(AgainstMiniStack {
            batches: count,
            cases,
        })
    }

    /// Stops it.
    pub async fn stop(self) {
        self.aws.stop().await;
    }

    /// Checks that a side's table has the items of `events` events, and that each says that its event
    /// is published.
    async fn ensure_all_marked(&self, side: Side, events: u32) -> Result<()> {
        let table = side.table();
        let scan = self.account.dynamodb().scan().table_name(table);
        let mut pages = scan.into_paginator().items().send();
        let mut items = 0;
        let mut marked = 0;
        while let Some(item) = pages.next().await {
            let item = item.with_context(|| format!("cannot read the table {table}"))?;
            if is_note(&item) {
                continue;
            }
            items += 1;
            marked += u32::from(is_marked(side, &item));
        }
        ensure!(
            [items, marked] == [events; 2],
            "{}: of {events} events, {items} were claimed, {marked} marked",
            side.name()
        );
        Ok(())
    }

    async fn function(&self, side: Side, programs: &Programs) -> Result<Function> {
        let endpoint = self.account.endpoint();
        let mut function = Function::start(side, programs, endpoint, self.told()).await?;
        function.started().await?;
        Ok(function)
    }

    fn told(&self) -> Environment {
        vec![
            ("INGEST_QUEUE_URL", self.queue_url.clone()),
            ("AWS_REGION", REGION.into()),
            ("AWS_DEFAULT_REGION", REGION.into()),
            ("AWS_ACCESS_KEY_ID", self.account.id().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY.into()),
        ]
    }
}

/// Whether an item stands beside the events, for an open callout say: the key of every event's
/// entity holds a `#`.
fn is_note(item: &HashMap<String, AttributeValue>) -> bool {
    let partition = item.get("pk").and_then(|partition| partition.as_s().ok());
    partition.is_some_and(|partition| !partition.contains('#'))
}

/// Whether a side's item says that its event is published.
fn is_marked(side: Side, item: &HashMap<String, AttributeValue>) -> bool {
    let (attribute, value) = side.mark();
    item.get(attribute) == Some(&AttributeValue::S(value.to_owned()))
}

/// A queue with a message in it that was received: the queue's URL, and the receipt handle.
async fn create_queue(account: &Account) -> Result<(String, String)> {
    let sqs = account.sqs();
    let created = sqs.create_queue().queue_name("ingest").send().await;
    let url = created.context("cannot create the queue")?.queue_url;
    let url = url.context("the queue has no URL")?;
    let sent = sqs
        .send_message()
        .queue_url(&url)
        .message_body("all")
        .send();
    sent.await.context("cannot send a message")?;
    let received = sqs.receive_message().queue_url(&url).send().await;
    let messages = received.context("cannot receive the message")?.messages;
    let message = messages.unwrap_or_default().into_iter().next();
    let handle = message.and_then(|message| message.receipt_handle);
    Ok((url, handle.context("the message did not come back")?))
}

/// A table with a key of these attributes, the partition's first.
async fn create_table(account: &Account, side: Side, key: &[&str]) -> Result<()> {
    let mut call = account
        .dynamodb()
        .create_table()
        .table_name(side.table())
        .billing_mode(BillingMode::PayPerRequest);
    for (attribute, key_type) in key.iter().zip([KeyType::Hash, KeyType::Range]) {
        let definition = AttributeDefinition::builder()
            .attribute_name(*attribute)
            .attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder()
            .attribute_name(*attribute)
            .key_type(key_type);
        call = call
            .attribute_definitions(definition.build()?)
            .key_schema(element.build()?);
    }
    let created = call.send().await;
    created.with_context(|| format!("cannot create the table {}", side.table()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_marked_in_its_own_sides_way() {
        let item = |attribute: &str, value: &str| {
            HashMap::from([(attribute.to_owned(), AttributeValue::S(value.to_owned()))])
        };
        let published = item("state", "PUBLISHED");
        assert!(is_marked(Side::Processor, &published));
        assert!(!is_marked(Side::Powertools, &published));
        assert!(is_marked(Side::Powertools, &item("status", "COMPLETED")));
        assert!(!is_marked(Side::Processor, &item("state", "CLAIMED")));
        assert!(!is_marked(Side::Powertools, &item("status", "INPROGRESS")));
    }
}
