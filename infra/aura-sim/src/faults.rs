//! What goes wrong: with calls on order, and with calls and deliveries by a plan.

pub(crate) mod calls;
pub(crate) mod in_force;
pub(crate) mod ordered;
pub mod plan;
