//! `cargo prove latency`: measures how long a delivery takes from AURA's POST to the consumer's queue,
//! and which part of that is ours.
//!
//! A proxy stands between the functions and each service that they call on the way. So each call's
//! beginning and end is known, and the time between them is the emulator's. The proxies are in this
//! process, and so is the consumer: all times come from one clock.

pub mod journey;
pub mod report;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::json;
use stack::consumers::{PATIENCE, Queue};
use stack::package::Profile;
use stack::processes;
use stack::progress::{Progress, Stage};
use stack::proxy::FaultProxy;
use stack::report::Out;
use stack::running::{Options, Prepared, log_line};
use stack::stack::{Parameters, Stack};
use stack::system::{System, Webhook};
use stack::template::{OF_INGEST, Template};
use stack::workspace::Workspace;
use tokio::time::{MissedTickBehavior, interval};

use self::journey::{Calls, Receipt, Sent};
use self::report::{Figures, Report};

/// The most deliveries of one run. Each has a callout with an id of seven digits.
pub const MOST_DELIVERIES: u32 = 10_000;
/// Account of the measurement.
const ACCOUNT: &str = "000000000005";
/// Outputs of the template that hold the names of the functions on the path.
const FUNCTIONS: [&str; 2] = ["IngestFunctionName", "ProcessorFunctionName"];
/// Output of the template with the queue that a callout's events end in.
const CONSUMER: &str = "CalloutEventsQueueUrl";
/// The id of the first callout. All ids have the same length, so that none contains another one.
const FIRST_CALLOUT: u32 = 7_000_000;
/// Number of progress lines of the longer stage.
const NOTES: u32 = 10;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// Number of deliveries to functions that have had work before.
    pub deliveries: u32,
    /// Number of those that begin in a second.
    pub per_second: u32,
    /// Number of deliveries to functions that have to be started.
    pub first: u32,
    /// How the functions are built.
    pub profile: Profile,
}

/// Starts everything, measures, and stops everything.
///
/// # Errors
///
/// Fails if something can't be started, or if a delivery does not reach the consumer's queue.
pub async fn latency(
    workspace: &Workspace,
    series: Series,
    json: bool,
    progress: Progress,
) -> Result<()> {
    let options = Options {
        account: ACCOUNT,
        port: None,
        profile: series.profile,
        log: workspace.latency_log(),
        also_on: None,
    };
    let mut prepared = Prepared::prepare(workspace, options, progress).await?;
    let rig = Rig::before(prepared.endpoint())?;
    prepared.bundle.template = rig.around_the_functions(&prepared.bundle.template)?;
    let running = prepared.deploy(Parameters::new(), progress).await?;
    let report = run(running.system(), &rig, series, progress).await;
    running.stop(progress).await;
    report
        .and_then(|report| Out { json }.conclude(&report))
        .inspect_err(|_| progress.say(&log_line(&workspace.latency_log())))
}

/// The proxies between the functions and the services on the path. They are removed when it is dropped.
pub struct Rig {
    queue: FaultProxy,
    ledger: FaultProxy,
    bus: FaultProxy,
}

impl Rig {
    /// Puts the proxies in front of the local AWS at `endpoint`.
    ///
    /// # Errors
    ///
    /// Fails if no port is free.
    pub fn before(endpoint: &str) -> Result<Self> {
        Ok(Self {
            queue: FaultProxy::before(endpoint)?,
            ledger: FaultProxy::before(endpoint)?,
            bus: FaultProxy::before(endpoint)?,
        })
    }

    /// Changes the template so that its functions use the proxies.
    ///
    /// # Errors
    ///
    /// Fails if the template doesn't have the expected parts.
    pub fn around_the_functions(&self, template: &Template) -> Result<Template> {
        let proxies = [("DYNAMODB", &self.ledger), ("EVENTBRIDGE", &self.bus)];
        template
            .with_processor_behind(&proxies, &[])?
            .with_variables(OF_INGEST, &[("AWS_ENDPOINT_URL_SQS", &self.queue.url())])
    }

    fn calls(&self) -> Calls {
        Calls {
            queue: self.queue.calls(),
            ledger: self.ledger.calls(),
            bus: self.bus.calls(),
        }
    }
}

/// Measures a system that was deployed with the rig.
///
/// # Errors
///
/// Fails if a delivery is refused, or if a call of a delivery is missing. A lost delivery is no error;
/// the report has it.
pub async fn run(system: &System, rig: &Rig, series: Series, progress: Progress) -> Result<Report> {
    let aura = Aura {
        webhook: system.webhook().await?,
        http: shared::http_client::build()?,
    };
    let sqs = system.stack.account().sqs();
    let consumer = Queue::new(sqs, system.stack.output(CONSUMER)?);
    let mut received = Vec::new();

    let stage = progress.stage("sending first deliveries to functions that have to start");
    let first =
        first_deliveries(&system.stack, &aura, &consumer, &mut received, series.first).await?;
    stage.done(&format!("{} first deliveries sent", first.len()));

    let mut stage = progress.stage("sending deliveries one after the other");
    let sending = usual_deliveries(&aura, series, &mut stage);
    let receiving = receive(&consumer, &mut received, series.deliveries as usize);
    let (usual, ()) = tokio::try_join!(sending, receiving)?;
    stage.done(&format!("{} deliveries sent", usual.len()));

    let calls = rig.calls();
    Ok(Report {
        release: series.profile == Profile::Release,
        per_second: series.per_second,
        lost: journey::lost(&first, &received) + journey::lost(&usual, &received),
        usual: Figures::of(&journey::join(&usual, &received, &calls)?),
        first: Figures::of(&journey::join(&first, &received, &calls)?),
    })
}

/// Sends deliveries of which each finds no process of ingest and none of the processor.
async fn first_deliveries(
    stack: &Stack,
    aura: &Aura,
    consumer: &Queue,
    received: &mut Vec<Receipt>,
    count: u32,
) -> Result<Vec<Sent>> {
    // A function has a process to end only after it has had work. So this delivery isn't counted.
    aura.deliver(FIRST_CALLOUT).await?;
    receive(consumer, received, 1).await?;
    let mut sent = Vec::new();
    for n in 1..=count {
        for function in FUNCTIONS {
            let killed = processes::kill(stack, function)?;
            processes::gone(&killed).await?;
        }
        sent.push(aura.deliver(FIRST_CALLOUT + n).await?);
        receive(consumer, received, 1).await?;
    }
    Ok(sent)
}

/// Sends the other deliveries. Each begins at its time, or when the one before it is answered.
async fn usual_deliveries(aura: &Aura, series: Series, stage: &mut Stage) -> Result<Vec<Sent>> {
    let mut ticks = interval(Duration::from_secs(1) / series.per_second.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let first = FIRST_CALLOUT + series.first + 1;
    let mut sent = Vec::new();
    for n in 0..series.deliveries {
        ticks.tick().await;
        sent.push(aura.deliver(first + n).await?);
        if (n + 1).is_multiple_of(series.deliveries.div_ceil(NOTES)) {
            stage.note(&format!("{} of {}", n + 1, series.deliveries));
        }
    }
    Ok(sent)
}

/// Receives the events of `more` deliveries that are not among `received` yet; copies come on top. It
/// gives up if no such event has come for [`PATIENCE`].
async fn receive(consumer: &Queue, received: &mut Vec<Receipt>, more: usize) -> Result<()> {
    let ids = received.iter().map(|its| its.delivery_id.clone());
    let mut ids: HashSet<String> = ids.collect();
    let goal = ids.len() + more;
    let mut progress = Instant::now();
    while ids.len() < goal && progress.elapsed() < PATIENCE {
        let messages = consumer.receive_dated().await?;
        let now = Timestamp::now();
        for (queued, body) in messages {
            let receipt = Receipt::read(queued, now, &body)?;
            if ids.insert(receipt.delivery_id.clone()) {
                progress = Instant::now();
            }
            received.push(receipt);
        }
    }
    Ok(())
}

/// The sender of the deliveries.
struct Aura {
    webhook: Webhook,
    http: reqwest::Client,
}

impl Aura {
    /// Posts the opening of a callout, and waits for the answer.
    async fn deliver(&self, callout: u32) -> Result<Sent> {
        let body = json!({"message": "NEW_CALLOUT", "callout": {
            "id": callout,
            "calloutClassification": {"value": "REAL"},
        }});
        let posted = Timestamp::now();
        let answer = self
            .webhook
            .post(&self.http, body.to_string().into())
            .await?;
        let answered = Timestamp::now();
        let delivery_id = answer.delivery_id().filter(|_| answer.status == 202);
        let refused = || format!("ingest answered {} and not 202", answer.status);
        let delivery_id = delivery_id.with_context(refused)?.to_owned();
        Ok(Sent {
            callout,
            delivery_id,
            posted,
            answered,
        })
    }
}
