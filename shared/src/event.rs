//! Reads a raw body as far as routing needs it: message, entity and test mark.
//!
//! Nothing else is read, and the payload is kept byte for byte as it came. AURA's shapes vary
//! (`incidentInformation` moves, spellings differ). So each further field that is read would be one
//! more reason to refuse an emergency.

mod digest;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

pub use self::digest::payload_digest;

/// The kinds of entity that AURA documents, the most specific first. An event that carries several
/// of them is about the first one that its name mentions.
const DOCUMENTED_KINDS: [&str; 3] = [CALLOUT, "subscription", "customer"];

/// The kind of a callout's entity.
pub const CALLOUT: &str = "callout";

/// The longest event name, in characters. This is EventBridge's limit for a `DetailType`.
pub const MAX_MESSAGE_CHARS: usize = 128;

/// The longest entity kind, in bytes. Together and escaped, kind and id stay within DynamoDB's
/// 2,048 bytes for a partition key.
pub const MAX_KIND_BYTES: usize = 128;
/// The longest entity id, in bytes; see [`MAX_KIND_BYTES`].
pub const MAX_ID_BYTES: usize = 512;

/// The longest message group id of SQS, in characters.
const MAX_GROUP_ID_CHARS: usize = 128;

/// What a delivery says: what happened to which entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// AURA's event name, such as `NEW_CALLOUT`.
    pub message: String,
    /// The entity that it happened to.
    pub entity: Entity,
    /// Whether AURA marked it as test traffic: `internalTest: true`, or classification `TEST`.
    pub test: bool,
}

impl Event {
    /// The id of the callout that the event is about, if its name is `message` and its entity is a
    /// callout.
    #[must_use]
    pub fn callout_of(&self, message: &str) -> Option<&str> {
        let is_it = self.message == message && self.entity.kind == CALLOUT;
        is_it.then_some(self.entity.id.as_str())
    }
}

/// The entity that an event is about. An id may arrive as a number or as a string. Here it is
/// always a string.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Entity {
    /// `callout`, `customer`, `subscription`, or any new key that AURA uses.
    #[cfg_attr(test, schemars(length(max = MAX_KIND_BYTES)))]
    pub kind: String,
    /// AURA's id. It is never empty.
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_ID_BYTES)))]
    pub id: String,
}

impl Entity {
    /// The entity of the callout with this id.
    #[must_use]
    pub fn callout(id: &str) -> Self {
        Self {
            kind: CALLOUT.to_owned(),
            id: id.to_owned(),
        }
    }

    /// The entity's key, such as `callout#5003`: the ledger's partition, and the first part of an
    /// event's key.
    ///
    /// `#`, `/`, `%` and control characters in kind or id are percent-encoded, so that no two
    /// entities share a key, and a key can be split in only one way.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}#{}", escaped(&self.kind), escaped(&self.id))
    }

    /// The SQS message group: the key itself if SQS allows it, otherwise the key's digest.
    ///
    /// SQS accepts up to 128 letters, digits and ASCII punctuation characters. A key always holds a
    /// `#`, and a digest never does, so the two can't be equal.
    #[must_use]
    pub fn group_id(&self) -> String {
        let key = self.key();
        if key.len() <= MAX_GROUP_ID_CHARS && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            key
        } else {
            format!("sha256:{}", hex::encode(Sha256::digest(key)))
        }
    }

    /// The kind if AURA documents it, otherwise `"other"`. Only this may be logged.
    #[must_use]
    pub fn loggable_kind(&self) -> &'static str {
        DOCUMENTED_KINDS
            .iter()
            .find(|kind| **kind == self.kind)
            .copied()
            .unwrap_or("other")
    }
}

fn escaped(part: &str) -> Cow<'_, str> {
    let reserved = |c: char| matches!(c, '#' | '/' | '%') || c.is_control();
    if !part.contains(reserved) {
        return Cow::Borrowed(part);
    }
    let mut out = String::with_capacity(part.len() + 8);
    for c in part.chars() {
        if reserved(c) {
            // Writing to a `String` can't fail.
            let _ = write!(out, "%{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Why an authentic body can't be routed. It says nothing about the content, so it may be logged.
/// It is the reason in the quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are not UTF-8.
    #[error("not-utf8")]
    NotUtf8,
    /// The body holds a character that no SQS message may hold.
    #[error("not-queueable")]
    NotQueueable,
    /// The body is not one complete JSON value.
    #[error("not-json")]
    NotJson,
    /// The body is JSON, but not an object.
    #[error("not-an-object")]
    NotAnObject,
    /// There is no `message`.
    #[error("message-missing")]
    MessageMissing,
    /// `message` is given twice.
    #[error("message-twice")]
    MessageTwice,
    /// `message` is not text, is empty, or is longer than [`MAX_MESSAGE_CHARS`].
    #[error("message-invalid")]
    MessageInvalid,
    /// There is no object that could be the entity.
    #[error("entity-missing")]
    EntityMissing,
    /// Several objects could be the entity, the entity or its `id` is given twice, or its kind is
    /// longer than [`MAX_KIND_BYTES`].
    #[error("entity-ambiguous")]
    EntityAmbiguous,
    /// The entity's `id` is missing.
    #[error("entity-id-missing")]
    EntityIdMissing,
    /// The entity's `id` is neither an integer nor a non-empty string, or it is too long.
    #[error("entity-id-invalid")]
    EntityIdInvalid,
}

/// Reads an event from a raw body.
pub fn parse(body: &[u8]) -> Result<(Event, &RawValue), Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_| Unreadable::NotUtf8)?;
    // RFC 8259 lets a reader ignore a byte order mark. It must not refuse an emergency.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if !crate::aws::is_queueable(text) {
        return Err(Unreadable::NotQueueable);
    }
    let payload: &RawValue = serde_json::from_str(text).map_err(|_| Unreadable::NotJson)?;
    Ok((parse_payload(payload)?, payload))
}

/// Reads an event from a payload that is known to be JSON.
pub fn parse_payload(payload: &RawValue) -> Result<Event, Unreadable> {
    if !is_object(payload) {
        return Err(Unreadable::NotAnObject);
    }
    let top = TopLevel::of(payload)?;
    let message = read_message(&top)?;
    let (kind, object) = find_entity(&message, &top.objects)?;
    let fields = EntityFields::of(object)?;
    let id = read_id(fields.id()?)?;
    Ok(Event {
        message,
        entity: Entity {
            kind: kind.to_owned(),
            id,
        },
        test: fields.is_test(),
    })
}

/// The values of `message`, and every object of the top level. Everything else is skipped unread.
#[derive(Default)]
struct TopLevel<'a> {
    messages: Vec<&'a RawValue>,
    objects: Vec<Member<'a>>,
}

/// A member of an object: its name and its value.
type Member<'a> = (Cow<'a, str>, &'a RawValue);

impl<'a> TopLevel<'a> {
    fn of(payload: &'a RawValue) -> Result<Self, Unreadable> {
        let mut top = Self::default();
        for_each_member(payload, |(name, value)| {
            if name == "message" {
                top.messages.push(value);
            } else if is_object(value) {
                top.objects.push((name, value));
            }
        })?;
        Ok(top)
    }
}

/// The fields that are read from an entity. Values stay raw, so that an unexpected value is not an
/// error. A name that is given twice is not an error either, except `id`.
#[derive(Default)]
struct EntityFields<'a> {
    ids: Vec<&'a RawValue>,
    internal_tests: Vec<&'a RawValue>,
    classifications: Vec<&'a RawValue>,
}

impl<'a> EntityFields<'a> {
    fn of(entity: &'a RawValue) -> Result<Self, Unreadable> {
        let mut fields = Self::default();
        for_each_member(entity, |(name, value)| match &*name {
            "id" => fields.ids.push(value),
            "internalTest" => fields.internal_tests.push(value),
            "calloutClassification" => fields.classifications.push(value),
            _ => {}
        })?;
        Ok(fields)
    }

    fn id(&self) -> Result<&'a RawValue, Unreadable> {
        match self.ids.as_slice() {
            [] => Err(Unreadable::EntityIdMissing),
            [id] if id.get() == "null" => Err(Unreadable::EntityIdMissing),
            [id] => Ok(id),
            _ => Err(Unreadable::EntityAmbiguous),
        }
    }

    /// Whether it is a test. An entity that doesn't clearly say so is an emergency.
    fn is_test(&self) -> bool {
        let internal = matches!(self.internal_tests.as_slice(), [mark] if mark.get() == "true");
        let classified = match self.classifications.as_slice() {
            [classification] => is_classified_test(classification),
            _ => false,
        };
        internal || classified
    }
}

fn is_classified_test(classification: &RawValue) -> bool {
    if !is_object(classification) {
        return false;
    }
    let mut values = Vec::new();
    let read = for_each_member(classification, |(name, value)| {
        if name == "value" {
            values.push(serde_json::from_str::<String>(value.get()));
        }
    });
    read.is_ok() && matches!(values.as_slice(), [Ok(value)] if value == "TEST")
}

/// Calls `f` with every member of an object. A name with half of a surrogate pair is skipped. It is
/// JSON but not text, so nobody looks for it.
fn for_each_member<'a>(object: &'a RawValue, f: impl FnMut(Member<'a>)) -> Result<(), Unreadable> {
    serde_json::Deserializer::from_str(object.get())
        .deserialize_map(Members(f))
        .map_err(|_| Unreadable::NotJson)
}

struct Members<F>(F);

impl<'de, F: FnMut(Member<'de>)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            if let Ok(Name(name)) = serde_json::from_str(name.get()) {
                (self.0)((name, value));
            }
        }
        Ok(())
    }
}

/// A member's name, borrowed unless it holds an escape.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn read_message(top: &TopLevel<'_>) -> Result<String, Unreadable> {
    let raw = match top.messages.as_slice() {
        [] => return Err(Unreadable::MessageMissing),
        [one] => one,
        _ => return Err(Unreadable::MessageTwice),
    };
    let message: String =
        serde_json::from_str(raw.get()).map_err(|_| Unreadable::MessageInvalid)?;
    if message.is_empty() || message.chars().count() > MAX_MESSAGE_CHARS {
        return Err(Unreadable::MessageInvalid);
    }
    Ok(message)
}

/// Finds the entity that an event is about: a documented kind if there is one, otherwise the only
/// other object with an id.
fn find_entity<'a>(
    message: &str,
    objects: &'a [Member<'a>],
) -> Result<(&'a str, &'a RawValue), Unreadable> {
    let present: Vec<&str> = DOCUMENTED_KINDS
        .into_iter()
        .filter(|kind| objects.iter().any(|(key, _)| key == kind))
        .collect();
    let mentioned = |kind: &&&str| message.contains(&kind.to_ascii_uppercase());
    let kind = match present.iter().find(mentioned).or(present.first()) {
        Some(kind) => kind,
        None => only(objects.iter().filter(|(_, object)| has_id(object)))?.0,
    };
    only(objects.iter().filter(|(name, _)| name == kind))
}

fn only<'a>(
    mut candidates: impl Iterator<Item = &'a Member<'a>>,
) -> Result<(&'a str, &'a RawValue), Unreadable> {
    let (kind, object) = candidates.next().ok_or(Unreadable::EntityMissing)?;
    if candidates.next().is_some() || kind.len() > MAX_KIND_BYTES {
        return Err(Unreadable::EntityAmbiguous);
    }
    Ok((kind, object))
}

fn has_id(object: &RawValue) -> bool {
    let id = EntityFields::of(object).and_then(|fields| fields.id());
    !matches!(id, Err(Unreadable::EntityIdMissing))
}

/// Reads an id from its JSON value: an integer as written, or the text of a non-empty string.
/// Fractions and exponents are refused, because one number would have several spellings.
fn read_id(raw: &RawValue) -> Result<String, Unreadable> {
    let text = raw.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let id = if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        text.to_owned()
    } else {
        serde_json::from_str::<String>(text).map_err(|_| Unreadable::EntityIdInvalid)?
    };
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(Unreadable::EntityIdInvalid);
    }
    Ok(id)
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

#[cfg(test)]
mod tests;
