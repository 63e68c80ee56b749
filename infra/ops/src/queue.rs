//! Looks into a queue without disturbing it, and settles messages that wait there.
//!
//! SQS has no way to look: a message that is read is received, and hidden from other readers. So a
//! look hides the messages for [`HIDDEN_SECONDS`], receives until nothing more comes, and gives all
//! of them back at once. If it is killed meanwhile, they come back by themselves.
//!
//! Only queues without a redrive policy are read like this: the quarantine and the dead letters. In
//! such a queue a message may be received any number of times, so no look can push one over a
//! limit.
//!
//! What can't be avoided:
//!
//! - For the second or more that the look takes, other readers don't see the messages.
//! - A FIFO queue hands over up to ten messages of a group at once, and no further one of this
//!   group until these are back. [`Look::more`] counts what couldn't be seen. SQS's counts may be a
//!   minute old.

pub mod done;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName,
};
use futures::StreamExt as _;
use futures::future::join;
use futures::stream;
use jiff::Timestamp;
use shared::aws::CallError;
use tokio::time::Instant;

use crate::stack::Stack;

/// How long a message is hidden, unless it is given back before.
pub const HIDDEN_SECONDS: i32 = 60;
/// How long messages are received before they are settled or given back.
const RECEIVE_FOR: Duration = Duration::from_secs(10);
/// How long after the first receive messages are settled. Later they may be visible to others.
const SETTLE_FOR: Duration = Duration::from_secs(20);
/// The most messages that are received at once.
const MOST: usize = 1000;
/// How long a receive waits for messages. A receive that doesn't wait may miss some.
const WAIT_SECONDS: i32 = 1;
/// The most messages that SQS gives in one call.
const MOST_RECEIVED: i32 = 10;
/// The most messages that SQS takes in one call.
const MOST_GIVEN_BACK: usize = 10;
/// How long it works without a word.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// How many calls run at the same time.
const AT_ONCE: usize = 8;
/// The subject of a failed call, in its error.
const ABOUT: &str = "SQS";

/// A queue where messages wait for a person: the quarantine, or dead letters.
#[derive(Debug, Clone)]
pub struct SideQueue {
    client: Client,
    eventbridge: aws_sdk_eventbridge::Client,
    url: String,
}

/// What a look has seen.
#[derive(Debug)]
pub struct Look {
    /// The messages, the oldest first.
    pub messages: Vec<Waiting>,
    /// How many more there are, which couldn't be seen.
    pub more: u64,
}

/// A message that waits in a [`SideQueue`].
#[derive(Debug, Clone)]
pub struct Waiting {
    /// SQS's id of it.
    pub id: String,
    /// Its body.
    pub body: String,
    /// When it was sent. A standard queue's dead letter keeps the time at which it came into that
    /// queue.
    pub sent_at: Option<Timestamp>,
    /// Its message group, if its queue is FIFO.
    pub group: Option<String>,
    /// Whether SQS moved it here from another queue, after too many receives.
    pub is_moved: bool,
    /// Its message attributes.
    pub attributes: HashMap<String, MessageAttributeValue>,
    receipt_handle: String,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It is deleted.
    Delete,
    /// It is sent to another queue, and then deleted here.
    Send(Resend),
    /// It is put on a bus as an event, and then deleted here.
    Publish(PutEventsRequestEntry),
}

impl Fate {
    /// The group that the message goes to.
    fn group(&self) -> Option<&str> {
        match self {
            Self::Delete | Self::Publish(_) => None,
            Self::Send(resend) => Some(&resend.fifo.as_ref()?.group),
        }
    }
}

/// A message that goes to another queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Resend {
    /// The URL of that queue.
    pub queue: String,
    /// The message's body.
    pub body: String,
    /// Group and deduplication id, if that queue is FIFO.
    pub fifo: Option<Fifo>,
    /// The message's attributes.
    pub attributes: HashMap<String, MessageAttributeValue>,
}

/// What a FIFO queue needs to know about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fifo {
    /// The message group.
    pub group: String,
    /// The deduplication id.
    pub deduplication_id: String,
}

impl Fifo {
    /// Puts a message of a side queue into a group. Its deduplication id is made from the message's
    /// id. So if the message is sent twice because it couldn't be deleted, SQS stores it once. And
    /// if it fails and comes back here, it has another id, and SQS can't drop it.
    #[must_use]
    pub fn again(waiting: &Waiting, group: String) -> Self {
        Self {
            group,
            deduplication_id: format!("again-{}", waiting.id),
        }
    }
}

/// What was settled.
#[derive(Debug, Default)]
pub struct Settled {
    /// SQS's ids of the messages.
    pub ids: HashSet<String>,
    /// Why the rest wasn't, if a call failed.
    pub failure: Option<anyhow::Error>,
}

impl Waiting {
    /// The message from SQS's answer. `None` if SQS leaves out what it always gives.
    fn of(message: Message) -> Option<Self> {
        let mut system = message.attributes.unwrap_or_default();
        let sent_at = system.remove(&MessageSystemAttributeName::SentTimestamp);
        Some(Self {
            id: message.message_id?,
            body: message.body.unwrap_or_default(),
            sent_at: sent_at.and_then(|at| Timestamp::from_millisecond(at.parse().ok()?).ok()),
            group: system.remove(&MessageSystemAttributeName::MessageGroupId),
            is_moved: system.contains_key(&MessageSystemAttributeName::DeadLetterQueueSourceArn),
            attributes: message.message_attributes.unwrap_or_default(),
            receipt_handle: message.receipt_handle?,
        })
    }

    /// A message as SQS would give it.
    #[cfg(test)]
    pub(crate) fn example(
        id: &str,
        body: &str,
        sent_at: Timestamp,
        attributes: HashMap<String, MessageAttributeValue>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            body: body.to_owned(),
            sent_at: Some(sent_at),
            group: None,
            is_moved: false,
            attributes,
            receipt_handle: String::new(),
        }
    }

    /// The text of a message attribute.
    #[must_use]
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute)?.string_value()
    }
}

impl SideQueue {
    /// The queue whose URL this output of the stack has.
    ///
    /// # Errors
    ///
    /// The stack has no such output.
    pub fn of(stack: &Stack, output: &str) -> Result<Self> {
        Ok(Self {
            client: stack.sqs(),
            eventbridge: stack.eventbridge(),
            url: stack.output(output)?.to_owned(),
        })
    }

    /// Looks at what waits here, and gives it back: in a task of its own, so that the messages are
    /// given back also if nobody waits for the result any more.
    ///
    /// # Errors
    ///
    /// SQS refuses a call.
    pub async fn look(&self) -> Result<Look> {
        let queue = self.clone();
        tokio::spawn(async move { queue.look_through().await }).await?
    }

    async fn look_through(&self) -> Result<Look> {
        let (taken, depth) = join(self.take(), self.depth()).await;
        let taken = taken?;
        let messages = taken.messages.clone();
        taken.give_back().await?;
        let more = depth?.saturating_sub(messages.len() as u64);
        Ok(Look { messages, more })
    }

    /// Settles each message for which `fate` has an answer, in rounds, until `count` of them are
    /// done, or no more can be found. All other messages are given back. The messages of a group
    /// keep their order. After a failure, no other message is begun.
    pub async fn settle(
        &self,
        count: Option<usize>,
        fate: &(dyn Fn(&Waiting) -> Option<Fate> + Sync),
    ) -> Settled {
        let mut settled = Settled::default();
        let began = Instant::now();
        loop {
            let before = settled.ids.len();
            if let Err(error) = self.settle_round(fate, &mut settled).await {
                settled.failure.get_or_insert(error);
            }
            let done = settled.ids.len();
            if settled.failure.is_some() || done == before || Some(done) == count {
                return settled;
            }
            if began.elapsed() > SILENT_FOR {
                eprintln!("{done} are done, and more may follow.");
            }
        }
    }

    async fn settle_round(
        &self,
        fate: &(dyn Fn(&Waiting) -> Option<Fate> + Sync),
        settled: &mut Settled,
    ) -> Result<()> {
        let mut taken = self.take().await?;
        let round = taken.settle(fate).await;
        taken
            .messages
            .retain(|message| !round.ids.contains(&message.id));
        settled.ids.extend(round.ids);
        settled.failure = round.failure;
        taken.give_back().await
    }

    /// Receives the messages that can be received now, and hides them.
    async fn take(&self) -> Result<Taken<'_>> {
        let mut taken = Taken {
            queue: self,
            messages: Vec::new(),
            began: Instant::now(),
        };
        while taken.messages.len() < MOST && taken.began.elapsed() < RECEIVE_FOR {
            match self.receive().await {
                Ok(received) if received.is_empty() => break,
                Ok(received) => taken.add(received),
                Err(error) => {
                    // Those that can't be given back come back by themselves.
                    let _ = taken.give_back().await;
                    return Err(error.into());
                }
            }
        }
        taken.messages = oldest_first(taken.messages);
        Ok(taken)
    }

    async fn receive(&self) -> Result<Vec<Waiting>, CallError> {
        let call = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(MOST_RECEIVED)
            .visibility_timeout(HIDDEN_SECONDS)
            .wait_time_seconds(WAIT_SECONDS)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        let answer = call.send().await;
        let answer = answer.map_err(CallError::of(ABOUT, "ReceiveMessage"))?;
        let messages = answer.messages.unwrap_or_default().into_iter();
        Ok(messages.filter_map(Waiting::of).collect())
    }

    /// How many messages there are, hidden ones included, as far as SQS knows.
    async fn depth(&self) -> Result<u64> {
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let call = self.client.get_queue_attributes().queue_url(&self.url);
        let call = call.set_attribute_names(Some(counts.to_vec()));
        let answer = call.send().await;
        let answer = answer.map_err(CallError::of(ABOUT, "GetQueueAttributes"))?;
        let values = answer.attributes.unwrap_or_default();
        let count = |name| values.get(name)?.parse::<u64>().ok();
        Ok(counts.iter().filter_map(count).sum())
    }

    async fn settle_one(&self, message: &Waiting, fate: &Fate) -> Result<()> {
        match fate {
            Fate::Delete => return Ok(self.delete(message).await?),
            Fate::Send(resend) => self.send(resend).await?,
            Fate::Publish(event) => self.publish(event).await?,
        }
        let deleted = self.delete(message).await;
        deleted.with_context(|| {
            let id = &message.id;
            format!("message {id} was put back, but is still here, too: delete it here")
        })
    }

    async fn send(&self, resend: &Resend) -> Result<(), CallError> {
        let mut call = self
            .client
            .send_message()
            .queue_url(&resend.queue)
            .message_body(&resend.body);
        if let Some(fifo) = &resend.fifo {
            call = call
                .message_group_id(&fifo.group)
                .message_deduplication_id(&fifo.deduplication_id);
        }
        if !resend.attributes.is_empty() {
            call = call.set_message_attributes(Some(resend.attributes.clone()));
        }
        let answer = call.send().await;
        answer.map_err(CallError::of(ABOUT, "SendMessage"))?;
        Ok(())
    }

    async fn publish(&self, event: &PutEventsRequestEntry) -> Result<()> {
        let call = self.eventbridge.put_events().entries(event.clone());
        let answer = call.send().await;
        let answer = answer.map_err(CallError::of("EventBridge", "PutEvents"))?;
        let codes = answer.entries().iter().filter_map(|one| one.error_code());
        match codes.collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            codes => bail!("EventBridge did not take an event: {}", codes.join(", ")),
        }
    }

    async fn delete(&self, message: &Waiting) -> Result<(), CallError> {
        let call = self.client.delete_message().queue_url(&self.url);
        let answer = call.receipt_handle(&message.receipt_handle).send().await;
        answer.map_err(CallError::of(ABOUT, "DeleteMessage"))?;
        Ok(())
    }

    /// Makes messages visible again. Returns how many of them SQS refused.
    async fn give_back(&self, messages: &[&Waiting]) -> Result<usize, CallError> {
        const OPERATION: &str = "ChangeMessageVisibilityBatch";
        let entry = |(number, message): (usize, &&Waiting)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(number.to_string())
                .receipt_handle(&message.receipt_handle)
                .visibility_timeout(0)
                .build()
        };
        let entries: Result<Vec<_>, _> = messages.iter().enumerate().map(entry).collect();
        let entries = entries.map_err(CallError::not_built(ABOUT, OPERATION))?;
        let call = self.client.change_message_visibility_batch();
        let call = call.queue_url(&self.url).set_entries(Some(entries));
        let answer = call.send().await;
        Ok(answer
            .map_err(CallError::of(ABOUT, OPERATION))?
            .failed
            .len())
    }
}

/// Messages that are received, and hidden from others.
struct Taken<'a> {
    queue: &'a SideQueue,
    messages: Vec<Waiting>,
    began: Instant,
}

impl Taken<'_> {
    /// Adds messages. One that SQS hands over again replaces itself, because only its last handle
    /// is good.
    fn add(&mut self, received: Vec<Waiting>) {
        for message in received {
            let same = |known: &&mut Waiting| known.id == message.id;
            match self.messages.iter_mut().find(same) {
                Some(known) => *known = message,
                None => self.messages.push(message),
            }
        }
    }

    /// Settles the messages that have a fate: groups at the same time, and each group in its order.
    async fn settle(&self, fate: &(dyn Fn(&Waiting) -> Option<Fate> + Sync)) -> Settled {
        let is_failed = AtomicBool::new(false);
        let groups: Vec<_> = in_groups(&self.messages, fate)
            .into_iter()
            .map(|group| self.settle_group(group, &is_failed))
            .collect();
        let ends: Vec<Settled> = stream::iter(groups)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut settled = Settled::default();
        for end in ends {
            settled.ids.extend(end.ids);
            settled.failure = settled.failure.or(end.failure);
        }
        settled
    }

    async fn settle_group(&self, group: Vec<(&Waiting, Fate)>, is_failed: &AtomicBool) -> Settled {
        let mut settled = Settled::default();
        for (message, fate) in group {
            if is_failed.load(Ordering::Relaxed) || self.began.elapsed() > SETTLE_FOR {
                break;
            }
            if let Err(error) = self.queue.settle_one(message, &fate).await {
                is_failed.store(true, Ordering::Relaxed);
                settled.failure = Some(error);
                break;
            }
            settled.ids.insert(message.id.clone());
        }
        settled
    }

    /// Gives everything back. The newest of a FIFO group goes first, one call after the other, so
    /// that the group keeps its order.
    async fn give_back(self) -> Result<()> {
        let is_fifo = self.messages.iter().any(|message| message.group.is_some());
        let at_once = if is_fifo { 1 } else { AT_ONCE };
        let newest_first: Vec<_> = self.messages.iter().rev().collect();
        let calls: Vec<_> = newest_first
            .chunks(MOST_GIVEN_BACK)
            .map(|batch| self.queue.give_back(batch))
            .collect();
        let calls = stream::iter(calls).buffered(at_once);
        let answers: Vec<_> = calls.collect().await;
        let mut refused = 0;
        for answer in answers {
            refused += answer.with_context(|| {
                format!("messages stay hidden for {HIDDEN_SECONDS} s: they can't be given back")
            })?;
        }
        if refused > 0 {
            bail!("SQS refused to give back {refused} messages: they come back by themselves");
        }
        Ok(())
    }
}

/// Sorts messages by their age. Those of a FIFO group keep the order in which SQS handed them over.
fn oldest_first(messages: Vec<Waiting>) -> Vec<Waiting> {
    let mut latest: HashMap<String, Option<Timestamp>> = HashMap::new();
    let with_time = |message: Waiting| {
        let Some(group) = message.group.clone() else {
            return (message.sent_at, message);
        };
        let latest = latest.entry(group).or_default();
        *latest = (*latest).max(message.sent_at);
        (*latest, message)
    };
    let mut messages: Vec<_> = messages.into_iter().map(with_time).collect();
    messages.sort_by_key(|(time, _)| *time);
    messages.into_iter().map(|(_, message)| message).collect()
}

/// The messages that have a fate, by the group that they go to, or that they are in. Without a group,
/// a message is a group of its own.
fn in_groups<'a>(
    messages: &'a [Waiting],
    fate: &(dyn Fn(&Waiting) -> Option<Fate> + Sync),
) -> Vec<Vec<(&'a Waiting, Fate)>> {
    let mut groups: Vec<Vec<_>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for message in messages {
        let Some(fate) = fate(message) else {
            continue;
        };
        let name = fate.group().or(message.group.as_deref());
        let name = name.unwrap_or(&message.id).to_owned();
        let place = *places.entry(name).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push((message, fate)),
            None => groups.push(vec![(message, fate)]),
        }
    }
    groups
}

/// Something that a person names by an id.
pub trait Named {
    /// The ids by which it can be named: the one that lists show, and SQS's.
    fn ids(&self) -> [&str; 2];
}

/// Finds what a person has named by ids.
///
/// # Errors
///
/// An id names nothing, or several things. `place` says where they were looked for.
pub fn named<'a, T: Named>(all: &'a [T], ids: &[String], place: &str) -> Result<Vec<&'a T>> {
    let mut found: Vec<&T> = Vec::new();
    for id in ids {
        let its: Vec<_> = all
            .iter()
            .filter(|one| one.ids().contains(&id.as_str()))
            .collect();
        let [one] = its.as_slice() else {
            bail!(not_one(id, &its, place));
        };
        if !found.iter().any(|known| known.ids() == one.ids()) {
            found.push(one);
        }
    }
    Ok(found)
}

fn not_one<T: Named>(id: &str, its: &[&T], place: &str) -> String {
    if its.is_empty() {
        return format!(
            "nothing with the id {id} can be seen in {place}: see the list. What somebody else \
             looks at comes back within {HIDDEN_SECONDS} s"
        );
    }
    let message_ids: Vec<_> = its.iter().map(|one| one.ids()[1]).collect();
    format!(
        "{} messages in {place} have the id {id}: name one by its message id: {}",
        its.len(),
        message_ids.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(id: &str, group: Option<&str>) -> Waiting {
        Waiting {
            group: group.map(str::to_owned),
            ..Waiting::example(id, "", Timestamp::UNIX_EPOCH, HashMap::new())
        }
    }

    #[test]
    fn a_group_keeps_its_order_and_a_message_without_one_stands_alone() {
        let messages = [
            waiting("1", Some("a")),
            waiting("2", Some("b")),
            waiting("3", Some("a")),
            waiting("4", Some("a")),
            waiting("5", None),
            waiting("6", None),
        ];
        let groups = in_groups(&messages, &|message| {
            (message.id != "3").then_some(Fate::Delete)
        });
        let ids = |group: Vec<(&Waiting, Fate)>| {
            let ids = group.into_iter().map(|(message, _)| message.id.clone());
            ids.collect::<Vec<_>>().concat()
        };
        let groups: Vec<_> = groups.into_iter().map(ids).collect();
        assert_eq!(groups, ["14", "2", "5", "6"]);
    }

    #[test]
    fn the_oldest_is_first_but_nothing_overtakes_within_a_group() {
        let at = |second, message| Waiting {
            sent_at: Timestamp::from_second(second).ok(),
            ..message
        };
        let messages = vec![
            at(3, waiting("1", Some("a"))),
            at(2, waiting("2", Some("a"))),
            at(1, waiting("3", Some("b"))),
            at(0, waiting("4", None)),
        ];
        let ids = oldest_first(messages).into_iter().map(|message| message.id);
        assert_eq!(ids.collect::<Vec<_>>(), ["4", "3", "1", "2"]);
    }

    /// Each delivery in the quarantine is a group of its own, and goes back into that of its entity.
    #[test]
    fn what_goes_to_one_group_is_sent_in_order() {
        let messages = [waiting("1", Some("d1")), waiting("2", Some("d2"))];
        let groups = in_groups(&messages, &|message| {
            Some(Fate::Send(Resend {
                queue: String::new(),
                body: String::new(),
                fifo: Some(Fifo::again(message, "callout#5003".to_owned())),
                attributes: HashMap::new(),
            }))
        });
        assert_eq!(groups.len(), 1);
    }

    struct Both(&'static str, &'static str);

    impl Named for Both {
        fn ids(&self) -> [&str; 2] {
            [self.0, self.1]
        }
    }

    #[test]
    fn an_id_names_one_message() {
        let all = [Both("d1", "m1"), Both("d2", "m2"), Both("d2", "m3")];
        let find = |ids: &[&str]| {
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            let found = named(&all, &ids, "the quarantine")?;
            anyhow::Ok(found.iter().map(|one| one.1).collect::<Vec<_>>())
        };
        assert_eq!(find(&["m3", "d1", "m1"]).unwrap(), ["m3", "m1"]);
        let several = find(&["d2"]).unwrap_err().to_string();
        assert!(several.ends_with("its message id: m2, m3"), "{several}");
        let nothing = find(&["d3"]).unwrap_err().to_string();
        assert!(nothing.starts_with("nothing with the id d3"), "{nothing}");
    }
}
