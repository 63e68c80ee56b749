//! The output: a claimed event as an entry for the bus, with its payload if the bus accepts it.

use serde_json::value::RawValue;
use shared::ledger::Claim;
use shared::published::{Detail, Omission, Omitted};

use super::incoming::{IncomingEvent, Record};
use crate::bus::BusEntry;

/// An event that only this worker may publish.
pub(crate) struct ClaimedEvent<'a> {
    pub(crate) record: &'a Record,
    pub(crate) incoming: &'a IncomingEvent,
    /// Whether it goes out as a drill.
    pub(crate) test: bool,
    pub(crate) claim: Claim,
    /// The entry that is published.
    pub(crate) entry: BusEntry,
    /// Why the payload is omitted, if it is.
    pub(crate) omission: Option<Omission>,
}

impl<'a> ClaimedEvent<'a> {
    /// Makes a claimed event with its payload, or without it if the bus can't take the payload.
    ///
    /// # Errors
    ///
    /// The detail can't be written as JSON.
    pub(crate) fn new(
        record: &'a Record,
        incoming: &'a IncomingEvent,
        test: bool,
        claim: Claim,
    ) -> Result<Self, serde_json::Error> {
        let mut claimed = Self {
            record,
            incoming,
            test,
            claim,
            entry: BusEntry::default(),
            omission: None,
        };
        let payload = &*incoming.envelope.payload;
        if !is_unicode(payload) {
            claimed.omit_payload(Omission::NotUnicode)?;
            return Ok(claimed);
        }
        claimed.entry = BusEntry::new(&claimed.detail(Some(payload), None))?;
        if !claimed.entry.fits() {
            claimed.omit_payload(Omission::TooLarge)?;
        }
        Ok(claimed)
    }

    /// Omits the payload for this reason.
    ///
    /// # Errors
    ///
    /// The detail without the payload can't be written as JSON.
    pub(crate) fn omit_payload(&mut self, reason: Omission) -> Result<(), serde_json::Error> {
        let omitted = Omitted {
            reason,
            bytes: self.incoming.envelope.payload.get().len(),
            digest: &self.incoming.digest,
        };
        self.entry = BusEntry::new(&self.detail(None, Some(omitted)))?;
        self.omission = Some(reason);
        Ok(())
    }

    fn detail<'b>(
        &'b self,
        payload: Option<&'b RawValue>,
        payload_omitted: Option<Omitted<'b>>,
    ) -> Detail<'b> {
        let IncomingEvent {
            envelope,
            event,
            key,
            digest: _,
        } = self.incoming;
        Detail {
            key: key.of_occurrence(self.claim.occurrence).to_string(),
            message: &event.message,
            entity: &event.entity,
            delivery_id: envelope.delivery_id,
            received_at: envelope.received_at,
            origin: envelope.origin,
            sequence: self.record.sequence.as_deref(),
            test: self.test,
            payload,
            payload_omitted,
        }
    }
}

/// Whether every string of a JSON value is Unicode once its escapes are resolved. Only an escaped
/// surrogate (`\ud800` to `\udfff`) can break this. A parser is not used, because it may refuse
/// other things, such as a number with an exponent of three digits.
fn is_unicode(payload: &RawValue) -> bool {
    let mut rest = payload.get();
    while let Some((_, escape)) = rest.split_once('\\') {
        rest = match code_unit(escape) {
            Some((0xD800..=0xDBFF, behind)) => {
                match behind.strip_prefix('\\').and_then(code_unit) {
                    Some((0xDC00..=0xDFFF, behind)) => behind,
                    _ => return false,
                }
            }
            Some((0xDC00..=0xDFFF, _)) => return false,
            Some((_, behind)) => behind,
            None => escape.get(1..).unwrap_or_default(),
        };
    }
    true
}

/// The number that `u` and four digits stand for, and the rest of the text.
fn code_unit(escape: &str) -> Option<(u16, &str)> {
    let (digits, behind) = escape.strip_prefix('u')?.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn unicode(json: &str) -> bool {
        is_unicode(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn half_of_a_surrogate_pair_is_not_unicode() {
        assert!(unicode(r#"{"a": "plain \u00e9"}"#));
        assert!(unicode(r#"{"a": "\ud83d\ude80 \uD83D\uDE80"}"#));
        assert!(!unicode(r#"{"a": "\ud83d"}"#));
        assert!(!unicode(r#"{"\uDE80": 1}"#));
        assert!(!unicode(r#"{"a": "\ud83d\ud83d\ude80"}"#));
        assert!(!unicode(r#"{"a": "\ud83d\\ude80"}"#));
        assert!(!unicode(r#"{"a": "\\\ud83d"}"#));
        // Other oddities don't matter.
        assert!(unicode(r#"{"a": "\ud83d\ude80", "b": 1e999}"#));
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        assert!(unicode(&format!(r#"{{"a": "\ud83d\ude80", "b": {deep}}}"#)));
        assert!(unicode(r#"{"a": "a backslash: \\ud83d"}"#));
    }

    const PIECES: [&str; 9] = [
        r"\ud83d", r"\ude80", r"\uD7FF", r"\ue000", r"\\", r"\n", "u", "ud83d", "é",
    ];

    proptest! {
        #[test]
        fn what_is_unicode_is_what_a_json_parser_takes(
            pieces in prop::collection::vec(select(PIECES.to_vec()), 0..8)
        ) {
            let json = format!(r#"{{"a": "{}"}}"#, pieces.concat());
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&json);
            prop_assert_eq!(unicode(&json), parsed.is_ok());
        }
    }
}
