//! Where a process can be made to die, to prove that nothing is lost or doubled when it does.
//!
//! In builds without debug assertions, such as every release build, there is nothing of this.

/// A moment between two effects.
#[derive(Debug, Clone, Copy)]
pub enum Failpoint {
    /// The event is claimed, and not published.
    AfterClaim,
    /// The bus has answered, and nothing is marked.
    AfterPublish,
    /// This event is about to be marked; others of its wave are being marked.
    BeforeComplete,
}

/// Kills the process if the folder that the variable `FAILPOINTS` names has a file with this step's
/// name: `after-claim`, `after-publish` or `before-complete`. The file is removed first, so each
/// kills once, and whoever made it sees that it was reached.
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
            // For the others' marks to be on their way.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
#[inline]
pub async fn reach(_step: Failpoint) {}
