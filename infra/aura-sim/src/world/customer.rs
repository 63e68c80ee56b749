//! Customers and their subscriptions.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The body of `POST /customers`.
#[derive(Serialize, Deserialize)]
pub(crate) struct NewCustomer {
    pub(crate) customer: Person,
    pub(crate) subscription: Option<Terms>,
}

/// The personal data of a customer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) surname: String,
    pub(crate) mobile: String,
}

/// Type and time of a subscription.
///
/// The documentation doesn't give the form of the two bounds. The stand-in reads a time (RFC 3339)
/// and a plain date (midnight in UTC). An absent bound sets no limit.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    pub(crate) subscription_type_id: u64,
    #[serde(default, deserialize_with = "bound")]
    pub(crate) valid_from: Option<Timestamp>,
    #[serde(default, deserialize_with = "bound")]
    pub(crate) valid_to: Option<Timestamp>,
}

/// A customer in AURA's form.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) person: Person,
}

/// A subscription in AURA's form.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Subscription {
    pub(crate) id: u64,
    pub(crate) customer_id: u64,
    #[serde(flatten)]
    pub(crate) terms: Terms,
}

/// The customer and the subscription that `POST /customers` has created.
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
    fn a_subscription_covers_its_time_without_the_end() {
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
    fn an_absent_bound_sets_no_limit() {
        let terms: Terms = serde_json::from_value(json!({"subscriptionTypeId": 1})).unwrap();
        assert!(terms.cover(Timestamp::MIN) && terms.cover(Timestamp::MAX));
    }
}
