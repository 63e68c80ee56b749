//! A system under test, and the count of what became of every delivery to it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{Local, logs, spill};
use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use prove::contract;
use serde_json::{Value, json};
use stack::consumers::{Consumers, Published, Queue};
use stack::ledger;
use stack::processes;
use stack::proxy::{FaultProxy, Plan};
use stack::settled::{all_published, drained};
use stack::system::{Answer, Header, Leftovers, System, Webhook};
use stack::template::OF_INGEST;

/// The client's timeout. It is longer than ingest takes for any answer, even with a cold start, and
/// longer than API Gateway waits.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);
/// First word of a delivery that can't be read.
const UNREADABLE: &str = "unreadable ";

/// A deployed system in which only ingest reaches AWS through proxies.
pub struct Trial {
    system: System,
    consumers: Consumers,
    webhook: Webhook,
    http: reqwest::Client,
    /// Number of messages that the processor got before the trial.
    processed: usize,
    pub sqs: FaultProxy,
    pub dynamodb: FaultProxy,
    pub secrets: FaultProxy,
}

/// A delivery, by its number, and its answer.
#[derive(Debug)]
pub struct Sent {
    pub n: u32,
    pub answer: Answer,
}

/// Numbers of deliveries, by what became of them.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Deliveries answered 202 `accepted`.
    pub accepted: usize,
    /// Deliveries answered 202 `quarantined`.
    pub quarantined: usize,
    /// Deliveries answered 503.
    pub refused: usize,
    /// Refused deliveries that are on the bus or in the quarantine nevertheless.
    pub stored_unanswered: usize,
    /// Deliveries that waited in the spill.
    pub spilled: usize,
    /// Spilled deliveries that are on their queue too.
    pub spilled_and_queued: usize,
    /// Messages that the processor got from the ingest queue.
    pub queued: usize,
}

impl Trial {
    pub async fn begin() -> Result<Self> {
        let local = Local::shared().await?;
        let proxy = || FaultProxy::before(local.endpoint());
        let (sqs, dynamodb, secrets) = (proxy()?, proxy()?, proxy()?);
        let template = local.template().with_variables(
            OF_INGEST,
            &[
                ("AWS_ENDPOINT_URL_SQS", &sqs.url()),
                ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb.url()),
                ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url()),
            ],
        )?;
        let system = local.system_from(template).await?;
        drained(&system.stack).await?;
        for proxy in [&sqs, &dynamodb, &secrets] {
            proxy.forget();
        }
        Ok(Self {
            consumers: Consumers::read(&system.stack, contract::check),
            processed: logs::processed(&system.stack).await?,
            webhook: system.webhook().await?,
            http: shared::http_client::builder()
                .timeout(CLIENT_TIMEOUT)
                .build()?,
            system,
            sqs,
            dynamodb,
            secrets,
        })
    }

    /// Posts the deliveries with these numbers, `at_once` at a time.
    pub async fn send(&self, numbers: Range<u32>, at_once: usize) -> Result<Vec<Sent>> {
        stream::iter(numbers)
            .map(|n| self.post(n))
            .buffer_unordered(at_once)
            .try_collect()
            .await
    }

    /// Posts deliveries from number `first` on until `end`, by `senders` senders that pause after
    /// each.
    pub async fn send_until(&self, end: Instant, first: u32, senders: usize) -> Result<Vec<Sent>> {
        let next = AtomicU32::new(first);
        let sender = async || {
            let mut sent = Vec::new();
            while Instant::now() < end {
                sent.push(self.post(next.fetch_add(1, Ordering::Relaxed)).await?);
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            anyhow::Ok(sent)
        };
        let sent = future::try_join_all((0..senders).map(|_| sender())).await?;
        Ok(sent.into_iter().flatten().collect())
    }

    pub async fn post(&self, n: u32) -> Result<Sent> {
        let answer = self.webhook.post(&self.http, body(n).into_bytes()).await?;
        Ok(Sent { n, answer })
    }

    /// Posts a delivery with another header value; it must not be stored.
    pub async fn post_with(&self, value: &str) -> Result<Answer> {
        let header = Header {
            value: value.to_owned(),
            ..self.webhook.header.clone()
        };
        let webhook = Webhook {
            header,
            ..self.webhook.clone()
        };
        let body = json!({"message": "NEW_CALLOUT", "callout": {"id": 1, "n": u32::MAX}});
        webhook
            .post(&self.http, body.to_string().into_bytes())
            .await
    }

    /// Number of deliveries that ingest has refused without knowing whether their secret is wrong.
    pub async fn undecided(&self) -> Result<usize> {
        let lines = logs::all_lines(&self.system.stack).await?;
        let undecided = lines
            .iter()
            .filter(|line| line.contains("\"SecretUndecided\":1"));
        Ok(undecided.count())
    }

    /// Number of ingest's attempts to put a message on a queue.
    pub fn sends(&self) -> usize {
        let calls = self.sqs.calls();
        let sends = calls
            .iter()
            .filter(|call| call.operation == "AmazonSQS.SendMessage");
        sends.count()
    }

    /// Kills ingest. The next process has read no secret yet.
    pub async fn kill_ingest(&self) -> Result<()> {
        let killed = processes::kill(&self.system.stack, "IngestFunctionName")?;
        processes::gone(&killed).await
    }

    /// Ends all faults, sends the spill again, and finds out what became of each delivery.
    pub async fn verdict(mut self, sent: &[Sent]) -> Result<Verdict> {
        self.sqs.set(Plan::Through);
        self.dynamodb.set(Plan::Through);
        let stack = &self.system.stack;
        let mut published = all_published(stack, &mut self.consumers).await?;
        let before: HashSet<_> = published.iter().map(number).collect::<Result<_>>()?;
        let redriven = spill::redrive(stack).await?;
        let redriven: HashSet<_> = redriven.iter().map(|its| its.delivery_id).collect();
        published.extend(all_published(stack, &mut self.consumers).await?);
        let quarantined = self.quarantined().await?;

        let mut verdict = Verdict::of(sent, &published, &quarantined)?;
        verdict.spilled = redriven.len();
        let was_spilled = |sent: &&Sent| {
            let id = sent.answer.delivery_id().and_then(|id| id.parse().ok());
            id.is_some_and(|id| redriven.contains(&id))
        };
        verdict.spilled_and_queued = sent
            .iter()
            .filter(was_spilled)
            .filter(|sent| before.contains(&sent.n))
            .count();
        verdict.queued = logs::processed(&self.system.stack).await? - self.processed;
        self.assert_ledger_holds(published.len()).await?;
        Ok(verdict)
    }

    /// The numbers of the deliveries in the quarantine.
    async fn quarantined(&self) -> Result<Vec<u32>> {
        let stack = &self.system.stack;
        let queue = Queue::new(stack.account().sqs(), stack.output("QuarantineQueueUrl")?);
        let mut numbers = Vec::new();
        while queue.depth().await? > 0 {
            for body in queue.receive().await? {
                let number = body
                    .strip_prefix(UNREADABLE)
                    .context("the quarantine holds a message that isn't from this test")?;
                numbers.push(number.parse()?);
            }
        }
        Ok(numbers)
    }

    /// Asserts that each event has one item, marked as published, and that nothing else is stored.
    async fn assert_ledger_holds(&self, events: usize) -> Result<()> {
        let items = ledger::items(&self.system.stack).await?;
        let states = items
            .iter()
            .filter_map(|item| item.get("state")?.as_s().ok());
        let published = states.filter(|state| *state == "PUBLISHED").count();
        assert_eq!((items.len(), published), (events, events));
        let leftovers = Leftovers::count(&self.system.stack).await?;
        assert!(leftovers.is_none(), "{leftovers:?}");
        Ok(())
    }
}

impl Verdict {
    /// # Errors
    ///
    /// Fails if a delivery that was answered 202 isn't stored, if an event is on the bus twice, or
    /// if an event was never sent.
    fn of(sent: &[Sent], published: &[Published], quarantined: &[u32]) -> Result<Self> {
        let mut verdict = Self::default();
        let mut on_bus: HashMap<u32, Vec<&str>> = HashMap::new();
        for event in published {
            let ids = on_bus.entry(number(event)?).or_default();
            ids.push(&event.detail.delivery_id);
        }
        let in_quarantine: HashSet<_> = quarantined.iter().copied().collect();
        ensure!(
            in_quarantine.len() == quarantined.len(),
            "a delivery is in the quarantine twice"
        );
        for sent in sent {
            let on_bus = on_bus.remove(&sent.n).unwrap_or_default();
            verdict
                .count(&sent.answer, &on_bus, in_quarantine.contains(&sent.n))
                .with_context(|| format!("{sent:?}: {on_bus:?} on the bus"))?;
        }
        ensure!(on_bus.is_empty(), "nobody sent {on_bus:?}");
        Ok(verdict)
    }

    /// Counts one delivery. `on_bus` has the ids under which it is on the bus.
    fn count(&mut self, answer: &Answer, on_bus: &[&str], in_quarantine: bool) -> Result<()> {
        let field = |name: &str| answer.body.get(name).and_then(Value::as_str);
        match (answer.status, field("status"), field("detail")) {
            (202, Some("accepted"), None) => {
                ensure!(
                    on_bus.len() == 1,
                    "the delivery isn't published exactly once"
                );
                ensure!(
                    on_bus.first().copied() == answer.delivery_id(),
                    "the published delivery id isn't the answered one"
                );
                ensure!(!in_quarantine, "the delivery is also in the quarantine");
                self.accepted += 1;
            }
            (202, Some("quarantined"), None) => {
                ensure!(
                    on_bus.is_empty() && in_quarantine,
                    "the delivery isn't only in the quarantine"
                );
                self.quarantined += 1;
            }
            (503, None, Some(_)) => {
                ensure!(
                    on_bus.len() <= 1,
                    "the delivery is published more than once"
                );
                self.stored_unanswered += usize::from(in_quarantine || !on_bus.is_empty());
                self.refused += 1;
            }
            _ => bail!("the answer isn't one of ingest's"),
        }
        Ok(())
    }
}

/// Body of delivery `n`. Every tenth can't be read. The others are events of 40 callouts, and no
/// two of them are equal.
fn body(n: u32) -> String {
    if n % 10 == 9 {
        return format!("{UNREADABLE}{n}");
    }
    let callout = json!({"id": n % 40, "n": n});
    json!({"message": "RESPONDER_ARRIVED_ON_SCENE", "callout": callout}).to_string()
}

fn number(event: &Published) -> Result<u32> {
    let n = event.detail.payload.pointer("/callout/n");
    let n = n.and_then(Value::as_u64).context("the event has no n")?;
    Ok(n.try_into()?)
}
