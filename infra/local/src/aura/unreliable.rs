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
