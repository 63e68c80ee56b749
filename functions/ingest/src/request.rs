//! The request, read from the event that API Gateway hands over (payload format 2.0).
//!
//! Reading can't fail. AURA sends each event once, and API Gateway hands on whatever a client sent, even
//! if HTTP doesn't allow it: a header with a control character must not cost an emergency. So only the
//! few fields that the handler needs are read, each by itself. A field that is missing or has another type
//! counts as not sent. A header that HTTP doesn't allow is dropped and counted.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::header::COOKIE;
use lambda_http::http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an event that are read.
const MEMBERS: [&str; 6] = [
    "rawPath",
    "headers",
    "cookies",
    "requestContext",
    "body",
    "isBase64Encoded",
];

/// What is read from the event that Lambda hands over: its [`MEMBERS`], each as it came. None of them if
/// it wasn't a JSON object, which Lambda never sends.
#[derive(Default)]
pub struct GatewayEvent([Option<Box<RawValue>>; MEMBERS.len()]);

impl<'de> Deserialize<'de> for GatewayEvent {
    /// Never fails, because the runtime would answer an error with a 502 of its own.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut event = Self::default();
        let see = |name: &[u8], value: &RawValue| {
            if let Some(place) = MEMBERS.iter().position(|wanted| wanted.as_bytes() == name)
                && let Some(member) = event.0.get_mut(place)
            {
                *member = Some(value.to_owned());
            }
        };
        let read = deserializer.deserialize_map(Members(see));
        // What came before an error doesn't count.
        Ok(read.map(|()| event).unwrap_or_default())
    }
}

impl fmt::Debug for GatewayEvent {
    /// Shows nothing: the event holds the secret and a payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GatewayEvent").finish_non_exhaustive()
    }
}

/// The fields of a request that the handler needs. Only [`Self::source`] can be trusted.
#[derive(Debug, Default)]
pub struct UnverifiedRequest {
    /// The HTTP method. Empty if there was none.
    pub method: String,
    /// The path as it was sent. Empty if there was none.
    pub path: String,
    /// The address that API Gateway saw.
    pub source: Option<IpAddr>,
    /// Each value of the header that carries the secret.
    pub credentials: Vec<HeaderValue>,
    /// How many headers have a name or a value that HTTP doesn't allow.
    pub dropped_headers: usize,
    /// The body's bytes.
    pub body: Vec<u8>,
}

impl UnverifiedRequest {
    /// Reads an event. `credentials` is the header that carries the secret.
    #[must_use]
    pub fn read(event: &GatewayEvent, credentials: &HeaderName) -> Self {
        let [path, headers, cookies, context, body, is_base64] =
            event.0.each_ref().map(Option::as_deref);
        let [http] = members(context, ["http"]);
        let [method, http_path, source] = members(http, ["method", "path", "sourceIp"]);
        let mut read = Headers::new(credentials);
        each_member(headers, |name, value| read.add(name, value));
        read.add_cookies(cookies);
        Self {
            method: string(method).unwrap_or_default(),
            path: string(path).or(string(http_path)).unwrap_or_default(),
            source: string(source).and_then(|source| source.parse().ok()),
            credentials: read.values,
            dropped_headers: read.dropped,
            body: decoded(body, is_base64.is_some_and(|json| json.get() == "true")),
        }
    }
}

/// The values of one header, and the count of values of any header that HTTP doesn't allow.
struct Headers<'a> {
    wanted: &'a HeaderName,
    values: Vec<HeaderValue>,
    dropped: usize,
}

impl<'a> Headers<'a> {
    fn new(wanted: &'a HeaderName) -> Self {
        Self {
            wanted,
            values: Vec::new(),
            dropped: 0,
        }
    }

    /// Adds a header. API Gateway joins the values of a header that is sent twice with a comma, but tools
    /// that stand in for it may send a list.
    fn add(&mut self, name: &[u8], value: &RawValue) {
        let name = HeaderName::from_bytes(name).ok();
        for value in elements(value).unwrap_or_else(|| vec![value]) {
            match (&name, header_value(value)) {
                (Some(name), Some(value)) if name == self.wanted => self.values.push(value),
                (Some(_), Some(_)) => {}
                _ => self.dropped += 1,
            }
        }
    }

    /// Adds the cookies, which API Gateway takes out of the headers and hands on one by one.
    fn add_cookies(&mut self, cookies: Option<&RawValue>) {
        let Some(cookies) = cookies.and_then(elements) else {
            return;
        };
        let legal: Vec<_> = cookies
            .iter()
            .filter_map(|json| header_value(json))
            .collect();
        self.dropped += cookies.len() - legal.len();
        if *self.wanted == COOKIE && !legal.is_empty() {
            let legal: Vec<_> = legal.iter().map(HeaderValue::as_bytes).collect();
            self.values = sensitive(&legal.join(&b"; "[..])).into_iter().collect();
        }
    }
}

fn header_value(json: &RawValue) -> Option<HeaderValue> {
    sensitive(&text(json)?)
}

/// Makes a header value that `Debug` hides, since it may be the secret.
fn sensitive(value: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Decodes a body. A body that can't be decoded, or isn't text, is kept unchanged. With the right
/// secret, it goes to the quarantine.
fn decoded(body: Option<&RawValue>, is_base64: bool) -> Vec<u8> {
    let Some(body) = body.filter(|body| body.get() != "null") else {
        return Vec::new();
    };
    let Some(text) = text(body) else {
        return body.get().into();
    };
    if is_base64 && let Ok(bytes) = STANDARD.decode(&text) {
        return bytes;
    }
    text.into_owned()
}

fn string(json: Option<&RawValue>) -> Option<String> {
    Some(String::from_utf8_lossy(&text(json?)?).into_owned())
}

/// Finds the members with these names. If two members have one name, the last counts.
fn members<'a, const N: usize>(
    object: Option<&'a RawValue>,
    names: [&str; N],
) -> [Option<&'a RawValue>; N] {
    let mut found = [None; N];
    each_member(object, |name, value| {
        for (place, wanted) in found.iter_mut().zip(names) {
            if wanted.as_bytes() == name {
                *place = Some(value);
            }
        }
    });
    found
}

/// Calls a function with each member of an object.
struct Members<F>(F);

impl<'de, F: FnMut(&[u8], &'de RawValue)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            (self.0)(&name.0, value);
        }
        Ok(())
    }
}

/// Calls `see` with each member of an object. Anything else has no members.
fn each_member<'a>(object: Option<&'a RawValue>, see: impl FnMut(&[u8], &'a RawValue)) {
    let json = object.map_or("null", RawValue::get);
    // The only possible error is that it isn't an object, since it is JSON.
    let _ = serde_json::Deserializer::from_str(json).deserialize_map(Members(see));
}

/// The elements of a list. `None` if it isn't a list.
fn elements(json: &RawValue) -> Option<Vec<&RawValue>> {
    let is_list = json.get().starts_with('[');
    is_list.then(|| serde_json::from_str(json.get()).unwrap_or_default())
}

/// The bytes of a text. `None` if it isn't text.
fn text(json: &RawValue) -> Option<Cow<'_, [u8]>> {
    let text: Option<Text<'_>> = serde_json::from_str(json.get()).ok();
    text.map(|text| text.0)
}

/// A JSON text as bytes. Half of a surrogate pair isn't Unicode, but it must not fail the request.
struct Text<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(bytes.to_vec())))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests;
