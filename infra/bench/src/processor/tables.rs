//! As much of DynamoDB as a ledger needs: items by key, and the updates that claim and mark them.
//!
//! Conditions are not evaluated but recognised. No lease runs out here and nothing expires, so
//! one that speaks of `attribute_not_exists` holds where there is no item, and any other where
//! there is one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::function::Side;
use super::series::SIDES;
use crate::aws::Answer;

type Item = Map<String, Value>;
type Items = HashMap<String, Item>;

/// All tables.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<Items>);

/// `PutItem` or `UpdateItem`, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Call {
    table_name: String,
    key: Item,
    item: Item,
    update_expression: String,
    condition_expression: String,
    expression_attribute_names: HashMap<String, String>,
    expression_attribute_values: Item,
    return_values: String,
    return_values_on_condition_check_failure: String,
}

/// The attributes that make up the key of whatever table.
const KEY: [&str; 3] = ["pk", "sk", "id"];

impl Tables {
    /// Answers `PutItem`; `None` if it isn't understood.
    pub(crate) fn put(&self, body: &[u8]) -> Option<Answer> {
        let call: Call = serde_json::from_slice(body).ok()?;
        let is_key = |(name, _): &(&String, &Value)| KEY.contains(&name.as_str());
        let key = call.key_of(call.item.iter().filter(is_key));
        self.with_items(|items| {
            if let Some(refusal) = call.refusal(items.get(&key)) {
                return Some(refusal);
            }
            items.insert(key, call.item);
            Some(Answer::ok(json!({})))
        })
    }

    /// Answers `UpdateItem`; `None` if it isn't understood.
    pub(crate) fn update(&self, body: &[u8]) -> Option<Answer> {
        let call: Call = serde_json::from_slice(body).ok()?;
        if call.is_note() {
            return Some(Answer::ok(json!({})));
        }
        let key = call.key_of(call.key.iter());
        self.with_items(|items| {
            if let Some(refusal) = call.refusal(items.get(&key)) {
                return Some(refusal);
            }
            let item = items.entry(key).or_insert_with(|| call.key.clone());
            let changed = call.apply(item)?;
            Some(Answer::ok(match call.return_values.as_str() {
                "UPDATED_NEW" => json!({"Attributes": changed}),
                _ => json!({}),
            }))
        })
    }

    /// How many items there are, and how many of those say that their event is published.
    pub(crate) fn count(&self) -> (u32, u32) {
        let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
        self.with_items(|items| {
            let marked = items.values().filter(|item| is_marked(item));
            (count(items.len()), count(marked.count()))
        })
    }

    fn with_items<T>(&self, work: impl FnOnce(&mut Items) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// As `processor` says it, or as Powertools does.
fn is_marked(item: &Item) -> bool {
    let marks = SIDES.map(Side::mark).in_turn();
    let is_there =
        |(attribute, value): (&str, &str)| item.get(attribute) == Some(&json!({"S": value}));
    marks.into_iter().any(is_there)
}

impl Call {
    /// Whether it notes what stands beside the events, an open callout say: it is taken, and not kept.
    /// The key of every event's entity holds a `#`.
    fn is_note(&self) -> bool {
        let partition = self.key.get("pk").and_then(|pk| pk.get("S")?.as_str());
        partition.is_some_and(|partition| !partition.contains('#'))
    }

    fn key_of<'a>(&'a self, attributes: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
        let attribute = |(name, value)| format!(" {name}={value}");
        let attributes: String = attributes.map(attribute).collect();
        format!("{}{attributes}", self.table_name)
    }

    fn refusal(&self, item: Option<&Item>) -> Option<Answer> {
        let condition = self.condition_expression.as_str();
        let holds = match item {
            Some(_) => !condition.contains("attribute_not_exists"),
            None => condition.is_empty() || condition.contains("attribute_not_exists"),
        };
        if holds {
            return None;
        }
        let mut refusal = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "message": "The conditional request failed",
        });
        if let (Some(item), "ALL_OLD") =
            (item, self.return_values_on_condition_check_failure.as_str())
            && let Some(fields) = refusal.as_object_mut()
        {
            fields.insert("Item".into(), Value::Object(item.clone()));
        }
        Some(Answer::refused(refusal))
    }

    /// Applies the update expression and returns what it set; `None` if it is of another form than
    /// `SET a = :a, b = :b REMOVE c ADD d :d`.
    fn apply(&self, item: &mut Item) -> Option<Item> {
        let mut changed = Item::new();
        for (clause, action) in actions(&self.update_expression)? {
            let mut words = action.split_whitespace();
            let name = self.name(words.next()?);
            let value = match clause {
                "SET" => {
                    (words.next()? == "=").then_some(())?;
                    self.expression_attribute_values.get(words.next()?)?.clone()
                }
                "ADD" => {
                    let more = self.expression_attribute_values.get(words.next()?)?;
                    sum(item.get(name), more)?
                }
                _ => {
                    item.remove(name);
                    continue;
                }
            };
            words.next().is_none().then_some(())?;
            item.insert(name.to_owned(), value.clone());
            changed.insert(name.to_owned(), value);
        }
        Some(changed)
    }

    fn name<'a>(&'a self, name: &'a str) -> &'a str {
        let names = &self.expression_attribute_names;
        names.get(name).map_or(name, String::as_str)
    }
}

/// The actions of an update expression, each with its clause.
fn actions(expression: &str) -> Option<Vec<(&str, String)>> {
    let mut actions: Vec<(&str, String)> = Vec::new();
    let mut clause = None;
    for word in expression.split_whitespace() {
        if let "SET" | "ADD" | "REMOVE" = word {
            clause = Some(word);
            actions.push((word, String::new()));
            continue;
        }
        let (_, action) = actions.last_mut()?;
        action.push_str(word.trim_end_matches(','));
        action.push(' ');
        if word.ends_with(',') {
            actions.push((clause?, String::new()));
        }
    }
    Some(actions)
}

fn sum(number: Option<&Value>, more: &Value) -> Option<Value> {
    let read = |value: &Value| value.get("N")?.as_str()?.parse::<i64>().ok();
    let number = number.map_or(Some(0), read)?;
    Some(json!({"N": (number + read(more)?).to_string()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: Option<Answer>) -> Value {
        answer.unwrap().body().clone()
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
        let granted = said(tables.update(&claim("me")));
        assert_eq!(granted["Attributes"]["attempt"], json!({"N": "1"}));
        assert_eq!(tables.count(), (1, 0));

        said(tables.update(&completion()));
        assert_eq!(tables.count(), (1, 1));

        let refused = said(tables.update(&claim("other")));
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
    fn what_was_never_claimed_can_not_be_completed() {
        let tables = Tables::default();
        let refused = said(tables.update(&completion()));
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
        assert_eq!(said(tables.put(put.as_bytes())), json!({}));
        let refused = said(tables.put(put.as_bytes()));
        assert_eq!(refused["Item"]["status"], json!({"S": "INPROGRESS"}));
    }

    #[test]
    fn an_expression_of_another_form_has_no_answer() {
        let tables = Tables::default();
        let update = json!({"UpdateExpression": "SET attempt = if_not_exists(attempt, :zero)"});
        assert!(tables.update(update.to_string().as_bytes()).is_none());
    }
}
