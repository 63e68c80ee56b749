//! What proves the promises: `cargo prove`.
//!
//! | module | does |
//! | --- | --- |
//! | [`torture`] | kills the processor on busy days, and counts |
//! | [`soak`] | plays a long day at an unreliable AURA, and draws up the loss ledger |
//! | [`ledger`] | explores every order of events by a model checker |
//! | [`contract`] | says whether an event is what consumers are promised |
//! | [`cli`] | the command line |

pub mod cli;
pub mod contract;
pub mod ledger;
pub mod soak;
pub mod torture;
