//! Sends published events to one consumer again, from the archive of the bus.
//!
//! EventBridge replays to the rules that it is told, and here that is always exactly one. It can't choose
//! events by what is in them. So a replay to a queue has a rule of its own, which takes only events with
//! the name of this replay, and is removed at the end. If this program is killed, the rule stays. It takes
//! nothing after that, because no other replay has its name, and [`stop`] removes it.

mod bus;
mod count;
mod pattern;
mod queue_policy;
mod route;

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow, bail};
use aws_sdk_eventbridge::operation::describe_replay::DescribeReplayOutput;
use aws_sdk_eventbridge::types::ReplayState;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::audit::Change;
use crate::consent::{self, Consent};
use crate::stack::Stack;
use crate::words::{Time, counted};
use bus::{Bus, timestamp};
use count::{Count, count};
use route::{Route, TARGET};

/// How the names of replays and of their rules begin. The template allows rules with such names.
const PREFIX: &str = "aura-ops-replay-";
/// How long an event may take to get into the archive.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-archive.html>
const ARCHIVE_DELAY: SignedDuration = SignedDuration::from_mins(10);
/// How long the ledger remembers an event at least.
const LEDGER_MEMORY: SignedDuration = SignedDuration::from_hours(35 * 24);

/// A part of an event that has to have one value: the option, the path in the event, and the value.
type Filter<'a> = (&'static str, &'static [&'static str], &'a str);

/// Which events are replayed, and to whom.
#[derive(Debug, Clone)]
pub struct Request {
    /// The first second of arrival.
    pub from: Timestamp,
    /// The end: no event that arrived at this second or later.
    pub to: Timestamp,
    /// Only events about this kind of entity.
    pub kind: Option<String>,
    /// Only events about the entity with this id.
    pub id: Option<String>,
    /// Only events with this name.
    pub message: Option<String>,
    /// Who gets them.
    pub receiver: Receiver,
    /// How long to wait until a new rule is known everywhere at EventBridge, and before it is removed.
    pub wait: Duration,
}

/// Who gets the events of a replay.
#[derive(Debug, Clone)]
pub enum Receiver {
    /// The targets of this rule of the bus.
    Rule(String),
    /// The queue with this URL.
    Queue(String),
}

/// What a replay did, or would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// What was done, in sentences for people.
    pub what: String,
    /// The name of the replay; each event has it as `replay-name`. `None` if nothing was sent.
    pub name: Option<String>,
    /// How many events the rule takes, as the ledger knows them.
    pub events: usize,
    /// How many more it may take, because its pattern asks for what the ledger doesn't know.
    pub perhaps: usize,
    /// When the last event that was sent had arrived, to the second.
    pub last_event: Option<Timestamp>,
}

/// A replay that has ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// Its name.
    pub name: String,
    /// How it ended, such as `CANCELLED`. `None` if EventBridge doesn't know the replay.
    pub state: Option<String>,
}

/// A replay that is ready to be made.
struct Plan<'a> {
    bus: Bus,
    request: &'a Request,
    name: String,
    route: Route,
    count: Count,
    archive_begins: Timestamp,
    /// When the plan was made.
    now: Timestamp,
}

/// Replays events. Without a consent, it only says what it would do.
///
/// # Errors
///
/// There is no archive, or the events can't get to the receiver; nobody agreed; EventBridge refuses a call;
/// or the replay fails or is stopped by Ctrl-C.
pub async fn replay(
    stack: &Stack,
    request: &Request,
    consent: Option<Consent>,
) -> Result<Replayed> {
    let now = Timestamp::now();
    let request = &request.to_the_second();
    request.check(now)?;
    let plan = Box::pin(Plan::make(stack, request, now)).await?;
    let sentence = plan.sentence(stack);
    let Some(consent) = consent else {
        let what = format!("Nothing was sent. This would be done: {sentence}");
        return Ok(plan.replayed(what, None));
    };
    let change = Change {
        action: "replay",
        sentence,
        subjects: vec![plan.name.clone(), plan.route.rule_arn.clone()],
    };
    let work = async {
        match plan.run().await {
            Ok(replay) => (plan.count.taken, Ok(replay)),
            Err(error) => (0, Err(error)),
        }
    };
    let ended = Box::pin(consent::make(stack, change, consent, work)).await?;
    let what = format!(
        "Replayed to {}. The ledger counts {}. Each has \"replay-name\": \"{}\".",
        plan.route.receiver,
        plan.events(),
        plan.name
    );
    let sentences = [what].into_iter().chain(plan.newest_may_be_missing());
    let what = sentences.collect::<Vec<_>>().join(" ");
    Ok(plan.replayed(what, Some(&ended)))
}

/// Stops a replay, and removes the rule that it made. It does no harm if the replay is over, or if there is
/// no such rule. It needs no archive.
///
/// # Errors
///
/// It isn't the name of a replay of this program, nobody agreed, or EventBridge refuses a call.
pub async fn stop(stack: &Stack, name: &str, consent: Consent) -> Result<Stopped> {
    if !name.starts_with(PREFIX) {
        bail!("{name} is no replay of this command: their names begin with {PREFIX}");
    }
    let bus = Bus::of(stack)?;
    let change = Change {
        action: "replay stop",
        sentence: format!(
            "Stop the replay {name}, if it isn't over, and remove the rule that it made, if there is one. What \
             is sent stays sent."
        ),
        subjects: vec![name.to_owned()],
    };
    let work = async {
        let stopped = bus.stop(name).await;
        (usize::from(stopped.is_ok()), stopped)
    };
    let replay = Box::pin(consent::make(stack, change, consent, work)).await?;
    let state = replay.and_then(|replay| replay.state);
    Ok(Stopped {
        name: name.to_owned(),
        state: state.map(|state| state.as_str().to_owned()),
    })
}

impl Bus {
    /// Cancels a replay, waits for its end, and removes the rule that it made.
    async fn stop(&self, name: &str) -> Result<Option<DescribeReplayOutput>> {
        self.cancel(name).await?;
        let ended = self.follow(name).await?;
        self.remove_rule(name, TARGET).await?;
        Ok(ended)
    }
}

impl Request {
    /// The request as EventBridge gets it: it knows times to the second.
    fn to_the_second(&self) -> Self {
        let second = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
        Self {
            from: second(self.from),
            to: second(self.to),
            ..self.clone()
        }
    }

    fn check(&self, now: Timestamp) -> Result<()> {
        if self.from >= self.to {
            bail!("--from has to be before --to");
        }
        if self.to > now {
            bail!("--to is in the future: a replay sends what has been published");
        }
        if matches!(self.receiver, Receiver::Rule(_)) && !self.filters().is_empty() {
            bail!(
                "--kind, --id and --message can't choose events for --to-rule, because EventBridge gives a rule \
                 all events that it takes: name the rule's queue with --to-queue"
            );
        }
        Ok(())
    }

    /// The parts that events have to have.
    fn filters(&self) -> Vec<Filter<'_>> {
        let filters: [(_, &[_], _); 3] = [
            ("kind", &["detail", "entity", "kind"], &self.kind),
            ("id", &["detail", "entity", "id"], &self.id),
            ("message", &["detail", "message"], &self.message),
        ];
        let filters = filters.into_iter();
        let given =
            filters.filter_map(|(option, path, value)| Some((option, path, value.as_deref()?)));
        given.collect()
    }
}

impl<'a> Plan<'a> {
    async fn make(stack: &Stack, request: &'a Request, now: Timestamp) -> Result<Self> {
        let bus = Bus::of(stack)?;
        let archive_begins = bus.archive_begins().await?;
        let name = name(now, Uuid::new_v4());
        let route = match &request.receiver {
            Receiver::Rule(rule) => route::to_rule(stack, &bus, rule).await?,
            Receiver::Queue(url) => {
                route::to_queue(stack, &bus, url, &request.filters(), &name).await?
            }
        };
        let first_kept = kept(stack).map_or(archive_begins, |kept| now - kept);
        let from = request.from.max(archive_begins).max(first_kept);
        let count = count(stack, (from, request.to), &route.pattern, &name).await?;
        Ok(Self {
            bus,
            request,
            name,
            route,
            count,
            archive_begins,
            now,
        })
    }

    /// What will be done, and what can be known of it.
    fn sentence(&self, stack: &Stack) -> String {
        let Request { from, to, .. } = *self.request;
        let which = if self.count.perhaps > 0 {
            "of those"
        } else {
            "all"
        };
        let what = format!(
            "Send {} again, to {} and to nobody else: {which} that arrived from {} until {}.",
            self.events(),
            self.route.receiver,
            Time(from),
            Time(to)
        );
        let keys = "A consumer that has forgotten a key, or stores none, acts on its event again.";
        let limits = self.limits(stack).into_iter();
        let sentences = [what].into_iter().chain(limits).chain([keys.to_owned()]);
        sentences.collect::<Vec<_>>().join(" ")
    }

    /// Why events may be missing, or the number may be wrong.
    fn limits(&self, stack: &Stack) -> Vec<String> {
        let from = self.request.from;
        let begins = Time(self.archive_begins);
        let days = stack.parameter("ArchiveDays");
        let limits = [
            (
                self.count.perhaps > 0,
                "The ledger doesn't know all that the rule asks for, so the exact number isn't known.".to_owned(),
            ),
            (
                from < self.archive_begins,
                format!("The archive begins at {begins}: earlier events are not in it."),
            ),
            (
                kept(stack).is_some_and(|kept| self.now.duration_since(from) > kept),
                format!("The archive keeps events for {days} days: older ones are no longer in it."),
            ),
            (
                self.now.duration_since(from) > LEDGER_MEMORY,
                "The ledger may have forgotten events that are older than 35 days: they are sent and not counted."
                    .to_owned(),
            ),
        ];
        let true_ones = limits.into_iter().filter(|(is_true, _)| *is_true);
        let sentences = true_ones.map(|(_, sentence)| sentence);
        sentences.chain(self.newest_may_be_missing()).collect()
    }

    /// The warning that the archive may not have all events of the time yet.
    fn newest_may_be_missing(&self) -> Option<String> {
        let text =
            "An event may take 10 minutes to get into the archive: the newest may be missing.";
        (self.now.duration_since(self.request.to) < ARCHIVE_DELAY).then(|| text.to_owned())
    }

    /// How many events there are.
    fn events(&self) -> String {
        let Count { taken, perhaps } = self.count;
        let count = counted(taken + perhaps, "event", "events");
        match perhaps {
            0 => count,
            _ => format!("at most {count}"),
        }
    }

    /// Makes the replay's rule if it needs one, replays, and removes the rule, also if something fails.
    async fn run(&self) -> Result<DescribeReplayOutput> {
        let name = &self.name;
        let own = self.route.own.as_ref();
        let does = own.map_or("stops it", |_| "stops it and removes the rule that it made");
        let by_hand = format!("`aura-ops replay stop {name}` {does}");
        eprintln!(
            "The replay is called {name}. Ctrl-C stops it. If this command is killed: {by_hand}."
        );
        let sent = tokio::select! {
            sent = self.send() => sent,
            interrupted = tokio::signal::ctrl_c() => self.interrupted(interrupted).await,
        };
        if own.is_none() {
            return sent;
        }
        if sent.is_ok() {
            self.wait_for_last_tries().await;
        }
        match (sent, self.bus.remove_rule(name, TARGET).await) {
            (sent, Ok(())) => sent,
            (Ok(_), Err(error)) => Err(error.context(format!(
                "the events are sent, but the replay's rule is still there: {by_hand}"
            ))),
            (Err(failure), Err(error)) => {
                let text =
                    format!("{failure:#}. The rule is still there, too: {error:#}. {by_hand}");
                Err(Error::msg(text))
            }
        }
    }

    async fn send(&self) -> Result<DescribeReplayOutput> {
        let Request { from, to, wait, .. } = *self.request;
        if let Some(target) = &self.route.own {
            let pattern = &self.route.pattern;
            self.bus.make_rule(&self.name, pattern, target).await?;
            // EventBridge: "incoming events might not immediately start matching to new or updated rules".
            eprintln!(
                "Waiting {} s, until EventBridge knows the replay's rule everywhere.",
                wait.as_secs()
            );
            tokio::time::sleep(wait).await;
        }
        let rule = &self.route.rule_arn;
        let ended = async {
            self.bus.start(&self.name, (from, to), rule).await?;
            let replay = self.bus.follow(&self.name).await?;
            replay.context("EventBridge has lost the replay")
        };
        let replay = match ended.await {
            Ok(replay) => replay,
            Err(error) => return self.cancelled(error).await,
        };
        if replay.state != Some(ReplayState::Completed) {
            bail!(
                "the replay ended as {}: {}. Some of the events may have been sent",
                replay.state.as_ref().map_or("unknown", ReplayState::as_str),
                replay
                    .state_reason
                    .as_deref()
                    .unwrap_or("EventBridge gives no reason")
            );
        }
        Ok(replay)
    }

    async fn interrupted(&self, signal: std::io::Result<()>) -> Result<DescribeReplayOutput> {
        eprintln!("Stopping the replay.");
        let why = match signal {
            Ok(()) => anyhow!("Ctrl-C"),
            Err(error) => Error::new(error).context("Ctrl-C can't be heard"),
        };
        self.cancelled(why).await
    }

    /// Cancels the replay, and says what became of it. A replay that was over has ended well.
    async fn cancelled(&self, why: Error) -> Result<DescribeReplayOutput> {
        let name = &self.name;
        let ended = async {
            self.bus.cancel(name).await?;
            self.bus.follow(name).await
        };
        let became = match ended.await {
            Ok(Some(replay)) if replay.state == Some(ReplayState::Completed) => return Ok(replay),
            Ok(Some(_)) => {
                "the replay was stopped: some of the events may have been sent".to_owned()
            }
            Ok(None) => "the replay was stopped before it began: nothing was sent".to_owned(),
            Err(error) => format!(
                "some of the events may have been sent, and the replay may go on, because it can't be stopped \
                 ({error:#}): type `aura-ops replay stop {name}`"
            ),
        };
        Err(why.context(became))
    }

    /// Waits before the rule is removed. EventBridge may still try an event again that the queue didn't take
    /// at once. All is sent by then, so Ctrl-C only ends the wait.
    async fn wait_for_last_tries(&self) {
        let wait = self.request.wait;
        eprintln!(
            "All events are sent. Waiting {} s for those that the queue didn't take at once. Ctrl-C ends the wait.",
            wait.as_secs()
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Ok(()) = tokio::signal::ctrl_c() => {}
        }
    }

    fn replayed(&self, what: String, ended: Option<&DescribeReplayOutput>) -> Replayed {
        let last_event = ended.and_then(|replay| replay.event_last_replayed_time.as_ref());
        Replayed {
            what,
            name: ended.map(|_| self.name.clone()),
            events: self.count.taken,
            perhaps: self.count.perhaps,
            last_event: last_event.and_then(timestamp),
        }
    }
}

/// How long the archive keeps an event.
fn kept(stack: &Stack) -> Option<SignedDuration> {
    let days: i64 = stack.parameter("ArchiveDays").parse().ok()?;
    Some(SignedDuration::from_hours(24 * days))
}

/// The name of a new replay and of its rule: 64 characters at most.
fn name(now: Timestamp, id: Uuid) -> String {
    let (random, ..) = id.as_fields();
    format!("{PREFIX}{}-{random:08x}", now.strftime("%Y%m%dT%H%M%SZ"))
}

impl Display for Replayed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Display for Stopped {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, state } = self;
        match state.as_deref() {
            Some(state) => write!(
                f,
                "The replay {name} is over ({state}). If it had made a rule, that is gone."
            ),
            None => write!(
                f,
                "EventBridge knows no replay {name}: it never began. If it had made a rule, that is gone."
            ),
        }
    }
}
