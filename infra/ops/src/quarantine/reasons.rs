//! What the reasons in the quarantine mean, and what can be done.

/// What a reason means, and whether such a delivery can go back.
#[must_use]
pub fn explain(reason: &str) -> (&'static str, &'static str) {
    let known = REASONS.iter().find(|(code, ..)| *code == reason);
    known.map_or(UNKNOWN, |(_, meaning, advice)| (meaning, advice))
}

const UNKNOWN: (&str, &str) = (
    "This version of the command doesn't know the reason.",
    "Look into the documentation of the version that is deployed.",
);

const NO_EVENT: &str = "It can't go back, and an event may be lost. Read it with `aura-ops quarantine \
    show ID --payload`, and ask AURA what it was, with the time of its arrival. Tell dispatch. Discard \
    it then. Until you know, leave it: it is kept for 14 days.";
const NO_EVENT_YET: &str = "It can't go back with this version, and an event may be lost. Read it with \
    `aura-ops quarantine show ID --payload`, and ask AURA what it was, with the time of its arrival. \
    Tell dispatch. Until you know, leave it: it is kept for 14 days. Release it once a version is \
    deployed that reads it.";

/// Code, meaning and advice of each reason. The codes are those of `shared::event::Unreadable`,
/// `shared::envelope::NotAnEnvelope` and the processor.
const REASONS: [(&str, &str, &str); 18] = [
    ("not-utf8", "The body isn't text.", NO_EVENT),
    (
        "not-queueable",
        "The body holds characters that no queue takes.",
        NO_EVENT,
    ),
    ("not-json", "The body isn't JSON.", NO_EVENT),
    ("not-an-object", "The body isn't a JSON object.", NO_EVENT),
    ("message-missing", "The event has no name.", NO_EVENT_YET),
    ("message-twice", "The event has two names.", NO_EVENT_YET),
    (
        "message-invalid",
        "The event's name is empty, too long, or no text.",
        NO_EVENT_YET,
    ),
    (
        "entity-missing",
        "The event doesn't say what it is about.",
        NO_EVENT_YET,
    ),
    (
        "entity-ambiguous",
        "The event may be about several things.",
        NO_EVENT_YET,
    ),
    (
        "entity-id-missing",
        "What the event is about has no id.",
        NO_EVENT_YET,
    ),
    (
        "entity-id-invalid",
        "The id of what the event is about can't be used.",
        NO_EVENT_YET,
    ),
    (
        "conflict",
        "An event that happens once came again with another payload. Consumers have the first \
         payload.",
        "See in AURA's portal which of the two is true; the timeline names the first one's delivery. If \
         consumers need this payload, release it with --as-correction. If they don't, discard it. Until \
         you know, leave it: it is kept for 14 days.",
    ),
    (
        "payload-omitted",
        "The payload couldn't be published: it is too large or not Unicode, or EventBridge refused \
         it. The event is published without it, unless an `unpublishable` with the same delivery \
         id is here, too.",
        "It needn't go back. Give the payload to the consumers, and discard it.",
    ),
    (
        "unpublishable",
        "EventBridge refused the event for good, even without its payload.",
        "Release it once a version is deployed that fixes this. It may be an emergency: until \
         then, tell dispatch in another way.",
    ),
    (
        "ledger-item-malformed",
        "The ledger's item of this event can't be read.",
        "See `aura-ops timeline KIND ID`. If the event is published there and happens once, or has \
         this delivery id, discard it. Otherwise delete the item, and release it.",
    ),
    (
        "panicked",
        "The code panicked at this message again and again. The processor's log has the `place`.",
        "Release it once a version with a fix is deployed.",
    ),
    (
        "envelope-version-unknown",
        "Another version of this system wrote the message.",
        "Release it once that version is deployed, with the command of that version.",
    ),
    (
        "not-an-envelope",
        "Somebody put something on the ingest queue that isn't this system's.",
        "It can't go back. Find out who wrote it, and discard it.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_explained_and_no_other() {
        let (meaning, _) = explain("conflict");
        assert!(meaning.contains("another payload"));
        assert_eq!(explain("of tomorrow"), UNKNOWN);
        let mut codes = REASONS.map(|(code, ..)| code).to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), REASONS.len());
    }
}
