//! What the stand-in says of its world: every event that happened, and every callout.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Entity, number_or_text};

/// One event that happened at AURA, whoever was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Happened {
    /// Its number, from 1.
    pub n: u64,
    /// Its name.
    pub message: String,
    /// What it is about.
    pub entity: Entity,
    /// When it happened, by the clock of this machine.
    pub at: Timestamp,
    /// What became of it.
    pub fate: Fate,
    /// The numbers of its deliveries, its repeats among them.
    pub deliveries: Vec<u64>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It has a delivery, to whatever is registered when that goes out.
    Sent,
    /// The plan dropped it.
    Dropped,
    /// It happened while nothing was sent.
    Dark,
    /// No webhook was registered.
    Unregistered,
    /// The registration in force didn't list it.
    Unlisted,
}

/// A callout as it is at AURA.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalloutState {
    /// Its id, in the form that an [`Entity`] has.
    #[serde(deserialize_with = "number_or_text")]
    pub id: String,
    /// AURA's free text.
    pub status: String,
    /// Whether it is over.
    pub closed: bool,
    /// When it was raised, by AURA's word: a day's callouts follow the day's own clock.
    pub created_at: Timestamp,
}
