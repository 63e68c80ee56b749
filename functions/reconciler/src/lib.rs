//! Reconciler: finds out what AURA didn't tell, and puts back what was spilled.
//!
//! AURA sends each event once, and keeps no ledger to read back. It does answer which callouts are
//! active, and how one of them stands. So a [`run`] compares AURA's list with the callouts that are
//! noted as open (`differences`), passes a `verdict` on each difference, from the callout's
//! `view` in the ledger, and puts missed events on the ingest queue (`settle`, `payload`):
//! the processor publishes them like deliveries, once, whichever comes first. A run also puts the
//! spill back ([`redrive`]), and watches the [`webhook_health`].
//!
//! One run works at a time. The next run finds whatever a run that was killed had put on the queue
//! in the ledger, and whatever it had not is still missing there. [`aura`] limits how much AURA is
//! asked.
//!
//! A callout that is opened and closed between two runs, with neither told, leaves no trace. The
//! same goes for customers and subscriptions: no known call lists them.

pub mod aura;
pub mod config;
mod differences;
mod metrics;
mod payload;
pub mod redrive;
pub mod run;
pub mod run_state;
mod settle;
mod verdict;
mod view;
pub mod webhook_health;
