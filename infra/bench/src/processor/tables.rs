//! The items that a function keeps in DynamoDB. A function claims each item once, and changes it
//! from then on.
//!
//! Conditions aren't evaluated. No lease runs out here and no item expires. So a condition with
//! `attribute_not_exists` holds if there is no item, and any other call needs an item.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bench_peers::plan::Step;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::aws::Answer;

type Item = Map<String, Value>;

/// The items of one function, by key.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<HashMap<String, Item>>);

/// The part of `PutItem` or `UpdateItem` that is read here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Call {
    key: Item,
    item: Item,
    update_expression: String,
    condition_expression: String,
    expression_attribute_names: HashMap<String, String>,
    expression_attribute_values: Item,
    return_values: String,
}

impl Tables {
    /// Answers `PutItem` or `UpdateItem`, and says what step of a batch the call was. Returns `None`
    /// if the call can't be understood.
    pub(crate) fn write(&self, body: &[u8]) -> Option<(Answer, Step)> {
        let call: Call = serde_json::from_slice(body).ok()?;
        // Other items, for example of open callouts, stand beside the events' items: only the key
        // of an event's entity holds a `#`.
        let partition = call.key.get("pk").and_then(|pk| pk.get("S")?.as_str());
        if partition.is_some_and(|partition| !partition.contains('#')) {
            return Some((Answer::ok(json!({})), Step::End { marks: 0, notes: 1 }));
        }
        let key = match call.item.get("id") {
            Some(id) => json!({"id": id}),
            None => json!(call.key),
        };
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let item = items.get(&key.to_string());
        let is_claim = call.condition_expression.contains("attribute_not_exists");
        let is_refused = item.is_some() == is_claim;
        let step = step(is_claim, is_refused);
        if is_refused {
            return Some((refusal(item), step));
        }
        let item = items.entry(key.to_string()).or_default();
        item.extend(call.key.clone());
        item.extend(call.item.clone());
        let changed = call.change(item)?;
        let answer = match call.return_values.as_str() {
            "UPDATED_NEW" => json!({"Attributes": changed}),
            _ => json!({}),
        };
        Some((Answer::ok(answer), step))
    }

    /// Number of items, and number of items whose state says that the event is published, in
    /// `processor`'s words or in Powertools'.
    pub(crate) fn count(&self) -> (usize, usize) {
        let items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let says = |item: &Item, attribute, text| item.get(attribute) == Some(&json!({"S": text}));
        let is_marked =
            |item: &&Item| says(item, "state", "PUBLISHED") || says(item, "status", "COMPLETED");
        (items.len(), items.values().filter(is_marked).count())
    }
}

fn step(is_claim: bool, is_refused: bool) -> Step {
    if is_claim {
        Step::Claim {
            new: u32::from(!is_refused),
            known: u32::from(is_refused),
        }
    } else {
        Step::End { marks: 1, notes: 0 }
    }
}

fn refusal(item: Option<&Item>) -> Answer {
    Answer::refused(json!({
        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message": "The conditional request failed",
        "Item": item,
    }))
}

impl Call {
    /// Changes an item by an expression like `SET a = :a, b = :b ADD c :c REMOVE d`, and returns
    /// the attributes that it set. Returns `None` if the expression has another form.
    fn change(&self, item: &mut Item) -> Option<Item> {
        let names = &self.expression_attribute_names;
        let name = |name: &str| names.get(name).map_or(name, String::as_str).to_owned();
        let mut changed = Item::new();
        let words: Vec<_> = self.update_expression.split([' ', ',']).collect();
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        for three in words.windows(3) {
            match *three {
                // `ADD` only increments the counter of claims. An item is claimed only once, so the
                // sum is the added value.
                [attribute, "=", value] | ["ADD", attribute, value] => {
                    let value = self.expression_attribute_values.get(value)?;
                    changed.insert(name(attribute), value.clone());
                }
                [_, "REMOVE", attribute] => {
                    item.remove(&name(attribute));
                }
                _ => {}
            }
        }
        item.extend(changed.clone());
        Some(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: Option<(Answer, Step)>) -> Value {
        answer.unwrap().0.body().clone()
    }

    fn claim(owner: &str) -> Vec<u8> {
        json!({
            "TableName": "ledger",
            "Key": {"pk": {"S": "callout#1"}, "sk": {"S": "NEW_CALLOUT"}},
            "ConditionExpression": "attribute_not_exists(pk) OR leaseUntil <= :now",
            "UpdateExpression": "SET #state = :claimed, #owner = :owner ADD attempt :one",
            "ExpressionAttributeNames": {"#state": "state", "#owner": "owner"},
            "ExpressionAttributeValues": {
                ":claimed": {"S": "CLAIMED"}, ":owner": {"S": owner}, ":one": {"N": "1"},
            },
            "ReturnValues": "UPDATED_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        })
        .to_string()
        .into_bytes()
    }

    fn completion() -> Vec<u8> {
        json!({
            "TableName": "ledger",
            "Key": {"pk": {"S": "callout#1"}, "sk": {"S": "NEW_CALLOUT"}},
            "ConditionExpression": "#state = :claimed",
            "UpdateExpression": "SET #state = :published REMOVE #owner, leaseUntil",
            "ExpressionAttributeNames": {"#state": "state", "#owner": "owner"},
            "ExpressionAttributeValues": {":published": {"S": "PUBLISHED"}},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_claim_is_granted_once_and_refused_with_the_item_that_is_there() {
        let tables = Tables::default();
        let granted = said(tables.write(&claim("me")));
        assert_eq!(granted["Attributes"]["attempt"], json!({"N": "1"}));
        assert_eq!(tables.count(), (1, 0));

        said(tables.write(&completion()));
        assert_eq!(tables.count(), (1, 1));

        let refused = said(tables.write(&claim("other")));
        assert!(
            refused["__type"]
                .as_str()
                .unwrap()
                .contains("ConditionalCheckFailed")
        );
        let item = &refused["Item"];
        assert_eq!(item["state"], json!({"S": "PUBLISHED"}));
        assert_eq!(item["pk"], json!({"S": "callout#1"}));
        assert_eq!(item.get("owner"), None);
    }

    #[test]
    fn each_write_is_a_step_of_its_batch() {
        let tables = Tables::default();
        let step = |body: &[u8]| tables.write(body).unwrap().1;
        let granted = Step::Claim { new: 1, known: 0 };
        let refused = Step::Claim { new: 0, known: 1 };
        assert_eq!(step(&claim("me")), granted);
        assert_eq!(step(&claim("other")), refused);
        assert_eq!(step(&completion()), Step::End { marks: 1, notes: 0 });
        let note = json!({"Key": {"pk": {"S": "open/1"}}}).to_string();
        assert_eq!(step(note.as_bytes()), Step::End { marks: 0, notes: 1 });
    }

    #[test]
    fn what_was_never_claimed_can_not_be_completed() {
        let tables = Tables::default();
        let refused = said(tables.write(&completion()));
        assert!(
            refused["__type"]
                .as_str()
                .unwrap()
                .contains("ConditionalCheckFailed")
        );
        assert_eq!(tables.count(), (0, 0));
    }

    #[test]
    fn powertools_item_is_put_once() {
        let tables = Tables::default();
        let put = json!({
            "TableName": "idempotency",
            "Item": {"id": {"S": "1"}, "status": {"S": "INPROGRESS"}},
            "ConditionExpression": "attribute_not_exists(#id) OR #expiry < :now",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        });
        let put = put.to_string();
        assert_eq!(said(tables.write(put.as_bytes())), json!({}));
        let refused = said(tables.write(put.as_bytes()));
        assert_eq!(refused["Item"]["status"], json!({"S": "INPROGRESS"}));
    }

    #[test]
    fn an_expression_of_another_form_has_no_answer() {
        let tables = Tables::default();
        let update = json!({
            "ConditionExpression": "attribute_not_exists(pk)",
            "UpdateExpression": "SET attempt = if_not_exists(attempt, :zero)",
        });
        assert!(tables.write(update.to_string().as_bytes()).is_none());
    }
}
