//! Code that several functions need, or a function and the tools.
//!
//! Decisions are plain functions over plain data, and separate from the calls that follow from
//! them.
//!
//! | module | holds |
//! | --- | --- |
//! | [`catalogue`] | AURA's event names, and how often each may occur for one entity |
//! | [`event`] | reads message, entity and test mark from a raw body |
//! | [`envelope`] | the form of a delivery on the ingest queue |
//! | [`ledger`] | identity, states and transitions of an event, the table that holds them, and the spill |
//! | [`published`] | the detail of an event on the bus, which consumers get |
//! | [`webhook`] | the header that authenticates a delivery |
//! | [`panic_api`] | the client of AURA's Panic API |
//! | [`canary`] | our own delivery, which proves an endpoint |
//! | [`quarantine`] | messages for the quarantine, for authentic deliveries that can't be understood |
//! | [`queue`] | messages for SQS |
//! | [`reregister`] | the request to the registrar to point AURA at the endpoint again |
//! | [`aws`], [`http_client`], [`secrets`] | how the functions call AWS and the web |
//! | [`loopback`] | which hosts are this machine |
//! | [`config`], [`telemetry`] | configuration and logging, which every function sets up first |
//! | [`invocation`] | the deadline of an invocation |

pub mod aws;
pub mod canary;
pub mod catalogue;
pub mod config;
pub mod envelope;
pub mod event;
pub mod http_client;
pub mod invocation;
pub mod ledger;
pub mod loopback;
pub mod panic_api;
pub mod published;
pub mod quarantine;
pub mod queue;
pub mod reregister;
pub mod secrets;
pub mod telemetry;
pub mod webhook;
