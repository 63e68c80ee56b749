//! A system whose reconciler runs when a test says so, and whose AURA can be made not to deliver.

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

/// With these parameters, no callout is silent for too long and no answer is old; a test may change
/// them.
pub const PATIENT: [(&str, &str); 8] = [
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

    /// From now on, AURA delivers nothing of what happens.
    pub async fn deafen(&self) -> Result<()> {
        deafen(&self.aura).await
    }

    pub async fn undeafen(&self) -> Result<()> {
        self.aura.end_plan().await?;
        Ok(())
    }

    /// Creates a callout of another customer; returns its id.
    pub async fn callout(&mut self) -> Result<String> {
        self.customers += 1;
        let mobile = format!("+2782000{:04}", self.customers);
        let customer = self.aura.create_customer(&mobile).await?;
        self.aura.create_callout(&customer).await
    }

    /// Creates a callout and waits until its opening is published; returns its id.
    pub async fn told_callout(&mut self) -> Result<String> {
        let id = self.callout().await?;
        let mut published = self.published().await?;
        // On a busy machine the queue may be too slow for ingest, so that the delivery is spilled.
        if Leftovers::count(self.stack()).await?.spill_depth > 0 {
            spill::redrive(self.stack()).await?;
            published.extend(self.published().await?);
        }
        let opened = published.iter().any(|its| its.message() == "NEW_CALLOUT");
        ensure!(opened, "the opening was not published: {published:?}");
        Ok(id)
    }

    /// Plays steps of a callout that AURA doesn't deliver.
    pub async fn secretly(&self, id: &str, acts: &[Controller]) -> Result<()> {
        self.deafen().await?;
        for act in acts {
            self.aura.control(id, *act).await?;
        }
        self.undeafen().await
    }

    /// Runs the reconciler, which must succeed; returns its log line.
    pub async fn run(&self) -> Result<Value> {
        let (run, line) = self.any_run().await?;
        ensure!(run == Run::Done, "{run:?}: {line}");
        Ok(line)
    }

    /// Runs the reconciler, which may fail; returns how the run ended and its log line.
    pub async fn any_run(&self) -> Result<(Run, Value)> {
        let before = self.lines().await?.len();
        let run = reconciler::invoke(self.stack()).await?;
        let lines = self.lines().await?;
        let line = lines
            .into_iter()
            .nth(before)
            .context("the run logged no line")?;
        Ok((run, line))
    }

    /// The log lines of all runs so far.
    pub async fn lines(&self) -> Result<Vec<Value>> {
        let lines = function_logs::lines(self.stack(), "ReconcilerLogGroupName").await?;
        let lines = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_runs = |line: &Value| line["Function"] == "reconciler";
        Ok(lines.filter(is_runs).collect())
    }

    /// The events that consumers received since the last call.
    pub async fn published(&mut self) -> Result<Vec<Seen>> {
        // Deliveries that AURA still has to send aren't queued yet.
        self.aura.all_answered().await?;
        let published = all_published(&self.system.stack, &mut self.consumers).await?;
        Ok(published.into_iter().map(Seen).collect())
    }

    /// The callouts that the ledger holds as open.
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

/// From now on, AURA delivers nothing of what happens.
pub async fn deafen(aura: &Aura) -> Result<()> {
    let deliveries = DeliveryFaults {
        drop: 1.0,
        ..DeliveryFaults::default()
    };
    let plan = Plan {
        seed: 1,
        deliveries,
        ..Plan::default()
    };
    aura.plan(&plan).await?;
    Ok(())
}

/// A published event, in the form that these tests need.
#[derive(Debug, Clone)]
pub struct Seen(pub Published);

impl Seen {
    pub fn message(&self) -> &str {
        &self.0.detail.message
    }

    /// The event's key and its origin.
    pub fn told(&self) -> (&str, &str) {
        (&self.0.detail.key, &self.0.detail.origin)
    }

    pub fn payload(&self) -> &Value {
        &self.0.detail.payload
    }
}
