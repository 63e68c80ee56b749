//! Callouts as AURA answers them. They are kept whole, and only what is needed is read.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::PanicApiError;
use super::answer::parse;

/// The length of a page of AURA's list is assumed to be a multiple of this.
const PAGE: usize = 10;

/// One callout, in either of AURA's two forms.
#[derive(Debug, Clone)]
pub struct Callout {
    /// AURA's id. `None` if it isn't where AURA documents it.
    pub id: Option<String>,
    /// Free text in mixed case: `created`, `Responder Dispatched`, `Responder Cancelled`, and others
    /// that are not documented.
    pub status: Option<String>,
    /// The object that describes the callout, byte for byte. In the nested form, it is the value of
    /// `callout`. In the flat form, it is the whole answer.
    pub whole: Box<RawValue>,
}

/// AURA's answer about one callout.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// AURA has the callout.
    Found(Callout),
    /// AURA answered 404: the callout is unknown, or belongs to another customer source.
    Gone,
    /// AURA answered its own status 285: the callout is closed.
    Closed,
}

/// The active callouts, as far as the list could be read.
#[derive(Debug, Clone, Default)]
pub struct ActiveCallouts {
    /// The callouts that could be read. Each has an id.
    pub callouts: Vec<Callout>,
    /// How many entries are not what AURA documents. If there are any, nothing can be concluded
    /// from what the list lacks.
    pub unreadable: usize,
}

/// Whether a list of this length may be one page of a longer list. AURA documents no pages, and its
/// answer doesn't tell whether more entries follow.
#[must_use]
pub fn may_be_a_page(length: usize) -> bool {
    length >= PAGE && length.is_multiple_of(PAGE)
}

impl Callout {
    /// The callout if it has an id, which is needed.
    fn identified(self) -> Option<Self> {
        self.id.is_some().then_some(self)
    }

    /// Reads an object in the flat form, or the value of `callout` in the nested form.
    fn read(whole: Box<RawValue>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Known {
            #[serde(default, deserialize_with = "lenient_id")]
            id: Option<String>,
            #[serde(default)]
            status: Value,
        }
        if !whole.get().starts_with('{') {
            return None;
        }
        let known: Known = serde_json::from_str(whole.get()).ok()?;
        Some(Self {
            id: known.id,
            status: known.status.as_str().map(str::to_owned),
            whole,
        })
    }
}

/// Reads an id, which may be a number or a string, as a string. Any other value is not an id.
fn lenient_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(id) => Some(id),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    })
}

/// Reads the answer to Get a callout.
pub(super) fn read_callout(call: &'static str, body: &[u8]) -> Result<Callout, PanicApiError> {
    #[derive(Deserialize)]
    struct Nested {
        callout: Box<RawValue>,
    }
    let malformed = PanicApiError::Malformed { call };
    if let Ok(Nested { callout }) = serde_json::from_slice(body) {
        return Callout::read(callout).ok_or(malformed);
    }
    let flat = Callout::read(parse(call, body)?);
    flat.and_then(Callout::identified).ok_or(malformed)
}

/// Reads the list of active callouts. An empty list may come without a body, as with 204.
pub(super) fn read_active(
    call: &'static str,
    body: &[u8],
) -> Result<ActiveCallouts, PanicApiError> {
    let body = if body.is_empty() { b"[]" } else { body };
    let entries: Vec<Box<RawValue>> = parse(call, body)?;
    let count = entries.len();
    let callouts: Vec<_> = entries
        .into_iter()
        .filter_map(|entry| Callout::read(entry)?.identified())
        .collect();
    Ok(ActiveCallouts {
        unreadable: count - callouts.len(),
        callouts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<(Option<String>, Option<String>, String)> {
        let callout = read_callout("x", body.as_bytes()).ok()?;
        let whole = callout.whole.get().to_owned();
        Some((callout.id, callout.status, whole))
    }

    #[test]
    fn both_forms_are_read_and_kept_byte_for_byte() {
        let some = |text: &str| Some(text.to_owned());
        let nested =
            r#"{"message": "Callout found", "callout": { "id":5003, "status":"created" }}"#;
        let whole = r#"{ "id":5003, "status":"created" }"#;
        assert_eq!(
            read(nested),
            Some((some("5003"), some("created"), whole.to_owned()))
        );
        let flat = r#"{"id": "c-1", "status": "Responder Dispatched", "latitude": -33.90}"#;
        assert_eq!(
            read(flat),
            Some((some("c-1"), some("Responder Dispatched"), flat.into()))
        );
        // AURA documents neither that the nested form holds an id, nor that a status is text.
        let bare = r#"{"callout": {"status": 3}}"#;
        assert_eq!(read(bare), Some((None, None, r#"{"status": 3}"#.into())));
    }

    #[test]
    fn what_is_no_callout_is_malformed() {
        for body in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"callout": 7}"#,
            r#"{"status": "created"}"#,
        ] {
            assert!(read(body).is_none(), "{body}");
        }
    }

    #[test]
    fn an_entry_that_is_no_callout_hides_no_other() {
        let body = r#"[{"id": 1, "status": "created"}, {"status": "created"}, 7, {"id": "2"}]"#;
        let active = read_active("x", body.as_bytes()).unwrap();
        let ids = active.callouts.into_iter().filter_map(|callout| callout.id);
        assert_eq!(ids.collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(active.unreadable, 2);
    }

    #[test]
    fn a_list_without_a_body_is_empty_and_what_is_no_list_is_malformed() {
        for body in ["", "[]"] {
            let active = read_active("x", body.as_bytes()).unwrap();
            assert!(active.callouts.is_empty() && active.unreadable == 0);
        }
        for body in ["{}", "null", "0", "\"\"", "[", " ", r#"{"callouts": []}"#] {
            assert!(read_active("x", body.as_bytes()).is_err(), "{body:?}");
        }
    }
}
