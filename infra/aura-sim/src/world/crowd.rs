//! A crowd: callouts that are older than the stand-in.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{
    world::callout::Emergency,
    world::change::{Moment, World},
    world::location::Position,
    world::refusal::Refusal,
};

/// The external reference of the crowd's own predefined location.
const LOCATION: &str = "crowd";

/// Age of a crowd's callouts: a week.
const AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Largest number of callouts in a crowd.
const MOST: u64 = 100_000;

/// The body of `POST /_sim/crowd`.
#[derive(Serialize, Deserialize)]
pub(crate) struct CrowdOrder {
    pub(crate) callouts: u64,
}

impl CrowdOrder {
    /// Refuses a number of callouts that is not possible.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if (1..=MOST).contains(&self.callouts) {
            return Ok(());
        }
        let message = format!("callouts must be between 1 and {MOST}");
        Err(Refusal::Malformed(message))
    }
}

impl World {
    /// Raises `size` callouts in the past, and returns their ids. It drops their events, because
    /// they belong to the past too.
    pub(crate) fn raise_crowd(
        &mut self,
        size: u64,
        moment: &mut Moment<'_>,
    ) -> Result<Vec<u64>, Refusal> {
        let position = Position {
            latitude: -29.8587,
            longitude: 31.0218,
        };
        self.put_location(LOCATION.to_owned(), position, moment.ids);
        let emergency = Emergency {
            response_type_id: 1,
            callout_classification_id: 1,
        };
        let mut then = Moment {
            now: moment.now - AGE,
            ids: moment.ids,
        };
        let raised = (0..size).map(|_| {
            let raised = self.raise_callout_at_location(LOCATION, emergency, &mut then);
            raised.map(|(callout, _)| callout.id())
        });
        raised.collect()
    }
}
