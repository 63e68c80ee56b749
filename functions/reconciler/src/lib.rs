//! Reconciler: finds out what AURA didn't tell, and puts back what was spilled.
//!
//! AURA sends each event once, and keeps no ledger to read back. What it does answer is which
//! callouts are active, and how one of them stands. So a [`run`] compares AURA's list with the
//! callouts that are noted as open ([`differences`]), passes a [`verdict`] on each that differs, from the
//! callout's [`view`] in the ledger, and puts what was missed on the ingest queue ([`settle`],
//! [`payload`]): the processor publishes it like a delivery, once, whichever comes first. Beside
//! that it puts the spill back ([`redrive`]), and watches [`webhook_health`].
//!
//! One run at a time has the [`lock`](run::lock); one that is killed has changed nothing that the next doesn't
//! find: what it put on the queue is in the ledger, and what it only meant to is missing there
//! still. [`aura`] keeps to how much AURA may be asked.
//!
//! A callout that is opened and closed between two runs, with neither told, leaves no trace that
//! could be found. The same goes for customers and subscriptions: no call that is known lists them.

pub mod aura;
pub mod config;
pub mod differences;
pub mod metrics;
pub mod payload;
pub mod redrive;
pub mod run;
pub mod run_state;
pub mod settle;
pub mod verdict;
pub mod view;
pub mod webhook_health;
