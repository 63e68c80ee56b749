//! Ingest: authenticates AURA's deliveries and makes them durable before it answers.
//!
//! AURA sends each event once. A request takes these steps, and its type says what is known of it: an
//! [`request::UnverifiedRequest`] may come from anywhere, an [`auth::AuthenticDelivery`] carried the
//! secret, and a 202 says that a queue or the spill has confirmed it.
//!
//! 1. [`request`] reads the event that API Gateway hands over.
//! 2. [`handler`] checks source address ([`source`]), path and method.
//! 3. [`auth`] checks the secret header against the values that [`secret`] knows, and then the handler
//!    checks the size.
//! 4. [`shared::event`] reads message and entity, as far as routing needs them.
//! 5. [`store`] sends the delivery to the ingest queue, or to the quarantine queue if it can't be read.
//!    If the queue doesn't confirm in time ([`limits`]), the delivery goes to the spill.
//! 6. [`answer`] says what became of it.

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
