//! Who gets in: a delivery that carries the registered header, once, with a valid value.

use lambda_http::http::{HeaderMap, HeaderName, HeaderValue};
use lambda_http::{Body, Request};
use subtle::{Choice, ConstantTimeEq as _};

/// The check of the registered header.
///
/// Holds every value that is valid now: during a rotation that is more than one.
#[derive(Debug)]
pub struct Authenticator {
    header: HeaderName,
    valid_values: Vec<HeaderValue>,
}

/// A delivery that carried the secret. Only [`Authenticator::authenticate`] makes one.
#[derive(Debug)]
pub struct AuthenticDelivery {
    body: Body,
}

/// The header is missing, given twice, or has another value. Which of these it was is nobody's
/// business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

impl Authenticator {
    /// Lets in what carries one of `valid_values` in `header`. Without a value it lets in nobody.
    #[must_use]
    pub fn new(header: HeaderName, valid_values: Vec<HeaderValue>) -> Self {
        Self {
            header,
            valid_values,
        }
    }

    /// Turns a request into an authentic delivery.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`] unless the header is there exactly once with a valid value.
    pub fn authenticate(&self, request: Request) -> Result<AuthenticDelivery, NotAuthentic> {
        let given = self.given(request.headers()).ok_or(NotAuthentic)?;
        if self.is_valid(given) {
            Ok(AuthenticDelivery {
                body: request.into_body(),
            })
        } else {
            Err(NotAuthentic)
        }
    }

    fn given<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let mut values = headers.get_all(&self.header).iter();
        values.next().filter(|_| values.next().is_none())
    }

    /// Compares with every valid value, so that the time taken tells neither which one matched
    /// nor how much of it.
    fn is_valid(&self, given: &HeaderValue) -> bool {
        self.valid_values
            .iter()
            .map(|valid| valid.as_bytes().ct_eq(given.as_bytes()))
            .fold(Choice::from(0), |matched, this| matched | this)
            .into()
    }
}

impl AuthenticDelivery {
    /// The raw body, decoded if API Gateway had encoded it as base64.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticate(values: &[&str], given: &[(&str, &str)]) -> bool {
        let valid = values
            .iter()
            .map(|value| HeaderValue::from_str(value).unwrap())
            .collect();
        let authenticator = Authenticator::new(HeaderName::from_static("authorization"), valid);
        let mut request = Request::new(Body::from("{}"));
        for (name, value) in given {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        authenticator.authenticate(request).is_ok()
    }

    #[test]
    fn every_value_that_is_valid_now_gets_in() {
        for given in ["Bearer current", "Bearer pending"] {
            let valid = ["Bearer current", "Bearer pending"];
            assert!(authenticate(&valid, &[("Authorization", given)]), "{given}");
        }
    }

    #[test]
    fn nothing_else_gets_in() {
        let valid = ["Bearer current"];
        let cases: [&[(&str, &str)]; 7] = [
            &[],
            &[("authorization", "")],
            &[("authorization", "Bearer curren")],
            &[("authorization", "Bearer current2")],
            &[("authorization", "bearer current")],
            &[("x-authorization", "Bearer current")],
            &[
                ("authorization", "Bearer current"),
                ("authorization", "Bearer current"),
            ],
        ];
        for given in cases {
            assert!(!authenticate(&valid, given), "{given:?}");
        }
    }

    #[test]
    fn without_a_secret_it_is_closed() {
        assert!(!authenticate(&[], &[("authorization", "")]));
    }
}
