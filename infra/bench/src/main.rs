//! `cargo ingest-bench`: see [`bench`].

use std::process::ExitCode;

use bench::cli::Cli;
use clap::Parser as _;
use local::signals::Interrupted;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let code = error
                .downcast_ref()
                .map_or(1, |interrupted: &Interrupted| interrupted.exit_code());
            ExitCode::from(code)
        }
    }
}
