//! The program `aura-ops`: see [`ops`].

use std::process::ExitCode;

use clap::Parser as _;
use ops::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    Cli::parse().run().await
}
