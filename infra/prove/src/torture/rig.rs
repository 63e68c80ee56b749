//! What stands around the processor to hurt it: a proxy in front of the ledger and one in front of
//! the bus, and the failpoints that a debug build of it has.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use crate::torture::campaign::{Campaign, Moment, Step};
use stack::consumers::PATIENCE;
use stack::folder::RunFolder;
use stack::processes;
use stack::proxy::{Call, FaultProxy, Plan};
use stack::stack::Stack;
use stack::template::Template;
use stack::workspace::Workspace;

/// The template's output with the processor's name.
const PROCESSOR: &str = "ProcessorFunctionName";
/// Between two looks at a failpoint.
const POLL: Duration = Duration::from_millis(5);
/// By how much a file's time may be behind the clock.
const FILE_TICK: Duration = Duration::from_millis(10);

/// Proxies and failpoints for one stack. Dropped, it leaves nothing behind.
pub struct Rig {
    ledger: FaultProxy,
    bus: FaultProxy,
    /// What the processor takes a file away from when it reaches the step of that name, to die.
    failpoints: PathBuf,
    _folder: RunFolder,
}

/// A kill that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Where it hit the processor.
    pub moment: Moment,
    /// When it was, to some milliseconds.
    pub at: Timestamp,
}

impl Rig {
    /// Sets it up in front of the local AWS at `endpoint`.
    ///
    /// # Errors
    ///
    /// No port is free, or the folder can't be made.
    pub fn before(endpoint: &str, workspace: &Workspace) -> Result<Self> {
        let folder = RunFolder::create(workspace)?;
        let failpoints = folder.path().join("failpoints");
        fs::create_dir(&failpoints).context("cannot create the folder for failpoints")?;
        Ok(Self {
            ledger: FaultProxy::before(endpoint)?,
            bus: FaultProxy::before(endpoint)?,
            failpoints,
            _folder: folder,
        })
    }

    /// The template with the processor in it.
    ///
    /// # Errors
    ///
    /// The template has changed too much.
    pub fn around_the_processor(&self, template: &Template) -> Result<Template> {
        let proxies = [("DYNAMODB", &self.ledger), ("EVENTBRIDGE", &self.bus)];
        let failpoints = self.failpoints.display().to_string();
        template.with_processor_behind(&proxies, &[("FAILPOINTS", &failpoints)])
    }

    /// Faults from now on. What the deployment did is no part of the campaign.
    pub fn begin(&self, campaign: &Campaign) {
        self.ledger.forget();
        self.bus.forget();
        self.ledger.set(campaign.ledger_faults());
        self.bus.set(campaign.bus_faults());
    }

    /// No faults any more.
    pub fn end(&self) {
        self.ledger.set(Plan::Through);
        self.bus.set(Plan::Through);
    }

    /// All calls to the ledger since the campaign began.
    #[must_use]
    pub fn ledger_calls(&self) -> Vec<Call> {
        self.ledger.calls()
    }

    /// All calls to the bus since the campaign began.
    #[must_use]
    pub fn bus_calls(&self) -> Vec<Call> {
        self.bus.calls()
    }

    /// Kills the processor as the step says. There has to be work for it.
    ///
    /// # Errors
    ///
    /// It doesn't come to the step, or does not die of it.
    pub async fn kill(&self, stack: &Stack, step: &Step) -> Result<Kill> {
        let moment = step.moment;
        let at = match moment {
            Moment::Random => self.kill_at_work(stack, step.pause).await?,
            _ => self.kill_at(stack, moment.name()).await?,
        };
        Ok(Kill { moment, at })
    }

    async fn kill_at_work(&self, stack: &Stack, pause: Duration) -> Result<Timestamp> {
        self.ledger.until_call().await?;
        tokio::time::sleep(pause).await;
        let killed = processes::kill(stack, PROCESSOR)?;
        let at = Timestamp::now();
        processes::gone(&killed).await?;
        Ok(at)
    }

    /// Arms a failpoint, and waits until a processor has come to it, taken it along and died.
    async fn kill_at(&self, stack: &Stack, failpoint: &str) -> Result<Timestamp> {
        let path = self.failpoints.join(failpoint);
        let mut alive = processes::pids(stack, PROCESSOR)?;
        File::create(&path).context("cannot arm a failpoint")?;
        let deadline = Instant::now() + PATIENCE;
        while fs::exists(&path).context("cannot look at a failpoint")? {
            if Instant::now() > deadline {
                bail!("no processor came to {failpoint}: was it built with failpoints?");
            }
            tokio::time::sleep(POLL).await;
            // After the last kill, the next process may be yet to start.
            if alive.is_empty() {
                alive = processes::pids(stack, PROCESSOR)?;
            }
        }
        let seen = Timestamp::now();
        let at = seen.min(self.last_taken()? + FILE_TICK);
        // If none was ever seen, what took the file came and went between two looks.
        if !alive.is_empty() {
            let died = processes::one_gone(&alive).await;
            died.with_context(|| format!("{failpoint} was reached, and killed nothing"))?;
        }
        Ok(at)
    }

    /// When a file was last taken out of the folder. On a busy machine it is seen later.
    fn last_taken(&self) -> Result<Timestamp> {
        let changed = fs::metadata(&self.failpoints).and_then(|folder| folder.modified());
        let changed = changed.context("cannot tell when a failpoint was reached")?;
        Timestamp::try_from(changed).context("this machine's clock is off")
    }
}
