//! Processor: claims each event in the ledger, publishes it once, marks it published.
//!
//! An event goes down once:
//!
//! | room | does |
//! | --- | --- |
//! | [`batch`] | takes what SQS hands over apart into groups, starts one wave after the other, reports per record |
//! | `wave` | takes the first open record of each group: all are claimed, published by one call, ended |
//! | [`record`] | claims one record's event, and marks it or gives it back; `record::incoming` has what a record says, `record::outgoing` what is published of it |
//! | [`services`] | are all that a record touches: the ledger, the [`bus`] and the [`queues`] |
//!
//! [`timing`] says how long each part may take and when what failed comes back, [`outcome`] what may
//! become of a record, and `drills` which callouts are drills.
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
pub mod metrics;
pub mod outcome;
pub mod queues;
pub mod record;
pub mod services;
pub mod timing;
mod wave;
