//! What `ingest` costs, measured on this machine: `cargo ingest-bench`.
//!
//! The harness plays the Lambda Runtime API ([`crate::runtime_api`]) and the AWS services ([`aws`]) for
//! the release build of `ingest`, and for two functions that it is compared with (see
//! `infra/bench/peers`): `empty`, a `lambda_http` handler that answers 202, and `sdk-call`, the
//! same with the one `SendMessage` that `ingest` can't do without. All three get the same
//! deliveries ([`delivery`]) in turns, so that what else the machine does meets them alike.
//!
//! | figure | how it is measured | bar |
//! | --- | --- | --- |
//! | start | from before the process is started to its first `/next` ([`start`]); medians | 5 times that of `empty` |
//! | first delivery | the round trip of the first delivery after that; medians | none |
//! | handler | `Time` less `StoreTime` of the line that `ingest` writes for each request ([`warm`]): from the handler's first instruction to its answer, without the call to SQS. The line is written after its clocks have stopped, and is not in it | 100 µs at p50 |
//! | round trip | from the answer to `/next` to the request to `/response` ([`warm`]): what is missing above is in this one | none |
//! | instructions | counted by valgrind (callgrind) over N and over 2 N deliveries; the difference by N ([`instructions`]): start and end cancel out, and what else the machine does hardly matters; threads make a few thousand more or less of it. Where the C library copies several KiB at once, it counts one a byte | none |
//! | memory | resident set (`VmRSS`) after 100 to 10,000 deliveries ([`warm`]) | 30 MiB, and growing by less than 5 % after the thousandth |
//! | zip | what is uploaded | 6 MiB |
//!
//! What the harness itself takes to answer is in the starts and the round trips. It counts against
//! `ingest`, which makes four calls while it starts, and the empty handler none.
//!
//! It is a benchmark and no test: a bar that is missed is printed as missed, and the exit code
//! stays 0. It is 1 where a figure would mean nothing: an answer other than 202, a call to AWS
//! that doesn't belong there, a delivery that never arrived at the queue, a function that ended.

pub mod aws;
pub mod cli;
pub mod delivery;
pub mod function;
pub mod instructions;
pub mod report;
pub mod start;
pub mod warm;
