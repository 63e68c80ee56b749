//! Customers and their subscriptions.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The body of `POST /customers`.
#[derive(Serialize, Deserialize)]
pub(crate) struct NewCustomer {
    pub(crate) customer: Person,
    pub(crate) subscription: Option<Terms>,
}

/// Who a customer is.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) surname: String,
    pub(crate) mobile: String,
}

/// What a subscription covers, and when.
///
/// The documentation doesn't say how the two bounds are written: a time (RFC 3339) and a plain
/// date (its midnight in UTC) are both read, and a bound that is absent doesn't bound.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    pub(crate) subscription_type_id: u64,
    #[serde(default, deserialize_with = "bound")]
    pub(crate) valid_from: Option<Timestamp>,
    #[serde(default, deserialize_with = "bound")]
    pub(crate) valid_to: Option<Timestamp>,
}

/// A customer as AURA tells of it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) person: Person,
}

/// A subscription as AURA tells of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Subscription {
    pub(crate) id: u64,
    pub(crate) customer_id: u64,
    #[serde(flatten)]
    pub(crate) terms: Terms,
}

/// What `POST /customers` made.
#[derive(Serialize, Deserialize)]
pub(crate) struct CreatedCustomer {
    pub(crate) customer: Customer,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscription: Option<Subscription>,
}

fn bound<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| instant(&text).map_err(D::Error::custom))
        .transpose()
}

fn instant(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse().or_else(|_| {
        let midnight = text.parse::<Date>()?.to_zoned(TimeZone::UTC)?;
        Ok(midnight.timestamp())
    })
}

impl Terms {
    pub(crate) fn cover(&self, now: Timestamp) -> bool {
        self.valid_from.is_none_or(|from| from <= now) && self.valid_to.is_none_or(|to| now < to)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subscription_covers_its_time_and_not_its_end() {
        let terms = json!({"subscriptionTypeId": 1, "validFrom": "2026-01-01",
            "validTo": "2026-02-01T10:00:00+02:00"});
        let terms: Terms = serde_json::from_value(terms).unwrap();
        let covers = |text: &str| terms.cover(text.parse().unwrap());
        assert!(!covers("2025-12-31T23:59:59Z"));
        assert!(covers("2026-01-01T00:00:00Z"));
        assert!(covers("2026-02-01T07:59:59Z"));
        assert!(!covers("2026-02-01T08:00:00Z"));
    }

    #[test]
    fn a_bound_that_is_absent_does_not_bound() {
        let terms: Terms = serde_json::from_value(json!({"subscriptionTypeId": 1})).unwrap();
        assert!(terms.cover(Timestamp::MIN) && terms.cover(Timestamp::MAX));
    }
}
