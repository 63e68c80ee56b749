//! The addresses that requests may come from: AURA sends from fixed ones, which it gives to its partners.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The word that stands for all addresses.
const ANY: &str = "any";

/// The first bits of an IPv4 address that is written as IPv6, `::ffff:192.0.2.1`.
const MAPPED_BITS: u8 = 96;

/// The address ranges that deliveries may come from. `None` if they may come from anywhere.
#[derive(Debug, Default)]
pub struct AllowedSources(Option<Vec<IpNet>>);

/// A text that is not an address range.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not an address range; write ranges such as 192.0.2.0/24 or 2001:db8::/32, or single \
     addresses, separated by commas"
)]
pub struct NotARange(String);

impl FromStr for AllowedSources {
    type Err = NotARange;

    /// Reads ranges and addresses, IPv4 and IPv6, separated by commas. `any` among them, or an
    /// empty text, stands for all addresses. An empty part between two commas is ignored.
    fn from_str(text: &str) -> Result<Self, NotARange> {
        let parts = || text.split(',').map(str::trim);
        if text.trim().is_empty() || parts().any(|part| part == ANY) {
            return Ok(Self(None));
        }
        let ranges = parts().filter(|part| !part.is_empty()).map(range);
        Ok(Self(Some(ranges.collect::<Result<_, _>>()?)))
    }
}

fn range(text: &str) -> Result<IpNet, NotARange> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let range = text.parse::<IpNet>().or_else(|_| address());
    range.map(canonical).map_err(|_| NotARange(text.to_owned()))
}

/// Turns an IPv4 range that is written as IPv6 into an IPv4 range. No other IPv6 range contains an
/// IPv4 address, not even `::/0`. IPv4 ranges have to be given as IPv4.
fn canonical(range: IpNet) -> IpNet {
    let IpNet::V6(v6) = range else {
        return range;
    };
    mapped(v6).map_or(range, IpNet::V4)
}

fn mapped(range: Ipv6Net) -> Option<Ipv4Net> {
    let bits = range.prefix_len().checked_sub(MAPPED_BITS)?;
    Ipv4Net::new(range.addr().to_ipv4_mapped()?, bits).ok()
}

impl AllowedSources {
    /// Whether a request may come in, by the address that API Gateway saw. An address in a header is only
    /// the sender's claim and counts for nothing.
    #[must_use]
    pub fn allow(&self, source: Option<IpAddr>) -> bool {
        let Some(ranges) = &self.0 else {
            return true;
        };
        let source = source.map(|source| source.to_canonical());
        source.is_some_and(|source| ranges.iter().any(|range| range.contains(&source)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::*;

    const TEMPLATE: &str = include_str!("../../../template.yaml");

    /// Excludes addresses that have both a `::` and eight groups.
    const LOOKAHEAD: &str = "(?!:*([^:/]+:+){7}[^:/])";

    /// What the parameter's pattern admits as one element of the list. The generator does not
    /// support lookahead.
    fn admitted_by_the_template() -> impl Strategy<Value = String> {
        let parameter = TEMPLATE.split("  AllowedSourceCidrs:\n").nth(1).unwrap();
        let pattern = parameter.split("AllowedPattern: ^").nth(1).unwrap();
        let pattern = pattern.lines().next().unwrap().trim_end_matches('$');
        let (before, after) = pattern.split_once(LOOKAHEAD).unwrap();
        let ahead = |text: &String| {
            let address = text.split('/').next().unwrap();
            let groups = address.split(':').filter(|group| !group.is_empty());
            !address.contains("::") || groups.count() < 8
        };
        string_regex(&[before, after].concat())
            .unwrap()
            .prop_filter("too many groups", ahead)
    }

    fn allowed(ranges: &str, address: &str) -> bool {
        let ranges: AllowedSources = ranges.parse().unwrap();
        ranges.allow(Some(address.parse().unwrap()))
    }

    #[test]
    fn what_lies_in_one_of_the_ranges_may_come_in() {
        let ranges = "192.0.2.0/24, 198.51.100.7,2001:db8::/32";
        for inside in [
            "192.0.2.255",
            "198.51.100.7",
            "2001:db8::1",
            "::ffff:192.0.2.1",
        ] {
            assert!(allowed(ranges, inside), "{inside}");
        }
        for outside in [
            "192.0.3.0",
            "198.51.100.8",
            "2001:db9::1",
            "::ffff:10.0.0.1",
            "::1",
        ] {
            assert!(!allowed(ranges, outside), "{outside}");
        }
    }

    #[test]
    fn a_range_of_ipv4_may_be_written_as_ipv6() {
        let ranges = "::ffff:192.0.2.0/120";
        assert!(allowed(ranges, "192.0.2.7") && allowed(ranges, "::ffff:192.0.2.7"));
        assert!(!allowed(ranges, "192.0.3.7"));
    }

    #[test]
    fn only_a_range_of_mapped_addresses_has_ipv4_addresses_in_it() {
        for wider in [
            "::/0",
            "::/80",
            "::ffff:0:0/95",
            "::ffff:192.0.2.7/95",
            "::192.0.2.7",
        ] {
            for v4 in ["192.0.2.7", "::ffff:192.0.2.7"] {
                assert!(!allowed(wider, v4), "{v4} in {wider}");
            }
        }
        assert!(allowed("::/0", "2001:db8::1"));
        for mapped in ["::ffff:0:0/96", "::ffff:c000:200/120", "::ffff:192.0.2.7"] {
            assert!(allowed(mapped, "192.0.2.7"), "{mapped}");
            assert!(!allowed(mapped, "2001:db8::1"), "{mapped}");
        }
        assert!(!allowed("::ffff:192.0.2.7", "192.0.2.8"));
    }

    #[test]
    fn an_unknown_address_lies_in_no_range() {
        for ranges in ["192.0.2.0/24", "0.0.0.0/0,::/0", ","] {
            let sources: AllowedSources = ranges.parse().unwrap();
            assert!(!sources.allow(None), "{ranges}");
        }
    }

    #[test]
    fn any_and_an_empty_text_allow_every_address() {
        for anywhere in ["any", "", " ", "192.0.2.0/24, any"] {
            let sources: AllowedSources = anywhere.parse().unwrap();
            assert!(sources.allow(None), "{anywhere:?}");
        }
        assert!(AllowedSources::default().allow(None));
    }

    #[test]
    fn an_empty_part_between_commas_allows_no_address() {
        assert!(!allowed("192.0.2.0/24,,", "192.0.3.7"));
        assert!(!allowed(",", "192.0.3.7"));
    }

    proptest! {
        #[test]
        fn what_the_template_admits_is_read(ranges in vec(admitted_by_the_template(), 1..4)) {
            let ranges = ranges.join(",");
            prop_assert!(ranges.parse::<AllowedSources>().is_ok(), "{}", ranges);
        }

        #[test]
        fn no_range_wider_than_the_mapped_ones_has_an_ipv4_address(
            bits in any::<u128>(), prefix in 0_u8..96, v4 in any::<u32>(),
        ) {
            let range = format!("{}/{prefix}", std::net::Ipv6Addr::from(bits));
            let v4 = std::net::Ipv4Addr::from(v4).to_string();
            prop_assert!(!allowed(&range, &v4), "{} in {}", v4, range);
        }
    }

    #[test]
    fn what_is_not_a_range_is_named() {
        for wrong in [
            "10.0.0.0/33",
            "10.0.0",
            "2001:db8::/129",
            "aura.services",
            "None",
        ] {
            let error = format!("10.0.0.0/8,{wrong}")
                .parse::<AllowedSources>()
                .unwrap_err();
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
