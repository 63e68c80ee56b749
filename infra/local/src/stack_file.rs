//! `target/local/stack.json`: how to reach the stack of `cargo local up`.
//!
//! The file exists exactly while the stack is ready, and is never half-written. It contains the
//! webhook's secret, so only the owner can read it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use stack::account::{Account, REGION, SECRET_ACCESS_KEY};
use stack::stack::Stack;
use stack::system::Webhook;

/// The error for a command that needs a stack.
const NOTHING_IS_UP: &str = "no local stack is ready: start one with `cargo local up`";

/// The content of the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StackFile {
    /// The URL for deliveries, and their header.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The URL of AURA's stand-in.
    pub aura_url: String,
    /// The URL of the local AWS.
    pub aws_endpoint_url: String,
    /// The region of the local AWS.
    pub aws_region: String,
    /// The access key of the account that the stack is in.
    pub aws_access_key_id: String,
    /// The secret of that access key.
    pub aws_secret_access_key: String,
    /// The stack's name.
    pub stack_name: String,
    /// Every output of the stack.
    pub outputs: BTreeMap<String, String>,
    /// The process id of `cargo local up`.
    pub pid: u32,
}

impl StackFile {
    /// Describes a stack that is ready, and the stand-in at `aura_url`.
    #[must_use]
    pub fn of(stack: &Stack, webhook: Webhook, aura_url: String, pid: u32) -> Self {
        Self {
            webhook,
            aura_url,
            aws_endpoint_url: stack.account().endpoint().to_owned(),
            aws_region: REGION.to_owned(),
            aws_access_key_id: stack.account().id().to_owned(),
            aws_secret_access_key: SECRET_ACCESS_KEY.to_owned(),
            stack_name: stack.name().to_owned(),
            outputs: stack.outputs().clone(),
            pid,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// No stack is ready, or the file can't be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(NOTHING_IS_UP),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let file: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not valid", path.display()))?;
        if !file.is_alive() {
            bail!(NOTHING_IS_UP);
        }
        Ok(file)
    }

    /// False if the process that wrote the file was killed: then its stack is gone too.
    fn is_alive(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| test_kill_process(pid).is_ok())
    }

    /// Writes the file. A reader sees the old file or the new one, never half of it.
    ///
    /// # Errors
    ///
    /// The folder can't be written to.
    pub fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().context("stack.json has no parent folder")?;
        // Only its owner can read a temporary file, from its first byte on.
        let file = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        serde_json::to_writer_pretty(&file, self).context("cannot write stack.json")?;
        file.persist(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// The account that the stack is in.
    #[must_use]
    pub fn account(&self) -> Account {
        Account::new(&self.aws_endpoint_url, &self.aws_access_key_id)
    }
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub struct RemoveOnDrop(pub PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // The file may be gone already, and nobody is left to report another error to.
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes a file if it exists, and returns whether it did.
///
/// # Errors
///
/// The file exists and can't be removed.
pub fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::{Value, json};

    use super::*;
    use stack::system::Header;

    fn file() -> StackFile {
        StackFile {
            webhook: Webhook {
                webhook_url: "http://127.0.0.1:4566/_aws/execute-api/a/aura/events".into(),
                header: Header {
                    name: "authorization".into(),
                    value: "Bearer s3cret".into(),
                },
            },
            aura_url: "http://127.0.0.1:5000".into(),
            aws_endpoint_url: "http://127.0.0.1:4566".into(),
            aws_region: "us-east-1".into(),
            aws_access_key_id: "000000000001".into(),
            aws_secret_access_key: "local".into(),
            stack_name: "aura-webhooks".into(),
            outputs: BTreeMap::from([("EventBusName".into(), "bus".into())]),
            pid: std::process::id(),
        }
    }

    #[test]
    fn the_files_form_is_a_contract_with_other_tools() {
        let expected = json!({
            "webhookUrl": "http://127.0.0.1:4566/_aws/execute-api/a/aura/events",
            "header": {"name": "authorization", "value": "Bearer s3cret"},
            "auraUrl": "http://127.0.0.1:5000",
            "awsEndpointUrl": "http://127.0.0.1:4566",
            "awsRegion": "us-east-1",
            "awsAccessKeyId": "000000000001",
            "awsSecretAccessKey": "local",
            "stackName": "aura-webhooks",
            "outputs": {"EventBusName": "bus"},
            "pid": std::process::id(),
        });
        assert_eq!(serde_json::to_value(file()).unwrap(), expected);
    }

    #[test]
    fn only_its_owner_can_read_the_file_and_it_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.json");
        fs::write(&path, "an old one that everybody may read").unwrap();
        file().write(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let read: Value = serde_json::to_value(StackFile::read(&path).unwrap()).unwrap();
        assert_eq!(read, serde_json::to_value(file()).unwrap());
    }

    #[test]
    fn a_file_that_a_killed_process_left_behind_is_not_a_stack() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.json");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        StackFile {
            pid: child.id(),
            ..file()
        }
        .write(&path)
        .unwrap();
        let error = StackFile::read(&path).err().unwrap();
        assert_eq!(error.to_string(), NOTHING_IS_UP);
    }

    #[test]
    fn without_a_file_the_error_says_how_to_get_a_stack() {
        let error = StackFile::read(Path::new("/nowhere/stack.json"))
            .err()
            .unwrap();
        assert!(error.to_string().contains("cargo local up"));
    }
}
