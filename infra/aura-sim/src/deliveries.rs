//! The way of an event to the webhook: what happened, what is sent of it, and what is held back.

pub(crate) mod events;
pub(crate) mod held;
pub(crate) mod log;
pub(crate) mod sender;
