//! Measures time and memory of running functions.

use anyhow::Result;
use serde::Serialize;
use stack::progress::Stage;

use super::delivery::Deliveries;
use super::function::{Binaries, Function, Kind};
use crate::statistics::{Samples, microseconds};

/// Number of first deliveries that aren't in the times, because they fill caches and run cold code.
const WARM_UP: u32 = 100;
/// Numbers of deliveries after which memory is measured.
const MARKS: [u32; 4] = [100, 1_000, 5_000, 10_000];

/// Times and memory of the functions while they take deliveries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warm {
    /// Number of deliveries to each function.
    pub deliveries: u32,
    /// Time in the handler without the call to SQS.
    pub handler: Spread,
    /// Times from the Runtime API to the function and back.
    pub round_trip: RoundTrips,
    /// Resident memory after some numbers of deliveries.
    pub memory: Vec<Memory>,
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Half of all times are at most this.
    pub p50_us: f64,
    /// Nineteen in twenty times are at most this.
    pub p95_us: f64,
}

/// Time from the answer to `/next` to the request to `/response`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundTrips {
    /// Round trips of `ingest`.
    pub ingest: Spread,
    /// Round trips of the empty handler.
    pub empty: Spread,
    /// Round trips of the handler with one `SendMessage`.
    pub sdk_call: Spread,
}

/// Resident memory in KiB.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Number of deliveries before the measurement.
    pub deliveries: u32,
    /// Memory of `ingest`.
    pub ingest_kib: u32,
    /// Memory of the empty handler.
    pub empty_kib: u32,
    /// Memory of the handler with one `SendMessage`.
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
/// Fails if a delivery was not accepted or a function ended.
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

    /// Gives each function one delivery.
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
