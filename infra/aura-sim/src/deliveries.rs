//! The path of an event to the webhook: the events, the deliveries, and those that are held back.

pub(crate) mod events;
pub(crate) mod held;
pub(crate) mod log;
pub(crate) mod sender;
