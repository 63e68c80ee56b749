//! Event patterns of EventBridge: which events a rule takes, as far as the ledger can say, and how a
//! pattern is narrowed to fewer events.
//!
//! The ledger knows no payloads. So the answer to "does the rule take this event?" may be "perhaps":
//! [`None`]. <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html>

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use shared::published::SOURCE;

/// What the ledger knows of an event. `None` is what it doesn't know.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) message: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    pub(super) replay_name: Option<&'a str>,
}

impl Facts<'_> {
    /// The value at a path of the event, as a replay sends it.
    fn at(&self, path: &[&str]) -> Option<&str> {
        match path {
            ["source"] => Some(SOURCE),
            ["replay-name"] => self.replay_name,
            ["detail-type"] | ["detail", "message"] => self.message,
            ["detail", "entity", "kind"] => self.kind,
            ["detail", "entity", "id"] => self.id,
            ["detail", "origin"] => self.origin,
            _ => None,
        }
    }
}

/// Whether a rule with this pattern takes a replayed event.
pub(super) fn takes(pattern: &Value, facts: &Facts<'_>) -> Option<bool> {
    takes_all(pattern.as_object()?, &mut Vec::new(), facts)
}

/// Whether the event has what every field of the pattern asks for.
fn takes_all<'a>(
    fields: &'a Map<String, Value>,
    path: &mut Vec<&'a str>,
    facts: &Facts<'_>,
) -> Option<bool> {
    let mut all = Some(true);
    for (name, field) in fields {
        path.push(name);
        let one = match field {
            Value::Object(fields) => takes_all(fields, path, facts),
            Value::Array(allowed) => facts.at(path).and_then(|value| takes_any(allowed, value)),
            _ => None,
        };
        path.pop();
        match one {
            Some(true) => {}
            Some(false) => return Some(false),
            None => all = None,
        }
    }
    all
}

/// Whether one of a field's alternatives takes a value.
fn takes_any(allowed: &[Value], value: &str) -> Option<bool> {
    let mut any = Some(false);
    for alternative in allowed {
        match takes_value(alternative, value) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => any = None,
        }
    }
    any
}

fn takes_value(alternative: &Value, value: &str) -> Option<bool> {
    let Value::Object(filter) = alternative else {
        return Some(alternative == value);
    };
    let (name, operand) = filter.iter().next()?;
    match (name.as_str(), operand) {
        ("exists", Value::Bool(exists)) => Some(*exists),
        ("prefix", Value::String(prefix)) => Some(value.starts_with(prefix.as_str())),
        ("anything-but", Value::String(other)) => Some(other != value),
        ("anything-but", Value::Array(others)) if others.iter().all(Value::is_string) => {
            Some(!others.iter().any(|other| other == value))
        }
        _ => None,
    }
}

/// Narrows a pattern to events with this value at a path.
///
/// # Errors
///
/// The pattern leaves out this value, or a part of it can't be joined with the value.
pub(super) fn narrow(pattern: &mut Value, path: &[&str], value: &str) -> Result<()> {
    let (Some(fields), [name, rest @ ..]) = (pattern.as_object_mut(), path) else {
        bail!("the rule's pattern has another condition there");
    };
    if !rest.is_empty() {
        let field = fields.entry(*name).or_insert_with(|| json!({}));
        return narrow(field, rest, value);
    }
    let verdict = match fields.get(*name) {
        None => Some(true),
        Some(Value::Array(allowed)) => takes_any(allowed, value),
        Some(_) => None,
    };
    match verdict {
        Some(true) => {
            fields.insert((*name).to_owned(), json!([value]));
            Ok(())
        }
        Some(false) => bail!("the rule's pattern leaves out such events"),
        None => bail!("the rule's pattern has another condition there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts {
        message: Some("NEW_CALLOUT"),
        kind: Some("callout"),
        id: Some("5003"),
        origin: Some("webhook"),
        replay_name: Some("aura-ops-replay-1"),
    };

    #[test]
    fn a_pattern_takes_an_event_leaves_it_out_or_asks_for_what_the_ledger_does_not_know() {
        let origin = json!([{"anything-but": ["canary"]}]);
        let of = |kind: Value| json!({"source": ["aura"], "detail": {"entity": {"kind": kind}, "origin": origin}});
        let other = json!([{"anything-but": ["callout", "customer"]}]);
        let cases = [
            (json!({}), Some(true)),
            (of(json!(["customer", "callout"])), Some(true)),
            (of(json!(["customer"])), Some(false)),
            (of(other), Some(false)),
            (of(json!([{"prefix": "call"}])), Some(true)),
            (json!({"detail-type": ["NEW_CALLOUT"]}), Some(true)),
            (json!({"detail": {"test": [false]}}), None),
            (
                json!({"detail": {"test": [false], "message": ["X"]}}),
                Some(false),
            ),
            (json!({"source": [{"suffix": "a"}]}), None),
            (json!({"source": [{"suffix": "a"}, "aura"]}), Some(true)),
            (json!({"$or": [{"source": ["x"]}]}), None),
            (json!({"replay-name": [{"exists": false}]}), Some(false)),
            (json!({"replay-name": [{"exists": true}]}), Some(true)),
            (json!({"replay-name": ["aura-ops-replay-1"]}), Some(true)),
        ];
        for (pattern, expected) in cases {
            assert_eq!(takes(&pattern, &FACTS), expected, "{pattern}");
        }
        let unknown = Facts::default();
        assert_eq!(
            takes(&json!({"detail": {"entity": {"id": ["1"]}}}), &unknown),
            None
        );
    }

    #[test]
    fn a_narrowed_pattern_keeps_its_other_conditions_and_refuses_what_it_leaves_out() {
        let mut pattern = json!({
            "source": ["aura"], "detail": {"entity": {"kind": [{"anything-but": ["callout"]}]}},
        });
        let kind = ["detail", "entity", "kind"];
        let error = narrow(&mut pattern, &kind, "callout").unwrap_err();
        assert!(error.to_string().contains("leaves out"), "{error}");
        narrow(&mut pattern, &kind, "vehicle").unwrap();
        narrow(&mut pattern, &["detail", "message"], "MOVED").unwrap();
        let narrowed = json!({
            "source": ["aura"], "detail": {"entity": {"kind": ["vehicle"]}, "message": ["MOVED"]},
        });
        assert_eq!(pattern, narrowed);
        let mut closed = json!({"replay-name": [{"exists": false}]});
        assert!(narrow(&mut closed, &["replay-name"], "aura-ops-replay-1").is_err());
        let mut odd = json!({"detail": {"message": [{"suffix": "X"}]}});
        assert!(narrow(&mut odd, &["detail", "message"], "X").is_err());
    }
}
