//! An end to every piece of work: an error, a panic and a hang all come to words in time.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use crate::journal::{Journal, Step};

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
    journal.ends_in(time);
    let mut work = tokio::spawn(work);
    let ended = match tokio::time::timeout(time, &mut work).await {
        Ok(ended) => ended,
        Err(_elapsed) => {
            work.abort();
            // Only when it has ended does the journal tell how far it came.
            work.await
        }
    };
    match ended {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(ended) if ended.is_panic() => {
            Err("the registrar panicked; its log says where".to_owned())
        }
        Err(_aborted) => {
            let step = journal.under_way().map_or("Preparation", Step::name);
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future;

    use super::*;

    const ENOUGH: Duration = Duration::from_secs(10);

    /// What work that ends like this comes to.
    async fn reason<T: Send + 'static>(
        time: Duration,
        work: impl Future<Output = Result<T, Infallible>> + Send + 'static,
    ) -> String {
        let journal = Journal::default();
        let noted = journal.clone();
        let work = async move { noted.step(Step::Canary, work, |_| String::new()).await };
        guarded(time, &journal, Box::pin(work)).await.err().unwrap()
    }

    #[tokio::test]
    async fn a_panic_comes_to_words_without_its_own() {
        let told = reason::<()>(ENOUGH, async { panic!("marker") }).await;
        assert!(told.contains("panicked"), "{told}");
        assert!(!told.contains("marker"), "{told}");
    }

    #[tokio::test]
    async fn a_hang_comes_to_the_step_that_hangs() {
        let told = reason::<()>(Duration::from_millis(10), future::pending()).await;
        assert!(told.contains("Canary was still under way"), "{told}");
    }
}
