//! Where a message goes that can never be processed.

use std::future::Future;

use shared::quarantine::{Quarantine, QuarantineError, Quarantined};

/// Puts messages aside.
pub trait QuarantineStore: Send + Sync + 'static {
    /// Puts one aside; `Ok` says that it is stored.
    fn put(
        &self,
        item: &Quarantined<'_>,
    ) -> impl Future<Output = Result<(), QuarantineError>> + Send;
}

impl QuarantineStore for Quarantine {
    async fn put(&self, item: &Quarantined<'_>) -> Result<(), QuarantineError> {
        Quarantine::put(self, item).await
    }
}
