//! Measures the start of a function to its first `/next`, and its first delivery after that.

use anyhow::Result;
use serde::Serialize;
use stack::progress::Stage;

use super::delivery::Deliveries;
use super::function::{Binaries, Function, Kind};
use crate::statistics::{Samples, milliseconds};

/// How long the functions take to start.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Starts {
    /// How often each function was started.
    pub starts: u32,
    /// Start of `ingest`.
    pub ingest: Start,
    /// Start of the empty handler.
    pub empty: Start,
    /// Start of the handler with one `SendMessage`.
    pub sdk_call: Start,
    /// `ingest`'s time to the first `/next` divided by the empty handler's.
    pub ratio: f64,
}

/// Medians of a function's starts, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// Time to the first `/next`.
    pub next_ms: f64,
    /// Round trip of the first delivery after that.
    pub first_delivery_ms: f64,
}

/// Samples of one function's starts.
struct Started {
    kind: Kind,
    next: Samples,
    first_delivery: Samples,
}

/// Starts each function `starts` times, by turns.
///
/// # Errors
///
/// Fails if a function doesn't start.
pub async fn measure(binaries: &Binaries, starts: u32, stage: &mut Stage) -> Result<Starts> {
    // One start that isn't counted; otherwise the first function alone would wait for the disk.
    for kind in Kind::ALL {
        Started::new(kind).once_more(binaries).await?;
    }
    let mut all = Kind::ALL.map(Started::new);
    for done in 1..=starts {
        for started in &mut all {
            started.once_more(binaries).await?;
        }
        if done % 10 == 0 {
            stage.note(&format!("{done} of {starts}"));
        }
    }
    let [ingest, empty, sdk_call] = all.map(|started| started.medians());
    Ok(Starts {
        starts,
        ingest,
        empty,
        sdk_call,
        ratio: ingest.next_ms / empty.next_ms,
    })
}

impl Started {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            next: Samples::default(),
            first_delivery: Samples::default(),
        }
    }

    async fn once_more(&mut self, binaries: &Binaries) -> Result<()> {
        let mut function = Function::start(self.kind, binaries).await?;
        self.next.push(function.started().await?);
        let first = function.deliver(Deliveries::default().make()).await?;
        self.first_delivery.push(first);
        function.end()
    }

    fn medians(&self) -> Start {
        Start {
            next_ms: milliseconds(self.next.median()),
            first_delivery_ms: milliseconds(self.first_delivery.median()),
        }
    }
}
