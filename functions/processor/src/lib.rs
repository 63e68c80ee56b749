//! Processor: claims each event in the ledger, publishes it once, marks it published.
//!
//! [`batch`] takes what SQS hands over apart into groups and reports per record; [`record`] is
//! the descent of one record: read, claim, publish, complete. What it touches stands behind a
//! trait each: the [`ledger`], the [`bus`] and the [`quarantine`].
//!
//! # The window that can't be closed
//!
//! An event can be on the bus without the ledger's mark: the function died in between, or the
//! bus's answer was lost. The next attempt then publishes it again, with the same `key` and
//! `deliveryId`, by which a consumer recognises it. No order of the two steps closes that window;
//! this one never loses.

pub mod batch;
pub mod bus;
pub mod config;
pub mod ledger;
pub mod metrics;
pub mod quarantine;
pub mod record;
