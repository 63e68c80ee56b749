//! The quarantine: what is in it, and how it goes back or is deleted.
//!
//! `shared::quarantine` says what a message there holds. What goes back is sent first and deleted
//! afterwards. So a delivery is never nowhere, and if it is in both places, the ledger publishes it
//! once.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

use anyhow::{Result, anyhow, bail};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use shared::canary::is_canary;
use shared::catalogue::CALLOUT_OBSERVED;
use shared::envelope::{Envelope, Origin};
use shared::event::{self, Event};
use shared::ledger::{EventLedger, ItemAttribute, Value};
use shared::quarantine::decode;
use uuid::Uuid;

use crate::audit::Change;
use crate::consent::{self, Consent};
use crate::queue::done::{Done, age, planned, report};
use crate::queue::{Fate, Fifo, Named, Resend, SideQueue, Waiting, named};
use crate::stack::Stack;
use crate::words::{Time, ago, counted, table, time, unseen, write_lines};

/// The output with the quarantine's URL.
const QUEUE: &str = "QuarantineQueueUrl";
/// Where the deliveries are, in errors.
const PLACE: &str = "the quarantine";
/// How long SQS drops a copy of a message that came into the quarantine: five minutes, and one more
/// for this machine's clock. A delivery that goes back and fails again comes back as such a copy.
const DROPS_COPIES_FOR: SignedDuration = SignedDuration::from_mins(6);
/// The reason of an event that happens once, and came again with another payload.
const CONFLICT: &str = "conflict";

mod reasons;

/// What is in the quarantine, the oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// The deliveries.
    pub deliveries: Vec<Quarantined>,
    /// How many more there are, which this look couldn't see.
    pub more: u64,
}

/// A delivery in the quarantine.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// The id that the commands take: the delivery id if there is one, otherwise the message id.
    pub id: String,
    /// SQS's id of the message.
    pub message_id: String,
    /// Why it is here, such as `not-json`.
    pub reason: String,
    /// What that means, in a sentence.
    pub meaning: String,
    /// Whether it can go back, and how.
    pub advice: String,
    /// When the delivery arrived.
    pub received_at: Option<Timestamp>,
    /// When it came into the quarantine.
    pub since: Option<Timestamp>,
    /// The event's name, if it can be read.
    pub message: Option<String>,
    /// The entity's key, such as `callout#5003`, if it can be read.
    pub entity: Option<String>,
    /// The size of the payload in bytes.
    pub bytes: Option<u64>,
    /// What AURA sent, if it was asked for: text, or base64 if it isn't text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// How a delivery goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// As it came.
    AsItIs,
    /// As a correction of an event that was published with another payload.
    AsCorrection,
}

/// A delivery in the quarantine, with all that a release needs.
#[derive(Debug)]
struct Case {
    view: Quarantined,
    waiting: Waiting,
    /// The delivery's id in the message's attributes. Without one, the body is a message of the
    /// ingest queue.
    delivery_id: Option<Uuid>,
    event: Option<(Event, Box<RawValue>)>,
    /// What AURA sent, or base64 of it, or the message of the ingest queue.
    payload: String,
}

/// A delivery that goes back.
struct Return<'a> {
    case: &'a Case,
    resend: Resend,
    /// Whether nobody knows who reported it.
    is_of_unknown_origin: bool,
}

/// Lists what is in the quarantine.
///
/// # Errors
///
/// SQS refuses a call.
pub async fn list(stack: &Stack) -> Result<Quarantine> {
    let (cases, more) = look(stack).await?;
    Ok(Quarantine {
        deliveries: cases.into_iter().map(|case| case.view).collect(),
        more,
    })
}

/// Shows one delivery.
///
/// # Errors
///
/// It isn't there, or SQS refuses a call.
pub async fn show(stack: &Stack, id: &str, with_payload: bool) -> Result<Quarantined> {
    let (cases, _) = look(stack).await?;
    let found = named(&cases, &[id.to_owned()], PLACE)?;
    let case = found.first().ok_or_else(|| anyhow!("nothing is named"))?;
    Ok(Quarantined {
        payload: with_payload.then(|| case.payload.clone()),
        ..case.view.clone()
    })
}

/// Puts deliveries back into the ingest queue: those with these ids, or all that can go back.
///
/// # Errors
///
/// One of them isn't there or can't go back, nobody agreed, or SQS refuses a call.
pub async fn release(
    stack: &Stack,
    ids: Option<Vec<String>>,
    how: Release,
    consent: Consent,
) -> Result<Done> {
    let (cases, _) = look(stack).await?;
    let chosen = choose(&cases, ids.as_deref())?;
    let (returns, stay) = sort_out(stack, chosen, how).await?;
    if returns.is_empty() || (ids.is_some() && !stay.is_empty()) {
        bail!("nothing was put back. {}", stay.join(" "));
    }
    let fates = returns.iter().map(|one| {
        let fate = Fate::Send(one.resend.clone());
        (one.case.waiting.id.clone(), fate)
    });
    let fates = fates.collect();
    let change = Change {
        action: match how {
            Release::AsItIs => "quarantine release",
            Release::AsCorrection => "quarantine release --as-correction",
        },
        sentence: sentence(&returns, how),
        subjects: returns.iter().map(|one| one.case.view.id.clone()).collect(),
    };
    let planned = planned(returns.iter().map(|one| one.case));
    let done = settle(stack, change, consent, fates, &planned, "put back").await?;
    let what = [vec![done.what], stay].concat().join(" ");
    Ok(Done { what, ..done })
}

/// Deletes deliveries: those with these ids, or all that can be seen.
///
/// # Errors
///
/// One of them isn't there, nobody agreed, or SQS refuses a call.
pub async fn discard(stack: &Stack, ids: Option<Vec<String>>, consent: Consent) -> Result<Done> {
    let (cases, _) = look(stack).await?;
    let chosen = choose(&cases, ids.as_deref())?;
    let what = match chosen.as_slice() {
        [one] => one.view.what(),
        several => counted(several.len(), "delivery", "deliveries"),
    };
    let change = Change {
        action: "quarantine discard",
        sentence: format!("Delete {what} from the quarantine for good. There is no other copy."),
        subjects: chosen.iter().map(|case| case.view.id.clone()).collect(),
    };
    let fates = chosen
        .iter()
        .map(|case| (case.waiting.id.clone(), Fate::Delete));
    let fates = fates.collect();
    let planned = planned(chosen.into_iter());
    settle(stack, change, consent, fates, &planned, "deleted").await
}

/// What goes back, and why the others stay.
async fn sort_out<'a>(
    stack: &Stack,
    chosen: Vec<&'a Case>,
    how: Release,
) -> Result<(Vec<Return<'a>>, Vec<String>)> {
    let tries = chosen.into_iter().map(|case| case.to_return(stack, how));
    let (mut returns, mut stay) = (Vec::new(), Vec::new());
    for one in try_join_all(tries).await? {
        match one {
            Ok(one) => returns.push(one),
            Err(why) => stay.push(why),
        }
    }
    Ok((returns, stay))
}

async fn look(stack: &Stack) -> Result<(Vec<Case>, u64)> {
    // Boxed, because the SDK's futures are large and would be part of every caller's.
    let queue = SideQueue::of(stack, QUEUE)?;
    let look = Box::pin(queue.look()).await?;
    Ok((look.messages.into_iter().map(Case::of).collect(), look.more))
}

fn choose<'a>(cases: &'a [Case], ids: Option<&[String]>) -> Result<Vec<&'a Case>> {
    let chosen = match ids {
        Some(ids) => named(cases, ids, PLACE)?,
        None => cases.iter().collect(),
    };
    if chosen.is_empty() {
        bail!("nothing was changed: nothing can be seen in the quarantine now. Look at the list");
    }
    Ok(chosen)
}

async fn settle(
    stack: &Stack,
    change: Change,
    consent: Consent,
    fates: HashMap<String, Fate>,
    planned: &[[String; 2]],
    end: &str,
) -> Result<Done> {
    let queue = SideQueue::of(stack, QUEUE)?;
    let work = async {
        let fate = |waiting: &Waiting| fates.get(&waiting.id).cloned();
        let settled = queue.settle(Some(fates.len()), &fate).await;
        report(settled, planned, end, ["delivery", "deliveries"])
    };
    Box::pin(consent::make(stack, change, consent, work)).await
}

fn sentence(returns: &[Return<'_>], how: Release) -> String {
    let what = match returns {
        [one] => one.case.view.what(),
        several => counted(several.len(), "delivery", "deliveries"),
    };
    let mut sentences = vec![match how {
        Release::AsItIs => format!("Put {what} back into the ingest queue."),
        Release::AsCorrection => format!(
            "Publish {what} as a correction, with a key of its own and the origin `operator`. A \
             consumer that doesn't know this origin takes it for another event of its name."
        ),
    }];
    let times = returns.iter().filter_map(|one| one.case.view.received_at);
    sentences.extend(age(times, Timestamp::now()));
    let unknown = returns.iter().filter(|one| one.is_of_unknown_origin);
    match unknown.count() {
        0 => {}
        count => sentences.push(format!(
            "The ledger doesn't know who reported {count} of {}: the origin will be `webhook`.",
            returns.len()
        )),
    }
    sentences.join(" ")
}

impl Case {
    fn of(waiting: Waiting) -> Self {
        let delivery_id = waiting.text("deliveryId").and_then(|id| id.parse().ok());
        let encoding = waiting.text("encoding").unwrap_or_default();
        let body = decode(encoding, &waiting.body).unwrap_or_default();
        let envelope = match delivery_id {
            Some(_) => None,
            None => Envelope::parse(&waiting.body).ok(),
        };
        let payload = envelope
            .as_ref()
            .map_or(&body[..], |its| its.payload.get().as_bytes());
        let is_readable = delivery_id.is_some() || envelope.is_some();
        let event = event::parse(payload).ok().filter(|_| is_readable);
        let event = event.map(|(event, payload)| (event, payload.to_owned()));
        let reason = waiting.text("reason").unwrap_or("unknown").to_owned();
        let (meaning, advice) = reasons::explain(&reason);
        // Without a delivery id, this is when the processor put the message here.
        let received_at = waiting.text("receivedAt").and_then(|at| at.parse().ok());
        let received_at = received_at.filter(|_| delivery_id.is_some());
        let id = delivery_id.or(envelope.as_ref().map(|its| its.delivery_id));
        let view = Quarantined {
            id: id.map_or_else(|| waiting.id.clone(), |id| id.to_string()),
            message_id: waiting.id.clone(),
            reason,
            meaning: meaning.to_owned(),
            advice: advice.to_owned(),
            received_at: received_at.or(envelope.as_ref().map(|its| its.received_at)),
            since: waiting.sent_at,
            message: event.as_ref().map(|(event, _)| event.message.clone()),
            entity: event.as_ref().map(|(event, _)| event.entity.key()),
            bytes: u64::try_from(payload.len()).ok(),
            payload: None,
        };
        let payload = match envelope {
            Some(envelope) => envelope.payload.get().to_owned(),
            None => waiting.body.clone(),
        };
        Self {
            view,
            waiting,
            delivery_id,
            event,
            payload,
        }
    }

    /// What goes back for this delivery, or why it stays.
    async fn to_return(&self, stack: &Stack, how: Release) -> Result<Result<Return<'_>, String>> {
        let stays = |why: &str| Ok(Err(format!("{} stays: {why}", self.view.id)));
        if let Some(why) = self.obstacle(how) {
            return stays(why);
        }
        let Some((event, payload)) = &self.event else {
            let advice = &self.view.advice;
            return stays(&format!("this command can't read it. {advice}"));
        };
        if how == Release::AsItIs
            && let Some(why) = self.is_too_early(Timestamp::now())
        {
            return stays(&why);
        }
        let origin = match (how, self.delivery_id) {
            (Release::AsCorrection, _) => Some(Origin::Operator),
            (Release::AsItIs, Some(delivery_id)) => origin(stack, event, delivery_id).await?,
            // The message goes back as it came, with the origin that is in it.
            (Release::AsItIs, None) => Some(Origin::Webhook),
        };
        Ok(Ok(Return {
            case: self,
            resend: Resend {
                queue: stack.output("IngestQueueUrl")?.to_owned(),
                body: self.body(payload, origin.unwrap_or(Origin::Webhook)),
                fifo: Some(Fifo::again(&self.waiting, event.entity.group_id())),
                attributes: HashMap::new(),
            },
            is_of_unknown_origin: origin.is_none(),
        }))
    }

    /// The body for the ingest queue: an envelope around a delivery, or the message as it came.
    fn body(&self, payload: &RawValue, origin: Origin) -> String {
        match (self.delivery_id, self.view.received_at) {
            (Some(delivery_id), Some(received_at)) => {
                let payload = payload.to_owned();
                Envelope::new(delivery_id, received_at, origin, payload).to_json()
            }
            _ => self.waiting.body.clone(),
        }
    }

    /// Why the delivery can't go back in this way, whatever it holds.
    fn obstacle(&self, how: Release) -> Option<&'static str> {
        let is_conflict = self.view.reason == CONFLICT && self.delivery_id.is_some();
        match how {
            _ if self.delivery_id.is_some() && self.view.received_at.is_none() => {
                Some("it doesn't say when it arrived. Act on it by hand, and discard it.")
            }
            Release::AsCorrection if !is_conflict => {
                Some("it is no conflict, so it can't be a correction. Leave out --as-correction.")
            }
            Release::AsItIs if is_conflict => Some(
                "it would be a conflict again. To publish it all the same, repeat the command with \
                 --as-correction.",
            ),
            Release::AsItIs if self.view.reason == "payload-omitted" => Some(
                "its event is published, and the ledger would drop it as a duplicate. Give its \
                 payload to the consumers, and discard it.",
            ),
            Release::AsItIs | Release::AsCorrection => None,
        }
    }

    /// Why the delivery can't go back yet. If it fails again, it comes back under its delivery id
    /// and reason. If that is too soon, SQS takes it for a copy, and drops it. A message without a
    /// delivery id comes back under an id of its own, and a correction never comes back for the
    /// same reason.
    fn is_too_early(&self, now: Timestamp) -> Option<String> {
        self.delivery_id?;
        let from = self.view.since? + DROPS_COPIES_FOR;
        (now < from).then(|| {
            format!(
                "it would be lost if it failed again within five minutes. Wait until {}.",
                Time(from)
            )
        })
    }
}

/// Who reported an event, if that can be known: the ledger has the delivery, or the event's name
/// tells.
async fn origin(stack: &Stack, event: &Event, delivery_id: Uuid) -> Result<Option<Origin>> {
    if is_canary(event) {
        return Ok(Some(Origin::Canary));
    }
    if event.message == CALLOUT_OBSERVED {
        return Ok(Some(Origin::Reconciler));
    }
    let ledger = EventLedger::new(stack.dynamodb(), stack.table()?.to_owned());
    let timeline = ledger.timeline(&event.entity.key()).await?;
    let id = Value::Text(delivery_id.to_string());
    let its = timeline
        .iter()
        .find(|(_, item)| item.0.get(&ItemAttribute::DeliveryId) == Some(&id));
    Ok(its.and_then(|(_, item)| {
        let origins = [Origin::Webhook, Origin::Reconciler, Origin::Operator];
        origins.into_iter().find(|origin| item.is_of(*origin))
    }))
}

impl Named for Case {
    fn ids(&self) -> [&str; 2] {
        [&self.view.id, &self.view.message_id]
    }
}

impl Quarantined {
    /// The delivery in a sentence: its event, or its id.
    fn what(&self) -> String {
        match (&self.message, &self.entity) {
            (Some(message), Some(entity)) => format!("{message} of {entity}"),
            _ => format!("the delivery {}", self.id),
        }
    }
}

impl Display for Quarantine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.deliveries.is_empty() && self.more == 0 {
            return f.write_str("The quarantine is empty.");
        }
        let unknown = || "unknown".to_owned();
        let rows: Vec<_> = self
            .deliveries
            .iter()
            .map(|its| {
                [
                    its.id.clone(),
                    its.reason.clone(),
                    its.message.clone().unwrap_or_else(unknown),
                    its.entity.clone().unwrap_or_else(unknown),
                    time(its.received_at),
                    ago(its.since),
                ]
            })
            .collect();
        let heads = ["id", "reason", "event", "entity", "arrived", "here for"];
        f.write_str(&table(heads, &rows))?;
        unseen(f, self.more)?;
        let mut told: Vec<&str> = Vec::new();
        for its in &self.deliveries {
            if !told.contains(&its.reason.as_str()) {
                told.push(&its.reason);
                write!(f, "\n\n{}: {}\n{}", its.reason, its.meaning, its.advice)?;
            }
        }
        Ok(())
    }
}

impl Display for Quarantined {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        let bytes = |bytes: u64| format!("{bytes} bytes");
        let lines = [
            ("delivery", self.id.clone()),
            ("message", self.message_id.clone()),
            ("event", self.message.clone().unwrap_or_else(unknown)),
            ("entity", self.entity.clone().unwrap_or_else(unknown)),
            ("arrived", time(self.received_at)),
            ("here since", time(self.since)),
            ("size", self.bytes.map_or_else(unknown, bytes)),
            ("reason", format!("{}: {}", self.reason, self.meaning)),
            ("what to do", self.advice.clone()),
        ];
        write_lines(f, &lines, self.payload.as_deref())
    }
}

#[cfg(test)]
mod tests;
