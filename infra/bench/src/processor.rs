//! What `processor` costs, measured on this machine: `cargo processor-bench`.
//!
//! The harness plays the Lambda Runtime API ([`crate::runtime_api`]) and the AWS services
//! ([`services`]) for the release build of `processor` and for the function that is otherwise
//! deployed for this: a handler in Python with the `idempotency` and `batch` of Powertools for AWS
//! Lambda (`infra/bench/peers/powertools`), on Lambda's own runtime client for Python. Both get
//! the same batches ([`batch`]), to the byte, by turns, and both do the same for each event: read
//! it, claim it, publish it, mark it. What `processor` does beyond that counts against it: it hides
//! a batch's records for as long as it may need, and writes a line with metrics for each batch.
//!
//! | figure | how it is measured | bar |
//! | --- | --- | --- |
//! | CPU per event | the process's CPU clock, user and system, over a whole series of batches, by its events: the start and the first batches are not in it; the median of the rounds | none |
//! | events per CPU second | the inverse: what one core can do at best | 10 times the peer's, for each kind of batch |
//! | a batch | from the answer to `/next` to the request to `/response`: p50 and p99 of a round, of these the median; with 100 batches or fewer in a round, the slowest of all instead of a p99. In a batch of one event it is an event's | none |
//! | events per second | the events of a series by the time that one instance is occupied by them, from the answer to each `/next` to the next request to it: never idle | none |
//! | calls per event | counted where AWS would be | none |
//! | memory | `VmHWM` at the end of a round; the most of all rounds | a fifth of the peer's |
//! | start | from before the process is started to its first `/next`; the median of the rounds | none |
//!
//! There is no TLS on either side. It would cost both about the same, and lower the ratios.
//!
//! Both sides' events are compared: of each series, each new event's key is published once, and
//! under a key both publish the same detail.
//!
//! What the harness itself takes to answer a call is in the times of batches, and not in the CPU.
//!
//! It is a benchmark and no test: a bar that is missed is printed as missed, and the exit code
//! stays 0. It is 1 where a figure would mean nothing: an event that failed, was not published
//! just once or not marked, one that both sides published differently, a call to AWS that doesn't
//! belong there, a function that ended.

pub mod batch;
pub mod cli;
pub mod function;
pub mod report;
pub mod series;
pub mod services;
pub mod stubbed;
mod tables;
