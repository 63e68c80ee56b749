//! `cargo local demo`: one emergency, from the customer's creation to the callout's closing.
//!
//! The demo uses AURA's own API calls and the controller's side of the stand-in. The verdict comes
//! from three independent counts: what AURA sent and which answers it got, what the consumers'
//! queues received, and what waits in the quarantine and the dead letter queues.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::page::Page;
use aura_sim::client::{Aura, Controller, Delivery};
use stack::consumers::{Consumers, Published, by_type};
use stack::ops::Identity;
use stack::package::Profile;
use stack::progress::Progress;
use stack::report::Out;
use stack::running::{Options, Running, log_line};
use stack::system::Leftovers;
use stack::tally::Tally;
use stack::workspace::Workspace;

/// The account of the demo.
const ACCOUNT: &str = "000000000002";
/// How long ingest may take to answer a stage's deliveries, and how long the events may take to
/// reach the consumers. It is longer than a failed batch takes to come back from the queue.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long the demo waits for events before it says that it waits.
const UNREMARKABLE: Duration = Duration::from_secs(2);
/// How long the queues must be quiet at the end, so that doubles show.
const QUIET: Duration = Duration::from_secs(1);
/// How long to wait between two looks at AURA's deliveries.
const POLL: Duration = Duration::from_millis(5);
/// The customer's phone number.
const MOBILE: &str = "+27820000000";

/// The result of the demo. `--json` prints it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What became of AURA's deliveries.
    #[serde(flatten)]
    pub tally: Tally,
    /// How much is left in queues that should be empty.
    #[serde(flatten)]
    pub leftovers: Leftovers,
    /// How many seconds the story took, from its first call to the last count.
    pub seconds: f64,
    /// How many seconds it took to bring everything up before the story.
    pub setup_seconds: f64,
    /// The size of each function's zip, in bytes.
    pub zip_bytes: BTreeMap<&'static str, usize>,
}

impl stack::report::Report for Report {
    const FAILURE: &'static str = "not every event was published exactly once";

    /// True if every event that AURA sent was published exactly once, and nothing else happened.
    fn is_success(&self) -> bool {
        let Tally {
            sent,
            accepted,
            published,
            ..
        } = self.tally;
        self.tally.is_each_once()
            && self.leftovers.is_none()
            && [accepted, published].iter().all(|count| *count == sent)
    }

    /// The three counts, one line each, and the verdict.
    fn summary(&self) -> Vec<String> {
        let tally = &self.tally;
        let verdict = if self.is_success() {
            "Every event was"
        } else {
            "NOT every event was"
        };
        vec![
            format!(
                "AURA sent {} events; {} were accepted.",
                tally.sent, tally.accepted
            ),
            format!(
                "Consumers received {} of them; {} doubled, {} that AURA never sent.",
                tally.published, tally.doubled, tally.strangers
            ),
            self.leftovers.to_string(),
            format!("{verdict} published exactly once: {} lost.", tally.lost),
        ]
    }
}

/// Brings everything up, plays the story, counts, and takes everything down. With the page, it
/// first waits until somebody has seen enough.
///
/// # Errors
///
/// Something couldn't be started, or not every event was published exactly once.
pub async fn demo(
    workspace: &Workspace,
    profile: Profile,
    json: bool,
    with_page: bool,
    progress: Progress,
) -> Result<()> {
    let began = Instant::now();
    let options = Options {
        account: ACCOUNT,
        port: None,
        profile,
        log: workspace.demo_log(),
        also_on: None,
    };
    let running = Running::start(workspace, options, progress).await?;
    let setup = began.elapsed();
    let out = Out { json };
    let told = if with_page {
        tell_with_page(workspace, &running, setup, out, progress).await
    } else {
        tell(&running, setup, out).await
    };
    running.stop(progress).await;
    told.and_then(|report| out.conclude(&report))
        .inspect_err(|_| progress.say(&log_line(&workspace.demo_log())))
}

/// Tells the story beside the page, and keeps everything up until somebody presses Enter.
async fn tell_with_page(
    workspace: &Workspace,
    running: &Running,
    setup: Duration,
    out: Out,
    progress: Progress,
) -> Result<Report> {
    let ops = Page::build(workspace, progress).await?;
    let stack = &running.system().stack;
    let page = Page::start(&ops, stack, &Identity::root(stack), &[]).await?;
    progress.say(&format!("Open the page in a browser: {}", page.address()));
    let told = tell(running, setup, out).await;
    progress.say("Press Enter for the count, and to take everything down.");
    enter().await;
    told
}

/// Waits until somebody presses Enter. It reads in a thread of its own, which ends with the
/// process: a task of the runtime would keep the process up after Ctrl-C.
async fn enter() {
    let (pressed, waits) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::stdin().read_line(&mut String::new());
        let _ = pressed.send(());
    });
    let _ = waits.await;
}

async fn tell(running: &Running, setup: Duration, out: Out) -> Result<Report> {
    let system = running.system();
    let began = Instant::now();
    let aura = system.aura().await?;
    let mut story = Story {
        aura: &aura,
        consumers: Consumers::read(&system.stack, by_type),
        told: 0,
        patience: PATIENCE,
        published: Vec::new(),
        out,
    };
    out.line("");
    story.play().await?;
    story
        .published
        .extend(story.consumers.until_quiet(QUIET).await?);
    Ok(Report {
        tally: Tally::of(&aura.deliveries().await?.deliveries, &story.published),
        leftovers: Leftovers::count(&system.stack).await?,
        seconds: began.elapsed().as_secs_f64(),
        setup_seconds: setup.as_secs_f64(),
        zip_bytes: running.zip_bytes().clone(),
    })
}

/// The story, while it is played.
struct Story<'a> {
    aura: &'a Aura,
    consumers: Consumers,
    /// How many deliveries have been shown.
    told: usize,
    published: Vec<Published>,
    /// How long to wait for events that take longer than usual.
    patience: Duration,
    out: Out,
}

impl Story<'_> {
    async fn play(&mut self) -> Result<()> {
        let customer = self.aura.create_customer(MOBILE).await?;
        self.stage("A customer signs up.").await?;
        let callout = self.aura.create_callout(&customer).await?;
        self.stage("The customer presses the panic button.").await?;
        self.control(&callout, Controller::Own, "A controller takes the callout.")
            .await?;
        self.control(
            &callout,
            Controller::Acknowledge,
            "A responder is on the way.",
        )
        .await?;
        self.aura.chat(&callout, "I am at the back door").await?;
        self.stage("The customer writes a message.").await?;
        self.control(&callout, Controller::Arrive, "The responder arrives.")
            .await?;
        self.control(&callout, Controller::Complete, "The responder is done.")
            .await?;
        self.control(
            &callout,
            Controller::Close,
            "The controller closes the callout.",
        )
        .await
    }

    async fn control(&mut self, callout: &str, action: Controller, title: &str) -> Result<()> {
        self.aura.control(callout, action).await?;
        self.stage(title).await
    }

    /// Waits for the deliveries and events that the last call caused, and shows them.
    async fn stage(&mut self, title: &str) -> Result<()> {
        self.out.line(title);
        let deliveries = self.new_deliveries().await?;
        self.wait_until_published(&deliveries).await?;
        for delivery in &deliveries {
            self.out.line(&row(delivery, &self.published));
        }
        Ok(())
    }

    /// The deliveries since the last stage, once all of them have been answered.
    async fn new_deliveries(&mut self) -> Result<Vec<Delivery>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent = self.aura.deliveries().await?;
            if sent.pending == 0 {
                let new = sent
                    .deliveries
                    .into_iter()
                    .skip(self.told)
                    .collect::<Vec<_>>();
                self.told += new.len();
                return Ok(new);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} of AURA's deliveries got no answer within {} s",
                    sent.pending,
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Receives until all accepted deliveries have been published. Those that are late show in the
    /// count.
    async fn wait_until_published(&mut self, deliveries: &[Delivery]) -> Result<()> {
        let accepted = deliveries
            .iter()
            .filter(|delivery| delivery.was_answered("accepted"));
        let mut awaited: HashSet<&str> = accepted.filter_map(Delivery::delivery_id).collect();
        self.receive(&mut awaited, UNREMARKABLE).await?;
        if !awaited.is_empty() {
            self.out.line(&format!(
                "    … waiting for the consumers to receive {} more",
                awaited.len()
            ));
            self.receive(&mut awaited, self.patience).await?;
        }
        if !awaited.is_empty() {
            // Something is wrong, so the rest of the story doesn't wait again.
            self.patience = Duration::ZERO;
        }
        Ok(())
    }

    async fn receive(&mut self, awaited: &mut HashSet<&str>, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !awaited.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(published) = self.consumers.next(left).await? else {
                break;
            };
            awaited.remove(published.detail.delivery_id.as_str());
            self.published.push(published);
        }
        Ok(())
    }
}

/// A row of the story: what became of one delivery.
fn row(delivery: &Delivery, published: &[Published]) -> String {
    let entity = format!("{} {}", delivery.entity.kind, delivery.entity.id);
    let answer = match (delivery.status, &delivery.error) {
        (Some(status), _) => status.to_string(),
        (None, error) => error.clone().unwrap_or_else(|| "no answer".to_owned()),
    };
    let took = delivery
        .took()
        .map_or(String::new(), |took| format!("in {} ms", took.as_millis()));
    let mine =
        |event: &&Published| Some(event.detail.delivery_id.as_str()) == delivery.delivery_id();
    let on_bus = match published.iter().find(mine) {
        Some(event) => format!(
            "published, sequence {}",
            event.detail.sequence.trim_start_matches('0')
        ),
        None => "NOT PUBLISHED".to_owned(),
    };
    format!(
        "    {:<32} {entity:<18} {answer} {took:<10} {on_bus}",
        delivery.message
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use stack::report::Report as _;

    use super::*;

    fn report(tally: Tally, leftovers: Leftovers) -> Report {
        Report {
            tally,
            leftovers,
            seconds: 1.5,
            setup_seconds: 9.0,
            zip_bytes: BTreeMap::from([("ingest", 7)]),
        }
    }

    const GOOD: Tally = Tally {
        sent: 9,
        accepted: 9,
        published: 9,
        duplicates: 0,
        quarantined: 0,
        lost: 0,
        doubled: 0,
        strangers: 0,
    };
    const NONE: Leftovers = Leftovers {
        quarantine_depth: 0,
        spill_depth: 0,
        dead_letter_depth: 0,
    };

    #[test]
    fn success_is_each_event_once_and_nothing_else() {
        assert!(report(GOOD, NONE).is_success());
        let bad = [
            Tally {
                published: 8,
                lost: 1,
                ..GOOD
            },
            Tally { doubled: 1, ..GOOD },
            Tally {
                strangers: 1,
                ..GOOD
            },
            Tally {
                accepted: 8,
                published: 8,
                quarantined: 1,
                ..GOOD
            },
            Tally {
                published: 8,
                duplicates: 1,
                ..GOOD
            },
            Tally {
                sent: 0,
                accepted: 0,
                published: 0,
                ..GOOD
            },
        ];
        for tally in bad {
            assert!(!report(tally, NONE).is_success(), "{tally:?}");
        }
        assert!(
            !report(
                GOOD,
                Leftovers {
                    dead_letter_depth: 1,
                    ..NONE
                }
            )
            .is_success()
        );
        assert!(
            !report(
                GOOD,
                Leftovers {
                    quarantine_depth: 1,
                    ..NONE
                }
            )
            .is_success()
        );
    }

    #[test]
    fn the_json_is_flat() {
        let json = serde_json::to_value(report(GOOD, NONE)).unwrap();
        let expected = json!({
            "sent": 9, "accepted": 9, "published": 9, "duplicates": 0, "quarantined": 0,
            "lost": 0, "doubled": 0, "strangers": 0, "quarantineDepth": 0, "spillDepth": 0,
            "deadLetterDepth": 0,
            "seconds": 1.5, "setupSeconds": 9.0,
            "zipBytes": {"ingest": 7},
        });
        assert_eq!(json, expected);
    }
}
