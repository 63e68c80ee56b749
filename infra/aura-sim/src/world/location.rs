//! Places from which callouts are raised.

use serde::{Deserialize, Serialize};

/// A point on the map. The stand-in ignores a request's `accuracy`, because no answer shows it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

/// A fixed place from which callouts can be raised, by the partner's own reference.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PredefinedLocation {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) position: Position,
}
