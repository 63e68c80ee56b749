//! Emergencies at AURA's stand-in, from before something breaks until after it is mended.

use anyhow::{Context as _, Result, anyhow};
use aura_sim::client::{Aura, Day};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many events a part of the traffic has.
const EVENTS: u64 = 6;
/// How many events AURA sends in a second.
const PER_SECOND: f64 = 2.0;

/// Traffic that goes on until it is stopped or dropped. It consists of parts of some seconds.
pub struct Traffic {
    /// The number of parts whose deliveries have all been answered.
    parts: watch::Receiver<u32>,
    stop: watch::Sender<bool>,
    task: JoinSet<Result<()>>,
}

impl Traffic {
    /// Begins to send.
    #[must_use]
    pub fn start(aura: &Aura) -> Self {
        let (done, parts) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(send(aura.clone(), done, stopped));
        Self { parts, stop, task }
    }

    /// Waits until a part that begins later than now has been answered.
    ///
    /// # Errors
    ///
    /// AURA's stand-in can't send.
    pub async fn another_part(&mut self) -> Result<()> {
        // The one under way doesn't count.
        let wanted = *self.parts.borrow() + 2;
        let answered = self.parts.wait_for(|parts| *parts >= wanted).await.is_ok();
        if answered {
            return Ok(());
        }
        Err(self.ended().await)
    }

    /// Sends no more, and waits until all that was sent has been answered.
    ///
    /// # Errors
    ///
    /// AURA's stand-in couldn't send.
    pub async fn stop(mut self) -> Result<()> {
        // If the traffic has ended by itself, the reason comes below.
        let _ = self.stop.send(true);
        let ended = self.task.join_next().await;
        ended.context("the traffic has no task")??
    }

    async fn ended(&mut self) -> anyhow::Error {
        let error = match self.task.join_next().await {
            Some(Ok(Err(error))) => error,
            _ => anyhow!("the traffic ended without a reason"),
        };
        error.context("AURA's stand-in stopped sending")
    }
}

async fn send(aura: Aura, parts: watch::Sender<u32>, stopped: watch::Receiver<bool>) -> Result<()> {
    while !*stopped.borrow() {
        let seed = *parts.borrow() + 1;
        aura.play(&Day {
            seed,
            events: EVENTS,
            per_second: PER_SECOND,
            duplicates: 0.0,
            closing_after: 0,
        })
        .await?;
        parts.send_replace(seed);
    }
    Ok(())
}
