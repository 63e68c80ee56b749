//! What is being waited for, told to people on standard error.
//!
//! On a terminal a spinner shows the stage that runs and how long it has been running; anywhere
//! else (CI, a pipe) each stage is a line when it begins and a line when it is done.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Where progress goes.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    spinner: bool,
}

impl Progress {
    /// To standard error, the way that suits it.
    #[must_use]
    pub fn to_stderr() -> Self {
        Self {
            spinner: std::io::stderr().is_terminal(),
        }
    }

    /// Begins a stage, named by what is being done ("starting MiniStack").
    #[must_use]
    pub fn stage(self, name: &str) -> Stage {
        self.begin(name, self.spinner)
    }

    /// Begins a stage whose own output goes to standard error too, such as cargo's: a spinner
    /// would fight with it for the line.
    #[must_use]
    pub fn loud_stage(self, name: &str) -> Stage {
        self.begin(name, false)
    }

    /// One line about something that happened outside of a stage.
    pub fn say(self, line: &str) {
        say(line);
    }

    #[expect(clippy::unused_self, reason = "a stage belongs to a progress")]
    fn begin(self, name: &str, spinner: bool) -> Stage {
        let bar = spinner.then(|| start_spinner(name));
        if bar.is_none() {
            say(&format!("  … {name}"));
        }
        Stage {
            name: name.to_owned(),
            note: String::new(),
            began: Instant::now(),
            bar,
        }
    }
}

/// Something that takes time. Dropped before it is [`done`](Stage::done), it shows that it ended
/// early.
#[derive(Debug)]
pub struct Stage {
    name: String,
    note: String,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Stage {
    /// Says in more detail what is being waited for.
    pub fn note(&mut self, note: &str) {
        if note == self.note {
            return;
        }
        note.clone_into(&mut self.note);
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}: {note}", self.name)),
            None => say(&format!("  … {}: {note}", self.name)),
        }
    }

    /// Ends the stage with what came of it ("MiniStack listens on 127.0.0.1:4566").
    pub fn done(mut self, outcome: &str) {
        let line = format!("  ✓ {outcome} ({})", seconds(self.began.elapsed()));
        self.clear();
        say(&line);
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
            say(&line);
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

/// Writes to standard error itself, not through the macro that test harnesses capture: whoever
/// runs the tests sees what they wait for. A standard error that is gone is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
