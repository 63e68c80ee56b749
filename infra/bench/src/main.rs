//! `cargo ingest-bench`: see [`bench`].

use std::process::ExitCode;

use bench::cli::Cli;
use clap::Parser as _;
use local::signals;

#[tokio::main]
async fn main() -> ExitCode {
    signals::end(Cli::parse().run().await)
}
