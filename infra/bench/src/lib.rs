//! What the functions cost, measured on this machine: `cargo ingest-bench` ([`ingest`]) and
//! `cargo processor-bench` ([`processor`]).
//!
//! Both play the Lambda Runtime API ([`runtime_api`]) and the AWS services ([`aws`]) for release
//! builds ([`function`]), and measure them beside peers, in turns, so that what else the machine
//! does meets all of them alike. The peers are in `infra/bench/peers`.
//!
//! They are benchmarks and no tests: a bar that is missed is printed as missed, and the exit code
//! stays 0. It is 1 where a figure would mean nothing.

pub mod aws;
pub mod function;
pub mod ingest;
pub mod processor;
pub mod report;
pub mod runtime_api;
mod server;
pub mod statistics;
