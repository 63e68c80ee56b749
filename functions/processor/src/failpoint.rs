//! Places where a test can kill the process, to prove that nothing is lost or doubled.
//!
//! Builds without debug assertions, such as every release build, contain none of this.

/// A moment between two effects.
#[derive(Debug, Clone, Copy)]
pub enum Failpoint {
    /// The event is claimed, but not published.
    AfterClaim,
    /// The bus has answered, but nothing is marked.
    AfterPublish,
    /// This event is about to be marked. Other events of its wave are being marked.
    BeforeComplete,
}

/// Kills the process if a file with this step's name exists in the folder that the variable
/// `FAILPOINTS` names: `after-claim`, `after-publish` or `before-complete`. The file is removed
/// first. So it kills once, and its maker sees that the step was reached.
#[cfg(debug_assertions)]
pub async fn reach(step: Failpoint) {
    let name = match step {
        Failpoint::AfterClaim => "after-claim",
        Failpoint::AfterPublish => "after-publish",
        Failpoint::BeforeComplete => "before-complete",
    };
    let is_armed = std::env::var_os("FAILPOINTS").is_some_and(|folder| {
        std::fs::remove_file(std::path::Path::new(&folder).join(name)).is_ok()
    });
    if is_armed {
        if let Failpoint::BeforeComplete = step {
            // Lets the marks of the other events begin.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
#[inline]
pub async fn reach(_step: Failpoint) {}
