//! Shows people on standard error what a command is waiting for.
//!
//! On a terminal, a spinner shows the current stage and how long it has been running. Anywhere else
//! (CI, a pipe), each stage is one line when it begins and one line when it is done.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The way in which progress is shown.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    spinner: bool,
    silent: bool,
}

impl Progress {
    /// Shows progress on standard error: with a spinner if that is a terminal, and in lines otherwise.
    #[must_use]
    pub fn to_stderr() -> Self {
        Self {
            spinner: std::io::stderr().is_terminal(),
            silent: false,
        }
    }

    /// Shows nothing: for a command that does several things at once and shows them itself.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            spinner: false,
            silent: true,
        }
    }

    /// Begins a stage. The name says what is being done ("starting MiniStack").
    #[must_use]
    pub fn stage(self, name: &str) -> Stage {
        self.begin(name, self.spinner)
    }

    /// Begins a stage that itself writes to standard error, such as cargo. It has no spinner, because
    /// that would overwrite the same line.
    #[must_use]
    pub fn loud_stage(self, name: &str) -> Stage {
        self.begin(name, false)
    }

    /// Prints a line about something that happened outside of a stage.
    pub fn say(self, line: &str) {
        if !self.silent {
            say(line);
        }
    }

    fn begin(self, name: &str, spinner: bool) -> Stage {
        let bar = spinner.then(|| start_spinner(name));
        if bar.is_none() {
            self.say(&format!("  … {name}"));
        }
        Stage {
            progress: self,
            name: name.to_owned(),
            note: String::new(),
            began: Instant::now(),
            bar,
        }
    }
}

/// Something that takes time. If it is dropped before [`done`](Stage::done), it shows that it ended
/// early.
#[derive(Debug)]
pub struct Stage {
    progress: Progress,
    name: String,
    note: String,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Stage {
    /// Shows in more detail what the stage is waiting for.
    pub fn note(&mut self, note: &str) {
        if note == self.note {
            return;
        }
        note.clone_into(&mut self.note);
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}: {note}", self.name)),
            None => self.progress.say(&format!("  … {}: {note}", self.name)),
        }
    }

    /// Ends the stage and shows its outcome ("MiniStack listens on 127.0.0.1:4566").
    pub fn done(mut self, outcome: &str) {
        let line = format!("  ✓ {outcome} ({})", seconds(self.began.elapsed()));
        self.clear();
        self.progress.say(&line);
    }

    fn clear(&mut self) -> bool {
        self.name.clear();
        self.bar
            .take()
            .inspect(ProgressBar::finish_and_clear)
            .is_some()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let line = format!("  ✗ {} ({})", self.name, seconds(self.began.elapsed()));
            self.clear();
            self.progress.say(&line);
        }
    }
}

fn start_spinner(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Writes a line to standard error, not through the macro whose output test harnesses capture. So
/// whoever runs the tests sees what they wait for. An error means that nobody reads standard error.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
