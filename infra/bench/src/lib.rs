//! Measures on this machine what the functions cost: `cargo ingest-bench` ([`ingest`]) and `cargo
//! processor-bench` ([`processor`]).
//!
//! Both play the Lambda Runtime API ([`runtime_api`]) and the AWS services ([`aws`]) for release
//! builds ([`function`]). They measure each function and its peers by turns, so that other work of
//! the machine affects all of them alike. The peers are in `infra/bench/peers`.
//!
//! They are benchmarks, not tests: a missed bar is printed as missed, and the exit code stays 0.
//! The exit code is 1 if a figure would mean nothing.

pub mod aws;
pub mod function;
pub mod ingest;
pub mod instructions;
pub mod processor;
pub mod report;
pub mod runtime_api;
mod server;
pub mod statistics;
