//! A system whose reconciler runs when a test says so, and whose AURA can be made to keep quiet.

use anyhow::{Context as _, Result, ensure};
use aura_sim::client::{Aura, Controller};
use aura_sim::plan::{DeliveryFaults, Plan};
use e2e::{Local, spill};
use prove::contract;
use serde_json::Value;
use shared::ledger::SHARDS;
use shared::ledger::open::{OpenCallout, OpenCallouts};
use stack::consumers::{Consumers, Published};
use stack::function_logs;
use stack::reconciler::{self, Run};
use stack::settled::all_published;
use stack::stack::Stack;
use stack::system::{Leftovers, System};

/// Nothing is silent for too long, and no answer is old, unless a test says so.
const PATIENT: [(&str, &str); 8] = [
    ("ReconcilerTimeout", "10"),
    ("AuraCallsPerMinute", "60000"),
    ("AuraLagSeconds", "0"),
    ("SilenceAfterCreated", "3600"),
    ("SilenceAfterDispatched", "3600"),
    ("SilenceAfterArrived", "3600"),
    ("SilenceAfterCompleted", "3600"),
    ("SilenceAfterCancelled", "3600"),
];

pub struct Trial {
    pub system: System,
    pub aura: Aura,
    consumers: Consumers,
    customers: u32,
}

impl Trial {
    pub async fn begin(changes: &[(&str, &str)]) -> Result<Self> {
        let local = Local::shared().await?;
        let system = local.system(&[&PATIENT, changes].concat()).await?;
        Self::of(system).await
    }

    pub async fn of(system: System) -> Result<Self> {
        Ok(Self {
            aura: system.aura().await?,
            consumers: Consumers::read(&system.stack, contract::check),
            customers: 0,
            system,
        })
    }

    pub fn stack(&self) -> &Stack {
        &self.system.stack
    }

    /// What happens from now on, AURA tells nobody.
    pub async fn deafen(&self) -> Result<()> {
        let deliveries = DeliveryFaults {
            drop: 1.0,
            ..DeliveryFaults::default()
        };
        let plan = Plan {
            seed: 1,
            deliveries,
            ..Plan::default()
        };
        self.aura.plan(&plan).await?;
        Ok(())
    }

    pub async fn undeafen(&self) -> Result<()> {
        self.aura.end_plan().await?;
        Ok(())
    }

    /// Another customer's callout; its id.
    pub async fn callout(&mut self) -> Result<String> {
        self.customers += 1;
        let mobile = format!("+2782000{:04}", self.customers);
        let customer = self.aura.create_customer(&mobile).await?;
        self.aura.create_callout(&customer).await
    }

    /// A callout whose opening is published.
    pub async fn told_callout(&mut self) -> Result<String> {
        let id = self.callout().await?;
        let mut published = self.published().await?;
        // On a busy machine the queue may take too long for ingest.
        if Leftovers::count(self.stack()).await?.spill_depth > 0 {
            spill::redrive(self.stack()).await?;
            published.extend(self.published().await?);
        }
        let opened = published.iter().any(|its| its.message() == "NEW_CALLOUT");
        ensure!(opened, "the opening was not published: {published:?}");
        Ok(id)
    }

    /// Something happens to a callout that AURA tells nobody.
    pub async fn secretly(&self, id: &str, acts: &[Controller]) -> Result<()> {
        self.deafen().await?;
        for act in acts {
            self.aura.control(id, *act).await?;
        }
        self.undeafen().await
    }

    /// One run, which has to go well; its line.
    pub async fn run(&self) -> Result<Value> {
        let (run, line) = self.any_run().await?;
        ensure!(run == Run::Done, "{run:?}: {line}");
        Ok(line)
    }

    /// One run, however it ends; its line.
    pub async fn any_run(&self) -> Result<(Run, Value)> {
        let before = self.lines().await?.len();
        let run = reconciler::invoke(self.stack()).await?;
        let lines = self.lines().await?;
        let line = lines.into_iter().nth(before).context("no line")?;
        Ok((run, line))
    }

    /// The lines of all runs so far.
    pub async fn lines(&self) -> Result<Vec<Value>> {
        let lines = function_logs::lines(self.stack(), "ReconcilerLogGroupName").await?;
        let lines = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_runs = |line: &Value| line["Function"] == "reconciler";
        Ok(lines.filter(is_runs).collect())
    }

    /// What consumers got since the last look.
    pub async fn published(&mut self) -> Result<Vec<Seen>> {
        // What AURA has yet to send isn't queued yet.
        self.aura.all_answered().await?;
        let published = all_published(&self.system.stack, &mut self.consumers).await?;
        Ok(published.into_iter().map(Seen).collect())
    }

    /// The callouts that are noted as open.
    pub async fn open(&self) -> Result<Vec<OpenCallout>> {
        let table = self.stack().output("LedgerTableName")?.to_owned();
        let open = OpenCallouts::new(self.stack().account().dynamodb(), table);
        let mut callouts = Vec::new();
        for shard in 0..SHARDS {
            callouts.extend(open.of_shard(shard).await?);
        }
        Ok(callouts)
    }
}

/// A published event, as these tests look at it.
#[derive(Debug, Clone)]
pub struct Seen(pub Published);

impl Seen {
    pub fn message(&self) -> &str {
        &self.0.detail.message
    }

    /// Its key, and who said so.
    pub fn told(&self) -> (&str, &str) {
        (&self.0.detail.key, &self.0.detail.origin)
    }

    pub fn payload(&self) -> &Value {
        &self.0.detail.payload
    }
}
