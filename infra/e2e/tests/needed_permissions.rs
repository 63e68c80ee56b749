//! That the roles' policies have nothing that nothing needs: without each action in turn, a step
//! fails that succeeds with it.

mod ingest;
mod processor;
mod reconciler;

use std::fmt::Debug;

use anyhow::Result;
use e2e::Local;
use local::account::Account;
use local::system::CREDENTIALS;
use local::template::{Permission, Template};

use crate::registration::trial::bent;

/// A key of the customer's, as the parameter `AuraCredentialsKeyArn` has it. Nothing is encrypted
/// with it: the local AWS asks whether it may be used, and that is all.
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/of-the-customer";

/// A permission, and what is seen without it and not with it.
struct Need {
    sid: &'static str,
    action: &'static str,
    /// A statement that is missing either way: only then is this one needed.
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

/// What a function does, and what is seen of it.
trait Trial {
    /// What is seen when its role is as a template says.
    async fn seen(&mut self, template: Template) -> Result<Vec<String>>;
}

/// Tries each permission of a role: what is seen with it and without.
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

/// Tries each key of conditions in the same way: what isn't named there is refused.
async fn show_keys(
    whole: &Template,
    keys: &[(&str, &str, &str)],
    trial: &mut impl Trial,
) -> Result<()> {
    for (all, fewer, seen) in keys {
        let condition = |keys| {
            format!("Condition: {{ForAllValues:StringLike: {{dynamodb:LeadingKeys: {keys}}}}}")
        };
        let without = bent(whole, &condition(all), &condition(fewer))?;
        compare(trial, fewer, [whole.clone(), without], seen).await?;
    }
    Ok(())
}

/// Expects that something is seen without a permission, and not with it.
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

/// Has Secrets Manager ask for the key with which AURA's credentials are encrypted.
async fn encrypt_credentials(account: &Account) -> Result<()> {
    let update = account.secretsmanager().update_secret();
    let update = update.secret_id(CREDENTIALS).kms_key_id(KEY);
    update.send().await?;
    Ok(())
}

/// Lambda itself sends traces in the function's name, and the local AWS takes none.
const NOT_SHOWN: [(&str, &str); 2] = [
    ("WriteTraces", "xray:PutTraceSegments"),
    ("WriteTraces", "xray:PutTelemetryRecords"),
];

fn sorted<T: Debug>(all: impl Iterator<Item = T>) -> Vec<String> {
    let mut all: Vec<_> = all.map(|one| format!("{one:?}")).collect();
    all.sort();
    all
}

#[tokio::test]
async fn every_action_of_every_policy_is_shown_to_be_needed() -> Result<()> {
    let tables = [
        (ingest::ROLE, ingest::NEEDS.as_slice()),
        (processor::ROLE, &processor::NEEDS),
        (reconciler::ROLE, &reconciler::NEEDS),
    ];
    let whole = Local::with_iam().await?.template();
    for (role, needs) in tables {
        let named = needs.iter().map(|need| (need.sid, need.action));
        let named = sorted(named.chain(NOT_SHOWN));
        let permitted = whole.permissions().into_iter();
        let permitted = permitted.filter(|its| its.role == role);
        let permitted = sorted(permitted.map(|its| (its.sid, its.action)));
        assert_eq!(named, permitted, "{role}");
    }
    Ok(())
}
