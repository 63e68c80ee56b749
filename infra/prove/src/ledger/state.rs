//! State of the whole system at one moment: the ledger's item, the messages, the workers, and the
//! calls under way.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use processor::outcome::RecordOutcome;
use shared::ledger::Claim;
use uuid::Uuid;

use crate::ledger::bounds::{Adversities, Bounds};
use crate::ledger::item::{Call, ClaimCall, Known, MOST_OCCURRENCES};
use crate::ledger::parties::{Delivery, PerDelivery, PerWorker, Worker};

/// State of the whole system at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// True time; each worker's clock differs from it by a fixed amount.
    pub now: Timestamp,
    /// The event's item in the ledger.
    pub item: Option<Known>,
    /// The messages, one for each delivery.
    pub messages: PerDelivery<Message>,
    /// Work of each worker; `None` if it is idle.
    pub workers: PerWorker<Option<Work>>,
    /// Calls that were sent and haven't taken effect. Each may take effect at any time or never,
    /// whatever became of its sender; nobody gets its answer.
    pub under_way: Vec<UnderWay>,
    /// Owners that were granted a claim.
    pub granted: Vec<Uuid>,
    /// Number of copies on the bus with each delivery's payload.
    pub copies: PerDelivery<u8>,
    /// Whether each occurrence has been marked as published; the ledger may have forgotten it
    /// since.
    pub was_marked: [bool; MOST_OCCURRENCES],
    /// Key under which the occurrence of each delivery was sent to the bus, as the number of the
    /// first occurrence that has that key.
    pub keys: PerDelivery<Option<u32>>,
    /// Troubles that may still come.
    pub left: Adversities,
    /// Breaches that were noticed.
    pub breaches: Breaches,
}

/// A delivery on its way through the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Message {
    /// Place of the message.
    pub place: Place,
    /// How often the message was received since it came to this place.
    pub receives: u32,
    /// How often the message came back from the dead letters.
    pub redrives: u8,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The message still has to arrive.
    Awaited,
    /// The message is in the queue.
    Queued {
        /// Start of the message's retention.
        since: Timestamp,
        /// From this time on any worker may receive the message.
        visible: Timestamp,
    },
    /// The message is among the dead letters.
    Dead {
        /// Start of the message's retention.
        since: Timestamp,
    },
    /// The queue has forgotten the message.
    Forgotten {
        /// Whether the message is in the quarantine as a conflict.
        quarantined: bool,
    },
}

/// Work of a busy worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Work {
    /// The delivery that the worker received.
    pub delivery: Delivery,
    /// The message's number of receives at that time; SQS takes commands only from the last
    /// receiver.
    pub receipt: u32,
    /// The message's number of redrives at that time.
    pub redrives: u8,
    /// When the worker's time ends, in true time.
    pub deadline: Timestamp,
    /// Whether the worker may sleep for longer than its time.
    pub stalled: bool,
    /// How far the worker is.
    pub step: Step,
}

/// How far a worker is. A worker that waits has sent a call and got no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The worker has its message.
    Received,
    /// The worker waits for its claim.
    Claiming(ClaimCall),
    /// The worker was refused one occurrence and must ask for this one.
    Refused(ClaimCall),
    /// The worker may publish.
    Claimed(Claim),
    /// The worker waits for the bus.
    Publishing(Claim),
    /// The bus has answered.
    Published(Claim),
    /// The worker waits for the answer to its mark.
    Marking(Claim),
    /// The worker gives its claim back: as far as it knows, it hasn't published.
    GivingBack(Claim),
    /// The worker waits for the answer to its release, which it asked for at this time of its
    /// clock.
    Releasing(Claim, Timestamp),
    /// The worker must report this outcome.
    Done(RecordOutcome),
}

/// A call that was sent and hasn't taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnderWay {
    /// A call to the ledger.
    Call(Call),
    /// A call to the bus.
    Publish {
        /// The delivery whose payload is sent.
        delivery: Delivery,
        /// The claim under which it was sent.
        claim: Claim,
        /// It takes effect before this time or never.
        before: Timestamp,
    },
}

/// Breaches: what must never happen, noted when it happens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property")]
pub struct Breaches {
    /// A call changed an item that was marked as published.
    pub published_changed: bool,
    /// A completion or a release changed an item that was no longer its caller's.
    pub stale_changed: bool,
    /// A grant didn't count one more than the grant before it.
    pub miscounted: bool,
    /// One call was granted twice.
    pub granted_twice: bool,
    /// A worker published without holding the claim.
    pub published_unclaimed: bool,
    /// A worker published an event that had been marked as published before.
    pub published_after_mark: bool,
    /// A copy was sent under another key than the copy before it, or under the key of another
    /// occurrence.
    pub key_confused: bool,
    /// A worker published while another one was between publishing and marking and still had time.
    pub published_beside: bool,
}

impl State {
    /// The state at the start: the first delivery is in the queue, and nothing has happened.
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

    /// The busy workers and their work.
    pub fn at_work(&self) -> impl Iterator<Item = (Worker, &Work)> {
        Worker::ALL
            .into_iter()
            .filter_map(|worker| Some((worker, self.workers[worker].as_ref()?)))
    }

    /// Whether the queue has forgotten both messages and no worker is busy.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let is_forgotten = |message: &Message| matches!(message.place, Place::Forgotten { .. });
        self.messages.0.iter().all(is_forgotten) && self.at_work().next().is_none()
    }

    /// An owner that nobody has: owners only need to differ.
    #[must_use]
    pub fn fresh_owner(&self) -> Uuid {
        let is_fresh = |owner: &Uuid| !self.owners().any(|known| known == *owner);
        let mut owners = (1..).map(Uuid::from_u128);
        owners.find(is_fresh).unwrap_or_default()
    }

    /// Forgets the granted owners that nobody has any more, so that their numbers can be used
    /// again.
    pub fn forget_granted(&mut self) {
        let mut granted = std::mem::take(&mut self.granted);
        granted.retain(|owner| self.owners().any(|known| known == *owner));
        granted.sort_unstable();
        self.granted = granted;
    }

    /// All owners that the item, a worker or a call under way has.
    fn owners(&self) -> impl Iterator<Item = Uuid> {
        let of_item = self.item.into_iter().flat_map(|item| {
            let owners: Vec<_> = item.claims().map(|claim| claim.owner).collect();
            owners
        });
        let of_work = self.at_work().filter_map(|(_, work)| work.step.owner());
        let of_requests = self.under_way.iter().map(UnderWay::owner);
        of_item.chain(of_work).chain(of_requests)
    }

    /// Adds a call to those under way; their order means nothing.
    pub fn send(&mut self, request: UnderWay) {
        self.under_way.push(request);
        self.under_way.sort_by_key(UnderWay::order);
    }
}

impl Message {
    /// Whether a worker could receive the message now.
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
    /// Time left until the worker's deadline. The worker's clock may be off, but its deadline is
    /// told by the same clock, so the difference is right.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.deadline.duration_since(now)).unwrap_or_default()
    }

    /// The claim by which the worker may publish or mark; `None` once it gives the claim back.
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

    /// Whether the worker has published and not marked yet.
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

/// The time that a worker's clock shows at a true time.
#[must_use]
pub fn by_clock(time: Timestamp, clock: SignedDuration) -> Timestamp {
    time + clock
}
