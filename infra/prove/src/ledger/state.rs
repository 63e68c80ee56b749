//! One moment of the system: the ledger's item, the messages, the workers, the calls under way.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use processor::outcome::RecordOutcome;
use shared::ledger::Claim;
use uuid::Uuid;

use crate::ledger::bounds::{Adversities, Bounds};
use crate::ledger::item::{Call, ClaimCall, Known, MOST_OCCURRENCES};
use crate::ledger::parties::{Delivery, PerDelivery, PerWorker, Worker};

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// True time; each worker's clock has its own idea of it.
    pub now: Timestamp,
    /// The event's item in the ledger.
    pub item: Option<Known>,
    /// The messages, one for each delivery.
    pub messages: PerDelivery<Message>,
    /// What each worker does, if anything.
    pub workers: PerWorker<Option<Work>>,
    /// What was sent and hasn't taken effect. It may at any time, whatever became of its sender,
    /// or never; nobody hears its answer.
    pub under_way: Vec<UnderWay>,
    /// The owners that were granted a claim.
    pub granted: Vec<Uuid>,
    /// How many copies are on the bus with each delivery's payload.
    pub copies: PerDelivery<u8>,
    /// Each occurrence has been marked as published, though the ledger may have forgotten it since.
    pub was_marked: [bool; MOST_OCCURRENCES],
    /// The key under which the occurrence of each delivery was sent to the bus, as the number of
    /// the first occurrence that has it.
    pub keys: PerDelivery<Option<u32>>,
    /// What may still go wrong.
    pub left: Adversities,
    /// What happened that must not.
    pub breaches: Breaches,
}

/// A delivery on its way through the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Message {
    /// Where it is.
    pub place: Place,
    /// How often it was received, since it is where it is.
    pub receives: u32,
    /// How often it came back from the dead letters.
    pub redrives: u8,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Still to arrive.
    Awaited,
    /// In the queue.
    Queued {
        /// Its retention counts from here.
        since: Timestamp,
        /// From then on any worker may receive it.
        visible: Timestamp,
    },
    /// Among the dead letters.
    Dead {
        /// Its retention counts from here.
        since: Timestamp,
    },
    /// The queue knows it no more.
    Forgotten {
        /// It is in the quarantine as a conflict.
        quarantined: bool,
    },
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Work {
    /// What it received.
    pub delivery: Delivery,
    /// That message's count of receives: SQS takes orders only from its last receiver.
    pub receipt: u32,
    /// That message's count of redrives.
    pub redrives: u8,
    /// When its time ends, in true time.
    pub deadline: Timestamp,
    /// It may sleep for longer than its time.
    pub stalled: bool,
    /// How far it is.
    pub step: Step,
}

/// How far a worker is. What is waited for was sent and hasn't been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// It has its message.
    Received,
    /// Waits for its claim.
    Claiming(ClaimCall),
    /// It was refused one occurrence, and has still to ask for this one.
    Refused(ClaimCall),
    /// It may publish.
    Claimed(Claim),
    /// Waits for the bus.
    Publishing(Claim),
    /// The bus has answered.
    Published(Claim),
    /// Waits for its mark.
    Marking(Claim),
    /// It hasn't published, as far as it knows.
    GivingBack(Claim),
    /// Waits for its release, which it asked for at this time of its clock.
    Releasing(Claim, Timestamp),
    /// Has still to report this.
    Done(RecordOutcome),
}

/// What was sent and hasn't taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnderWay {
    /// To the ledger.
    Call(Call),
    /// To the bus.
    Publish {
        /// Whose payload it is.
        delivery: Delivery,
        /// Under which claim it was sent.
        claim: Claim,
        /// It takes effect before that, if at all.
        before: Timestamp,
    },
}

/// What must never happen, noticed when it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property")]
pub struct Breaches {
    /// A call changed an item that was marked as published.
    pub published_changed: bool,
    /// A completion or a release changed an item that was no longer its caller's.
    pub stale_changed: bool,
    /// A grant didn't count one more than the one before.
    pub miscounted: bool,
    /// One call was granted twice.
    pub granted_twice: bool,
    /// Somebody published without holding the claim.
    pub published_unclaimed: bool,
    /// Somebody published what had been marked as published before.
    pub published_after_mark: bool,
    /// A copy was sent under another key than the one before, or under that of another occurrence.
    pub key_confused: bool,
    /// Somebody published while another one was between publishing and marking, and in its time.
    pub published_beside: bool,
}

impl State {
    /// The first delivery is in the queue, and nothing has happened.
    #[must_use]
    pub fn start(bounds: &Bounds) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let message = |place| Message {
            place,
            receives: 0,
            redrives: 0,
        };
        let first = Place::Queued {
            since: now,
            visible: now,
        };
        Self {
            now,
            item: None,
            messages: PerDelivery([message(first), message(Place::Awaited)]),
            workers: PerWorker([None; 3]),
            under_way: Vec::new(),
            granted: Vec::new(),
            copies: PerDelivery([0; 2]),
            was_marked: [false; MOST_OCCURRENCES],
            keys: PerDelivery([None; 2]),
            left: bounds.adversities,
            breaches: Breaches::default(),
        }
    }

    /// The workers that do something, and what.
    pub fn at_work(&self) -> impl Iterator<Item = (Worker, &Work)> {
        Worker::ALL
            .into_iter()
            .filter_map(|worker| Some((worker, self.workers[worker].as_ref()?)))
    }

    /// The queue has forgotten both messages and no worker does anything.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let is_forgotten = |message: &Message| matches!(message.place, Place::Forgotten { .. });
        self.messages.0.iter().all(is_forgotten) && self.at_work().next().is_none()
    }

    /// An owner that nobody knows: what tells owners apart is all that counts.
    #[must_use]
    pub fn fresh_owner(&self) -> Uuid {
        let is_fresh = |owner: &Uuid| !self.owners().any(|known| known == *owner);
        let mut owners = (1..).map(Uuid::from_u128);
        owners.find(is_fresh).unwrap_or_default()
    }

    /// Forgets of whom nobody else knows; such an owner's number is fresh again.
    pub fn forget_granted(&mut self) {
        let mut granted = std::mem::take(&mut self.granted);
        granted.retain(|owner| self.owners().any(|known| known == *owner));
        granted.sort_unstable();
        self.granted = granted;
    }

    /// All owners that the item, a worker or a request knows.
    fn owners(&self) -> impl Iterator<Item = Uuid> {
        let of_item = self.item.into_iter().flat_map(|item| {
            let owners: Vec<_> = item.claims().map(|claim| claim.owner).collect();
            owners
        });
        let of_work = self.at_work().filter_map(|(_, work)| work.step.owner());
        let of_requests = self.under_way.iter().map(UnderWay::owner);
        of_item.chain(of_work).chain(of_requests)
    }

    /// Adds a request to those under way; their order means nothing.
    pub fn send(&mut self, request: UnderWay) {
        self.under_way.push(request);
        self.under_way.sort_by_key(UnderWay::order);
    }
}

impl Message {
    /// Whether a worker could be handed the message now.
    #[must_use]
    pub fn is_visible(&self, now: Timestamp) -> bool {
        match self.place {
            Place::Awaited => true,
            Place::Queued { visible, .. } => visible <= now,
            Place::Dead { .. } | Place::Forgotten { .. } => false,
        }
    }
}

impl Work {
    /// What is left until its deadline, which its own clock shows as well as any: it tells the
    /// deadline by that clock too.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.deadline.duration_since(now)).unwrap_or_default()
    }

    /// The claim by which it may publish or mark; none once it gives that back.
    #[must_use]
    pub fn holds(&self) -> Option<Claim> {
        match self.step {
            Step::Claimed(claim)
            | Step::Publishing(claim)
            | Step::Published(claim)
            | Step::Marking(claim) => Some(claim),
            _ => None,
        }
    }

    /// Whether it has published and not marked yet.
    #[must_use]
    pub fn is_between(&self) -> bool {
        matches!(
            self.step,
            Step::Publishing(_) | Step::Published(_) | Step::Marking(_)
        )
    }
}

impl Step {
    fn owner(self) -> Option<Uuid> {
        match self {
            Self::Received | Self::Done(_) => None,
            Self::Claiming(call) | Self::Refused(call) => Some(call.owner),
            Self::Claimed(claim)
            | Self::Publishing(claim)
            | Self::Published(claim)
            | Self::Marking(claim)
            | Self::GivingBack(claim)
            | Self::Releasing(claim, _) => Some(claim.owner),
        }
    }
}

impl UnderWay {
    fn order(&self) -> (u8, Uuid) {
        let kind = match self {
            Self::Call(Call::Claim(_)) => 0,
            Self::Call(Call::Complete(_)) => 1,
            Self::Call(Call::Release(..)) => 2,
            Self::Publish { .. } => 3,
        };
        (kind, self.owner())
    }

    fn owner(&self) -> Uuid {
        match self {
            Self::Call(Call::Claim(call)) => call.owner,
            Self::Call(Call::Complete(claim) | Call::Release(claim, _))
            | Self::Publish { claim, .. } => claim.owner,
        }
    }
}

/// The time of a worker's clock.
#[must_use]
pub fn by_clock(time: Timestamp, clock: SignedDuration) -> Timestamp {
    time + clock
}
