//! That ingest's policy has nothing that nothing needs: without each action in turn, a step fails.

use std::fmt::Debug;

use anyhow::Result;
use e2e::Local;
use local::function_logs;
use local::processes;
use local::system::{Leftovers, System};
use local::template::{Permission, Template};
use serde_json::json;

const ROLE: &str = "IngestRole";
const LOG_GROUP: &str = "IngestLogGroupName";

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

const NEEDS: [Need; 7] = [
    need(
        "StoreDeliveries",
        "sqs:SendMessage",
        "readable: 202, spilled",
    ),
    need(
        "QuarantineUnreadableDeliveries",
        "sqs:SendMessage",
        "garbled: 202, spilled",
    ),
    need(
        "ConnectToTheQueue",
        "sqs:GetQueueAttributes",
        "no connection to SQS yet",
    ),
    Need {
        beside: Some("StoreDeliveries"),
        ..need("SpillDeliveries", "dynamodb:PutItem", "readable: 503")
    },
    need(
        "ReadWebhookSecret",
        "secretsmanager:GetSecretValue",
        "readable: 503",
    ),
    need("WriteLogs", "logs:CreateLogStream", "nothing is logged"),
    need("WriteLogs", "logs:PutLogEvents", "nothing is logged"),
];

/// Lambda itself sends traces in the function's name, and the local AWS takes none.
const NOT_SHOWN: [(&str, &str); 2] = [
    ("WriteTraces", "xray:PutTraceSegments"),
    ("WriteTraces", "xray:PutTelemetryRecords"),
];

impl Need {
    fn permission(&self) -> Permission {
        Permission {
            role: ROLE.to_owned(),
            sid: self.sid.to_owned(),
            action: self.action.to_owned(),
        }
    }
}

/// What comes of a readable delivery and of one that isn't, at a start of ingest, and what it logs.
async fn seen(local: &Local, system: &mut System, template: Template) -> Result<Vec<String>> {
    system.stack = local.update_to(&system.stack, template).await?;
    let stack = &system.stack;
    let killed = processes::kill(stack, "IngestFunctionName")?;
    processes::gone(&killed).await?;
    let lines_before = function_logs::lines(stack, LOG_GROUP).await?.len();
    let http = shared::http_client::build()?;
    let webhook = system.webhook().await?;
    let mut seen = Vec::new();
    let readable = json!({"message": "CREATED_CUSTOMER", "customer": {"id": 1}}).to_string();
    for (name, body) in [("readable", readable.as_str()), ("garbled", "not json")] {
        let spill_before = Leftovers::count(stack).await?.spill_depth;
        let status = webhook.post(&http, body.into()).await?.status;
        let spilled = Leftovers::count(stack).await?.spill_depth > spill_before;
        seen.push(format!(
            "{name}: {status}{}",
            if spilled { ", spilled" } else { "" }
        ));
    }
    let mut lines = function_logs::lines(stack, LOG_GROUP).await?;
    lines.drain(..lines_before);
    if lines.is_empty() {
        seen.push("nothing is logged".to_owned());
    }
    seen.extend(lines);
    Ok(seen)
}

fn sorted<T: Debug>(all: impl Iterator<Item = T>) -> Vec<String> {
    let mut all: Vec<_> = all.map(|one| format!("{one:?}")).collect();
    all.sort();
    all
}

#[tokio::test]
async fn ingest_needs_every_action_that_its_policy_has() -> Result<()> {
    let local = Local::with_iam().await?;
    let whole = local.template();
    let named = NEEDS.iter().map(|need| (need.sid, need.action));
    let named = sorted(named.chain(NOT_SHOWN));
    let permitted = whole.permissions().into_iter();
    let permitted = sorted(
        permitted
            .filter(|its| its.role == ROLE)
            .map(|its| (its.sid, its.action)),
    );
    assert_eq!(named, permitted);

    let mut system = local.system(&[]).await?;
    for need in &NEEDS {
        let with = match need.beside {
            Some(sid) => whole.without_permission(ROLE, sid)?,
            None => whole.clone(),
        };
        let without = with.without_action(&need.permission())?;
        let with = seen(local, &mut system, with).await?;
        let without = seen(local, &mut system, without).await?;
        let shows = |seen: &[String]| seen.iter().any(|its| its.contains(need.seen));
        assert!(!shows(&with), "{} is seen anyway: {with:#?}", need.seen);
        assert!(
            shows(&without),
            "{} {}: {without:#?}",
            need.sid,
            need.action
        );
    }
    Ok(())
}
