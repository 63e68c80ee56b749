//! Counts the CPU instructions per delivery.

use anyhow::Result;
use serde::Serialize;
use stack::progress::Stage;
use tokio::process::Command;

use super::delivery::Deliveries;
use super::function::{Binaries, Function, Kind};
use crate::instructions::{Callgrind, per_unit, ratio};

/// Instructions in user space per delivery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instructions {
    /// Number of deliveries that the difference is divided by.
    pub deliveries: u32,
    /// Instructions of `ingest`.
    pub ingest: u64,
    /// Instructions of the empty handler.
    pub empty: u64,
    /// Instructions of the handler with one `SendMessage`.
    pub sdk_call: u64,
    /// Ratio of `ingest`'s instructions to those of the handler with one `SendMessage`.
    pub ratio: f64,
}

/// Counts instructions of functions that run under callgrind.
#[derive(Debug)]
pub struct Counting<'a> {
    /// The functions' binaries.
    pub binaries: &'a Binaries,
    /// Number of deliveries that the difference is divided by.
    pub deliveries: u32,
    /// What counts.
    pub callgrind: Callgrind,
}

impl Counting<'_> {
    /// Counts the instructions per delivery of each function.
    ///
    /// # Errors
    ///
    /// Fails if a function ends or answers wrongly.
    pub async fn measure(&self, stage: &mut Stage) -> Result<Instructions> {
        let ingest = self.per_delivery(Kind::Ingest, stage).await?;
        let empty = self.per_delivery(Kind::Empty, stage).await?;
        let sdk_call = self.per_delivery(Kind::SdkCall, stage).await?;
        Ok(Instructions {
            deliveries: self.deliveries,
            ingest,
            empty,
            sdk_call,
            ratio: ratio(ingest, sdk_call),
        })
    }

    async fn per_delivery(&self, kind: Kind, stage: &mut Stage) -> Result<u64> {
        let once = self.count(kind, self.deliveries, stage).await?;
        let twice = self.count(kind, 2 * self.deliveries, stage).await?;
        per_unit(once, twice, self.deliveries)
    }

    /// All instructions of a process that gets `deliveries` deliveries.
    async fn count(&self, kind: Kind, deliveries: u32, stage: &mut Stage) -> Result<u64> {
        let name = format!("{}.{deliveries}", kind.binary());
        let run = async |command| deliver(kind, command, deliveries).await;
        let binary = self.binaries.path(kind)?;
        let (count, ()) = self.callgrind.count(&name, binary, stage, run).await?;
        Ok(count)
    }
}

async fn deliver(kind: Kind, command: Command, deliveries: u32) -> Result<()> {
    let mut function = Function::start_as(kind, command).await?;
    function.started().await?;
    let mut supply = Deliveries::default();
    for _ in 0..deliveries {
        function.deliver(supply.make()).await?;
    }
    function.end()
}
