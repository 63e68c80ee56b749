//! The functions, built and zipped the way Lambda takes them.
//!
//! A package is a plain `cargo build` and a zip of the binary as `bootstrap`. `cargo lambda`
//! would build for a `--target` of its own and share nothing with the tests' builds.

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
    /// Quick to build.
    Dev,
    /// As deployed to AWS.
    Release,
}

/// A function, ready for Lambda.
#[derive(Debug, Clone)]
pub struct Package {
    /// The function's name, which is its binary's.
    pub function: &'static str,
    /// The zip file: the binary as `bootstrap`, the same bytes for the same binary.
    pub zip: PathBuf,
    /// The zip file's size.
    pub bytes: usize,
    /// What tells this content from that of another build.
    pub version: String,
    /// The folder that the zip file is in, for as long as anybody needs it.
    pub folder: Arc<RunFolder>,
}

/// Builds functions, by the names of their binaries, and zips them.
///
/// # Errors
///
/// They don't compile (cargo has said why on standard error), or a binary can't be read.
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

/// Builds binaries of this workspace, with cargo's progress on our standard error, and returns
/// their paths in the order of their names.
///
/// # Errors
///
/// They don't compile (cargo has said why on standard error).
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

/// Runs cargo, its progress on our standard error, and returns its messages.
///
/// All binaries in one build of the whole workspace: selecting packages (`-p`) would unify
/// features for these alone, and compile the SDKs anew with others than every other build.
async fn cargo_build(workspace: &Workspace, profile: Profile, binaries: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace.root());
    command.args(["build", "--message-format=json-render-diagnostics"]);
    command.args(binaries.iter().flat_map(|binary| ["--bin", *binary]));
    if profile == Profile::Release {
        command.arg("--release");
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_set_by_cargo(name)) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut cargo = ProcessGroup::spawn(&mut command)
        .context("cannot start cargo: install Rust from https://rustup.rs")?;
    let mut messages = String::new();
    let mut stdout = cargo
        .take_stdout()
        .context("cargo has no standard output")?;
    stdout
        .read_to_string(&mut messages)
        .await
        .context("cannot read what cargo says")?;
    if !cargo
        .wait()
        .await
        .context("cannot wait for cargo")?
        .success()
    {
        bail!("the functions don't compile: see above");
    }
    Ok(messages)
}

/// True for what `cargo run` and `cargo test` put into our environment: build scripts (ring's)
/// look at it, and would run again, and all that hangs on them, each time a build inside differs
/// in it from one outside.
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

/// One line of `--message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The path of a binary that cargo built or found fresh: it knows best where its target folder is.
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

/// The content's CRC-32, which the zip holds anyway, and length: enough to see that a build
/// differs from the last one, and in a debug build seconds faster than a cryptographic digest.
fn version(zip: &[u8]) -> Result<String> {
    let mut archive = ZipArchive::new(Cursor::new(zip))?;
    let content = archive.by_index(0)?;
    Ok(format!("{:08x}-{}", content.crc32(), content.size()))
}

/// A binary's zip.
///
/// # Errors
///
/// It is larger than a zip can hold.
pub fn zip(bootstrap: &[u8], profile: Profile) -> Result<Vec<u8>> {
    // Time and mode are fixed, so that the same binary gives the same bytes. A debug build goes to
    // the local AWS, which keeps it in memory: small is good, quick is better.
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

/// The packages' sizes for people. In a release build they are what AWS would get.
fn sizes(packages: &[Package]) -> String {
    let size = |package: &Package| format!("{} {}", package.function, mebibytes(package.bytes));
    packages.iter().map(size).collect::<Vec<_>>().join(", ")
}

/// A size for people, rounded down.
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
    fn only_what_cargo_sets_for_one_package_is_dropped() {
        assert!(is_set_by_cargo(&"CARGO_PKG_NAME".into()));
        assert!(!is_set_by_cargo(&"CARGO_HOME".into()));
        assert!(!is_set_by_cargo(&"CARGO_TARGET_DIR".into()));
    }
}
