//! Faults: of calls by order, and of calls and deliveries by a plan.

pub(crate) mod calls;
pub(crate) mod in_force;
pub(crate) mod ordered;
pub mod plan;
