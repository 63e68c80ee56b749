//! Reconciler: finds out what AURA didn't tell, and puts back what was spilled.
//!
//! AURA sends each event once, and keeps no ledger to read back. What it does answer is which
//! callouts are active, and how one of them stands. So a [`run`] compares AURA's list with the
//! callouts that are noted as open ([`cases`]), passes a [`verdict`] on each that differs, from the
//! callout's [`view`] in the ledger, and puts what was missed on the ingest queue ([`settle`],
//! [`payload`]): the processor publishes it like a delivery, once, whichever comes first. Beside
//! that it puts the [`spill`] back, and watches the [`line`](mod@line).
//!
//! One run at a time has the [`lock`]; one that is killed has changed nothing that the next doesn't
//! find: what it put on the queue is in the ledger, and what it only meant to is missing there
//! still. [`aura`] keeps to how much AURA may be asked.
//!
//! A callout that is opened and closed between two runs, with neither told, leaves no trace that
//! could be found. The same goes for customers and subscriptions: no call that is known lists them.

pub mod asking;
pub mod aura;
pub mod cases;
pub mod config;
pub mod healing;
pub mod line;
pub mod lock;
pub mod memory;
pub mod metrics;
pub mod pace;
pub mod payload;
pub mod run;
pub mod settle;
pub mod spill;
pub mod verdict;
pub mod view;
