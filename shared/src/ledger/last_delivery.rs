//! The time of AURA's last delivery. From it, the reconciler tells a quiet webhook from a dead one.
//!
//! It is one item, with `line` as partition and sort key. Its `deliveredAt` is in
//! milliseconds since 1970. A delivery less than ten seconds after the noted one is not always noted.
//! A message that the reconciler or the registrar puts on the queue doesn't count as a delivery from
//! AURA.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::table::{is_done, key_of};
use crate::aws::CallError;

/// The item's partition and sort key.
const KEY: &str = "line";
/// The item's attribute.
const DELIVERED_AT: &str = "deliveredAt";

/// The time of AURA's last delivery, in the ledger table.
#[derive(Debug, Clone)]
pub struct LastDelivery {
    client: Client,
    table: String,
}

impl LastDelivery {
    /// The item in the ledger table of this name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Notes that a delivery from AURA arrived. If a later delivery is noted already, that note
    /// stays.
    pub async fn delivered(&self, at: Timestamp) -> Result<(), CallError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_of(KEY.to_owned(), KEY)))
            .condition_expression("attribute_not_exists(pk) OR deliveredAt < :at")
            .update_expression("SET deliveredAt = :at")
            .expression_attribute_values(":at", AttributeValue::N(at.as_millisecond().to_string()))
            .send()
            .await;
        is_done(answer, KEY)?;
        Ok(())
    }

    /// Reads when AURA's last delivery arrived. `None` if there was no delivery yet.
    pub async fn last(&self) -> Result<Option<Timestamp>, CallError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key_of(KEY.to_owned(), KEY)))
            .consistent_read(true)
            .send()
            .await
            .map_err(CallError::of(KEY, "GetItem"))?;
        Ok((|| {
            let at = answer.item?.remove(DELIVERED_AT)?;
            Timestamp::from_millisecond(at.as_n().ok()?.parse().ok()?).ok()
        })())
    }
}
