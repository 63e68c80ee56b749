//! The HTTP side: AURA's own API, the control room's, and the layers in front of both.

pub(crate) mod api;
pub(crate) mod calls;
pub(crate) mod control;
pub(crate) mod extract;
pub(crate) mod pages;
mod refusal;
