//! The longest tests. They are in a module of their own because tests start in the order of their
//! names, and a long test that started last would run alone at the end.

mod latency;
mod runbook;
mod soak;
mod torture;
