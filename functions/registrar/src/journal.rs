//! Records the steps of one request, with outcomes and times. The journal goes to the log and to
//! CloudFormation's `Data`, and it names the step that was under way when the time ran out.

use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A step of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationStep {
    /// Checks that AURA accepts the credentials.
    Token,
    /// Waits until every instance of `ingest` knows a new value of the secret, or may read it.
    Wait,
    /// Sends a canary and waits until it is published.
    Canary,
    /// Asks AURA to deliver to the endpoint.
    Registration,
    /// Compares AURA's answer with the request.
    Confirmation,
}

impl RegistrationStep {
    /// All steps, in order.
    pub const ALL: [Self; 5] = [
        Self::Token,
        Self::Wait,
        Self::Canary,
        Self::Registration,
        Self::Confirmation,
    ];

    /// The step's name in `Data`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "Token",
            Self::Wait => "Wait",
            Self::Canary => "Canary",
            Self::Registration => "Registration",
            Self::Confirmation => "Confirmation",
        }
    }
}

/// The steps of one request. All clones share one journal, so that it can be read while a step
/// hangs.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    entries: Vec<JournalEntry>,
    ends_at: Option<Instant>,
    aura_may_have_changed: bool,
}

/// A step that has begun, and its outcome.
#[derive(Debug, Clone)]
pub struct JournalEntry {
    /// The step.
    pub step: RegistrationStep,
    begun: Instant,
    /// The outcome and the step's duration; `None` while the step is under way.
    ended: Option<(String, Duration)>,
}

impl JournalEntry {
    /// Describes the step's outcome and its duration.
    #[must_use]
    pub fn told(&self) -> String {
        match &self.ended {
            Some((outcome, time)) => format!("{outcome} ({} ms)", time.as_millis()),
            None => format!("under way ({} ms)", self.begun.elapsed().as_millis()),
        }
    }
}

impl Display for JournalEntry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step.name(), self.told())
    }
}

impl Journal {
    /// Does a step and records its outcome. `told` describes a success in a word or two. Returns
    /// the result of the work.
    pub async fn step<T, E: Display>(
        &self,
        step: RegistrationStep,
        work: impl Future<Output = Result<T, E>>,
        told: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        self.notes().entries.push(JournalEntry {
            step,
            begun: Instant::now(),
            ended: None,
        });
        let outcome = work.await;
        let told = match &outcome {
            Ok(value) => told(value),
            Err(error) => format!("failed: {error}"),
        };
        if let Some(entry) = self.notes().entries.last_mut() {
            entry.ended = Some((told, entry.begun.elapsed()));
        }
        outcome
    }

    /// Sets the time that is left for all steps.
    pub fn ends_in(&self, time: Duration) {
        self.notes().ends_at = Instant::now().checked_add(time);
    }

    /// Time that is left for all steps. It is unlimited if [`ends_in`](Self::ends_in) was not
    /// called.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        let ends_at = self.notes().ends_at;
        ends_at.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    /// The steps that have begun so far, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<JournalEntry> {
        self.notes().entries.clone()
    }

    /// The steps that have begun so far, each with its outcome and its time.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let entries = self.entries();
        entries.iter().map(ToString::to_string).collect()
    }

    /// The step that is under way.
    #[must_use]
    pub fn under_way(&self) -> Option<RegistrationStep> {
        let notes = self.notes();
        let last = notes.entries.last().filter(|entry| entry.ended.is_none());
        last.map(|entry| entry.step)
    }

    /// Records that AURA has changed its registration, or may have changed it.
    pub fn note_that_aura_may_have_changed(&self) {
        self.notes().aura_may_have_changed = true;
    }

    /// Whether AURA may have changed its registration.
    #[must_use]
    pub fn aura_may_have_changed(&self) -> bool {
        self.under_way() == Some(RegistrationStep::Registration)
            || self.notes().aura_may_have_changed
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future;

    use super::*;

    #[tokio::test]
    async fn the_journal_has_finished_steps_and_the_step_that_hangs() {
        let journal = Journal::default();
        let done = async { Ok::<_, Infallible>(2) };
        let told = |attempts: &u32| format!("done in {attempts} attempts");
        journal
            .step(RegistrationStep::Token, done, told)
            .await
            .unwrap();
        let failing = async { Err::<(), _>("no answer") };
        let failed = journal.step(RegistrationStep::Canary, failing, |()| String::new());
        failed.await.unwrap_err();
        assert_eq!(journal.under_way(), None);

        let hanging = future::pending::<Result<(), Infallible>>();
        let hanging = journal.step(RegistrationStep::Registration, hanging, |()| String::new());
        let timeout = tokio::time::timeout(Duration::from_millis(1), hanging).await;
        assert!(timeout.is_err());
        assert_eq!(journal.under_way(), Some(RegistrationStep::Registration));

        let told: Vec<_> = journal.entries().iter().map(JournalEntry::told).collect();
        assert!(told[0].starts_with("done in 2 attempts ("), "{told:?}");
        assert!(told[1].starts_with("failed: no answer ("), "{told:?}");
        assert!(told[2].starts_with("under way ("), "{told:?}");
    }
}
