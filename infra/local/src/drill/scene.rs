//! The scene of a drill: a stack of its own, AURA's stand-in, and a person's shell.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aura_sim::client::Aura;
use stack::account::Account;
use stack::bundle::Bundle;
use stack::consumers::{Consumers, Published, by_type};
use stack::ops::Ops;
use stack::progress::Progress;
use stack::proxy::FaultProxy;
use stack::reconciler::Schedule;
use stack::stack::{Parameters, Stack};
use stack::system::System;
use stack::template::{OF_INGEST, Template};
use stack::workspace::Workspace;

use crate::drill::runbook::{Page, Runbook, count};
use crate::drill::shell::{Programs, Shell};
use crate::drill::traffic::Traffic;
use crate::drill::{Drill, PERIODS_DIVIDED_BY};

/// How many lines of a command's output are shown.
const SHOWN: usize = 40;

/// What all drills of a run share.
#[derive(Clone)]
pub struct Equipment {
    /// The template and the functions.
    pub bundle: Bundle,
    /// The runbook.
    pub runbook: Arc<Runbook>,
    workspace: Workspace,
    programs: Programs,
    ops: Ops,
}

impl Equipment {
    /// Reads the runbook, finds the programs that its commands need, and builds `aura-ops`.
    ///
    /// # Errors
    ///
    /// A page or a program is missing, or `aura-ops` doesn't compile.
    pub async fn gather(workspace: &Workspace, bundle: &Bundle) -> Result<Self> {
        Ok(Self {
            bundle: bundle.clone(),
            runbook: Arc::new(Runbook::read(workspace)?),
            workspace: workspace.clone(),
            programs: Programs::find().await?,
            ops: Ops::build(workspace).await?,
        })
    }

    /// A shell for the stack in an account.
    ///
    /// # Errors
    ///
    /// The runbook has no variables, or the shell's folder can't be made.
    pub fn shell(&self, account: &Account) -> Result<Shell> {
        let variables = self.runbook.variables()?;
        Shell::new(
            &self.workspace,
            &self.programs,
            &self.ops,
            account,
            variables,
        )
    }
}

/// A deployed system under traffic, in which something can be broken.
pub struct Scene {
    /// AURA's stand-in and the stack.
    pub system: System,
    /// A client of the stand-in.
    pub aura: Aura,
    /// Between ingest and its queues.
    pub queue: FaultProxy,
    /// Between the processor and the ledger.
    pub ledger: FaultProxy,
    /// Between the processor and the bus.
    pub bus: FaultProxy,
    /// The consumers, unless a drill stops them.
    pub consumers: Option<Consumers>,
    /// What the consumers received before they were stopped.
    pub received: Vec<Published>,
    /// The emergencies at AURA.
    pub traffic: Traffic,
    /// What the first commands of the alarm's section have printed.
    pub seen: String,
    /// The runbook's commands that have been run.
    pub commands: Vec<String>,
    /// The template that is deployed while nothing is broken.
    pub template: Template,
    equipment: Equipment,
    shell: Shell,
    name: &'static str,
    progress: Progress,
}

/// What calls the functions of a scene as their schedules do on AWS.
pub struct Schedules {
    /// The reconciler's, if it runs in this drill.
    pub reconciler: Option<Schedule>,
    /// The canaries', if the stack sends canaries.
    pub canaries: Option<Schedule>,
}

impl Scene {
    /// Deploys a stack for a drill into an account, and begins the traffic.
    ///
    /// # Errors
    ///
    /// The deployment fails.
    pub async fn set(
        equipment: &Equipment,
        account: &Account,
        drill: &Drill,
        progress: Progress,
    ) -> Result<(Self, Schedules)> {
        let proxy = || FaultProxy::before(account.endpoint());
        let (queue, ledger, bus) = (proxy()?, proxy()?, proxy()?);
        let mut template = equipment
            .bundle
            .template
            .with_variables(OF_INGEST, &[("AWS_ENDPOINT_URL_SQS", &queue.url())])?
            .with_processor_behind(&[("DYNAMODB", &ledger), ("EVENTBRIDGE", &bus)], &[])?;
        for (line, other) in drill.changes {
            template = template.with_first(line, other)?;
        }
        let bundle = Bundle {
            template: template.clone(),
            ..equipment.bundle.clone()
        };
        let changes = drill.parameters.iter();
        let changes = changes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let changes: Parameters = changes.collect();
        let system = System::deploy(account, &bundle, changes, Progress::silent()).await?;
        let aura = system.aura().await?;
        let reconciler = drill.reconciles;
        let schedules = Schedules {
            reconciler: reconciler.map(|every| Schedule::start(&system.stack, every)),
            canaries: canaries(&system.stack)?,
        };
        let scene = Self {
            consumers: Some(Consumers::read(&system.stack, by_type)),
            received: Vec::new(),
            traffic: Traffic::start(&aura),
            seen: String::new(),
            commands: Vec::new(),
            equipment: equipment.clone(),
            shell: equipment.shell(account)?,
            name: drill.name,
            progress,
            system,
            aura,
            queue,
            ledger,
            bus,
            template,
        };
        Ok((scene, schedules))
    }

    /// Shows what happens in this drill.
    pub fn say(&self, line: &str) {
        self.progress.say(&format!("  {}: {line}", self.name));
    }

    /// Runs what a person types first in the runbook's section about an alarm, and keeps what it
    /// prints in [`Self::seen`]. It must print something: that is what the person then reads.
    ///
    /// # Errors
    ///
    /// A command fails, or all of them print nothing.
    pub async fn begin_section(&mut self, alarm: &str) -> Result<()> {
        let runbook = Arc::clone(&self.equipment.runbook);
        let mut printed = String::new();
        for commands in runbook.section(Page::Operate, alarm)?.commands()? {
            printed += &self.run(commands).await?;
        }
        ensure!(
            !printed.trim().is_empty(),
            "the first commands about {alarm} print nothing"
        );
        self.seen = printed;
        Ok(())
    }

    /// Runs one command from the text of a section, and returns what it prints. `beginning` finds it.
    ///
    /// # Errors
    ///
    /// The section has no such command, or it fails.
    pub async fn type_inline(
        &mut self,
        page: Page,
        heading: &str,
        beginning: &str,
    ) -> Result<String> {
        self.type_inline_of(page, heading, beginning, "ID").await
    }

    /// As [`Self::type_inline`], with an id where the runbook has `ID`.
    ///
    /// # Errors
    ///
    /// The section has no such command, or it fails.
    pub async fn type_inline_of(
        &mut self,
        page: Page,
        heading: &str,
        beginning: &str,
        id: &str,
    ) -> Result<String> {
        let runbook = Arc::clone(&self.equipment.runbook);
        let command = runbook.section(page, heading)?.inline(beginning)?;
        self.run(&command.replace(" ID", &format!(" {id}"))).await
    }

    /// Runs one block of a section, counted from 0, and returns what it prints.
    ///
    /// # Errors
    ///
    /// The section has no such block, or a command fails.
    pub async fn type_block(&mut self, page: Page, heading: &str, block: usize) -> Result<String> {
        let runbook = Arc::clone(&self.equipment.runbook);
        let section = runbook.section(page, heading)?;
        let block = section.blocks.get(block);
        let block = block.with_context(|| format!("the section {heading} has too few blocks"))?;
        self.run(block).await
    }

    /// Writes a file into the folder in which the commands run.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        self.shell.write(name, text)
    }

    async fn run(&mut self, commands: &str) -> Result<String> {
        for line in commands.lines() {
            self.say(&format!("$ {line}"));
        }
        let printed = self.shell.run(commands).await?;
        for line in printed.lines().take(SHOWN) {
            self.say(&format!("  {line}"));
        }
        self.commands.push(commands.to_owned());
        Ok(printed)
    }

    /// How many commands of the runbook have been run.
    #[must_use]
    pub fn command_count(&self) -> usize {
        self.commands.iter().map(|commands| count(commands)).sum()
    }

    /// Deploys another template to the stack.
    ///
    /// # Errors
    ///
    /// The deployment fails.
    pub async fn deploy(&mut self, template: &Template) -> Result<()> {
        let bundle = Bundle {
            template: template.clone(),
            ..self.equipment.bundle.clone()
        };
        let stack = &self.system.stack;
        let (account, name) = (stack.account(), stack.name());
        let parameters = stack.parameters().clone();
        let deployed =
            Stack::deploy(account, name, &bundle, parameters, Progress::silent()).await?;
        self.system.stack = deployed;
        Ok(())
    }
}

/// Has the registrar send canaries as the stack's schedule does, but sooner, as alarms have shorter periods.
fn canaries(stack: &Stack) -> Result<Option<Schedule>> {
    let minutes = stack.parameters().get("CanaryMinutes");
    let minutes = minutes.context("the stack has no parameter CanaryMinutes")?;
    let every = Duration::from_mins(minutes.parse()?) / PERIODS_DIVIDED_BY;
    Ok((!every.is_zero()).then(|| Schedule::of_canaries(stack, every)))
}
