//! `cargo local up` and `cargo local down`.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::instance::{self, Instance};
use crate::page::Page;
use crate::relay::Relay;
use crate::stack_file::{RemoveOnDrop, StackFile, remove};
use crate::tap::{self, Recorder};
use stack::bundle::Bundle;
use stack::folder;
use stack::ops::Identity;
use stack::package::Profile;
use stack::progress::Progress;
use stack::running::{Options, Prepared, Running};
use stack::signals::Signals;
use stack::stack::{Parameters, Stack};
use stack::system::Webhook;
use stack::workspace::Workspace;

/// The AWS port that people expect, MiniStack's own default.
pub const DEFAULT_PORT: u16 = 4566;
/// The account of `cargo local up`.
const ACCOUNT: &str = "000000000001";
/// How long `down` waits for `up` to take everything down.
const DOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait between two looks at the lock.
const POLL: Duration = Duration::from_millis(50);

/// Brings everything up and stays until a signal. If it is up already, deploys the current code and
/// returns.
///
/// # Errors
///
/// Says what is missing or failed, and what to do about it.
pub async fn up(
    workspace: &Workspace,
    profile: Profile,
    port: Option<u16>,
    also_on: Option<Ipv4Addr>,
    signals: &mut Signals,
    progress: Progress,
) -> Result<()> {
    let Some(instance) = Instance::acquire(&workspace.lock())? else {
        ensure!(
            also_on.is_none(),
            "a local stack is running already. To let containers reach it, end it with \
             `cargo local down`, then repeat this command"
        );
        let redeploy = redeploy(workspace, profile, port, progress);
        return signals.unless_one_comes(Box::pin(redeploy)).await;
    };
    clean(workspace)?;
    let options = Options {
        account: ACCOUNT,
        port: Some(port.unwrap_or(DEFAULT_PORT)),
        profile,
        log: workspace.up_log(),
        also_on,
    };
    let begin = Box::pin(Ready::begin(workspace, options, progress));
    let mut ready = signals.unless_one_comes(begin).await?;
    if let Some(address) = also_on {
        ready.open_on(address, progress).await?;
    }
    ready.introduce(workspace, progress);
    let ended = tokio::select! {
        _signal = signals.next() => Ok(()),
        error = ready.ended() => Err(error),
    };
    ready.stop(progress).await;
    drop(instance);
    ended
}

/// The parameters that differ from those of other local stacks: here the template's schedules run the
/// reconciler and send canaries, as on AWS.
fn changes() -> Parameters {
    let on = [("ReconcilerEnabled", "true"), ("CanaryMinutes", "5")];
    on.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A stack that is up, and that the stack file describes.
struct Ready {
    // The files go first, so that no command finds a stack that is being taken down.
    stack_file: RemoveOnDrop,
    events_file: RemoveOnDrop,
    recorder: Recorder,
    relay: Option<Relay>,
    page: Page,
    running: Running,
}

impl Ready {
    async fn begin(workspace: &Workspace, options: Options, progress: Progress) -> Result<Self> {
        let prepared = Prepared::prepare(workspace, options, progress).await?;
        let ops = Page::build(workspace, progress).await?;
        let running = prepared.deploy(changes(), progress).await?;
        let system = running.system();
        let events_file = RemoveOnDrop(workspace.events_file());
        let recorder = Recorder::start(&system.stack, &events_file.0).await?;
        let stack_file = RemoveOnDrop(workspace.stack_file());
        let webhook = Webhook::of(&system.stack).await?;
        StackFile::of(
            &system.stack,
            webhook,
            system.aura.url(),
            std::process::id(),
        )
        .write(&stack_file.0)?;
        let page = Page::start(&ops, &system.stack, &Identity::root(&system.stack), &[]).await?;
        Ok(Self {
            stack_file,
            events_file,
            recorder,
            relay: None,
            page,
            running,
        })
    }

    /// Lets containers reach the local AWS and AURA's stand-in.
    async fn open_on(&mut self, address: Ipv4Addr, progress: Progress) -> Result<()> {
        let system = self.running.system();
        let (aws, aura) = (system.stack.account().endpoint(), system.aura.url());
        self.relay = Some(Relay::start(address, &[aws, &aura]).await?);
        system.aura.also_on(address);
        progress.say(&format!("the local AWS and AURA are on {address}, too"));
        Ok(())
    }

    fn introduce(&self, workspace: &Workspace, progress: Progress) {
        let stack = &self.running.system().stack;
        let url = stack.output("WebhookUrl").unwrap_or_default();
        let lines = [
            String::new(),
            format!(
                "The stack is up. {} says how to reach it:",
                workspace.stack_file().display()
            ),
            format!("  page       {}", self.page.address()),
            format!("  webhook    {url}"),
            format!("  AURA       {}", self.running.system().aura.url()),
            format!(
                "  AWS        {} (account {})",
                stack.account().endpoint(),
                stack.account().id()
            ),
            format!("  AWS log    {}", workspace.up_log().display()),
            format!(
                "  registered {}",
                stack.output("Registration").unwrap_or_default()
            ),
            String::new(),
            "Open the page in a browser to see events move. `cargo local send FILE` posts an event,"
                .to_owned(),
            "`cargo local events --follow` shows what is published,".to_owned(),
            "`cargo local up` again deploys changed code. Ctrl-C takes everything down.".to_owned(),
        ];
        for line in lines {
            progress.say(&line);
        }
    }

    async fn ended(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.running.ended() => error,
            error = self.recorder.ended() => error,
        }
    }

    async fn stop(self, progress: Progress) {
        drop((self.stack_file, self.recorder, self.events_file));
        drop((self.relay, self.page));
        self.running.stop(progress).await;
    }
}

/// Builds the functions and deploys them to the running `cargo local up`'s stack, with that stack's
/// parameters.
async fn redeploy(
    workspace: &Workspace,
    profile: Profile,
    port: Option<u16>,
    progress: Progress,
) -> Result<()> {
    if !workspace.stack_file().exists() {
        let holder = instance::holder(&workspace.lock())?;
        bail!(
            "another `cargo local up` (process {}) is starting or ending: wait for it, or end it \
             with `cargo local down`",
            holder.as_raw_nonzero()
        );
    }
    let file = StackFile::read(&workspace.stack_file())?;
    if let Some(port) = port.filter(|port| !file.aws_endpoint_url.ends_with(&format!(":{port}"))) {
        bail!(
            "a local stack is running at {}. To use port {port}, end it with `cargo local down`, \
             then repeat this command",
            file.aws_endpoint_url
        );
    }
    let bundle = Bundle::build(workspace, profile, progress).await?;
    let account = file.account();
    let old = Stack::find(&account, &file.stack_name).await?;
    let parameters = old.parameters().clone();
    let new = Stack::deploy(&account, &file.stack_name, &bundle, parameters, progress).await?;
    tap::open(&new).await?;
    let webhook = Webhook::of(&new).await?;
    StackFile::of(&new, webhook, file.aura_url, file.pid).write(&workspace.stack_file())
}

/// Ends the stack of a `cargo local up`, or removes what a killed one left behind.
///
/// # Errors
///
/// The process doesn't end in time.
pub async fn down(workspace: &Workspace, progress: Progress) -> Result<()> {
    if let Some(_instance) = Instance::acquire(&workspace.lock())? {
        let removed = clean(workspace)?;
        progress.say(match removed {
            0 => "no local stack is running",
            _ => "no local stack is running; removed what a killed run left behind",
        });
        return Ok(());
    }
    let holder = instance::holder(&workspace.lock())?;
    let name = format!(
        "waiting for process {} to take everything down",
        holder.as_raw_nonzero()
    );
    let stage = progress.stage(&name);
    kill_process(holder, Signal::TERM).context("cannot signal the process that holds the lock")?;
    wait_for_end(workspace, holder).await?;
    stage.done("everything is down");
    Ok(())
}

async fn wait_for_end(workspace: &Workspace, holder: Pid) -> Result<()> {
    let deadline = Instant::now() + DOWN_TIMEOUT;
    while Instance::acquire(&workspace.lock())?.is_none() {
        if Instant::now() > deadline {
            let (seconds, id) = (DOWN_TIMEOUT.as_secs(), holder.as_raw_nonzero());
            bail!(
                "process {id} still runs after {seconds} s: end it with `kill -9 {id}`; its \
                 children then end by themselves"
            );
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Removes what a killed run left behind, and returns how many files and folders. The caller must
/// hold the lock.
fn clean(workspace: &Workspace) -> Result<usize> {
    let stack_file = usize::from(remove(&workspace.stack_file())?);
    let events_file = usize::from(remove(&workspace.events_file())?);
    Ok(stack_file + events_file + folder::sweep(workspace)?)
}
