//! Whether a queue's policy lets a rule of EventBridge put events into the queue.
//!
//! It reads what such policies usually hold: statements for EventBridge, limited by the rule's ARN or by the
//! account. A statement with another condition counts as one that is about something else. As in AWS, a
//! statement that denies it counts more than one that allows it.

use serde_json::{Value, json};

/// Whether the policy allows the rule with this ARN, in this account, to send messages.
pub(super) fn lets_in(policy: &str, rule: &str, account: &str) -> bool {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let statements = list(policy.get("Statement"));
    let has = |effect: &str| {
        statements.iter().any(|statement| {
            statement.get("Effect").is_some_and(|its| its == effect)
                && is_for_eventbridge(statement.get("Principal"))
                && list(statement.get("Action")).into_iter().any(sends)
                && is_met(statement.get("Condition"), rule, account)
        })
    };
    has("Allow") && !has("Deny")
}

/// The statement that a queue's policy needs.
pub(super) fn statement(rules: &str) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": "*",
        "Condition": {"ArnLike": {"aws:SourceArn": rules}},
    })
}

/// A value, or the values of a list.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(values)) => values.iter().collect(),
        value => value.into_iter().collect(),
    }
}

fn is_for_eventbridge(principal: Option<&Value>) -> bool {
    let is_anybody = |principal: Option<&Value>| list(principal).into_iter().any(|one| one == "*");
    let services = principal.and_then(|principal| principal.get("Service"));
    is_anybody(principal)
        || is_anybody(principal.and_then(|principal| principal.get("AWS")))
        || list(services)
            .into_iter()
            .any(|one| one == "events.amazonaws.com")
}

fn sends(action: &Value) -> bool {
    let action = action.as_str().unwrap_or_default().to_lowercase();
    is_like(&action, "sqs:sendmessage")
}

/// Whether every condition is met by the rule and its account.
fn is_met(condition: Option<&Value>, rule: &str, account: &str) -> bool {
    let operators = condition.and_then(Value::as_object).into_iter().flatten();
    let mut keys = operators.flat_map(|(operator, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.map(move |(key, values)| (operator.as_str(), key.to_lowercase(), values))
    });
    keys.all(|(operator, key, values)| {
        let plain = operator.replacen("Not", "", 1);
        let mut values = list(Some(values)).into_iter().filter_map(Value::as_str);
        let is_one_of_them = match (plain.as_str(), key.as_str()) {
            ("ArnLike" | "ArnEquals" | "StringLike", "aws:sourcearn") => {
                values.any(|value| is_like(value, rule))
            }
            ("StringEquals", "aws:sourcearn") => values.any(|value| value == rule),
            ("StringEquals" | "StringLike", "aws:sourceaccount") => {
                values.any(|value| is_like(value, account))
            }
            _ => return false,
        };
        is_one_of_them == (plain == operator)
    })
}

/// Whether a text is like a pattern, in which `*` stands for any characters.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    let starts = rest.char_indices().map(|(start, _)| start);
    let mut ends = starts
        .chain([rest.len()])
        .filter_map(|start| rest.get(start..));
    ends.any(|end| is_like(tail, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "arn:aws:events:eu-west-1:1:rule/bus/aura-ops-replay-1";

    fn allowed(change: &Value) -> bool {
        let mut statement = statement("arn:aws:events:eu-west-1:1:rule/bus/aura-ops-replay-*");
        let fields = change.as_object().unwrap().clone();
        statement.as_object_mut().unwrap().extend(fields);
        lets_in(&json!({"Statement": [statement]}).to_string(), RULE, "1")
    }

    #[test]
    fn a_policy_has_to_name_eventbridge_and_the_rule() {
        let source =
            |operator: &str, arn: Value| json!({"Condition": {operator: {"AWS:SourceArn": arn}}});
        let allowing = [
            json!({}),
            json!({"Condition": {}, "Principal": "*", "Action": ["sqs:ReceiveMessage", "SQS:*"]}),
            json!({"Principal": {"Service": ["s3.amazonaws.com", "events.amazonaws.com"]}}),
            source("ArnEquals", json!(["x", RULE])),
            source("StringLike", json!("arn:*:rule/bus/*")),
            json!({"Condition": {"StringEquals": {"aws:SourceAccount": "1"}}}),
        ];
        for change in allowing {
            assert!(allowed(&change), "{change}");
        }
        let refusing = [
            json!({"Effect": "Deny"}),
            json!({"Principal": {"Service": "s3.amazonaws.com"}}),
            json!({"Action": "sqs:ReceiveMessage"}),
            source(
                "ArnEquals",
                json!("arn:aws:events:eu-west-1:1:rule/bus/another"),
            ),
            source("StringEquals", json!("*")),
            json!({"Condition": {"StringEquals": {"aws:SourceAccount": "2"}}}),
            json!({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}),
        ];
        for change in refusing {
            assert!(!allowed(&change), "{change}");
        }
        assert!(!lets_in("", RULE, "1"));
    }

    #[test]
    fn a_statement_that_denies_it_counts_more_than_one_that_allows_it() {
        let allow = statement("arn:aws:events:eu-west-1:1:rule/bus/*");
        let with = |condition: Value| {
            let deny = json!({
                "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Condition": condition,
            });
            lets_in(&json!({"Statement": [allow, deny]}).to_string(), RULE, "1")
        };
        let of = |operator: &str, arn: &str| with(json!({operator: {"aws:SourceArn": arn}}));
        assert!(!with(json!({})));
        assert!(!of("ArnEquals", RULE));
        assert!(!of(
            "ArnNotEquals",
            "arn:aws:events:eu-west-1:1:rule/bus/own"
        ));
        assert!(of("ArnNotLike", "arn:aws:events:eu-west-1:1:rule/bus/*"));
        assert!(of("ArnEquals", "arn:aws:events:eu-west-1:1:rule/bus/own"));
        // EventBridge's calls are encrypted.
        assert!(with(json!({"Bool": {"aws:SecureTransport": "false"}})));
    }
}
