//! Processor: claims each event in the ledger, publishes it once, marks it published.
//!
//! [`batch`] takes what SQS hands over apart into groups and reports per record; a [`wave`] takes
//! the first open record of each group to its end: claim, publish, mark. [`steps`] has those
//! of one record, [`record`] what a record says and what may become of it, [`timing`] how
//! long each part may take, and when what failed comes back. What they touch stands
//! behind a trait each: the [`ledger`], the [`bus`] and the [`queues`].
//!
//! A new event costs two calls to the ledger, a claim and a mark, and its share of one call to
//! the bus; a callout's opening and its closing cost one more, since both are noted for the
//! reconciler. A duplicate costs one call, a claim that is refused. A batch with callouts reads once
//! which of them are drills, and each event of a drill costs one call more, which keeps that in mind
//! (`drills`). Once a second at most, a batch also notes when AURA delivered last ([`timing::Deliveries`]).
//!
//! # The window that can't be closed
//!
//! An event can be on the bus without the ledger's mark: the function died in between, or the
//! bus's answer was lost, or the mark couldn't be made in time. Whoever takes the event next
//! publishes it again, with the same `key`, by which a consumer recognises it: the SDK when it
//! repeats a call, the next try of the record, or a later delivery of the same event. No order of
//! the two steps closes that window; this one never loses.
//!
//! What else is relied on: Lambda ends a function at its deadline, and a call to the bus that was
//! sent takes effect before the lease is over, if it does at all. Calls are given up 1.5 s before
//! the deadline, and leases last 2 s longer than it, for clocks that don't agree. Where no answer
//! came, the claim is given back at once all the same: another copy is in the window anyway.

pub mod batch;
pub mod bus;
pub mod config;
mod drills;
mod failpoint;
pub mod ledger;
pub mod metrics;
pub mod outcome;
pub mod queues;
pub mod record;
pub mod steps;
pub mod timing;
pub mod wave;
