//! The dead-letter queues: what is in them, and how it goes back or is deleted.
//!
//! What goes back is sent first and deleted afterwards, and the events of one entity keep their
//! order. Only the ingest queue's dead letters are a FIFO queue, so only they have an order.
//!
//! The backend that events are forwarded to has no queue. EventBridge can't try an event again for one
//! target of a rule, and on the stack's bus every consumer would get it. So it goes to a bus of its own,
//! whose only rule has the backend as its target.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display, Formatter};

use anyhow::{Result, anyhow, bail};
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use clap::ValueEnum;
use futures::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::aws::CallError;
use shared::envelope::Envelope;
use shared::event::{self, Entity};

use crate::audit::Change;
use crate::consent::{self, Consent};
use crate::queue::done::{Done, age, planned, report};
use crate::queue::{Fate, Fifo, Named, Resend, Settled, SideQueue, Waiting, named};
use crate::stack::Stack;
use crate::words::{ago, counted, table, time, unseen, write_lines};

/// Where the messages are, in errors.
const PLACE: &str = "the dead letters";
/// What is counted.
const WORDS: [&str; 2] = ["message", "messages"];
/// The output with the bus on which the backend's dead letters are put again.
const AGAIN_BUS: &str = "ForwardAgainBusName";
/// Why a message of the backend's dead letters isn't put back. Both end a sentence of [`staying`].
const NO_EVENT: &str = "can't be put back, because it is no event: discard it";
const DRILL: &str = "is a drill: the backend gets none while ForwardTests is false";
/// The attributes that EventBridge adds to an event that it can't deliver. What goes back doesn't
/// have them.
const OF_EVENTBRIDGE: [&str; 6] = [
    "RULE_ARN",
    "TARGET_ARN",
    "ERROR_CODE",
    "ERROR_MESSAGE",
    "EXHAUSTED_RETRY_CONDITION",
    "RETRY_ATTEMPTS",
];

/// A dead-letter queue, by the queue that its messages came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Letters {
    /// The ingest queue: deliveries that couldn't be published in fifty tries.
    Ingest,
    /// The queue of events about callouts.
    Callout,
    /// The queue of events about customers.
    Customer,
    /// The queue of events about subscriptions.
    Subscription,
    /// The queue of events about everything else.
    Other,
    /// The backend that events are forwarded to, if the stack has one.
    Forward,
}

/// What is in the dead letters, by queue, each the oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetters {
    /// The messages.
    pub messages: Vec<DeadLetter>,
    /// How many more there are, which this look couldn't see.
    pub more: u64,
}

/// A message in a dead-letter queue.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The queue that it came from.
    pub queue: Letters,
    /// The id that the commands take: the delivery id if there is one, otherwise the message id.
    pub id: String,
    /// SQS's id of the message.
    pub message_id: String,
    /// Why it is here, in a sentence.
    pub reason: String,
    /// When the delivery arrived.
    pub received_at: Option<Timestamp>,
    /// When it came into the dead letters. SQS doesn't say so of what a consumer has left.
    pub since: Option<Timestamp>,
    /// The event's name, if it can be read.
    pub message: Option<String>,
    /// The entity's key, such as `callout#5003`, if it can be read.
    pub entity: Option<String>,
    /// Whether AURA marked it as a drill; `None` if only the ledger knows.
    pub test: Option<bool>,
    /// What AURA sent, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// A dead letter with all that a redrive needs.
struct Letter {
    view: DeadLetter,
    waiting: Waiting,
    payload: String,
}

/// What a look into one queue has seen.
struct Seen {
    queue: Letters,
    letters: Vec<Letter>,
    more: u64,
}

/// The messages of one queue that something is done to.
struct Chosen<'a> {
    queue: Letters,
    letters: Vec<&'a Letter>,
    /// How many more are meant, which couldn't be seen. It is zero if messages were named.
    more: u64,
}

/// What is done to messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    PutBack,
    Delete,
}

/// The parts of a published event that are read.
#[derive(Deserialize)]
struct Published<'a> {
    #[serde(borrow)]
    detail: Detail<'a>,
}

/// An event as EventBridge had it when it gave up.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct GivenUp<'a> {
    source: String,
    detail_type: String,
    time: Option<Timestamp>,
    #[serde(borrow)]
    detail: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    delivery_id: Option<String>,
    received_at: Option<Timestamp>,
    message: Option<String>,
    entity: Option<Entity>,
    test: Option<bool>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// Lists what is in the dead letters of one queue, or of all.
///
/// # Errors
///
/// SQS refuses a call.
pub async fn list(stack: &Stack, queue: Option<Letters>) -> Result<DeadLetters> {
    let seen = look(stack, queue).await?;
    let more = seen.iter().map(|seen| seen.more).sum();
    let letters = seen.into_iter().flat_map(|seen| seen.letters);
    let messages = letters.map(|letter| letter.view).collect();
    Ok(DeadLetters { messages, more })
}

/// Shows one message.
///
/// # Errors
///
/// It isn't there, or SQS refuses a call.
pub async fn show(stack: &Stack, id: &str, with_payload: bool) -> Result<DeadLetter> {
    let seen = look(stack, None).await?;
    let letters: Vec<_> = seen.into_iter().flat_map(|seen| seen.letters).collect();
    let found = named(&letters, &[id.to_owned()], PLACE)?;
    let letter = found.first().ok_or_else(|| anyhow!("nothing is named"))?;
    Ok(DeadLetter {
        payload: with_payload.then(|| letter.payload.clone()),
        ..letter.view.clone()
    })
}

/// Puts messages back: those with these ids, or all. Without a consent, it only says what it would
/// do.
///
/// # Errors
///
/// One of them isn't there, or an earlier event of its entity would stay behind; nobody agreed; or
/// SQS refuses a call.
pub async fn redrive(
    stack: &Stack,
    queue: Option<Letters>,
    ids: Option<Vec<String>>,
    consent: Option<Consent>,
) -> Result<Done> {
    let seen = look(stack, queue).await?;
    let mut chosen = choose(&seen, ids.as_deref())?;
    let staying = leave_what_stays(&mut chosen, gets_drills(stack));
    if chosen.is_empty() {
        bail!("nothing was changed. {staying}");
    }
    for its in &chosen {
        let seen = seen.iter().filter(|seen| seen.queue == its.queue);
        for seen in seen {
            keeps_order(&seen.letters, &its.letters)?;
        }
    }
    let sentence = told([sentence(&chosen, Timestamp::now()), staying.clone()]);
    let Some(consent) = consent else {
        let letters = chosen.iter().flat_map(|its| &its.letters);
        let rows = rows(letters.map(|letter| &letter.view));
        let what = format!("Nothing was changed. This would be done: {sentence}\n\n{rows}");
        let ids = subjects(&chosen);
        return Ok(Done { what, ids });
    };
    let change = Change {
        action: "dead-letters redrive",
        sentence,
        subjects: subjects(&chosen),
    };
    let planned = planned_of(&chosen);
    let work = async {
        let settled = settle(stack, &chosen, Action::PutBack).await;
        let more: u64 = chosen.iter().map(|its| its.more).sum();
        let rest = (planned.len() as u64 + more).saturating_sub(settled.ids.len() as u64);
        let (count, done) = report(settled, &planned, "put back", WORDS);
        let rest = match rest {
            0 => String::new(),
            rest => format!(
                "About {rest} more were expected: `aura-ops dead-letters list` shows what is left."
            ),
        };
        let done = done.map(|done| Done {
            what: told([done.what, rest, staying]),
            ..done
        });
        (count, done)
    };
    Box::pin(consent::make(stack, change, consent, work)).await
}

/// Deletes messages: those with these ids, or all that can be seen.
///
/// # Errors
///
/// One of them isn't there, nobody agreed, or SQS refuses a call.
pub async fn discard(
    stack: &Stack,
    queue: Option<Letters>,
    ids: Option<Vec<String>>,
    consent: Consent,
) -> Result<Done> {
    let seen = look(stack, queue).await?;
    let chosen = choose(&seen, ids.as_deref())?;
    let change = Change {
        action: "dead-letters discard",
        sentence: format!("Delete {} for good. There is no other copy.", what(&chosen)),
        subjects: subjects(&chosen),
    };
    let planned = planned_of(&chosen);
    let work = async {
        let settled = settle(stack, &chosen, Action::Delete).await;
        report(settled, &planned, "deleted", WORDS)
    };
    Box::pin(consent::make(stack, change, consent, work)).await
}

/// Looks into one queue or all, at once. A look that fails doesn't stop the others, which still
/// have to give back what they have received.
async fn look(stack: &Stack, queue: Option<Letters>) -> Result<Vec<Seen>> {
    let queues = Letters::value_variants().iter().copied();
    let queues = queues.filter(|one| match queue {
        Some(queue) => queue == *one,
        None => *one != Letters::Forward || stack.output(AGAIN_BUS).is_ok(),
    });
    let looks = join_all(queues.map(|queue| queue.look(stack))).await;
    looks.into_iter().collect()
}

/// The messages with these ids, or all, by queue.
fn choose<'a>(seen: &'a [Seen], ids: Option<&[String]>) -> Result<Vec<Chosen<'a>>> {
    let all: Vec<_> = seen.iter().flat_map(|seen| &seen.letters).collect();
    let named: HashSet<_> = match ids {
        Some(ids) => named(&all, ids, PLACE)?
            .iter()
            .map(|letter| letter.waiting.id.as_str())
            .collect(),
        None => all
            .iter()
            .map(|letter| letter.waiting.id.as_str())
            .collect(),
    };
    let chosen = seen.iter().map(|seen| Chosen {
        queue: seen.queue,
        letters: seen
            .letters
            .iter()
            .filter(|letter| named.contains(letter.waiting.id.as_str()))
            .collect(),
        more: ids.map_or(seen.more, |_| 0),
    });
    let chosen: Vec<_> = chosen.filter(|its| !its.letters.is_empty()).collect();
    if chosen.is_empty() {
        bail!("nothing was changed: no dead letters can be seen");
    }
    Ok(chosen)
}

/// Whether the backend gets events of drills.
fn gets_drills(stack: &Stack) -> bool {
    stack.parameter("ForwardTests") == "true"
}

/// Leaves out the messages of the backend that can't go back, or must not. Says so in sentences.
fn leave_what_stays(chosen: &mut Vec<Chosen<'_>>, gets_drills: bool) -> String {
    let mut sentences = Vec::new();
    let of_backend = chosen
        .iter_mut()
        .filter(|its| its.queue == Letters::Forward);
    for its in of_backend {
        its.letters.retain(|letter| {
            let refused = published_again(&letter.waiting, "", gets_drills).err();
            sentences.extend(refused.map(|why| format!("{} {why}.", letter.view.id)));
            refused.is_none()
        });
    }
    chosen.retain(|its| !its.letters.is_empty());
    sentences.join(" ")
}

/// One text of sentences, some of which may be empty.
fn told<const N: usize>(sentences: [String; N]) -> String {
    let said = sentences.into_iter().filter(|one| !one.is_empty());
    said.collect::<Vec<_>>().join(" ")
}

/// Refuses to take a message from behind an earlier one of its entity.
fn keeps_order(seen: &[Letter], chosen: &[&Letter]) -> Result<()> {
    let chosen: HashSet<_> = chosen.iter().map(|one| one.waiting.id.as_str()).collect();
    let mut stays: HashMap<&str, &Letter> = HashMap::new();
    for letter in seen {
        let Some(group) = letter.waiting.group.as_deref() else {
            continue;
        };
        if !chosen.contains(letter.waiting.id.as_str()) {
            stays.entry(group).or_insert(letter);
        } else if let Some(earlier) = stays.get(group) {
            bail!(
                "nothing was put back: {} would overtake {}, an earlier event of its entity. Name \
                 that one, too, or discard it first",
                letter.view.id,
                earlier.view.id
            );
        }
    }
    Ok(())
}

fn subjects(chosen: &[Chosen<'_>]) -> Vec<String> {
    let letters = chosen.iter().flat_map(|its| &its.letters);
    letters.map(|letter| letter.view.id.clone()).collect()
}

fn planned_of(chosen: &[Chosen<'_>]) -> Vec<[String; 2]> {
    planned(chosen.iter().flat_map(|its| its.letters.iter().copied()))
}

/// How many messages of which queues, such as `2 messages of the ingest queue's dead letters`.
fn what(chosen: &[Chosen<'_>]) -> String {
    let its = chosen.iter().map(|its| {
        let count = counted(its.letters.len(), "message", "messages");
        format!("{count} of {}", its.queue.name())
    });
    its.collect::<Vec<_>>().join(" and ")
}

/// Says what a redrive does.
fn sentence(chosen: &[Chosen<'_>], now: Timestamp) -> String {
    let mut sentences = vec![format!("Put back {}.", what(chosen))];
    match chosen.iter().map(|its| its.more).sum() {
        0u64 => {}
        more => sentences.push(format!(
            "About {more} more follow, which can't be seen yet."
        )),
    }
    let letters = chosen.iter().flat_map(|its| &its.letters);
    sentences.extend(age(letters.filter_map(|one| one.view.received_at), now));
    if chosen.iter().any(|its| its.queue == Letters::Ingest) {
        sentences.push("The ledger drops what was published meanwhile.".to_owned());
    }
    if chosen.iter().any(|its| its.queue != Letters::Ingest) {
        let text = "Nothing behind a consumer's queue looks into the ledger: a consumer that \
            doesn't store keys may act twice.";
        sentences.push(text.to_owned());
    }
    sentences.join(" ")
}

impl Letters {
    /// The part of the outputs' names that stands before `QueueUrl` and `DeadLetterQueueUrl`.
    fn kind(self) -> Option<&'static str> {
        match self {
            Self::Ingest => None,
            Self::Callout => Some("CalloutEvents"),
            Self::Customer => Some("CustomerEvents"),
            Self::Subscription => Some("SubscriptionEvents"),
            Self::Other => Some("OtherEvents"),
            Self::Forward => Some("Forward"),
        }
    }

    /// The queue, as the option `--queue` has it.
    fn word(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Callout => "callout",
            Self::Customer => "customer",
            Self::Subscription => "subscription",
            Self::Other => "other",
            Self::Forward => "forward",
        }
    }

    /// The dead letters in words.
    fn name(self) -> String {
        match self {
            Self::Ingest => "the ingest queue's dead letters".to_owned(),
            Self::Forward => "the backend's dead letters".to_owned(),
            consumers => format!("the {} events' dead letters", consumers.word()),
        }
    }

    fn dead_letters(self, stack: &Stack) -> Result<SideQueue> {
        let kind = self.kind().unwrap_or_default();
        SideQueue::of(stack, &format!("{kind}DeadLetterQueueUrl"))
    }

    /// The URL of the queue that the messages came from, or the name of the bus that leads to the
    /// backend. EventBridge would drop events for a bus that is gone.
    async fn source(self, stack: &Stack) -> Result<String> {
        if self == Self::Forward {
            let bus = stack.output(AGAIN_BUS)?;
            let call = stack.eventbridge().describe_event_bus().name(bus);
            let answer = call.send().await;
            answer.map_err(CallError::of("EventBridge", "DescribeEventBus"))?;
            return Ok(bus.to_owned());
        }
        let kind = self.kind().unwrap_or("Ingest");
        Ok(stack.output(&format!("{kind}QueueUrl"))?.to_owned())
    }

    async fn look(self, stack: &Stack) -> Result<Seen> {
        let look = self.dead_letters(stack)?.look().await?;
        let letters = look.messages.into_iter();
        Ok(Seen {
            queue: self,
            letters: letters.map(|waiting| Letter::of(self, waiting)).collect(),
            more: look.more,
        })
    }
}

/// Settles the messages of one queue after the other, until one fails.
async fn settle(stack: &Stack, chosen: &[Chosen<'_>], action: Action) -> Settled {
    let mut settled = Settled::default();
    for chosen in chosen {
        match chosen.settle(stack, action).await {
            Ok(its) => {
                settled.ids.extend(its.ids);
                settled.failure = its.failure;
            }
            Err(error) => settled.failure = Some(error),
        }
        if settled.failure.is_some() {
            break;
        }
    }
    settled
}

impl Chosen<'_> {
    /// Settles these messages, and all others of the queue if they go back, too.
    async fn settle(&self, stack: &Stack, action: Action) -> Result<Settled> {
        let queue = self.queue.dead_letters(stack)?;
        let source = match action {
            Action::PutBack => self.queue.source(stack).await?,
            Action::Delete => String::new(),
        };
        let gets_drills = gets_drills(stack);
        let ids: HashSet<_> = self.letters.iter().map(|one| &one.waiting.id).collect();
        let is_all = action == Action::PutBack && self.more > 0;
        let fate = |waiting: &Waiting| {
            let is_meant = is_all || ids.contains(&waiting.id);
            match action {
                _ if !is_meant => None,
                Action::Delete => Some(Fate::Delete),
                // What can't be put back stays.
                Action::PutBack if self.queue == Letters::Forward => {
                    let event = published_again(waiting, &source, gets_drills).ok();
                    event.map(Fate::Publish)
                }
                Action::PutBack => Some(Fate::Send(again(waiting, &source))),
            }
        };
        let count = (!is_all).then_some(ids.len());
        Ok(queue.settle(count, &fate).await)
    }
}

/// The message as it was before it became a dead letter.
fn again(waiting: &Waiting, queue: &str) -> Resend {
    let mut attributes = waiting.attributes.clone();
    attributes.retain(|name, _| !OF_EVENTBRIDGE.contains(&name.as_str()));
    let group = waiting.group.clone();
    Resend {
        queue: queue.to_owned(),
        body: waiting.body.clone(),
        fifo: group.map(|group| Fifo::again(waiting, group)),
        attributes,
    }
}

/// The event as it was on the stack's bus, for another one.
///
/// # Errors
///
/// The message is no event, or a drill that the backend doesn't get.
fn published_again(
    waiting: &Waiting,
    bus: &str,
    gets_drills: bool,
) -> Result<PutEventsRequestEntry, &'static str> {
    let event: GivenUp<'_> = serde_json::from_str(&waiting.body).map_err(|_| NO_EVENT)?;
    let detail: Detail<'_> = serde_json::from_str(event.detail.get()).map_err(|_| NO_EVENT)?;
    // The rule of the other bus takes everything.
    if detail.test == Some(true) && !gets_drills {
        return Err(DRILL);
    }
    let time = event.time.map(|at| DateTime::from_secs(at.as_second()));
    let entry = PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(event.source)
        .detail_type(event.detail_type)
        .detail(event.detail.get())
        .set_time(time);
    Ok(entry.build())
}

impl Letter {
    fn of(queue: Letters, waiting: Waiting) -> Self {
        let (view, payload) = match queue {
            Letters::Ingest => delivery(&waiting),
            _ => published(queue, &waiting),
        }
        .unwrap_or_else(|| (unreadable(queue, &waiting), waiting.body.clone()));
        Self {
            view,
            waiting,
            payload,
        }
    }
}

/// A message of the ingest queue.
fn delivery(waiting: &Waiting) -> Option<(DeadLetter, String)> {
    let envelope = Envelope::parse(&waiting.body).ok()?;
    let event = event::parse_payload(&envelope.payload).ok();
    let event = event.as_ref();
    let view = DeadLetter {
        id: envelope.delivery_id.to_string(),
        received_at: Some(envelope.received_at),
        message: event.map(|event| event.message.clone()),
        entity: event.map(|event| event.entity.key()),
        test: event.and_then(|event| event.test.then_some(true)),
        ..unreadable(Letters::Ingest, waiting)
    };
    Some((view, envelope.payload.get().to_owned()))
}

/// A message of a consumer's queue.
fn published(queue: Letters, waiting: &Waiting) -> Option<(DeadLetter, String)> {
    let Published { detail } = serde_json::from_str(&waiting.body).ok()?;
    let unreadable = unreadable(queue, waiting);
    let view = DeadLetter {
        id: detail.delivery_id.unwrap_or(unreadable.id),
        received_at: detail.received_at,
        message: detail.message,
        entity: detail.entity.map(|entity| entity.key()),
        test: detail.test,
        ..unreadable
    };
    let payload = detail.payload.map_or("null", RawValue::get);
    Some((view, payload.to_owned()))
}

/// What is known of a message whose body can't be read.
fn unreadable(queue: Letters, waiting: &Waiting) -> DeadLetter {
    let is_left = waiting.is_moved && queue != Letters::Ingest;
    DeadLetter {
        queue,
        id: waiting.id.clone(),
        message_id: waiting.id.clone(),
        reason: reason(queue, waiting),
        received_at: None,
        since: waiting.sent_at.filter(|_| !is_left),
        message: None,
        entity: None,
        test: None,
        payload: None,
    }
}

fn reason(queue: Letters, waiting: &Waiting) -> String {
    if queue == Letters::Ingest {
        return "The processor could not publish it in fifty tries.".to_owned();
    }
    match (waiting.text("ERROR_CODE"), waiting.text("ERROR_MESSAGE")) {
        (None, None) => "Its consumer received it five times and never deleted it.".to_owned(),
        (code, message) => {
            let error: Vec<_> = [code, message].into_iter().flatten().collect();
            format!("EventBridge could not deliver it: {}", error.join(": "))
        }
    }
}

impl Named for Letter {
    fn ids(&self) -> [&str; 2] {
        [&self.view.id, &self.view.message_id]
    }
}

impl Named for &Letter {
    fn ids(&self) -> [&str; 2] {
        (*self).ids()
    }
}

fn rows<'a>(letters: impl Iterator<Item = &'a DeadLetter>) -> String {
    let unknown = || "unknown".to_owned();
    let row = |its: &DeadLetter| {
        [
            its.queue.word().to_owned(),
            its.id.clone(),
            its.message.clone().unwrap_or_else(unknown),
            its.entity.clone().unwrap_or_else(unknown),
            time(its.received_at),
            ago(its.received_at),
            drill(its.test).to_owned(),
        ]
    };
    let rows: Vec<_> = letters.map(row).collect();
    let heads = ["queue", "id", "event", "entity", "arrived", "age", "drill"];
    table(heads, &rows)
}

fn drill(test: Option<bool>) -> &'static str {
    match test {
        Some(true) => "yes",
        Some(false) => "no",
        None => "see timeline",
    }
}

impl Display for DeadLetters {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.messages.is_empty() && self.more == 0 {
            return f.write_str("There are no dead letters.");
        }
        f.write_str(&rows(self.messages.iter()))?;
        unseen(f, self.more)?;
        let mut told: Vec<(Letters, &str)> = Vec::new();
        for its in &self.messages {
            let reason = (its.queue, its.reason.as_str());
            if !told.contains(&reason) {
                told.push(reason);
                let (queue, reason) = (its.queue.word(), &its.reason);
                write!(f, "\n\n{queue}: {reason}")?;
            }
        }
        Ok(())
    }
}

impl Display for DeadLetter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        let lines = [
            ("queue", self.queue.word().to_owned()),
            ("delivery", self.id.clone()),
            ("message", self.message_id.clone()),
            ("event", self.message.clone().unwrap_or_else(unknown)),
            ("entity", self.entity.clone().unwrap_or_else(unknown)),
            ("drill", drill(self.test).to_owned()),
            ("arrived", time(self.received_at)),
            ("here since", time(self.since)),
            ("reason", self.reason.clone()),
        ];
        write_lines(f, &lines, self.payload.as_deref())
    }
}

#[cfg(test)]
mod tests;
