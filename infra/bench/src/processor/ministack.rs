//! The same batches against MiniStack.
//!
//! It says that both functions work against a DynamoDB and an EventBridge that know nothing of
//! this benchmark. Of their speed it says little: MiniStack is one Python process, and nearly all
//! the time is its own.

use anyhow::{Context as _, Result};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use local::account::{Account, REGION, SECRET_ACCESS_KEY};
use local::ministack::{LocalAws, LocalAwsOptions};
use local::progress::{Progress, Stage};
use local::python::Venv;
use local::workspace::Workspace;
use serde::Serialize;

use super::batch::{Batches, Case};
use super::function::{BUS, Function, Programs, Side};
use super::series::{Both, Times, alternate, warm_up};
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
    /// An event failed, or a function ended.
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
        Ok(AgainstMiniStack {
            batches: count,
            cases,
        })
    }

    /// Stops it.
    pub async fn stop(self) {
        self.aws.stop().await;
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
