//! Tests the system's promises with random campaigns and a model checker, and measures its latency:
//! `cargo prove`.
//!
//! | module | does |
//! | --- | --- |
//! | [`torture`] | kills the processor on busy days, and counts every event |
//! | [`soak`] | plays a long day with an unreliable AURA, and classes every event in the loss ledger |
//! | [`ledger`] | explores every order of events with a model checker |
//! | [`capacity`] | simulates a mass incident with the quotas of AWS |
//! | [`latency`] | measures how long a delivery takes on each part of its path |
//! | [`cost`] | computes what events cost on AWS |
//! | [`contract`] | checks that an event is what consumers are promised |
//! | [`cli`] | reads the command line |

pub mod capacity;
pub mod cli;
pub mod contract;
pub mod cost;
pub mod latency;
pub mod ledger;
pub mod soak;
pub mod torture;
