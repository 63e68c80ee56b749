//! `cargo prove`: see [`prove`].

use std::process::ExitCode;

use clap::Parser as _;
use prove::cli::Cli;
use stack::signals;

#[tokio::main]
async fn main() -> ExitCode {
    signals::end(Cli::parse().run().await)
}
