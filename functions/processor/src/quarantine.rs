//! Where a message goes that can never be processed.

use std::future::Future;

use shared::quarantine::Quarantined;
use shared::queue::{Queue, QueueError};

/// Puts messages aside.
pub trait QuarantineStore: Send + Sync + 'static {
    /// Puts one aside; `Ok` says that it is stored.
    fn put(&self, item: &Quarantined<'_>) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// The quarantine queue.
impl QuarantineStore for Queue {
    async fn put(&self, item: &Quarantined<'_>) -> Result<(), QueueError> {
        self.send(&item.message()).await
    }
}
