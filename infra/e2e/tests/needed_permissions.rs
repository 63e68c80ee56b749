//! Tests that the roles' policies hold no permission that isn't needed: without each action in
//! turn, a step fails that succeeds with it.

mod ingest;
mod processor;
mod reconciler;
mod registrar;

use anyhow::Result;
use e2e::Local;
use stack::account::Account;
use stack::system::CREDENTIALS;
use stack::template::{Permission, Template};

/// A customer's key, for the parameter `AuraCredentialsKeyArn`. Nothing is encrypted with it: the
/// local AWS only asks whether it may be used.
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/of-the-customer";

/// A permission, and what can be seen only without it.
struct Need {
    sid: &'static str,
    action: &'static str,
    /// A statement that is removed in both cases, because the permission is needed only without it.
    beside: Option<&'static str>,
    seen: &'static str,
}

const fn need(sid: &'static str, action: &'static str, seen: &'static str) -> Need {
    Need {
        sid,
        action,
        beside: None,
        seen,
    }
}

impl Need {
    const fn beside(self, sid: &'static str) -> Self {
        Self {
            beside: Some(sid),
            ..self
        }
    }

    fn permission(&self, role: &str) -> Permission {
        Permission {
            role: role.to_owned(),
            sid: self.sid.to_owned(),
            action: self.action.to_owned(),
        }
    }
}

/// Runs a function, and collects what can be seen of it.
trait Trial {
    /// What can be seen when the function's role is as in this template.
    async fn seen(&mut self, template: Template) -> Result<Vec<String>>;
}

/// Tries a role with and without each permission, and compares what can be seen.
async fn show(role: &str, needs: &[Need], trial: &mut impl Trial) -> Result<()> {
    let whole = Local::with_iam().await?.template();
    for need in needs {
        let with = match need.beside {
            Some(sid) => whole.without_permission(role, sid)?,
            None => whole.clone(),
        };
        let without = with.without_action(&need.permission(role))?;
        let what = format!("{} {}", need.sid, need.action);
        compare(trial, &what, [with, without], need.seen).await?;
    }
    Ok(())
}

/// The keys of a statement's condition, other keys in their place, and what can be seen with the
/// other keys.
type Key = (&'static str, &'static str, &'static str);

/// Tries each key of conditions in the same way: a call for a key that isn't listed is refused.
async fn show_keys(whole: &Template, keys: &[Key], trial: &mut impl Trial) -> Result<()> {
    for (all, fewer, seen) in keys {
        let condition = |keys| {
            format!("Condition: {{ForAllValues:StringLike: {{dynamodb:LeadingKeys: {keys}}}}}")
        };
        let without = whole.with_first(&condition(all), &condition(fewer))?;
        compare(trial, fewer, [whole.clone(), without], seen).await?;
    }
    Ok(())
}

/// Asserts that something is seen without a permission, and not with it.
async fn compare(
    trial: &mut impl Trial,
    what: &str,
    [with, without]: [Template; 2],
    seen: &str,
) -> Result<()> {
    let is_seen = |lines: &[String]| lines.iter().any(|line| line.contains(seen));
    let with = trial.seen(with).await?;
    assert!(!is_seen(&with), "{what}, with it: {with:#?}");
    let without = trial.seen(without).await?;
    assert!(is_seen(&without), "{what}, without it: {without:#?}");
    Ok(())
}

/// Makes Secrets Manager ask for the key that encrypts AURA's credentials.
async fn encrypt_credentials(account: &Account) -> Result<()> {
    let update = account.secretsmanager().update_secret();
    let update = update.secret_id(CREDENTIALS).kms_key_id(KEY);
    update.send().await?;
    Ok(())
}

/// Actions that can't be tested: Lambda itself sends traces on the function's behalf, and the local
/// AWS takes none.
const NOT_SHOWN: [(&str, &str); 2] = [
    ("WriteTraces", "xray:PutTraceSegments"),
    ("WriteTraces", "xray:PutTelemetryRecords"),
];

#[tokio::test]
async fn every_action_of_every_policy_is_shown_to_be_needed() -> Result<()> {
    let tables: [(&str, &[&[Need]]); 4] = [
        (ingest::ROLE, &[&ingest::NEEDS]),
        (processor::ROLE, &[&processor::NEEDS]),
        (reconciler::ROLE, &[&reconciler::NEEDS]),
        (
            registrar::ROLE,
            &[
                &registrar::TO_CREATE,
                &registrar::TO_FINISH,
                &registrar::TO_REGISTER,
            ],
        ),
    ];
    let mut shown = Vec::new();
    for (role, needs) in tables {
        let needs = needs.iter().copied().flatten();
        let needs = needs.map(|need| (need.sid, need.action)).chain(NOT_SHOWN);
        shown.extend(needs.map(|(sid, action)| format!("{role} {sid} {action}")));
    }
    let (role, sid, action) = crate::forward::PERMISSION;
    shown.push(format!("{role} {sid} {action}"));
    let permitted = Local::with_iam().await?.template().permissions();
    let permitted = permitted.into_iter();
    let mut permitted: Vec<_> = permitted
        .map(|Permission { role, sid, action }| format!("{role} {sid} {action}"))
        .collect();
    shown.sort();
    permitted.sort();
    assert_eq!(shown, permitted);
    Ok(())
}

#[tokio::test]
async fn every_key_of_every_condition_is_shown_to_be_needed() -> Result<()> {
    let tables: [&[Key]; 5] = [
        &ingest::KEYS,
        &processor::KEYS,
        &reconciler::KEYS,
        &registrar::KEYS,
        &crate::tool::permissions::KEYS,
    ];
    let mut shown: Vec<_> = tables.concat().into_iter().map(|(all, _, _)| all).collect();
    shown.sort_unstable();
    let text = Local::with_iam().await?.template().text();
    let conditions = text.split("{dynamodb:LeadingKeys: ").skip(1);
    let conditions = conditions.filter_map(|rest| rest.split_once('}'));
    // Each condition appears once for each of its keys.
    let mut expected: Vec<_> = conditions
        .flat_map(|(keys, _)| keys.split(", ").map(move |_| keys))
        .collect();
    expected.sort_unstable();
    assert_eq!(shown, expected);
    Ok(())
}
