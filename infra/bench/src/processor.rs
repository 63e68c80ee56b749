//! Measures on this machine what `processor` costs: `cargo processor-bench`.
//!
//! The harness plays the Lambda Runtime API ([`crate::runtime_api`]) and the AWS services
//! ([`services`]) for the release build of `processor` and for its peer. The peer is the usual way
//! to do this work: a handler in Python with `idempotency` and `batch` of Powertools for AWS Lambda
//! (`infra/bench/peers/powertools`), on Lambda's own runtime client for Python. Both get exactly
//! the same batches ([`batch`]) by turns, and both do the same for each event: read it, claim it,
//! publish it, mark it. `processor` does more, which counts against it: it hides a batch's records
//! for as long as it may need, and writes a line with metrics for each batch.
//!
//! | figure | how it is measured | bar |
//! | --- | --- | --- |
//! | CPU per event | the process's CPU time, user and system, over a whole series of batches, divided by its events; the start and the first batches aren't included; the median of the rounds | none |
//! | events per CPU second | the inverse: the most that one core can do | 10 times the peer's, for each kind of batch |
//! | a batch | from the answer to `/next` to the request to `/response`: the median of the rounds' p50 and p99. With 100 batches or fewer in a round, the slowest of all batches replaces the p99. For batches of one event this is the time of an event | none |
//! | events per second | the events of a series, divided by the time for which they occupy one instance: from the answer to each `/next` to the next request to it. The instance is never idle | none |
//! | calls per event | the stubs of AWS count them | none |
//! | memory | `VmHWM` at the end of a round; the highest of all rounds | a fifth of the peer's |
//! | start | from before the process is started to its first `/next`; the median of the rounds | none |
//!
//! Neither side uses TLS. TLS would cost both about the same, and lower the ratios.
//!
//! The harness compares the events of both sides: in each series, each new event's key is published
//! once, and both publish the same detail under a key.
//!
//! The times of batches include the time that the harness itself takes to answer a call; the CPU
//! time doesn't.
//!
//! This is a benchmark, not a test: a missed bar is printed as missed, and the exit code stays 0.
//! The exit code is 1 if a figure would mean nothing:
//!
//! - an event failed, wasn't published exactly once, or wasn't marked;
//! - the sides published an event differently;
//! - a function made an unexpected call to AWS;
//! - a function ended.

pub mod batch;
pub mod cli;
pub mod function;
pub mod report;
pub mod series;
pub mod services;
pub mod stubbed;
mod tables;
