//! The signals that end a command, as values.
//!
//! A signal cancels the current work by dropping it. Everything that must not stay behind ends in its
//! own `Drop`. So errors and signals end a command in the same way.

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A listener for SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal was closed).
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// The error of a command that a signal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ended by {name}")]
pub struct Interrupted {
    name: &'static str,
    number: u8,
}

impl Interrupted {
    /// The exit code by the convention of shells: 128 plus the signal's number.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        128 + self.number
    }
}

impl Signals {
    /// Begins to listen. Without it, a signal ends the process at once.
    ///
    /// # Errors
    ///
    /// The operating system refuses to deliver the signals.
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Interrupted {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupted { name: "SIGINT", number: 2 },
            _ = self.terminate.recv() => Interrupted { name: "SIGTERM", number: 15 },
            _ = self.hang_up.recv() => Interrupted { name: "SIGHUP", number: 1 },
        }
    }

    /// Runs `work`. If a signal comes first, drops it and returns [`Interrupted`].
    ///
    /// # Errors
    ///
    /// The error of `work`, or [`Interrupted`].
    pub async fn unless_one_comes<T>(
        &mut self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            result = work => result,
            interrupted = self.next() => Err(interrupted.into()),
        }
    }
}

/// Turns a command's result into an exit code, and prints an error to standard error. [`Interrupted`]
/// gives the exit code that shells expect after a signal.
#[must_use]
pub fn end(result: Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error:#}");
    let code = error
        .downcast_ref()
        .map_or(1, |interrupted: &Interrupted| interrupted.exit_code());
    ExitCode::from(code)
}
