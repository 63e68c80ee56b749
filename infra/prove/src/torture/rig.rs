//! The rig that hurts the processor: a proxy in front of the ledger, a proxy in front of the bus,
//! and the failpoints of the processor's debug build.

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

/// Output of the template that holds the processor's name.
const PROCESSOR: &str = "ProcessorFunctionName";
/// Pause between two looks at a failpoint.
const POLL: Duration = Duration::from_millis(5);
/// How far a file's time may be behind the clock.
const FILE_TICK: Duration = Duration::from_millis(10);

/// Proxies and failpoints for one stack. They are removed when it is dropped.
pub struct Rig {
    ledger: FaultProxy,
    bus: FaultProxy,
    /// Folder of the failpoints. A processor that reaches the step of a file's name removes the
    /// file and dies.
    failpoints: PathBuf,
    _folder: RunFolder,
}

/// A kill that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Where the kill hit the processor.
    pub moment: Moment,
    /// When the kill hit it, to some milliseconds.
    pub at: Timestamp,
}

impl Rig {
    /// Makes the rig in front of the local AWS at `endpoint`.
    ///
    /// # Errors
    ///
    /// Fails if no port is free or the folder can't be made.
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

    /// Changes the template so that its processor uses the rig.
    ///
    /// # Errors
    ///
    /// Fails if the template doesn't have the expected parts.
    pub fn around_the_processor(&self, template: &Template) -> Result<Template> {
        let proxies = [("DYNAMODB", &self.ledger), ("EVENTBRIDGE", &self.bus)];
        let failpoints = self.failpoints.display().to_string();
        template.with_processor_behind(&proxies, &[("FAILPOINTS", &failpoints)])
    }

    /// Starts the faults. Calls of the deployment don't count as part of the campaign.
    pub fn begin(&self, campaign: &Campaign) {
        self.ledger.forget();
        self.bus.forget();
        self.ledger.set(campaign.ledger_faults());
        self.bus.set(campaign.bus_faults());
    }

    /// Stops the faults.
    pub fn end(&self) {
        self.ledger.set(Plan::Through);
        self.bus.set(Plan::Through);
    }

    /// Returns all calls to the ledger since the campaign began.
    #[must_use]
    pub fn ledger_calls(&self) -> Vec<Call> {
        self.ledger.calls()
    }

    /// Returns all calls to the bus since the campaign began.
    #[must_use]
    pub fn bus_calls(&self) -> Vec<Call> {
        self.bus.calls()
    }

    /// Kills the processor as the step says. The processor must have work.
    ///
    /// # Errors
    ///
    /// Fails if the processor doesn't reach the step, or reaches it and doesn't die.
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

    /// Sets a failpoint, and waits until a processor has reached it, removed its file and died.
    async fn kill_at(&self, stack: &Stack, failpoint: &str) -> Result<Timestamp> {
        let path = self.failpoints.join(failpoint);
        let mut alive = processes::pids(stack, PROCESSOR)?;
        File::create(&path).context("cannot create the file of a failpoint")?;
        let deadline = Instant::now() + PATIENCE;
        while fs::exists(&path).context("cannot check the file of a failpoint")? {
            if Instant::now() > deadline {
                bail!(
                    "no processor reached the failpoint {failpoint}: check that it has work and \
                     is a debug build"
                );
            }
            tokio::time::sleep(POLL).await;
            // After the last kill, the next process may still have to start.
            if alive.is_empty() {
                alive = processes::pids(stack, PROCESSOR)?;
            }
        }
        let seen = Timestamp::now();
        let at = seen.min(self.last_taken()? + FILE_TICK);
        // If no process was ever seen, the one that removed the file started and died between two
        // looks.
        if !alive.is_empty() {
            let died = processes::one_gone(&alive).await;
            died.with_context(|| {
                format!("a processor reached the failpoint {failpoint} and didn't die")
            })?;
        }
        Ok(at)
    }

    /// The time when a file was last removed from the folder. On a busy machine the removal is seen
    /// later.
    fn last_taken(&self) -> Result<Timestamp> {
        let changed = fs::metadata(&self.failpoints).and_then(|folder| folder.modified());
        let changed = changed.context("cannot read when the folder of failpoints last changed")?;
        Timestamp::try_from(changed).context(
            "the folder of failpoints has a time that can't be used: check this machine's clock",
        )
    }
}
