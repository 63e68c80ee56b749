//! Builds the functions and zips them for Lambda.
//!
//! A package is the result of a plain `cargo build`: a zip with the binary as `bootstrap`.
//! `cargo lambda` would build for its own `--target` and share nothing with the tests' builds.

use std::ffi::OsString;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::folder::RunFolder;
use crate::process::ProcessGroup;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The template's functions, by the names of their binaries.
pub const FUNCTIONS: [&str; 4] = ["ingest", "processor", "registrar", "reconciler"];

/// How the functions are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The profile that is quick to build.
    Dev,
    /// The profile for AWS.
    Release,
}

/// A function, built and zipped for Lambda.
#[derive(Debug, Clone)]
pub struct Package {
    /// The function's name, which is also its binary's.
    pub function: &'static str,
    /// The zip file with the binary as `bootstrap`. The same binary gives the same bytes.
    pub zip: PathBuf,
    /// The zip file's size.
    pub bytes: usize,
    /// A text that differs between builds with different content.
    pub version: String,
    /// The folder of the zip file; kept here so that it lives as long as the package.
    pub folder: Arc<RunFolder>,
}

/// Builds functions, by the names of their binaries, and zips them.
///
/// # Errors
///
/// The functions don't compile (cargo printed why on standard error), or a binary can't be read.
pub async fn build_functions(
    workspace: &Workspace,
    profile: Profile,
    functions: &[&'static str],
    progress: Progress,
) -> Result<Vec<Package>> {
    let stage = progress.loud_stage("building the functions");
    let binaries = build(workspace, profile, functions).await?;
    stage.done("built the functions");

    let stage = progress.stage("packaging the functions");
    let folder = Arc::new(RunFolder::create(workspace)?);
    let mut zipping = Vec::new();
    for (&function, binary) in functions.iter().zip(binaries) {
        let folder = Arc::clone(&folder);
        zipping.push(tokio::task::spawn_blocking(move || {
            package(function, &binary, profile, folder)
        }));
    }
    let mut packages = Vec::new();
    for zip in zipping {
        packages.push(zip.await.context("packaging was interrupted")??);
    }
    stage.done(&format!("packaged {}", sizes(&packages)));
    Ok(packages)
}

/// Builds binaries of this workspace, with cargo's progress on standard error, and returns their paths
/// in the order of `binaries`.
///
/// # Errors
///
/// The binaries don't compile (cargo printed why on standard error).
pub async fn build(
    workspace: &Workspace,
    profile: Profile,
    binaries: &[&str],
) -> Result<Vec<PathBuf>> {
    let messages = cargo_build(workspace, profile, binaries).await?;
    let path = |binary: &&str| {
        executable(&messages, binary).ok_or_else(|| anyhow!("cargo built no binary named {binary}"))
    };
    binaries.iter().map(path).collect()
}

/// Runs cargo, with its progress on standard error, and returns its messages.
///
/// It builds all binaries in one build of the whole workspace. Selecting packages (`-p`) would unify
/// features only for these, and compile the SDKs again with other features than all other builds.
async fn cargo_build(workspace: &Workspace, profile: Profile, binaries: &[&str]) -> Result<String> {
    let mut command = cargo(workspace.root());
    command.args(["build", "--message-format=json-render-diagnostics"]);
    command.args(binaries.iter().flat_map(|binary| ["--bin", *binary]));
    if profile == Profile::Release {
        command.arg("--release");
    }
    command.stdout(Stdio::piped());
    let mut cargo = ProcessGroup::spawn(&mut command)
        .context("cannot start cargo: install Rust from https://rustup.rs")?;
    let mut messages = String::new();
    let mut stdout = cargo
        .take_stdout()
        .context("cargo has no standard output")?;
    stdout
        .read_to_string(&mut messages)
        .await
        .context("cannot read cargo's messages")?;
    if !cargo
        .wait()
        .await
        .context("cannot wait for cargo")?
        .success()
    {
        bail!("the build failed: see cargo's errors above");
    }
    Ok(messages)
}

/// Cargo in a folder, without the variables that cargo itself has set for this program.
#[must_use]
pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_set_by_cargo(name)) {
        command.env_remove(name);
    }
    command
}

/// True for a variable that `cargo run` and `cargo test` set. Build scripts (ring's) read such
/// variables. If they differ between builds, these scripts run again, and all that depends on them is
/// built again.
fn is_set_by_cargo(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    [
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

/// The parts of a line of `--message-format=json` that are used here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The path of a binary that cargo built, or found up to date. Only cargo knows its target folder.
fn executable(messages: &str, binary: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| {
            message
                .target
                .as_ref()
                .is_some_and(|target| target.name == binary)
        })
        .find_map(|message| message.executable)
}

/// Zips a binary for Lambda.
///
/// # Errors
///
/// The binary can't be read, or the zip can't be written.
fn package(
    function: &'static str,
    binary: &Path,
    profile: Profile,
    folder: Arc<RunFolder>,
) -> Result<Package> {
    let content =
        std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let zip = zip(&content, profile).with_context(|| format!("cannot zip {function}"))?;
    let version = version(&zip).with_context(|| format!("cannot read {function}'s zip"))?;
    let path = folder.path().join(format!("{function}.zip"));
    std::fs::write(&path, &zip).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Package {
        function,
        zip: path,
        bytes: zip.len(),
        version,
        folder,
    })
}

/// The content's CRC-32, which the zip contains anyway, and its length. This is enough to see that a
/// build differs from the last one. In a debug build, a cryptographic digest would take seconds more.
fn version(zip: &[u8]) -> Result<String> {
    let mut archive = ZipArchive::new(Cursor::new(zip))?;
    let content = archive.by_index(0)?;
    Ok(format!("{:08x}-{}", content.crc32(), content.size()))
}

/// Zips a binary.
///
/// # Errors
///
/// The binary is larger than a zip can hold.
pub fn zip(bootstrap: &[u8], profile: Profile) -> Result<Vec<u8>> {
    // Time and mode are fixed, so that the same binary gives the same bytes. A debug build is only for
    // the local AWS, so zipping quickly matters more than a small zip.
    let options = SimpleFileOptions::default()
        .last_modified_time(DateTime::default())
        .unix_permissions(0o755)
        .compression_method(CompressionMethod::Deflated)
        .compression_level(match profile {
            Profile::Dev => Some(1),
            Profile::Release => None,
        });
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("bootstrap", options)?;
    writer.write_all(bootstrap)?;
    Ok(writer.finish()?.into_inner())
}

/// The packages' sizes as text for people. In a release build these are the sizes on AWS.
fn sizes(packages: &[Package]) -> String {
    let size = |package: &Package| format!("{} {}", package.function, mebibytes(package.bytes));
    packages.iter().map(size).collect::<Vec<_>>().join(", ")
}

/// A size as text for people, rounded down.
#[must_use]
pub fn mebibytes(bytes: usize) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_zip_holds_an_executable_bootstrap() {
        for profile in [Profile::Dev, Profile::Release] {
            let zip = zip(b"\x7fELF", profile).unwrap();
            let mut archive = ZipArchive::new(Cursor::new(zip)).unwrap();
            let mut file = archive.by_name("bootstrap").unwrap();
            assert_eq!(file.unix_mode().unwrap() & 0o777, 0o755);
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            assert_eq!(content, b"\x7fELF");
        }
    }

    #[test]
    fn the_same_binary_gives_the_same_zip() {
        let zip = || zip(b"\x7fELF", Profile::Release).unwrap();
        assert_eq!(zip(), zip());
    }

    #[test]
    fn another_binary_is_another_version() {
        let version = |binary| version(&zip(binary, Profile::Dev).unwrap()).unwrap();
        assert_eq!(version(b"one"), version(b"one"));
        assert_ne!(version(b"one"), version(b"two"));
    }

    #[test]
    fn binaries_are_found_where_cargo_says() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"ingest"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"ingest"},"executable":"/t/ingest"}"#,
            "\nnot json\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(
            executable(messages, "ingest"),
            Some(PathBuf::from("/t/ingest"))
        );
        assert_eq!(executable(messages, "processor"), None);
    }

    #[test]
    fn only_variables_that_cargo_sets_for_one_package_are_removed() {
        assert!(is_set_by_cargo(&"CARGO_PKG_NAME".into()));
        assert!(!is_set_by_cargo(&"CARGO_HOME".into()));
        assert!(!is_set_by_cargo(&"CARGO_TARGET_DIR".into()));
    }
}
