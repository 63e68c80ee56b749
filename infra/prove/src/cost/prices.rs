//! The prices of AWS, from `prices.json`: each with its unit, its source and its date.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::money::Money;

/// A price of AWS in us-east-1, without free tiers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    /// Name of the service, and of what it charges for.
    pub service: String,
    /// Page of AWS that has the price today.
    pub source: String,
    /// The price as written there.
    pub dollars: String,
    /// Number of units that cost this much. Lambda's unit is a MB-ms, and that of stored or written
    /// bytes is a byte.
    pub per: u64,
    /// What costs this much, for people.
    pub unit: String,
    /// Date of the source that the price was found in, or `assumed`.
    pub as_of: String,
    #[serde(skip)]
    amount: Money,
}

impl Price {
    /// The price of this many units.
    #[must_use]
    pub fn of(&self, quantity: u64) -> Money {
        self.amount.for_units(quantity, self.per)
    }
}

/// Makes the struct of all prices from the names of its fields.
macro_rules! prices {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// All prices that the arithmetic needs.
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct Prices {
            $($(#[$doc])* pub $name: Price,)*
        }

        impl Prices {
            /// The prices, in the order of the documentation.
            #[must_use]
            pub fn all(&self) -> Vec<&Price> {
                vec![$(&self.$name,)*]
            }

            /// Reads `prices.json`.
            ///
            /// # Errors
            ///
            /// A price is missing, or is no amount of dollars.
            pub fn read() -> Result<Self> {
                let mut prices: Self = serde_json::from_str(include_str!("prices.json"))
                    .context("cannot read infra/prove/src/cost/prices.json")?;
                $(prices.$name.amount = prices.$name.dollars.parse()?;)*
                Ok(prices)
            }
        }
    };
}

prices! {
    /// Lambda: a request.
    lambda_request,
    /// Lambda: a GB-s of `x86_64`.
    lambda_x8664,
    /// Lambda: a GB-s of `arm64`.
    lambda_arm64,
    /// API Gateway: a request.
    api_request,
    /// SQS: a request to a FIFO queue.
    fifo_request,
    /// SQS: a request to a standard queue.
    standard_request,
    /// DynamoDB: a write of up to 1 KB.
    write,
    /// DynamoDB: a consistent read of up to 4 KB.
    read,
    /// DynamoDB: a byte, kept for a month.
    ledger_kept,
    /// DynamoDB: the point-in-time recovery of a byte, for a month.
    ledger_recovery,
    /// EventBridge: an event.
    bus_event,
    /// EventBridge: a byte that goes into the archive.
    archived,
    /// EventBridge: a byte in the archive, for a month.
    archive_kept,
    /// CloudWatch: a metric, for a month.
    metric,
    /// CloudWatch: a metric of an alarm, for a month.
    alarm,
    /// CloudWatch: a byte of logs.
    logs,
    /// Secrets Manager: a secret, for a month.
    secret,
    /// Secrets Manager: a call.
    secret_call,
    /// X-Ray: a trace.
    trace,
}
