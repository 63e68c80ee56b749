//! `cargo local events`: prints what was published since `cargo local up`, from the
//! [tap](crate::tap)'s file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::stack_file::StackFile;
use stack::workspace::Workspace;

/// How long to wait between two looks at the file.
const POLL: Duration = Duration::from_millis(100);

/// Prints all events so far as JSON lines. With `follow` it goes on until the stack goes down.
///
/// # Errors
///
/// No local stack is ready, or standard output can't be written.
pub async fn events(workspace: &Workspace, follow: bool) -> Result<()> {
    StackFile::read(&workspace.stack_file())?;
    let file = File::open(workspace.events_file()).context("cannot read the published events")?;
    let mut lines = Lines {
        file: BufReader::new(file),
        begun: Vec::new(),
    };
    let mut stdout = io::stdout().lock();
    loop {
        match lines.print(&mut stdout) {
            Ok(()) => {}
            // The reader has seen enough, as in `cargo local events | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("cannot print events"),
        }
        if !follow || StackFile::read(&workspace.stack_file()).is_err() {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A file that grows, read in whole lines.
struct Lines<R> {
    file: R,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Prints the complete lines.
    fn print(&mut self, out: &mut impl Write) -> io::Result<()> {
        while self.file.read_until(b'\n', &mut self.begun)? > 0 {
            if self.begun.ends_with(b"\n") {
                out.write_all(&self.begun)?;
                self.begun.clear();
            }
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_printed_when_its_end_is_there() {
        let mut lines = Lines {
            file: &b"one\ntw"[..],
            begun: Vec::new(),
        };
        let mut printed = Vec::new();
        lines.print(&mut printed).unwrap();
        assert_eq!(printed, b"one\n");
        lines.file = b"o\n";
        lines.print(&mut printed).unwrap();
        assert_eq!(printed, b"one\ntwo\n");
    }
}
