//! The program `cargo local`: see [`local`].

use std::process::ExitCode;

use clap::Parser as _;
use local::cli::Cli;
use stack::signals;

#[tokio::main]
async fn main() -> ExitCode {
    signals::end(Cli::parse().run().await)
}
