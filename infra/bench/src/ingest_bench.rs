//! `cargo ingest-bench`: see [`bench::ingest`].

use std::process::ExitCode;

use bench::ingest::cli::Cli;
use clap::Parser as _;
use stack::signals;

#[tokio::main]
async fn main() -> ExitCode {
    signals::end(Cli::parse().run().await)
}
