//! Time and memory of functions that are up.

use anyhow::Result;
use serde::Serialize;
use stack::progress::Stage;

use super::delivery::Deliveries;
use super::function::{Binaries, Function, Kind};
use crate::statistics::{Samples, microseconds};

/// The first deliveries grow caches and find cold code: they are not in the times.
const WARM_UP: u32 = 100;
/// After how many deliveries memory is looked at.
const MARKS: [u32; 4] = [100, 1_000, 5_000, 10_000];

/// What the functions need while they take deliveries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warm {
    /// How many each was given.
    pub deliveries: u32,
    /// Time in the handler without the call to SQS.
    pub handler: Spread,
    /// From the Runtime API and back.
    pub round_trip: RoundTrips,
    /// Resident memory along the way.
    pub memory: Vec<Memory>,
}

/// Microseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Half of all take no longer.
    pub p50_us: f64,
    /// Nineteen of twenty take no longer.
    pub p95_us: f64,
}

/// From the answer to `/next` to the request to `/response`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundTrips {
    /// `ingest`.
    pub ingest: Spread,
    /// The empty handler.
    pub empty: Spread,
    /// The handler with one `SendMessage`.
    pub sdk_call: Spread,
}

/// Resident memory in KiB.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// After how many deliveries.
    pub deliveries: u32,
    /// `ingest`.
    pub ingest_kib: u32,
    /// The empty handler.
    pub empty_kib: u32,
    /// The handler with one `SendMessage`.
    pub sdk_call_kib: u32,
}

impl Samples {
    fn spread(&self) -> Spread {
        Spread {
            p50_us: microseconds(self.median()),
            p95_us: microseconds(self.percentile(95)),
        }
    }
}

struct Running {
    ingest: Timed,
    empty: Timed,
    sdk_call: Timed,
    deliveries: Deliveries,
    handler: Samples,
}

struct Timed {
    function: Function,
    round_trips: Samples,
}

/// Gives each function `deliveries` deliveries, by turns.
///
/// # Errors
///
/// One was not accepted, or a function ended.
pub async fn measure(binaries: &Binaries, deliveries: u32, stage: &mut Stage) -> Result<Warm> {
    let mut running = Running::start(binaries).await?;
    let mut memory = Vec::new();
    for done in 1..=deliveries {
        running.turn(done > WARM_UP).await?;
        if done % 1_000 == 0 {
            stage.note(&format!("{done} of {deliveries}"));
        }
        if MARKS.contains(&done) {
            memory.push(running.memory(done)?);
        }
    }
    running.end(deliveries, memory)
}

impl Running {
    async fn start(binaries: &Binaries) -> Result<Self> {
        Ok(Self {
            ingest: Timed::start(Kind::Ingest, binaries).await?,
            empty: Timed::start(Kind::Empty, binaries).await?,
            sdk_call: Timed::start(Kind::SdkCall, binaries).await?,
            deliveries: Deliveries::default(),
            handler: Samples::default(),
        })
    }

    /// One delivery for each.
    async fn turn(&mut self, counts: bool) -> Result<()> {
        for timed in [&mut self.ingest, &mut self.empty, &mut self.sdk_call] {
            let round_trip = timed.function.deliver(self.deliveries.make()).await?;
            if counts {
                timed.round_trips.push(round_trip);
            }
        }
        let own_time = self.ingest.function.own_time().await?;
        if counts {
            self.handler.push(own_time);
        }
        Ok(())
    }

    fn memory(&self, deliveries: u32) -> Result<Memory> {
        Ok(Memory {
            deliveries,
            ingest_kib: self.ingest.function.resident_kib()?,
            empty_kib: self.empty.function.resident_kib()?,
            sdk_call_kib: self.sdk_call.function.resident_kib()?,
        })
    }

    fn end(self, deliveries: u32, memory: Vec<Memory>) -> Result<Warm> {
        Ok(Warm {
            deliveries,
            handler: self.handler.spread(),
            round_trip: RoundTrips {
                ingest: self.ingest.end()?,
                empty: self.empty.end()?,
                sdk_call: self.sdk_call.end()?,
            },
            memory,
        })
    }
}

impl Timed {
    async fn start(kind: Kind, binaries: &Binaries) -> Result<Self> {
        let mut function = Function::start(kind, binaries).await?;
        function.started().await?;
        Ok(Self {
            function,
            round_trips: Samples::default(),
        })
    }

    fn end(self) -> Result<Spread> {
        self.function.end()?;
        Ok(self.round_trips.spread())
    }
}
