//! The program `aura-sim`: runs the stand-in for AURA. The library's documentation says what it
//! does.

use aura_sim::{AuraSim, Options};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for AURA's Panic API and its webhooks, on 127.0.0.1.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Client id that the token call accepts
    #[arg(long)]
    client_id: String,
    /// Client secret that the token call accepts
    #[arg(long, env = "AURA_SIM_CLIENT_SECRET", hide_env_values = true)]
    client_secret: String,
    /// Accept http URLs for webhooks on this machine
    #[arg(long)]
    allow_http_loopback: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let sim = AuraSim::start(Options {
        port: arguments.port,
        client_id: arguments.client_id,
        client_secret: arguments.client_secret,
        allow_http_loopback: arguments.allow_http_loopback,
    })
    .await?;
    println!("{}", sim.url());
    until_told_to_end().await?;
    sim.shutdown().await;
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM.
async fn until_told_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
