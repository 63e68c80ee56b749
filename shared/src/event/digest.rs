//! The digest that shows whether two payloads have the same content.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// The deepest nesting that is canonicalised. Deeper payloads are digested as they came:
/// canonicalising recurses, and a function's stack can't hold 10,000 levels.
const MAX_CANONICAL_DEPTH: usize = 64;

/// The digest of a payload's canonical form, with members sorted, white space dropped, and numbers
/// as written. Two payloads with the same digest have the same content.
///
/// A payload that is nested too deeply is digested as it came. A resent event is the same to the
/// byte, so the digest still recognises it.
#[must_use]
pub fn payload_digest(payload: &RawValue) -> String {
    let mut canonical = Vec::with_capacity(payload.get().len());
    let bytes = match write_canonical(payload, MAX_CANONICAL_DEPTH, &mut canonical) {
        Ok(()) => canonical.as_slice(),
        Err(NotCanonical) => payload.get().as_bytes(),
    };
    hex::encode(Sha256::digest(bytes))
}

struct NotCanonical;

fn write_canonical(value: &RawValue, depth: usize, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let depth = depth.checked_sub(1).ok_or(NotCanonical)?;
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = read(text)?;
            write_list(out, *b"{}", members, |(name, member), out| {
                write_string(&name, out)?;
                out.push(b':');
                write_canonical(member, depth, out)
            })
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = read(text)?;
            write_list(out, *b"[]", items, |item, out| {
                write_canonical(item, depth, out)
            })
        }
        Some(b'"') => write_string(&read::<String>(text)?, out),
        _ => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, NotCanonical> {
    serde_json::from_str(text).map_err(|_| NotCanonical)
}

fn write_string(text: &str, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    serde_json::to_writer(out, text).map_err(|_| NotCanonical)
}

fn write_list<T>(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    items: impl IntoIterator<Item = T>,
    mut write_item: impl FnMut(T, &mut Vec<u8>) -> Result<(), NotCanonical>,
) -> Result<(), NotCanonical> {
    out.push(open);
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_item(item, out)?;
    }
    out.push(close);
    Ok(())
}
