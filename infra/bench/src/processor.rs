//! Measures on this machine what `processor` costs: `cargo processor-bench`.
//!
//! The harness plays the Lambda Runtime API ([`crate::runtime_api`]) and the AWS services
//! ([`services`]) for the release build of `processor` and for its peers. Two peers are the usual
//! way to do this work: handlers in Python and in TypeScript with `idempotency` and `batch` of
//! Powertools for AWS Lambda. The one in Python (`infra/bench/peers/powertools-python`) runs on
//! Lambda's own runtime client. The one in TypeScript (`infra/bench/peers/powertools-typescript`) is
//! bundled as `sam build` does, and runs on a small client of its own. All get exactly the same
//! batches ([`batch`]) by turns, and all do the same for each event: read it, claim it, publish it,
//! mark it. `processor` does more, which counts against it: it looks up drills, notes callouts, and
//! writes a line with metrics for each batch.
//!
//! | figure | how it is measured | bar |
//! | --- | --- | --- |
//! | CPU per event | the process's CPU time, user and system, over a whole series of batches, divided by its events; the start and the first batches aren't included; the median of the rounds, the lowest and the highest | none |
//! | events per CPU second | the inverse: the most that one core can do. The sides are compared in each round; the ratio is the median of the rounds | 15, 8, 6 and 12 times that of the peer in Python, by kind of batch |
//! | a batch | from the answer to `/next` to the request to `/response`: the median of the rounds' p50 and p99. With 100 batches or fewer in a round, the slowest of all batches replaces the p99. For batches of one event this is the time of an event | none |
//! | events per second | the events of a series, divided by the time for which they occupy one instance: from the answer to each `/next` to the next request to it. The instance is never idle | none |
//! | calls per event | the stubs of AWS count them | none |
//! | memory | `VmHWM` at the end of a round; the highest of all rounds | a fifth of that of the peer in Python |
//! | start | from before the process is started to its first `/next`; the median of the rounds | none |
//! | instructions per event | valgrind (callgrind) counts them, as for `ingest` ([`crate::ingest`]), over N and over 2 N batches of one kind ([`instructions`]). Valgrind hides the CPU's instructions for SHA-256, so digests count more than they cost | 1.25 times those of the bare calls |
//!
//! **The bare calls** are a third peer, `bench-processor-calls`. It makes the calls to AWS that
//! `processor` makes, with the same clients and the same limits, and does nothing else. The stubs
//! record which calls `processor` made for each batch, which of them were side by side, and how
//! large they were. Each invocation of the peer is such a record. The stubs then record the peer's
//! calls as well. There are no figures if these are other calls, or if they differ in length by more
//! than a tenth.
//!
//! No side uses TLS. TLS would cost all about the same, and lower the ratios.
//!
//! The harness compares the events of `processor` and of Powertools: in each series, each new event's
//! key is published once, and all publish the same detail under a key.
//!
//! The times of batches include the time that the harness itself takes to answer a call; the CPU
//! time doesn't.
//!
//! This is a benchmark, not a test: a missed bar is printed as missed, and the exit code stays 0.
//! The exit code is 1 if a figure would mean nothing:
//!
//! - an event failed, wasn't published exactly once, or wasn't marked;
//! - the sides published an event differently;
//! - the bare calls were not `processor`'s;
//! - a function made an unexpected call to AWS;
//! - a function ended.

pub mod batch;
pub mod cli;
pub mod function;
pub mod instructions;
pub mod report;
pub mod series;
pub mod services;
pub mod stubbed;
mod tables;
pub mod typescript;
