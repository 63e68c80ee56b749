//! View of one callout: the facts from its timeline in the ledger that a verdict needs.

use jiff::{SignedDuration, Timestamp};
use shared::catalogue::{CALLOUT_CLOSED, CALLOUT_OBSERVED, NEW_CALLOUT};
use shared::envelope::Origin;
use shared::ledger::{Item, State};

/// Time after the end of its lease when a claim counts as abandoned. The processor's fifty attempts
/// take an hour and a half at most.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_hours(2);

/// The events of a callout that are published, and its opening and closing if they are claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CalloutView {
    /// State of the callout's opening in the ledger.
    pub opening: Presence,
    /// State of the callout's closing in the ledger.
    pub closing: Presence,
    /// The last published event whose name is AURA's. `CALLOUT_OBSERVED` is this system's own name.
    pub last: Option<LastEvent>,
    /// Number of published `CALLOUT_OBSERVED` events. Each carries an answer of AURA.
    pub observations: u32,
    /// Stage of the response, from the last event that has one.
    pub stage: CalloutStage,
    /// When the event that led to `stage` was published.
    pub staged_at: Option<Timestamp>,
    /// When the last `CALLOUT_OBSERVED` event was published.
    pub observed_at: Option<Timestamp>,
}

/// State in the ledger of an event that happens once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence {
    /// The ledger has no item of the event.
    #[default]
    Unknown,
    /// The processor has claimed the event and is about to publish it.
    Claimed,
    /// The processor claimed the event long ago. The event is among the dead letters, or it was
    /// published and not marked.
    Abandoned,
    /// The event was published at this time.
    Published(Timestamp),
}

/// The last published event of a callout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEvent {
    /// Sort key of the event in the ledger.
    pub sort: String,
    /// When the event was published.
    pub at: Timestamp,
    /// Whether the event leads to a stage of the response.
    pub has_stage: bool,
}

/// Stage of the response to a callout, as AURA's events tell it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CalloutStage {
    /// No event says that a responder is on the way.
    #[default]
    Created,
    /// A responder is on the way.
    Dispatched,
    /// A responder is at the scene.
    Arrived,
    /// A responder is done.
    Completed,
    /// The callout was called off.
    Cancelled,
}

impl CalloutStage {
    /// Stage that an event leads to; `None` if the event says nothing about the stage.
    pub fn after(message: &str) -> Option<Self> {
        match message {
            "RESPONDER_MANUALLY_DISPATCHED"
            | "RESPONDER_ACKNOWLEDGED_CALLOUT"
            | "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA" => Some(Self::Dispatched),
            "RESPONDER_ARRIVED_ON_SCENE" => Some(Self::Arrived),
            "RESPONDER_COMPLETED" => Some(Self::Completed),
            "CALLOUT_SOFT_CANCELLED_BY_CUSTOMER" | "CALLOUT_NO_LONGER_REQUIRES_RESPONSE" => {
                Some(Self::Cancelled)
            }
            _ => None,
        }
    }
}

impl CalloutView {
    /// Makes the view from a callout's timeline, which may have any order. An item that this
    /// version can't read counts as claimed: the processor quarantines its event, and an alarm
    /// reports that.
    pub fn of(timeline: &[(String, Item)], now: Timestamp) -> Self {
        let mut view = Self::default();
        let mut staged = None;
        for (sort, item) in timeline {
            // A correction of an operator is nothing that happened at AURA.
            if item.is_of(Origin::Operator) {
                continue;
            }
            let message = sort.split_once('#').map_or(sort.as_str(), |(name, _)| name);
            let presence = presence(item, now);
            match message {
                NEW_CALLOUT => view.opening = presence,
                CALLOUT_CLOSED => view.closing = presence,
                _ => {}
            }
            let Presence::Published(at) = presence else {
                continue;
            };
            if message == CALLOUT_OBSERVED {
                view.observations += 1;
                view.observed_at = view.observed_at.max(Some(at));
                continue;
            }
            // If two events were published at the same time, the sort key decides, so that the
            // result doesn't depend on the order.
            let is_later = view
                .last
                .as_ref()
                .is_none_or(|last| (last.at, &last.sort) < (at, sort));
            if is_later {
                view.last = Some(LastEvent {
                    sort: sort.clone(),
                    at,
                    has_stage: CalloutStage::after(message).is_some(),
                });
            }
            if let Some(stage) = CalloutStage::after(message)
                && staged.is_none_or(|before| before < (at, stage))
            {
                staged = Some((at, stage));
                view.stage = stage;
                view.staged_at = Some(at);
            }
        }
        view
    }

    /// Sort key of the last published event whose name is AURA's.
    pub fn last_sort(&self) -> Option<&str> {
        self.last.as_ref().map(|last| last.sort.as_str())
    }
}

fn presence(item: &Item, now: Timestamp) -> Presence {
    match (item.state(), item.published_at()) {
        (Ok(State::Published { .. }), Ok(at)) => Presence::Published(at),
        (Ok(State::Claimed { lease_until, .. }), _)
            if now.duration_since(lease_until) >= ABANDONED_AFTER =>
        {
            Presence::Abandoned
        }
        _ => Presence::Claimed,
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use shared::ledger::{ClaimRequest, ItemAttribute, LedgerKey, RULES, Value};
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claimed(sort: &str) -> (String, Item) {
        let request = ClaimRequest {
            key: LedgerKey {
                partition: "callout#5003".to_owned(),
                sort: sort.to_owned(),
            },
            digest: "d".to_owned(),
            delivery_id: Uuid::nil(),
            received_at: at(0),
            repeat_window: None,
            origin: Origin::Webhook,
            owner: Uuid::nil(),
            now: at(0),
            lease_until: at(0) + SignedDuration::from_secs(10),
            expires_at: at(100),
        };
        (
            sort.to_owned(),
            RULES.claim(&request, 1).apply(None).unwrap(),
        )
    }

    fn published(sort: &str, second: i64) -> (String, Item) {
        let (sort, item) = claimed(sort);
        let step = RULES.complete(&item.claim().unwrap(), "bus", at(second));
        (sort, step.apply(Some(&item)).unwrap())
    }

    #[test]
    fn a_timeline_gives_the_last_published_event_and_the_stage_of_the_response() {
        let mut timeline = vec![
            published("NEW_CALLOUT", 1),
            published("RESPONDER_ACKNOWLEDGED_CALLOUT#a", 2),
            published("RESPONDER_ARRIVED_ON_SCENE#a", 5),
            published("CALLOUT_OWNED#a", 6),
            published("CALLOUT_OBSERVED#a", 9),
            claimed("CALLOUT_CLOSED"),
            claimed("RESPONDER_COMPLETED#a"),
        ];
        let expected = CalloutView {
            opening: Presence::Published(at(1)),
            closing: Presence::Claimed,
            last: Some(LastEvent {
                sort: "CALLOUT_OWNED#a".to_owned(),
                at: at(6),
                has_stage: false,
            }),
            observations: 1,
            stage: CalloutStage::Arrived,
            staged_at: Some(at(5)),
            observed_at: Some(at(9)),
        };
        assert_eq!(CalloutView::of(&timeline, at(10)), expected);
        timeline.reverse();
        assert_eq!(CalloutView::of(&timeline, at(10)), expected);
        assert_eq!(CalloutView::of(&[], at(10)), CalloutView::default());
    }

    #[test]
    fn a_claim_counts_as_abandoned_only_long_after_its_lease() {
        let closing = |second| CalloutView::of(&[claimed("CALLOUT_CLOSED")], at(second)).closing;
        let end = 10 + ABANDONED_AFTER.as_secs();
        assert_eq!(closing(0), Presence::Claimed);
        assert_eq!(closing(end - 1), Presence::Claimed);
        assert_eq!(closing(end), Presence::Abandoned);
    }

    #[test]
    fn a_correction_is_nothing_that_happened_at_aura() {
        let [opening, closing] = ["NEW_CALLOUT", "CALLOUT_CLOSED"];
        let corrected = |name: &str| {
            let (sort, mut item) = published(&format!("{name}#{}", Uuid::nil()), 5);
            let origin = Value::Text(Origin::Operator.name().to_owned());
            item.0.insert(ItemAttribute::Origin, origin);
            (sort, item)
        };
        let mut timeline = vec![published(opening, 1), published(closing, 2)];
        let view = CalloutView::of(&timeline, at(10));
        timeline.extend([corrected(opening), corrected(closing)]);
        assert_eq!(CalloutView::of(&timeline, at(10)), view);
    }

    #[test]
    fn an_opening_that_comes_late_does_not_reset_the_stage() {
        let timeline = [
            published("RESPONDER_ACKNOWLEDGED_CALLOUT#a", 2),
            published("NEW_CALLOUT", 3),
        ];
        assert_eq!(
            CalloutView::of(&timeline, at(10)).stage,
            CalloutStage::Dispatched
        );
    }
}
