//! `cargo ledger-model`: see [`model`].

use std::process::ExitCode;

use clap::Parser as _;
use local::signals;
use model::cli::Cli;

fn main() -> ExitCode {
    signals::end(Cli::parse().run())
}
