//! How unreliable the stand-in is to be, and how it tells what came of it.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;

use super::plan::Plan;
use super::world::{CalloutState, Happened};
use super::{Aura, number, text};

impl Aura {
    /// Makes AURA as unreliable as the plan says, in place of the plan before, and returns when it
    /// began.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach, or refuses the plan.
    pub async fn plan(&self, plan: &Plan) -> Result<Timestamp> {
        let plan = serde_json::to_value(plan).context("a plan is no JSON")?;
        let answer = self.sim(Method::POST, "/plan", Some(plan)).await?;
        let started = text(&answer, "/startedAt")?;
        started
            .parse()
            .with_context(|| format!("a plan can't have started at {started}"))
    }

    /// Makes AURA reliable again, and returns how many deliveries were held back until now.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn end_plan(&self) -> Result<u64> {
        let answer = self.sim(Method::DELETE, "/plan", None).await?;
        number(&answer, "/heldBack")
    }

    /// Every event that happened at AURA so far, oldest first, also those that nobody was told.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn events(&self) -> Result<Vec<Happened>> {
        let answer = self.list("/events").await?;
        serde_json::from_value(answer).context("the stand-in's list of events has another form")
    }

    /// Every callout as it is now, closed ones too. An unreliable AURA tells the truth here.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach.
    pub async fn callouts(&self) -> Result<Vec<CalloutState>> {
        let answer = self.list("/callouts").await?;
        serde_json::from_value(answer).context("the stand-in's list of callouts has another form")
    }

    /// Raises so many callouts at once, of which nobody is told: they stand for those that were
    /// there before.
    ///
    /// # Errors
    ///
    /// The stand-in is out of reach or refuses.
    pub async fn crowd(&self, callouts: u64) -> Result<()> {
        let order = json!({ "callouts": callouts });
        self.sim(Method::POST, "/crowd", Some(order)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::plan::DeliveryFaults;
    use super::super::{Aura, Day, Fate, start};
    use super::*;

    /// Nobody can listen on port 0.
    const NOWHERE: &str = "http://127.0.0.1:0/aura/events";

    #[tokio::test]
    async fn a_plan_is_begun_refused_and_ended() {
        let sim = start().await.unwrap();
        let aura = Aura::connect(&sim.url()).await.unwrap();
        let deliveries = DeliveryFaults {
            reorder: 1.0,
            ..DeliveryFaults::default()
        };
        let plan = Plan {
            seed: 1,
            deliveries,
            ..Plan::default()
        };
        let headers = BTreeMap::from([("x-key".to_owned(), "k".to_owned())]);
        aura.register(NOWHERE, &["NEW_CALLOUT"], &headers)
            .await
            .unwrap();
        let before = Timestamp::now();
        assert!(aura.plan(&plan).await.unwrap() >= before);
        let customer = aura.create_customer("1").await.unwrap();
        aura.create_callout(&customer).await.unwrap();
        assert_eq!(aura.end_plan().await.unwrap(), 1);
        assert_eq!(aura.end_plan().await.unwrap(), 0);
        let mut wrong = plan;
        wrong.deliveries.reorder = 2.0;
        let refused = aura.plan(&wrong).await.unwrap_err().to_string();
        let problem = wrong.check().unwrap_err().to_string();
        assert!(refused.contains(&problem), "{refused}");
    }

    #[tokio::test]
    async fn the_world_is_told_as_the_stand_in_has_it() {
        let sim = start().await.unwrap();
        let aura = Aura::connect(&sim.url()).await.unwrap();
        let customer = aura.create_customer("1").await.unwrap();
        let callout = aura.create_callout(&customer).await.unwrap();
        let events = ["CALLOUT_SOFT_CANCELLED_BY_CUSTOMER", "CALLOUT_CLOSED"];
        aura.register(NOWHERE, &events, &BTreeMap::new())
            .await
            .unwrap();
        aura.cancel(&callout).await.unwrap();
        aura.chat(&callout, "Safe.").await.unwrap();
        aura.crowd(3).await.unwrap();

        let events = aura.events().await.unwrap();
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.message.as_str(), event.fate, event.deliveries.len()))
            .collect();
        let expected = [
            ("CREATED_CUSTOMER", Fate::Unregistered, 0),
            ("SUBSCRIPTION_CREATED", Fate::Unregistered, 0),
            ("NEW_CALLOUT", Fate::Unregistered, 0),
            ("CALLOUT_SOFT_CANCELLED_BY_CUSTOMER", Fate::Sent, 1),
            ("CALLOUT_EVENTS_CHANGED", Fate::Unlisted, 0),
        ];
        assert_eq!(told, expected);
        assert_eq!(events[2].entity.id, callout);
        let callouts = aura.callouts().await.unwrap();
        assert_eq!(callouts.len(), 4);
        assert_eq!(callouts[0].id, callout);
        assert_eq!(callouts[0].status, "cancelled");
        assert!(!callouts[0].closed);
        assert!(callouts[1].created_at < callouts[0].created_at);
    }

    #[tokio::test]
    async fn a_days_callouts_stay_open_for_as_long_as_the_day_says() {
        let closed = async |closing_after| {
            let sim = start().await.unwrap();
            let aura = Aura::connect(&sim.url()).await.unwrap();
            aura.register(NOWHERE, &["CALLOUT_CLOSED"], &BTreeMap::new())
                .await
                .unwrap();
            let day = Day {
                seed: 1,
                events: 100,
                per_second: 5000.0,
                duplicates: 0.0,
                closing_after,
            };
            aura.play(&day).await.unwrap();
            let callouts = aura.callouts().await.unwrap();
            callouts.iter().filter(|callout| callout.closed).count()
        };
        assert!(closed(0).await > 0);
        assert_eq!(closed(100).await, 0);
    }
}
