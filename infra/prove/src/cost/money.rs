//! Amounts of US dollars.

use std::fmt::{self, Display, Formatter};
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, ensure};
use serde::{Serialize, Serializer};

/// Number of decimal places of a dollar that are kept.
const PLACES: usize = 12;
const DOLLAR: u128 = 1_000_000_000_000;
const CENT: u128 = DOLLAR / 100;

/// An amount of US dollars, exact to 10⁻¹² of a dollar. A price of Lambda's GB-s has ten decimal
/// places, so no price is rounded.
///
/// Its text is rounded to the cent, half a cent upwards. Its JSON has all decimal places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(u128);

impl Money {
    /// The price of `quantity` units, if this is the price of `per` of them.
    #[must_use]
    pub fn for_units(self, quantity: u64, per: u64) -> Self {
        let (quantity, per) = (u128::from(quantity), u128::from(per.max(1)));
        Self((self.0 * quantity + per / 2) / per)
    }
}

impl FromStr for Money {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (dollars, fraction) = text.split_once('.').unwrap_or((text, ""));
        ensure!(
            fraction.len() <= PLACES,
            "{text} has more than {PLACES} decimal places"
        );
        let dollars: u128 = dollars
            .parse()
            .with_context(|| format!("{text} is no amount of dollars"))?;
        let fraction: u128 = format!("{fraction:0<PLACES$}")
            .parse()
            .with_context(|| format!("{text} is no amount of dollars"))?;
        Ok(Self(dollars * DOLLAR + fraction))
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// The difference, or nothing if `other` is more.
impl Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl Display for Money {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cents = (self.0 + CENT / 2) / CENT;
        f.pad(&format!("${}.{:02}", cents / 100, cents % 100))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (dollars, fraction) = (self.0 / DOLLAR, self.0 % DOLLAR);
        serializer.collect_str(&format_args!("{dollars}.{fraction:0PLACES$}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn an_amount_is_exact_and_its_text_is_rounded_to_the_cent() {
        let gb_s = money("0.0000166667");
        assert_eq!(gb_s.for_units(10_000, 1), money("0.166667"));
        let texts = ["0.004999999999", "0.005", "9", "1.995"].map(|text| money(text).to_string());
        assert_eq!(texts, ["$0.00", "$0.01", "$9.00", "$2.00"]);
        let json = serde_json::to_string(&gb_s).unwrap();
        assert_eq!(json, r#""0.000016666700""#);
    }

    #[test]
    fn a_sum_is_rounded_once() {
        let sum: Money = ["0.004", "0.004", "0.004"].map(money).into_iter().sum();
        assert_eq!(sum.to_string(), "$0.01");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".5", "-1", "0.1x", "1e3", "0.0000000000001"] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }
}
