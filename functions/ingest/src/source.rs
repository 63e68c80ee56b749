//! Where a request may come from: AURA sends from fixed addresses that it gives to its partners.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use lambda_http::Request;
use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;

/// The address ranges that deliveries may come from; without any, all may.
#[derive(Debug, Default)]
pub struct AllowedSources(Vec<IpNet>);

/// A range that can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no address range; write ranges such as 192.0.2.0/24 or 2001:db8::/32, or single \
     addresses, with commas between"
)]
pub struct NotARange(String);

impl FromStr for AllowedSources {
    type Err = NotARange;

    /// Reads ranges and addresses, IPv4 and IPv6, with commas between them.
    fn from_str(text: &str) -> Result<Self, NotARange> {
        let range = |text: &str| {
            let text = text.trim();
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>()
                .or_else(|_| address())
                .map_err(|_| NotARange(text.to_owned()))
        };
        Ok(Self(text.split(',').map(range).collect::<Result<_, _>>()?))
    }
}

impl AllowedSources {
    /// Whether a request may come in, by the address that API Gateway saw. What headers say of an
    /// address is the sender's claim and counts for nothing.
    #[must_use]
    pub fn allow(&self, request: &Request) -> bool {
        self.0.is_empty() || address_of(request).is_some_and(|address| self.contain(address))
    }

    fn contain(&self, address: IpAddr) -> bool {
        // An IPv4 address may be written as IPv6, ::ffff:192.0.2.1, and so may a range.
        let forms = match address.to_canonical() {
            IpAddr::V4(v4) => [IpAddr::V4(v4), IpAddr::V6(v4.to_ipv6_mapped())],
            v6 @ IpAddr::V6(_) => [v6, v6],
        };
        let has = |range: &IpNet| forms.iter().any(|address| range.contains(address));
        self.0.iter().any(has)
    }
}

fn address_of(request: &Request) -> Option<IpAddr> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.as_deref()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lambda_http::request::LambdaRequest;
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::*;

    const TEMPLATE: &str = include_str!("../../../template.yaml");

    /// What the parameter's pattern admits, without its anchors.
    fn admitted_by_the_template() -> impl Strategy<Value = String> {
        let parameter = TEMPLATE.split("  AllowedSourceCidrs:\n").nth(1).unwrap();
        let pattern = parameter.split("AllowedPattern: ^").nth(1).unwrap();
        string_regex(pattern.lines().next().unwrap().trim_end_matches('$')).unwrap()
    }

    fn request_from(address: &str) -> Request {
        let event = serde_json::json!({
            "version": "2.0", "rawPath": "/aura/events", "isBase64Encoded": false,
            "headers": {"x-forwarded-for": "192.0.2.1"},
            "requestContext": {"stage": "$default", "timeEpoch": 0,
                "http": {"method": "POST", "path": "/aura/events", "sourceIp": address}},
        });
        serde_json::from_value::<LambdaRequest>(event)
            .unwrap()
            .into()
    }

    fn allowed(ranges: &str, address: &str) -> bool {
        let ranges: AllowedSources = ranges.parse().unwrap();
        ranges.contain(address.parse().unwrap())
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
    fn the_address_that_api_gateway_saw_decides() {
        let sources: AllowedSources = "192.0.2.0/24,2001:db8::/32".parse().unwrap();
        for inside in ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"] {
            assert!(sources.allow(&request_from(inside)), "{inside}");
        }
        for outside in [
            "10.0.0.1",
            "2001:db9::7",
            "",
            "unknown",
            "192.0.2.7, 10.0.0.1",
        ] {
            assert!(!sources.allow(&request_from(outside)), "{outside}");
        }
        assert!(!sources.allow(&Request::default()));
    }

    #[test]
    fn without_ranges_all_may_come_in() {
        assert!(AllowedSources::default().allow(&Request::default()));
    }

    proptest! {
        #[test]
        fn what_the_template_admits_is_read(ranges in admitted_by_the_template()) {
            // Empty is unset, and doesn't come here.
            prop_assume!(!ranges.is_empty());
            prop_assert!(ranges.parse::<AllowedSources>().is_ok(), "{}", ranges);
        }
    }

    #[test]
    fn a_range_that_is_none_is_named() {
        for wrong in [
            "10.0.0.0/33",
            "10.0.0",
            "2001:db8::/129",
            "aura.services",
            "",
        ] {
            let error = format!("10.0.0.0/8,{wrong}")
                .parse::<AllowedSources>()
                .unwrap_err();
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
