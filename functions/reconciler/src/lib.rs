//! Reconciler: finds the events that AURA didn't send, and puts spilled deliveries back on their
//! queue.
//!
//! AURA sends each event once, and keeps no ledger to read back. But it answers which callouts are
//! active, and what the state of one callout is. So a [`run`] does this:
//!
//! 1. It compares AURA's list with the callouts that are noted as open (`differences`).
//! 2. It decides each difference with a `verdict`, from the callout's `view` in the ledger.
//! 3. It puts missed events on the ingest queue (`settle`, `payload`). The processor publishes such
//!    an event like a delivery. If AURA's delivery also comes, the event is still published once.
//! 4. It puts the spill back ([`redrive`]), and watches the [`webhook_health`].
//!
//! One run works at a time. If a run is killed, the next run finds in the ledger the events that
//! the killed run had put on the queue. The other events are still missing there, so it finds them
//! again. [`aura`] limits the calls to AURA.
//!
//! The reconciler can't find a callout that opens and closes between two runs if AURA sends neither
//! event. It can't find customers or subscriptions either, because no known call lists them.

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

/// Why a run, or a part of it, was not done. Nobody decides on it: it is logged, and the next run tries
/// again.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
