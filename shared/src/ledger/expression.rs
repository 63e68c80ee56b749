//! The ledger's rules in DynamoDB's language.

use super::{Condition, Effect, ItemAttribute, Operand, Rule, Transition, Value};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

/// A rule in DynamoDB's language. Each rule is written once, not for each event.
#[derive(Debug)]
pub(super) struct Expressions {
    condition: String,
    changes: String,
    /// The placeholders in both expressions, and what each stands for. DynamoDB refuses unused
    /// ones.
    names: Vec<(String, ItemAttribute)>,
    values: Vec<(String, Operand)>,
    increments: bool,
}

/// The placeholder of the number that an attribute is incremented by.
const ONE: &str = ":one";

impl Expressions {
    pub(super) fn new(rule: &Rule) -> Self {
        let condition = condition(rule);
        let changes = changes(rule);
        let text = format!("{condition} {changes}");
        let is_used = |placeholder: &str| {
            let mut parts = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '#' | ':')));
            parts.any(|part| part == placeholder)
        };
        let names = ItemAttribute::ALL.map(|attribute| (name(attribute), attribute));
        let operands = ItemAttribute::ALL.map(Operand::Its).into_iter().chain([
            Operand::Claimed,
            Operand::Published,
            Operand::Now,
            Operand::Earliest,
            Operand::Latest,
        ]);
        let values = operands.map(|of| (operand(of), of));
        Self {
            names: names
                .into_iter()
                .filter(|(name, _)| is_used(name))
                .collect(),
            values: values.filter(|(value, _)| is_used(value)).collect(),
            increments: is_used(ONE),
            condition,
            changes,
        }
    }

    /// Adds to `update` the condition and the changes of this rule, with the names and values of
    /// `transition`. The update also removes the occurrence `forgotten`.
    pub(super) fn with_transition(
        &self,
        mut update: UpdateItemFluentBuilder,
        transition: &Transition,
        forgotten: Option<u32>,
    ) -> UpdateItemFluentBuilder {
        for (placeholder, attribute) in &self.names {
            let name = attribute.name_in(transition.occurrence);
            update = update.expression_attribute_names(placeholder, name);
        }
        for (placeholder, operand) in &self.values {
            if let Some(value) = transition.values.get(operand) {
                update = update.expression_attribute_values(placeholder, attribute_value(value));
            }
        }
        if self.increments {
            let one = attribute_value(&Value::Number(1));
            update = update.expression_attribute_values(ONE, one);
        }
        let mut changes = self.changes.clone();
        if let Some(occurrence) = forgotten {
            let own =
                ItemAttribute::ALL.map(|attribute| attribute.name_in(occurrence).into_owned());
            let own: Vec<_> = own.into_iter().filter(|name| name.contains('_')).collect();
            changes = format!("{changes} REMOVE {}", own.join(", "));
        }
        update
            .condition_expression(&self.condition)
            .update_expression(changes)
    }
}

fn condition(rule: &Rule) -> String {
    let all = |conditions: &&[Condition]| {
        let conditions: Vec<_> = conditions.iter().copied().map(comparison).collect();
        format!("({})", conditions.join(" AND "))
    };
    let any: Vec<_> = rule.when.iter().map(all).collect();
    any.join(" OR ")
}

fn comparison(condition: Condition) -> String {
    match condition {
        Condition::Missing(attribute) => format!("attribute_not_exists({})", name(attribute)),
        Condition::Equal(attribute, to) => format!("{} = {}", name(attribute), operand(to)),
        Condition::AtMost(attribute, most) => format!("{} <= {}", name(attribute), operand(most)),
        Condition::AtLeast(attribute, least) => {
            format!("{} >= {}", name(attribute), operand(least))
        }
    }
}

/// The update expression. DynamoDB allows at most one clause of each kind.
fn changes(rule: &Rule) -> String {
    let clause = |keyword: &str, written: &dyn Fn(&Effect) -> Option<String>| {
        let changes: Vec<_> = rule.then.iter().filter_map(written).collect();
        (!changes.is_empty()).then(|| format!("{keyword} {}", changes.join(", ")))
    };
    let set = clause("SET", &|effect| match effect {
        Effect::Set(attribute, to) => Some(format!("{} = {}", name(*attribute), operand(*to))),
        Effect::Increment(_) | Effect::Remove(_) => None,
    });
    let add = clause("ADD", &|effect| match effect {
        Effect::Increment(attribute) => Some(format!("{} {ONE}", name(*attribute))),
        Effect::Set(..) | Effect::Remove(_) => None,
    });
    let remove = clause("REMOVE", &|effect| match effect {
        Effect::Remove(attribute) => Some(name(*attribute)),
        Effect::Set(..) | Effect::Increment(_) => None,
    });
    let clauses: Vec<_> = [set, add, remove].into_iter().flatten().collect();
    clauses.join(" ")
}

/// The placeholder of an attribute's name. Some names are words that DynamoDB reserves.
fn name(attribute: ItemAttribute) -> String {
    format!("#{}", attribute.name())
}

fn operand(operand: Operand) -> String {
    match operand {
        Operand::Claimed => ":claimed".to_owned(),
        Operand::Published => ":published".to_owned(),
        Operand::Now => ":now".to_owned(),
        Operand::Earliest => ":earliest".to_owned(),
        Operand::Latest => ":latest".to_owned(),
        Operand::Its(attribute) => format!(":{}", attribute.name()),
    }
}

pub(super) fn attribute_value(value: &Value) -> AttributeValue {
    match value {
        Value::Text(text) => AttributeValue::S(text.clone()),
        Value::Number(number) => AttributeValue::N(number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::RULES;

    #[test]
    fn the_rules_read_as_they_are_meant() {
        let written = |rule| [condition(&rule), changes(&rule)];
        let [when, then] = written(RULES.claim);
        assert_eq!(
            when,
            "(attribute_not_exists(#state)) OR \
             (#state = :claimed AND #leaseUntil <= :now AND \
             #receivedAt >= :earliest AND #receivedAt <= :latest) OR \
             (#state = :claimed AND #leaseUntil <= :now AND attribute_not_exists(#receivedAt))"
        );
        assert_eq!(
            then,
            "SET #state = :claimed, #owner = :owner, #leaseUntil = :leaseUntil, \
             #digest = :digest, #deliveryId = :deliveryId, #receivedAt = :receivedAt, \
             #occurrence = :occurrence, #origin = :origin, \
             #expiresAt = :expiresAt ADD #attempt :one"
        );
        let [when, then] = written(RULES.complete);
        let fence = "(#state = :claimed AND #owner = :owner AND #attempt = :attempt)";
        assert_eq!(when, fence);
        assert_eq!(
            then,
            "SET #state = :published, #busEventId = :busEventId, #publishedAt = :now \
             REMOVE #leaseUntil"
        );
        let [when, then] = written(RULES.release);
        assert_eq!(when, fence);
        assert_eq!(then, "SET #leaseUntil = :now");
    }
}
