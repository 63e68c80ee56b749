//! An end to every piece of work: an error, a panic and a hang all come to words in time.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use crate::journal::Journal;

/// Does the work in a task of its own, for so long at most.
///
/// # Errors
///
/// What failed, in one line: the error with what led to it, the panic, or the step that hangs.
pub async fn guarded<T, E>(
    time: Duration,
    journal: &Journal,
    work: Pin<Box<dyn Future<Output = Result<T, E>> + Send>>,
) -> Result<T, String>
where
    T: Send + 'static,
    E: Error + Send + 'static,
{
    let work = tokio::spawn(work);
    let abort = work.abort_handle();
    match tokio::time::timeout(time, work).await {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(error))) => Err(with_causes(&error)),
        Ok(Err(_panic)) => Err("the registrar panicked; its log says where".to_owned()),
        Err(_elapsed) => {
            abort.abort();
            let step = journal
                .under_way()
                .map_or("Preparation", |step| step.name());
            let seconds = time.as_secs();
            Err(format!(
                "not done in {seconds} s: {step} was still under way; try again later"
            ))
        }
    }
}

/// An error and what led to it.
fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Transparent errors repeat their source.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
