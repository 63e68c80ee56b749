//! Ingest: authenticates AURA's deliveries and makes them durable before it answers.
//!
//! AURA asks once. A delivery goes down these steps, and each step's type says what is known of
//! it: a [`request::UnverifiedRequest`] came in from anywhere, an [`auth::AuthenticDelivery`] carried
//! the secret, and a 202 says that a queue or the spill has confirmed it.
//!
//! 1. the event that API Gateway hands over ([`request`]), and of it the source address, path and
//!    method ([`source`], [`handler`]);
//! 2. the secret header ([`auth`], [`secret`]), and then the size;
//! 3. message and entity, as far as routing needs them ([`shared::event`]);
//! 4. the ingest queue, or the quarantine queue for what can't be read; the spill, if the queue
//!    doesn't confirm in time ([`store`], [`limits`]);
//! 5. the answer ([`answer`]).

pub mod answer;
pub mod auth;
pub mod config;
#[cfg(any(test, feature = "fakes"))]
pub mod fakes;
pub mod handler;
pub mod limits;
pub mod metrics;
#[cfg(any(test, feature = "fakes"))]
pub mod promises;
pub mod request;
pub mod secret;
pub mod service;
pub mod source;
pub mod store;
