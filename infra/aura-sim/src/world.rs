//! AURA's world and its rules: customers, callouts, the webhook registration, and the events of
//! changes.
//!
//! Every change is a pure function of the world, a request and a [`Moment`](change::Moment).
//! Nothing here knows HTTP or deliveries, and the caller passes the time and the ids. So the API,
//! the control room and a seeded day follow the same rules.

pub(crate) mod callout;
pub(crate) mod callouts;
pub(crate) mod change;
pub(crate) mod crowd;
pub(crate) mod customer;
pub(crate) mod customers;
pub(crate) mod day;
pub(crate) mod event;
pub(crate) mod history;
pub(crate) mod location;
pub(crate) mod payload;
pub(crate) mod refusal;
pub(crate) mod registration;
pub(crate) mod tokens;
