//! Runs commands of the runbook as a person would: in bash, with `aura-ops`, AWS's command line and jq.
//!
//! Nothing can reach a real account. The environment has nothing of the user's own but `PATH`: the
//! endpoint, the region and the credentials are those of the local AWS.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use stack::account::{Account, REGION, SECRET_ACCESS_KEY};
use stack::folder::RunFolder;
use stack::ops::Ops;
use stack::process::ProcessGroup;
use stack::python::MINISTACK;
use stack::system::STACK_NAME;
use stack::workspace::Workspace;
use tokio::process::Command;

/// Keeps what a person's shell keeps from one block to the next: functions, and variables in lower case.
const KEEP: &str = "
{ declare -f; for name in $(compgen -v | grep -v '[A-Z]'); do declare -p \"$name\"; done; } > \"$HOME/kept\"
";
/// The exit code with which `aura-ops status` says that something needs a person. It is no failure.
const NEEDS_A_PERSON: u8 = 1;
/// The folder of SQS's description.
const SQS: &str = "sqs/2012-11-05";
/// How long a block of commands may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// The programs that the runbook needs on this machine.
#[derive(Debug, Clone)]
pub struct Programs {
    aws: PathBuf,
}

impl Programs {
    /// Finds them on `PATH`.
    ///
    /// # Errors
    ///
    /// One is missing, or its version is too old. The error says how to install it.
    pub async fn find() -> Result<Self> {
        for program in ["bash", "jq"] {
            ensure!(
                !on_path(program).is_empty(),
                "the runbook's commands need {program}: install it (apt-get install {program})"
            );
        }
        for aws in on_path("aws") {
            let version = Command::new(&aws).arg("--version").output().await;
            if version.is_ok_and(|version| version.stdout.starts_with(b"aws-cli/2.")) {
                return Ok(Self { aws });
            }
        }
        anyhow::bail!(
            "the runbook's commands need version 2 of the AWS CLI: install it (apt-get install awscli)"
        )
    }
}

fn on_path(program: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::env::split_paths(&path).map(|folder| folder.join(program));
    programs.filter(|file| file.is_file()).collect()
}

/// Bash commands that give the command line SQS's description of MiniStack's Python packages. The one of
/// an older command line doesn't have SQS's redrive.
fn description_of_sqs(workspace: &Workspace) -> String {
    let packages = workspace.root().join(MINISTACK.folder).join("lib/python3");
    format!(
        "if [ ! -e \"$HOME/.aws\" ]; then mkdir -p \"$HOME/.aws/models/{SQS}\"; \
         gzip -dc '{}'*/site-packages/botocore/data/{SQS}/service-2.json.gz \
         > \"$HOME/.aws/models/{SQS}/service-2.json\"; fi\n",
        packages.display()
    )
}

/// A shell of a person who has typed the variables of docs/on-call.md.
pub struct Shell {
    account: Account,
    /// What is typed before each command.
    before: String,
    /// The current folder, which keeps the files that commands write.
    folder: RunFolder,
}

impl Shell {
    /// A shell for the stack in an account.
    ///
    /// # Errors
    ///
    /// Its folder can't be made.
    pub fn new(
        workspace: &Workspace,
        programs: &Programs,
        ops: &Ops,
        account: &Account,
        variables: &str,
    ) -> Result<Self> {
        // Not every version 2 of the command line reads the endpoint from the environment.
        let (aws, ops) = (programs.aws.display(), ops.binary().display());
        let sqs = description_of_sqs(workspace);
        let before = format!(
            "set -e -o pipefail\n{variables}\nexport AURA_STACK={STACK_NAME}\n\
             export AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION}\n\
             aws() {{ '{aws}' --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"; }}\n\
             aura-ops() {{ '{ops}' \"$@\" || [ $? -eq {NEEDS_A_PERSON} ]; }}\n\
             if [ -e \"$HOME/kept\" ]; then . \"$HOME/kept\"; fi\n{sqs}"
        );
        Ok(Self {
            account: account.clone(),
            before,
            folder: RunFolder::create(workspace)?,
        })
    }

    /// Writes a file into the current folder, as a person would with an editor.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.folder.path().join(name), text)
            .with_context(|| format!("cannot write {name} into the shell's folder"))
    }

    /// Runs commands, and returns what they print.
    ///
    /// # Errors
    ///
    /// One of them fails, or they take too long. The error has what they printed.
    pub async fn run(&self, commands: &str) -> Result<String> {
        let (output, errors) = (
            self.folder.path().join("out"),
            self.folder.path().join("err"),
        );
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-c"])
            .arg(format!("{}{commands}{KEEP}", self.before))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("LC_ALL", "C.UTF-8")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", self.account.endpoint())
            .env("AWS_ACCESS_KEY_ID", self.account.id())
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&output).context("cannot write a command's output")?)
            .stderr(File::create(&errors).context("cannot write a command's errors")?);
        let mut bash = ProcessGroup::spawn(&mut bash).context("cannot start bash")?;
        let ended = tokio::time::timeout(PATIENCE, bash.wait()).await;
        let read = |path| fs::read(path).context("cannot read what a command printed");
        let (output, errors) = (read(&output)?, read(&errors)?);
        let (output, errors) = (
            String::from_utf8_lossy(&output),
            String::from_utf8_lossy(&errors),
        );
        let ended = ended.with_context(|| {
            format!("the runbook's commands took over {PATIENCE:?}:\n{commands}\n{output}{errors}")
        });
        let ended = ended?.context("cannot wait for bash")?;
        ensure!(
            ended.success(),
            "a command of the runbook failed ({ended}):\n{commands}\n{output}{errors}"
        );
        Ok(output.into_owned())
    }
}
