//! What is done about one case: the ledger is asked, a verdict passed, AURA asked if that says so,
//! and what was missed put on the queue.

use jiff::Timestamp;
use serde_json::value::RawValue;
use shared::aws::CallError;
use shared::envelope::{Envelope, Origin};
use shared::event::{Entity, payload_digest};
use shared::ledger::open::OpenCallouts;
use shared::ledger::{EventLedger, LedgerError};
use shared::panic_api::{Callout, Lookup};
use shared::queue::Queue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::aura::{Aura, Unheard};
use crate::cases::{Case, Known, created_at};
use crate::memory::Memory;
use crate::payload::Finding;
use crate::verdict::{
    Patience, Reason, Seen, Verdict, asked, is_over, is_unexplained, observations, on_closed,
    on_open, on_unknown, on_vanished,
};
use crate::view::View;

/// What a run's cases have in common.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// The events.
    pub ledger: &'a EventLedger,
    /// The callouts that are noted as open.
    pub open: &'a OpenCallouts,
    /// Where what was missed is put.
    pub queue: &'a Queue,
    /// AURA.
    pub aura: &'a Aura,
    /// When a callout is asked about.
    pub patience: &'a Patience,
    /// What the runs before handed on.
    pub memory: &'a Memory,
    /// Whether AURA's list may be a page of a longer one, as far as it is there.
    pub may_be_a_page: bool,
    /// The run's number.
    pub run: u32,
    /// When the run has to end.
    pub deadline: Instant,
}

/// What came of a case.
#[derive(Debug, Default)]
pub struct Settled {
    /// Whether AURA was asked about it.
    pub was_asked: bool,
    /// What was put on the queue.
    pub found: Option<Found>,
    /// A closing that AURA's list has yet to confirm.
    pub closing: Option<Closing>,
    /// Whether AURA has a callout that its list lacks, and that isn't over.
    pub is_known: bool,
}

/// Something that was missed, and is on the queue now.
#[derive(Debug)]
pub struct Found {
    /// What.
    pub finding: Finding,
    /// Its callout.
    pub id: String,
    /// Whether something had changed, and nothing else told of it.
    pub is_change: bool,
}

/// A callout that seems to be closed.
#[derive(Debug)]
pub struct Closing {
    /// Its id.
    pub id: String,
    /// What would be told.
    pub finding: Finding,
    /// The callout as AURA answers it; none if AURA itself says that it is over.
    pub described: Option<Box<RawValue>>,
    /// What is remembered of the callout if a page is all that confirms it.
    pub unless_a_page: Option<Box<Seen>>,
}

/// Why a case isn't settled. The next run tries again.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// The ledger doesn't answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The note of an open callout failed, or the queue doesn't take it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// AURA wasn't heard.
    #[error(transparent)]
    Aura(#[from] Unheard),
    /// Something was told while AURA was asked: the answer may be from before it.
    #[error("something was told meanwhile")]
    MovedOn,
    /// AURA answers about another callout than it was asked for.
    #[error("AURA's answer is about another callout")]
    AnotherCallout,
    /// What is to be put on the queue can't be: its id is no text for a queue.
    #[error("nothing can be said of a callout with this id")]
    Unsayable,
    /// What is remembered can't be written as JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// How an opening or closing is remembered to be on its way.
#[must_use]
pub fn key_of(id: &str, finding: Finding) -> String {
    format!("{}/{}", Entity::callout(id).key(), finding.message())
}

impl Closing {
    /// Whether all that says so is that AURA doesn't know it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.finding == (Finding::Closed { gone: true })
    }

    /// Whether AURA has said so when asked.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.described.is_none()
    }
}

impl Round<'_> {
    /// Settles a case.
    ///
    /// # Errors
    ///
    /// See [`Unsettled`].
    pub async fn settle(&self, case: Case) -> Result<Settled, Unsettled> {
        match case {
            Case::Unknown {
                id,
                listed,
                created_at,
            } => self.settle_unknown(id, listed, created_at).await,
            Case::Vanished(known) => self.settle_vanished(known).await,
            Case::Open { known, listed } => self.settle_open(known, listed).await,
            Case::Closed {
                known,
                closed_at,
                was_opened,
            } => self.settle_closed(known, closed_at, was_opened).await,
        }
    }

    async fn settle_closed(
        &self,
        known: Known,
        closed_at: Timestamp,
        was_opened: bool,
    ) -> Result<Settled, Unsettled> {
        let view = self.view(&known.id).await?;
        let (seen, now) = (known.seen.as_ref(), Timestamp::now());
        let verdict = on_closed(&view, seen, was_opened, closed_at, now, self.patience);
        self.settle_over(known, &view, verdict).await
    }

    /// What is done about a callout that isn't active.
    async fn settle_over(
        &self,
        known: Known,
        view: &View,
        verdict: Verdict,
    ) -> Result<Settled, Unsettled> {
        match verdict {
            Verdict::Forget => self.open.forget(&known.id).await?,
            Verdict::Ask(Reason::Opening) => {
                return self.recover_opening(known.id, None, None).await;
            }
            Verdict::Ask(reason @ Reason::ClosedAgain) => {
                let settled = self.observe(&known, view, None, reason).await?;
                self.open.forget(&known.id).await?;
                return Ok(settled);
            }
            Verdict::Ask(_) => return self.look_for_closing(known, view).await,
            Verdict::Wait | Verdict::Remember(_) | Verdict::Adopt { .. } => {}
        }
        Ok(Settled::default())
    }

    async fn settle_unknown(
        &self,
        id: String,
        listed: Callout,
        created_at: Timestamp,
    ) -> Result<Settled, Unsettled> {
        let view = self.view(&id).await?;
        let verdict = on_unknown(&view, created_at, Timestamp::now(), self.patience);
        match verdict {
            Verdict::Adopt { opened_at } => self.open.opened(&id, opened_at).await?,
            Verdict::Ask(Reason::Reopened) => {
                // Noted first: what is noted in vain is found to be closed, and forgotten.
                let opened_at = Timestamp::now();
                self.open.opened(&id, opened_at).await?;
                let known = Known {
                    id,
                    opened_at,
                    seen: None,
                };
                let status = listed.status.as_deref();
                return self.observe(&known, &view, status, Reason::Reopened).await;
            }
            Verdict::Ask(_) => {
                return self
                    .recover_opening(id, Some(listed), Some(created_at))
                    .await;
            }
            Verdict::Wait | Verdict::Remember(_) | Verdict::Forget => {}
        }
        Ok(Settled::default())
    }

    /// AURA's list has the callout in its flat form. That is said of it where AURA doesn't say more
    /// when asked.
    async fn recover_opening(
        &self,
        id: String,
        listed: Option<Callout>,
        created_at: Option<Timestamp>,
    ) -> Result<Settled, Unsettled> {
        let finding = Finding::Opened;
        if self.is_on_its_way(&id, finding) {
            return Ok(Settled::default());
        }
        let began_at = self.memory.began_at;
        let described = match (self.lookup(&id).await, listed) {
            (Ok(Lookup::Found(callout)), _) => Some(callout.whole),
            (Ok(Lookup::Gone | Lookup::Closed), listed) => listed.map(|listed| listed.whole),
            (Err(error), Some(listed)) => {
                tracing::warn!(%error, "an opening is told as AURA's list has it");
                Some(listed.whole)
            }
            (Err(error), None) => return Err(error),
        };
        self.put(&id, finding, described.as_deref()).await?;
        Ok(Settled {
            was_asked: true,
            found: Some(Found {
                finding,
                id,
                // What was open before anybody asked says nothing of the line.
                is_change: began_at.is_some_and(|began| created_at.is_none_or(|at| at >= began)),
            }),
            ..Settled::default()
        })
    }

    async fn settle_vanished(&self, known: Known) -> Result<Settled, Unsettled> {
        let view = self.view(&known.id).await?;
        let (seen, now) = (known.seen.as_ref(), Timestamp::now());
        let verdict = on_vanished(&view, seen, known.opened_at, now, self.patience);
        self.settle_over(known, &view, verdict).await
    }

    async fn look_for_closing(&self, known: Known, view: &View) -> Result<Settled, Unsettled> {
        if self.is_on_its_way(&known.id, Finding::Closed { gone: false }) {
            return Ok(Settled::default());
        }
        let (gone, described, unless_a_page) = match self.lookup(&known.id).await? {
            Lookup::Gone => (true, None, None),
            Lookup::Closed => (false, None, None),
            Lookup::Found(callout) => {
                let now = Timestamp::now();
                let (seen, status) = (known.seen.as_ref(), callout.status.as_deref());
                let is_over =
                    |by_a_page| is_over(view, seen, status, by_a_page, now, self.patience);
                let (is_over_now, is_over_anyway) = (is_over(self.may_be_a_page), is_over(true));
                let mut seen = known.seen.unwrap_or_default();
                seen.missing_since = seen.missing_since.or(Some(now));
                if !is_over_now {
                    self.remember(&known.id, &seen).await?;
                    return Ok(Settled {
                        was_asked: true,
                        is_known: true,
                        ..Settled::default()
                    });
                }
                let unless_a_page = (!is_over_anyway).then(|| Box::new(seen));
                (false, Some(callout.whole), unless_a_page)
            }
        };
        Ok(Settled {
            was_asked: true,
            closing: Some(Closing {
                id: known.id,
                finding: Finding::Closed { gone },
                described,
                unless_a_page,
            }),
            ..Settled::default()
        })
    }

    /// Puts a closing on the queue that AURA's second list has confirmed. If that list may be a page,
    /// and is all that says so, the closing begins to wait instead.
    ///
    /// # Errors
    ///
    /// See [`Unsettled`].
    pub async fn settle_closing(
        &self,
        closing: Closing,
        may_be_a_page: bool,
    ) -> Result<Option<Found>, Unsettled> {
        let Closing {
            id,
            finding,
            described,
            unless_a_page,
        } = closing;
        if let Some(seen) = unless_a_page.filter(|_| may_be_a_page) {
            self.remember(&id, &seen).await?;
            return Ok(None);
        }
        self.put(&id, finding, described.as_deref()).await?;
        Ok(Some(Found {
            finding,
            id,
            is_change: true,
        }))
    }

    async fn settle_open(&self, known: Known, listed: Callout) -> Result<Settled, Unsettled> {
        let view = self.view(&known.id).await?;
        let status = listed.status.as_deref();
        let verdict = on_open(
            &view,
            known.seen.as_ref(),
            known.opened_at,
            status,
            Timestamp::now(),
            self.patience,
        );
        match verdict {
            Verdict::Ask(Reason::Opening) => {
                let created_at = created_at(&listed);
                return self
                    .recover_opening(known.id, Some(listed), created_at)
                    .await;
            }
            Verdict::Ask(reason) => return self.observe(&known, &view, status, reason).await,
            Verdict::Remember(seen) => self.remember(&known.id, &seen).await?,
            Verdict::Wait | Verdict::Adopt { .. } | Verdict::Forget => {}
        }
        Ok(Settled::default())
    }

    /// Publishes what AURA says of a callout, unless that was published and nothing else since.
    /// `listed` is its status in AURA's list.
    async fn observe(
        &self,
        known: &Known,
        view: &View,
        listed: Option<&str>,
        reason: Reason,
    ) -> Result<Settled, Unsettled> {
        let mut settled = Settled {
            was_asked: true,
            ..Settled::default()
        };
        let seen = known.seen.as_ref();
        let (gone, described, status) = match self.lookup(&known.id).await? {
            Lookup::Found(callout) => (false, Some(callout.whole), callout.status),
            Lookup::Gone if reason == Reason::ClosedAgain => (true, None, None),
            Lookup::Closed if reason == Reason::ClosedAgain => (false, None, None),
            // AURA's list has it: one of the two answers is old.
            Lookup::Gone | Lookup::Closed => return Ok(settled),
        };
        if self.view(&known.id).await? != *view {
            return Err(Unsettled::MovedOn);
        }
        let digest = described
            .as_deref()
            .map_or_else(String::new, payload_digest);
        let sort = view.last.as_ref().map(|last| last.sort.as_str());
        let is_told = seen.is_some_and(|seen| {
            seen.last.as_deref() == sort && seen.observed.as_deref() == Some(&digest)
        });
        // AURA's list was behind AURA's own answer.
        let was_old = reason == Reason::Change
            && status.is_some()
            && !is_unexplained(view, seen, status.as_deref());
        let observed = (!is_told && !was_old).then_some(digest);
        if observed.is_some() {
            let number = observations(view, seen) + 1;
            let finding = Finding::Observed { number, gone };
            self.put(&known.id, finding, described.as_deref()).await?;
            let is_change = !matches!(reason, Reason::Silence | Reason::Overtaken);
            settled.found = Some(Found {
                finding,
                id: known.id.clone(),
                is_change,
            });
        }
        let now = Timestamp::now();
        let seen = asked(view, seen, listed, observed, now, self.patience);
        self.remember(&known.id, &seen).await?;
        Ok(settled)
    }

    async fn view(&self, id: &str) -> Result<View, Unsettled> {
        let timeline = self.ledger.timeline(&Entity::callout(id).key()).await?;
        Ok(View::of(&timeline, Timestamp::now()))
    }

    async fn lookup(&self, id: &str) -> Result<Lookup, Unsettled> {
        let lookup = self.aura.callout(id, self.deadline).await?;
        match &lookup {
            Lookup::Found(callout) if !is_about(callout, id) => Err(Unsettled::AnotherCallout),
            _ => Ok(lookup),
        }
    }

    fn is_on_its_way(&self, id: &str, finding: Finding) -> bool {
        let key = key_of(id, finding);
        self.memory.is_on_its_way(&key, Timestamp::now())
    }

    async fn remember(&self, id: &str, seen: &Seen) -> Result<(), Unsettled> {
        let text = serde_json::to_string(seen)?;
        if !self.open.remember(id, &text, self.run).await? {
            tracing::info!("forgotten meanwhile, or remembered by a later run");
        }
        Ok(())
    }

    /// When this returns, SQS has it.
    async fn put(
        &self,
        id: &str,
        finding: Finding,
        described: Option<&RawValue>,
    ) -> Result<(), Unsettled> {
        let payload = finding.payload(id, described);
        let payload = payload.ok_or(Unsettled::Unsayable)?;
        let (delivery_id, now) = (Uuid::now_v7(), Timestamp::now());
        let envelope = Envelope::new(delivery_id, now, Origin::Reconciler, payload);
        let message = envelope.message(&Entity::callout(id));
        self.queue.send(&message).await?;
        tracing::info!(event = finding.message(), %delivery_id, "put on the queue");
        Ok(())
    }
}

fn is_about(callout: &Callout, id: &str) -> bool {
    callout.id.as_deref().is_none_or(|its| its == id)
}
