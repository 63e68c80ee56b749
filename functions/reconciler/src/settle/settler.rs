//! Settles one difference: reads the ledger, makes a verdict, asks AURA if the verdict requires it,
//! and puts a missed event on the queue.

use jiff::Timestamp;
use serde_json::value::RawValue;
use shared::envelope::{Envelope, Origin};
use shared::event::{Entity, payload_digest};
use shared::ledger::EventLedger;
use shared::ledger::open::OpenCallouts;
use shared::panic_api::{Callout, Lookup};
use shared::queue::Queue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Failure;
use crate::aura::Aura;
use crate::differences::{Difference, NotedCallout, created_at};
use crate::payload::MissedEvent;
use crate::run_state::RunState;
use crate::verdict::{AskReason, Facts, LastCheck, Patience, Verdict};
use crate::view::CalloutView;

/// Number of differences that are settled at once. The calls to AURA have a limit of their own.
pub(super) const AT_ONCE: usize = 16;

/// Why a difference isn't settled: AURA's answer may be older than the ledger.
const MOVED_ON: &str = "an event of the callout was published while AURA was asked about it";
/// Why a difference isn't settled: AURA's answer can't be right.
const ANOTHER_CALLOUT: &str = "AURA's answer is about another callout than the requested one";
/// Why a difference isn't settled: no event can be sent.
const NOT_QUEUEABLE: &str =
    "the callout's id has characters that SQS does not allow, so no event can be sent";

/// Settles the differences of one run.
#[derive(Debug, Clone, Copy)]
pub struct Settler<'a> {
    /// The ledger with the events.
    pub ledger: &'a EventLedger,
    /// The callouts that are noted as open.
    pub open: &'a OpenCallouts,
    /// The ingest queue, which gets the missed events.
    pub queue: &'a Queue,
    /// The client of AURA.
    pub aura: &'a Aura,
    /// Waiting times of the verdicts.
    pub patience: &'a Patience,
    /// The state that earlier runs have written.
    pub run_state: &'a RunState,
    /// Whether AURA's list may be one page of a longer list.
    pub may_be_a_page: bool,
    /// Number of the run.
    pub run: u32,
    /// Time by which settling must end.
    pub deadline: Instant,
}

/// Result of settling a difference.
#[derive(Debug, Default)]
pub struct Settled {
    /// Whether AURA was asked about the callout.
    pub was_asked: bool,
    /// The missed event that was put on the queue.
    pub recovered: Option<Recovered>,
    /// A closing that AURA's second list must still confirm.
    pub closing: Option<UnconfirmedClosing>,
    /// Whether AURA still has the callout when asked, although its list lacks it, and the callout
    /// doesn't count as over.
    pub is_known: bool,
}

/// A missed event that is on the queue.
#[derive(Debug)]
pub struct Recovered {
    /// The missed event.
    pub event: MissedEvent,
    /// Id of the callout.
    pub id: String,
    /// Whether the event shows a change for which AURA has sent no delivery.
    pub is_change: bool,
}

/// A closing that AURA's second list must still confirm.
#[derive(Debug)]
pub struct UnconfirmedClosing {
    /// Id of the callout.
    pub id: String,
    /// The event that goes on the queue after the confirmation.
    pub event: MissedEvent,
    /// The callout in AURA's answer; `None` if AURA answered that the callout is closed or unknown.
    pub described: Option<Box<RawValue>>,
    /// The state to save instead if the second list may be a page and no other answer confirms the
    /// closing.
    pub unless_a_page: Option<Box<LastCheck>>,
}

/// Key of an opening or closing among the events that are on their way.
pub fn key_of(id: &str, event: MissedEvent) -> String {
    format!("{}/{}", Entity::callout(id).key(), event.message())
}

impl UnconfirmedClosing {
    /// Whether AURA answered that it doesn't know the callout.
    pub fn is_gone(&self) -> bool {
        self.event == (MissedEvent::Closed { gone: true })
    }

    /// Whether AURA answered that the callout is closed, or that it doesn't know the callout.
    pub fn is_told(&self) -> bool {
        self.described.is_none()
    }
}

impl Settler<'_> {
    /// Settles a difference.
    pub async fn settle(&self, difference: Difference) -> Result<Settled, Failure> {
        let view = self.view(difference.id()).await?;
        let verdict = self.verdict(&difference, &view);
        let (noted, listed, created_at) = match difference {
            Difference::Vanished(noted) | Difference::Closed { noted, .. } => (noted, None, None),
            Difference::Open { noted, listed } => {
                let created_at = created_at(&listed);
                (noted, Some(listed), created_at)
            }
            Difference::Unknown {
                id,
                listed,
                created_at,
            } => {
                let noted = NotedCallout::new(id, Timestamp::now(), None);
                if verdict == Verdict::Ask(AskReason::Reopened) {
                    // If the callout is closed after all, a later run removes the note.
                    self.open.opened(&noted.id, noted.opened_at).await?;
                }
                (noted, Some(listed), Some(created_at))
            }
        };
        self.carry_out(verdict, noted, &view, listed, created_at)
            .await
    }

    fn verdict(&self, difference: &Difference, view: &CalloutView) -> Verdict {
        let facts = |noted| self.facts(view, noted);
        match difference {
            Difference::Unknown { created_at, .. } => facts(None).on_unknown(*created_at),
            Difference::Vanished(noted) => facts(Some(noted)).on_vanished(noted.opened_at),
            Difference::Open { noted, listed } => {
                facts(Some(noted)).on_open(noted.opened_at, listed.status.as_deref())
            }
            Difference::Closed {
                noted,
                closed_at,
                was_opened,
            } => facts(Some(noted)).on_closed(*was_opened, *closed_at),
        }
    }

    /// Carries out a verdict. `listed` is the callout's entry in AURA's list, if it has one.
    async fn carry_out(
        &self,
        verdict: Verdict,
        noted: NotedCallout,
        view: &CalloutView,
        listed: Option<Callout>,
        created_at: Option<Timestamp>,
    ) -> Result<Settled, Failure> {
        let status = listed.as_ref().and_then(|listed| listed.status.as_deref());
        match verdict {
            Verdict::Wait => {}
            Verdict::Remember(last_check) => self.remember(&noted.id, &last_check).await?,
            Verdict::Adopt { opened_at } => self.open.opened(&noted.id, opened_at).await?,
            Verdict::Forget => self.open.forget(&noted.id).await?,
            Verdict::Ask(AskReason::Opening) => {
                return self.recover_opening(noted.id, listed, created_at).await;
            }
            Verdict::Ask(AskReason::Closing) => return self.look_for_closing(noted, view).await,
            Verdict::Ask(reason) => {
                let settled = self.observe(&noted, view, status, reason).await?;
                if reason == AskReason::ClosedAgain {
                    self.open.forget(&noted.id).await?;
                }
                return Ok(settled);
            }
        }
        Ok(Settled::default())
    }

    /// Puts a missed opening on the queue, unless a run did so in the last minutes. The payload is
    /// AURA's answer about the callout. If there is no such answer, it is the shorter entry in
    /// AURA's list.
    async fn recover_opening(
        &self,
        id: String,
        listed: Option<Callout>,
        created_at: Option<Timestamp>,
    ) -> Result<Settled, Failure> {
        let event = MissedEvent::Opened;
        if self.is_on_its_way(&id, event) {
            return Ok(Settled::default());
        }
        let described = match (self.lookup(&id).await, listed) {
            (Ok(Lookup::Found(callout)), _) => Some(callout),
            (Ok(Lookup::Gone | Lookup::Closed), listed) => listed,
            (Err(error), Some(listed)) => {
                tracing::warn!(
                    %error,
                    "AURA did not describe a callout, its opening is published from AURA's list"
                );
                Some(listed)
            }
            (Err(error), None) => return Err(error),
        };
        let described = described.map(|callout| callout.whole);
        self.put(&id, event, described.as_deref()).await?;
        // A callout that was created before the first run says nothing about the webhook.
        let began_at = self.run_state.began_at;
        let is_change = began_at.is_some_and(|began| created_at.is_none_or(|at| at >= began));
        Ok(Settled {
            was_asked: true,
            recovered: Some(Recovered {
                event,
                id,
                is_change,
            }),
            ..Settled::default()
        })
    }

    /// Asks AURA about a callout that AURA's list lacks, to find out whether the callout is over.
    async fn look_for_closing(
        &self,
        noted: NotedCallout,
        view: &CalloutView,
    ) -> Result<Settled, Failure> {
        if self.is_on_its_way(&noted.id, MissedEvent::Closed { gone: false }) {
            return Ok(Settled::default());
        }
        let mut settled = Settled {
            was_asked: true,
            ..Settled::default()
        };
        let (gone, described, unless_a_page) = match self.lookup(&noted.id).await? {
            Lookup::Gone => (true, None, None),
            Lookup::Closed => (false, None, None),
            Lookup::Found(callout) => {
                let (facts, status) = (self.facts(view, Some(&noted)), callout.status);
                let is_over = |by_a_page| facts.is_over(status.as_deref(), by_a_page);
                let (is_over_now, is_over_anyway) = (is_over(self.may_be_a_page), is_over(true));
                let mut last_check = facts.last_check.cloned().unwrap_or_default();
                last_check.missing_since = last_check.missing_since.or(Some(facts.now));
                if !is_over_now {
                    self.remember(&noted.id, &last_check).await?;
                    settled.is_known = true;
                    return Ok(settled);
                }
                let unless_a_page = (!is_over_anyway).then(|| Box::new(last_check));
                (false, Some(callout.whole), unless_a_page)
            }
        };
        settled.closing = Some(UnconfirmedClosing {
            id: noted.id,
            event: MissedEvent::Closed { gone },
            described,
            unless_a_page,
        });
        Ok(settled)
    }

    /// Puts a closing on the queue that AURA's second list has confirmed. If that list may be a
    /// page and no other answer confirms the closing, the closing starts to wait instead.
    pub async fn settle_closing(
        &self,
        closing: UnconfirmedClosing,
        may_be_a_page: bool,
    ) -> Result<Option<Recovered>, Failure> {
        let (id, event) = (closing.id, closing.event);
        if let Some(last_check) = closing.unless_a_page.filter(|_| may_be_a_page) {
            self.remember(&id, &last_check).await?;
            return Ok(None);
        }
        self.put(&id, event, closing.described.as_deref()).await?;
        Ok(Some(Recovered {
            event,
            id,
            is_change: true,
        }))
    }

    /// Puts AURA's answer about a callout on the queue, unless the same answer was published
    /// already and no event since. `listed` is the callout's status in AURA's list.
    async fn observe(
        &self,
        noted: &NotedCallout,
        view: &CalloutView,
        listed: Option<&str>,
        reason: AskReason,
    ) -> Result<Settled, Failure> {
        let mut settled = Settled {
            was_asked: true,
            ..Settled::default()
        };
        let (gone, described, status) = match self.lookup(&noted.id).await? {
            Lookup::Found(callout) => (false, Some(callout.whole), callout.status),
            Lookup::Gone if reason == AskReason::ClosedAgain => (true, None, None),
            Lookup::Closed if reason == AskReason::ClosedAgain => (false, None, None),
            // AURA's list has the callout, so one of the two answers is out of date.
            Lookup::Gone | Lookup::Closed => return Ok(settled),
        };
        if self.view(&noted.id).await? != *view {
            return Err(MOVED_ON.into());
        }
        let before = noted.last_check.as_ref();
        let digest = described
            .as_deref()
            .map_or_else(String::new, payload_digest);
        let is_told = before.is_some_and(|before| {
            before.last.as_deref() == view.last_sort()
                && before.observed.as_deref() == Some(&digest)
        });
        // AURA's list was older than AURA's answer, and the answer fits the events.
        let was_old = reason == AskReason::Change
            && status.is_some()
            && !self
                .facts(view, Some(noted))
                .is_unexplained(status.as_deref());
        let observed = (!is_told && !was_old).then_some(digest);
        if observed.is_some() {
            let number = self.facts(view, Some(noted)).observations() + 1;
            let event = MissedEvent::Observed { number, gone };
            self.put(&noted.id, event, described.as_deref()).await?;
            settled.recovered = Some(Recovered {
                event,
                id: noted.id.clone(),
                is_change: !matches!(reason, AskReason::Silence | AskReason::Overtaken),
            });
        }
        let last_check = self.facts(view, Some(noted)).asked(listed, observed);
        self.remember(&noted.id, &last_check).await?;
        Ok(settled)
    }

    async fn view(&self, id: &str) -> Result<CalloutView, Failure> {
        let timeline = self.ledger.timeline(&Entity::callout(id).key()).await?;
        Ok(CalloutView::of(&timeline, Timestamp::now()))
    }

    fn facts<'b>(&'b self, view: &'b CalloutView, noted: Option<&'b NotedCallout>) -> Facts<'b> {
        Facts {
            view,
            last_check: noted.and_then(|noted| noted.last_check.as_ref()),
            patience: self.patience,
            now: Timestamp::now(),
        }
    }

    async fn lookup(&self, id: &str) -> Result<Lookup, Failure> {
        let lookup = self.aura.callout(id, self.deadline).await?;
        match &lookup {
            Lookup::Found(callout) if callout.id.as_deref().is_some_and(|its| its != id) => {
                Err(ANOTHER_CALLOUT.into())
            }
            _ => Ok(lookup),
        }
    }

    fn is_on_its_way(&self, id: &str, event: MissedEvent) -> bool {
        let key = key_of(id, event);
        self.run_state.is_on_its_way(&key, Timestamp::now())
    }

    async fn remember(&self, id: &str, last_check: &LastCheck) -> Result<(), Failure> {
        let text = serde_json::to_string(last_check)?;
        let now = Timestamp::now();
        if !self.open.remember(id, &text, self.run, now).await? {
            tracing::info!(
                "state of a callout not saved: its note was removed, or a later run has saved it"
            );
        }
        Ok(())
    }

    /// Puts an event on the queue. When this returns without an error, SQS has stored it.
    async fn put(
        &self,
        id: &str,
        event: MissedEvent,
        described: Option<&RawValue>,
    ) -> Result<(), Failure> {
        let payload = event.payload(id, described).ok_or(NOT_QUEUEABLE)?;
        let (delivery_id, now) = (Uuid::now_v7(), Timestamp::now());
        let envelope = Envelope::new(delivery_id, now, Origin::Reconciler, payload);
        let message = envelope.message(&Entity::callout(id));
        self.queue.send(&message).await?;
        tracing::info!(event = event.message(), %delivery_id, "missed event put on the queue");
        Ok(())
    }
}
