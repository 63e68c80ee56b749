//! Ingest: authenticates AURA's deliveries and makes them durable before it answers.
//!
//! AURA asks once. A delivery goes down these steps, and each step's type says what is known of
//! it: a [`lambda_http::Request`] came in from anywhere, an [`auth::AuthenticDelivery`] carried
//! the secret, and a 2xx answer says that a queue has confirmed it.
//!
//! 1. path and method, which need no secret to be refused ([`handler`]);
//! 2. the secret header ([`auth`]), and then the size;
//! 3. message and entity, as far as routing needs them ([`shared::event`]);
//! 4. the ingest queue, or the quarantine queue for what can't be read ([`store`]);
//! 5. the answer ([`answer`]).

pub mod answer;
pub mod auth;
pub mod config;
pub mod handler;
pub mod metrics;
pub mod store;
