//! Makes requests from a fuzzer's bytes.
//!
//! The first line says what kind of request it is. The rest is the body, unchanged. So any JSON
//! file becomes a corpus file if a line is put before it. The line's first bytes are digits, one
//! for each row of this table. `0`, or a digit that the row doesn't have, means the usual value. A
//! text follows the digits, and some kinds use it.
//!
//! | digit | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | header | `Authorization` | none | the text | `Bearer right` and the text | twice, joined by a comma | twice | right, then the text | in another header |
//! | method and path | PUT | GET | the text as method | the text as path | GET /health | POST /health | a slash at the end | other case |
//! | address | not allowed | unknown | the text | in IPv6 | | | | |
//! | stores | queues down | all down | spill down | | | | | |
//! | noise | none, base64 | the text | the text, base64 | the text as a header's name | a number | a list | an object | null |
//! | size | the second line repeated | largest: spaces behind it | one space more | largest: bytes behind it | one byte more | | | |
//!
//! A largest body takes a thousand times as long as a small one. It needs the text `large` besides
//! the digit, so that the fuzzer makes few of them.
//!
//! An input that begins with `{` is an event by itself; see [`Harness::check_any`].
//!
//! [`Harness::check_any`]: super::Harness::check_any

use serde_json::json;
use shared::aws::MAX_QUEUED_BYTES;

use super::sent::{RIGHT, SentRequest, StoreState};
use crate::handler::{HEALTH_PATH, WEBHOOK_PATH};

const HEAD_DIGITS: usize = 6;

/// The size of a repeated line. It is large enough to show memory that grows with it, and small
/// enough to be fast.
const REPEATED_BYTES: usize = 4 * 1024;

/// The size of the largest body that is kept as base64.
const MAX_BINARY_BYTES: usize = MAX_QUEUED_BYTES / 4 * 3;

impl SentRequest {
    /// The request that these bytes describe.
    #[must_use]
    pub fn from_input(input: &[u8]) -> Self {
        let end = input.iter().position(|byte| *byte == b'\n');
        let (head, body) = match end {
            Some(end) => (&input[..end], &input[end + 1..]),
            None => (input, &[][..]),
        };
        let mut digits = [b'0'; HEAD_DIGITS];
        let given = head.len().min(HEAD_DIGITS);
        digits[..given].copy_from_slice(&head[..given]);
        let [header, route, address, store, noise, size] = digits;
        let text = String::from_utf8_lossy(&head[given..]);

        let mut sent = Self::delivery(body.to_vec());
        sent.set_header(header, &text);
        sent.set_route(route, &text);
        sent.set_address(address, &text);
        sent.store = store_state(store);
        sent.base64 = matches!(noise, b'1' | b'3');
        sent.set_noise(noise, &text);
        if size == b'1' {
            sent.body = with_second_line_repeated(body);
        } else if text == "large" {
            sent.enlarge(size);
        }
        sent
    }

    fn set_header(&mut self, digit: u8, text: &str) {
        let right = || RIGHT.to_owned();
        self.headers = match digit {
            b'1' => vec![("Authorization", vec![right()])],
            b'2' => vec![],
            b'3' => vec![("authorization", vec![text.to_owned()])],
            b'4' => vec![("authorization", vec![RIGHT.to_owned() + text])],
            b'5' => vec![("authorization", vec![format!("{RIGHT},{RIGHT}")])],
            b'6' => vec![("authorization", vec![right(), right()])],
            b'7' => vec![("authorization", vec![right(), text.to_owned()])],
            b'8' => vec![
                ("x-authorization", vec![right()]),
                ("cookie", vec![right()]),
            ],
            _ => return,
        };
    }

    fn set_noise(&mut self, digit: u8, text: &str) {
        self.noise = match digit {
            b'2' | b'3' => json!(text),
            b'4' => {
                text.clone_into(&mut self.noise_name);
                return;
            }
            b'5' => json!(-1.5e300),
            b'6' => json!([text, null, text]),
            b'7' => json!({text: text}),
            b'8' => json!(null),
            _ => return,
        };
    }

    fn set_route(&mut self, digit: u8, text: &str) {
        let (method, path) = match digit {
            b'1' => ("PUT", WEBHOOK_PATH.to_owned()),
            b'2' => ("GET", WEBHOOK_PATH.to_owned()),
            b'3' => (text, WEBHOOK_PATH.to_owned()),
            b'4' => ("POST", format!("/{text}")),
            b'5' => ("GET", HEALTH_PATH.to_owned()),
            b'6' => ("POST", HEALTH_PATH.to_owned()),
            b'7' => ("POST", format!("{WEBHOOK_PATH}/")),
            b'8' => ("POST", WEBHOOK_PATH.to_uppercase()),
            _ => return,
        };
        method.clone_into(&mut self.method);
        self.path = path;
    }

    fn set_address(&mut self, digit: u8, text: &str) {
        match digit {
            b'1' => self.address = Some("198.51.100.7".into()),
            b'2' => self.address = None,
            b'3' => self.address = Some(text.into()),
            b'4' => self.address = Some("::ffff:192.0.2.1".into()),
            _ => {}
        }
    }

    fn enlarge(&mut self, digit: u8) {
        let (size, by) = match digit {
            b'2' => (MAX_QUEUED_BYTES, b' '),
            b'3' => (MAX_QUEUED_BYTES + 1, b' '),
            b'4' => (MAX_BINARY_BYTES, 0xff),
            b'5' => (MAX_BINARY_BYTES + 1, 0xff),
            _ => return,
        };
        self.body.resize(size.max(self.body.len()), by);
    }
}

fn with_second_line_repeated(body: &[u8]) -> Vec<u8> {
    let mut lines = body.splitn(3, |byte| *byte == b'\n');
    let [first, second, rest] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    let times = REPEATED_BYTES / second.len().max(1);
    [first, &second.repeat(times), rest].concat()
}

fn store_state(digit: u8) -> StoreState {
    StoreState {
        queues: !matches!(digit, b'1' | b'2'),
        spill: !matches!(digit, b'2' | b'3'),
    }
}
