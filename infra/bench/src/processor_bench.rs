//! `cargo processor-bench`: see [`bench::processor`].

use std::process::ExitCode;

use bench::processor::cli::Cli;
use clap::Parser as _;
use stack::signals;

#[tokio::main]
async fn main() -> ExitCode {
    signals::end(Cli::parse().run().await)
}
