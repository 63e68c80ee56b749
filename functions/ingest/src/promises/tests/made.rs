//! Bodies that are too large for files.

use shared::aws::MAX_QUEUED_BYTES;

const NEST: usize = 10_000;
const MANY: usize = 100_000;
const MIB: usize = 1024 * 1024;
const LARGEST_BINARY: usize = MAX_QUEUED_BYTES / 4 * 3;

pub fn body(name: &str) -> Vec<u8> {
    let text = match name {
        "nested 10,000 arrays" => nested("[", "", "]"),
        "nested 10,000 arrays, not closed" => "[".repeat(NEST),
        "nested 10,000 arrays in a value" => {
            let arrays = nested("[", "", "]");
            callout(&format!(r#""id": 5003, "note": {arrays}"#))
        }
        "nested 10,000 objects in a value" => {
            let objects = nested(r#"{"callout":"#, "{}", "}");
            callout(&format!(r#""note": {objects}, "id": 5003"#))
        }
        "nested 10,000 objects as id" => {
            callout(&format!(r#""id": {}"#, nested(r#"{"id":"#, "1", "}")))
        }
        "100,000 names" => {
            let names: Vec<_> = (0..MANY).map(|n| format!(r#""{n}":0"#)).collect();
            let names = names.join(",");
            format!(r#"{{{names},"message":"NEW_CALLOUT","callout":{{"id":5003}}}}"#)
        }
        "100,000 times one name in the entity" => {
            callout(&format!(r#"{}"id": 5003"#, r#""a":0,"#.repeat(MANY)))
        }
        "100,000 objects without id" => {
            let objects = r#""":{},"#.repeat(MANY);
            format!(r#"{{{objects}"message":"NEW_CALLOUT","callout":{{"id":5003}}}}"#)
        }
        "80,000 objects with an id" => {
            let objects = r#","":{"id":1}"#.repeat(80_000);
            format!(r#"{{"message":"A"{objects}}}"#)
        }
        "string of 1 MiB" => with_note(&"a".repeat(MIB)),
        "largest event" => largest_of("a"),
        "largest event and a space" => largest_of("a") + " ",
        "largest event of escapes" => largest_of(r"\u0000"),
        "id of half a MiB" => with_id(&"a".repeat(MIB / 2)),
        "id of 1 MiB" => with_id(&"a".repeat(MIB)),
        "largest text that is no event" => "a".repeat(MAX_QUEUED_BYTES),
        "largest text that is no event and a letter" => "a".repeat(MAX_QUEUED_BYTES + 1),
        "largest bytes" => return vec![0xff; LARGEST_BINARY],
        "largest bytes and one more" => return vec![0xff; LARGEST_BINARY + 1],
        _ => panic!("there is no body named {name:?}"),
    };
    text.into_bytes()
}

fn nested(open: &str, middle: &str, close: &str) -> String {
    format!("{}{middle}{}", open.repeat(NEST), close.repeat(NEST))
}

fn callout(members: &str) -> String {
    format!(r#"{{"message": "NEW_CALLOUT", "callout": {{{members}}}}}"#)
}

fn with_id(id: &str) -> String {
    callout(&format!(r#""id": "{id}""#))
}

fn with_note(note: &str) -> String {
    callout(&format!(r#""id": 5003, "note": "{note}""#))
}

/// A body of exactly the largest size, which mostly repeats `text`.
fn largest_of(text: &str) -> String {
    let room = MAX_QUEUED_BYTES - with_note("").len();
    let spaces = " ".repeat(room % text.len());
    with_note(&text.repeat(room / text.len())) + &spaces
}
