//! Measures on this machine what `ingest` costs: `cargo ingest-bench`.
//!
//! The harness plays the Lambda Runtime API ([`crate::runtime_api`]) and the AWS services ([`aws`])
//! for the release build of `ingest` and for two functions to compare it with (see
//! `infra/bench/peers`). `empty` is a `lambda_http` handler that answers 202. `sdk-call` also makes
//! the one `SendMessage` call that `ingest` can't do without. All three get the same deliveries
//! ([`delivery`]) by turns, so that other work of the machine affects all of them alike.
//!
//! | figure | how it is measured | bar |
//! | --- | --- | --- |
//! | start | from before the process is started to its first `/next` ([`start`]); medians | 2.5 times that of `empty` |
//! | first delivery | the round trip of the first delivery after the start; medians | none |
//! | handler | `Time` less `StoreTime` in the line that `ingest` writes for each request ([`warm`]): from the handler's first instruction to its answer, without the call to SQS. The time to write the line isn't included, because its clocks have stopped by then | 100 µs at p50 |
//! | round trip | from the answer to `/next` to the request to `/response` ([`warm`]); it includes everything that the handler's time lacks | none |
//! | instructions | valgrind (callgrind) counts them over N and over 2 N deliveries; the figure is the difference divided by N ([`crate::instructions`]). So start and end cancel out, and other work of the machine hardly matters. Threads change it by a few thousand. Where the C library copies several KiB at once, callgrind counts one instruction a byte | 1.1 times those of `sdk-call` |
//! | memory | resident set (`VmRSS`) after 100 to 10,000 deliveries ([`warm`]) | 30 MiB, and growing by less than 5 % after the thousandth |
//! | zips | what is uploaded for each of the four functions | 3.5 MiB each |
//!
//! The starts and the round trips include the time that the harness itself takes to answer. This
//! counts against `ingest`, which makes four calls while it starts; the empty handler makes none.
//!
//! This is a benchmark, not a test: a missed bar is printed as missed, and the exit code stays 0.
//! The exit code is 1 if a figure would mean nothing: an answer wasn't 202, a function made an
//! unexpected call to AWS, a delivery never arrived at the queue, or a function ended.

pub mod aws;
pub mod cli;
pub mod delivery;
pub mod function;
pub mod instructions;
pub mod report;
pub mod start;
pub mod warm;
