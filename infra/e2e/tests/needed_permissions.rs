//! That the roles' policies have nothing that nothing needs: without each action in turn, a step
//! fails that succeeds with it.

mod ingest;
mod processor;

use std::fmt::Debug;

use anyhow::Result;
use e2e::Local;
use local::template::{Permission, Template};

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
        let Need {
            sid, action, seen, ..
        } = need;
        let is_seen = |lines: &[String]| lines.iter().any(|line| line.contains(seen));
        let with = trial.seen(with).await?;
        assert!(!is_seen(&with), "{sid} {action}, with it: {with:#?}");
        let without = trial.seen(without).await?;
        assert!(is_seen(&without), "{sid} {action}: {without:#?}");
    }
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
