//! Processor: claims each event in the ledger, publishes it once, and marks it as published.
//!
//! Each module calls the next one:
//!
//! | module | does |
//! | --- | --- |
//! | [`batch`] | splits a batch from SQS into groups, runs one wave after the other, and reports each record |
//! | `wave` | takes the first open record of each group: claims all of them, publishes them by one call, and ends them |
//! | [`record`] | claims one record's event, and marks it or gives it back. `record::incoming` reads a record, `record::outgoing` makes what is published |
//! | [`services`] | holds everything that a record touches: the ledger, the [`bus`] and the [`queues`] |
//!
//! [`timing`] says how long each part may take, and when a failed record comes back. [`outcome`]
//! says what may become of a record. `notes` looks up which callouts are drills, and which canaries
//! are the registrar's.
//!
//! A new event costs two calls to the ledger, a claim and a mark, and its share of one call to the
//! bus. The opening and the closing of a callout cost one more call each, because both are noted
//! for the reconciler. A duplicate costs one call, a refused claim. A batch with callouts or
//! canaries reads their notes once. Each event of a drill costs one more call, which renews the
//! drill's note (`notes`). At most every ten seconds, a process also notes the time of AURA's last
//! delivery ([`timing::Deliveries`]).
//!
//! # The window that can't be closed
//!
//! An event can be on the bus without the ledger's mark: the function died in between, the bus's
//! answer was lost, or the mark couldn't be made in time. Then the event is published again: by the
//! SDK when it repeats a call, by the next try of the record, or by a later delivery of the same
//! event. It has the same `key`, by which a consumer recognises it. No order of the two steps
//! closes that window. This order never loses an event.
//!
//! Two further things are assumed: Lambda ends a function at its deadline, and a call to the bus
//! takes effect before the lease ends, or never. Calls are given up 1.5 s before the deadline.
//! Leases end 2 s after the deadline, because clocks may differ. If no answer came, the claim is
//! still given back at once, because the window above allows another copy in any case.

pub mod batch;
pub mod bus;
pub mod config;
mod failpoint;
pub mod limits;
pub mod metrics;
mod notes;
pub mod outcome;
pub mod queues;
pub mod record;
pub mod services;
pub mod timing;
mod wave;
