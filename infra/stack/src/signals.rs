//! The signals that end a command, as values.
//!
//! A signal cancels what runs by dropping it, and each thing that must not stay behind is ended
//! by its own `Drop`. So there is one way out for errors and signals alike.

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, a polite kill, or a terminal that was closed.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// A command was ended by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ended by {name}")]
pub struct Interrupted {
    name: &'static str,
    number: u8,
}

impl Interrupted {
    /// The exit code that shells know: 128 and the signal's number.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        128 + self.number
    }
}

impl Signals {
    /// Takes the signals over from the operating system's default, which is to end at once.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one.
    pub async fn next(&mut self) -> Interrupted {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupted { name: "SIGINT", number: 2 },
            _ = self.terminate.recv() => Interrupted { name: "SIGTERM", number: 15 },
            _ = self.hang_up.recv() => Interrupted { name: "SIGHUP", number: 1 },
        }
    }

    /// Runs `work`, unless a signal comes first: then drops it and gives [`Interrupted`] as the
    /// error.
    ///
    /// # Errors
    ///
    /// The work's own, or [`Interrupted`].
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

/// How `main` ends: an error is told on standard error, and one that is [`Interrupted`] has the
/// exit code that a shell expects of it.
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
