//! Tests of the example consumers. Each is copied out of this repository and used beside the local AWS.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aura_sim::client::Controller;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use e2e::Local;
use e2e::examples::{Backend, Example};
use futures::future::try_join_all;
use prove::contract;
use reqwest::StatusCode;
use serde_json::{Value, json};
use stack::account::Account;
use stack::boto;
use stack::consumers::{Consumers, PATIENCE, Published};
use stack::function_logs;
use stack::package::cargo;
use stack::progress::Progress;
use stack::proxy::{Fault, FaultProxy, Plan};
use stack::settled::all_published;
use stack::stack::{Parameters, Stack};
use stack::system::System;
use stack::workspace::Workspace;
use tokio::time::{sleep, timeout};

use crate::tool::permissions::{assume, attach, role};

const ARRIVED: &str = "RESPONDER_ARRIVED_ON_SCENE";
const DRILL: &str =
    r#"{"message": "RESPONDER_ARRIVED_ON_SCENE", "callout": {"id": 7, "internalTest": true}}"#;
const POLL: Duration = Duration::from_millis(100);
const HEADER: &str = "x-events-secret";

#[tokio::test]
#[ignore = "takes minutes: .ci/run consumer"]
async fn a_copy_of_the_consumer_builds() -> Result<()> {
    Example::copied("consumer")?.built_with_cargo().await?;
    Ok(())
}

#[tokio::test]
async fn the_consumer_counts_each_arrival_once_and_no_drill() -> Result<()> {
    let bundle = Example::copied("consumer")?.built_here().await?;
    let system = Local::shared().await?.system(&[]).await?;
    let account = system.stack.account();
    let bus = system.stack.output("EventBusName")?;
    let parameters = Parameters::from([("EventBusName".to_owned(), bus.to_owned())]);
    let (name, progress) = ("arrivals", Progress::to_stderr());
    let consumer = Stack::deploy(account, name, &bundle, parameters, progress).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);

    // The drill comes first, and each arrival's callout has other events before it. So when the
    // last line is there, lines for those events would be there too.
    let (webhook, http) = (system.webhook().await?, shared::http_client::build()?);
    assert_eq!(webhook.post(&http, DRILL.into()).await?.status, 202);
    let first = arrival(&system, "+27000000001").await?;
    printed(&consumer, 1).await?;
    let second = arrival(&system, "+27000000002").await?;
    printed(&consumer, 2).await?;

    let mut told = all_published(&system.stack, &mut consumers).await?;
    told.retain(|event| event.detail_type == ARRIVED);
    assert_eq!(told.len(), 3, "the drill must be published too");
    let of = |callout: &str| {
        let event = told.iter().find(|event| event.detail.entity.id == callout);
        event.context("an arrival was not published")
    };
    let (arrived, drill) = (of(&first)?, of("7")?);
    let once = BTreeMap::from([(first.clone(), 1), (second.clone(), 1)]);
    assert_eq!(counts(&consumer).await?, once);

    // Copies come at once, as from a processor that died before it marked the event.
    publish(account, bus, &[arrived; 10]).await?;
    let mut lines = printed(&consumer, 12).await?;
    assert_eq!(outcomes(&lines), [("counted", 2), ("double", 10)].into());
    assert_eq!(counts(&consumer).await?, once);

    // A drill that passes a wrong rule stops at the handler.
    let function = consumer.resource("ArrivalsFunction").await?;
    let event = json!({"detail": drill.detail}).to_string();
    let arguments = json!({"FunctionName": function, "Payload": event});
    let answer: Value = boto::call(account, "lambda", "invoke", arguments).await?;
    assert_eq!(answer.get("FunctionError"), None);
    lines = printed(&consumer, 13).await?;
    assert_eq!(outcomes(&lines).get("no-emergency"), Some(&1));

    // A key that has expired is forgotten, though DynamoDB hasn't deleted it yet.
    let table = consumer.output("KeysTableName")?;
    assert_eq!(
        keys(account, table).await?.len(),
        2,
        "a drill's key is saved"
    );
    let update = account.dynamodb().update_item().table_name(table);
    update
        .key("key", AttributeValue::S(arrived.detail.key.clone()))
        .update_expression("SET expiresAt = :past")
        .expression_attribute_values(":past", AttributeValue::N("1".to_owned()))
        .send()
        .await?;
    publish(account, bus, &[arrived]).await?;
    printed(&consumer, 14).await?;
    let twice = BTreeMap::from([(first, 2), (second, 1)]);
    assert_eq!(counts(&consumer).await?, twice);

    // Nothing of the payload is in a line.
    let names = |line: &Value| line.as_object().map(|line| line.keys().cloned().collect());
    let names: BTreeSet<Option<BTreeSet<String>>> = lines.iter().map(names).collect();
    let expected = ["key", "outcome"].map(str::to_owned);
    assert_eq!(names, [Some(expected.into())].into());
    Ok(())
}

#[tokio::test]
async fn a_copy_of_the_backend_counts_each_event_once_and_no_drill() -> Result<()> {
    let example = Example::copied("consumer-node")?;
    example.installed_with_npm().await?;
    let account = Local::shared().await?.new_account();
    let (none, progress) = (Parameters::new(), Progress::to_stderr());
    let stack = Stack::deploy(&account, "backend", &example.bundle()?, none, progress).await?;
    let secret = account.secretsmanager().get_secret_value();
    let secret = secret
        .secret_id(stack.output("EventsSecretArn")?)
        .send()
        .await?;
    let secret = secret.secret_string().context("the secret has no text")?;
    let dynamodb = FaultProxy::before(account.endpoint())?;
    let keys_table = stack.output("KeysTableName")?;
    let backend = started(&example, &stack, &dynamodb.url(), secret).await?;

    let event = detail("5003", false, "webhook");
    needs_its_secret(&backend, &event).await?;
    assert_eq!(post(&backend, secret, "{").await?, StatusCode::BAD_REQUEST);
    assert!(dynamodb.calls().is_empty(), "it wrote before it had to");

    // Drills and canaries are answered, and leave nothing.
    for other in [detail("1", true, "webhook"), detail("1", false, "canary")] {
        assert_eq!(
            post(&backend, secret, &other).await?,
            StatusCode::NO_CONTENT
        );
    }
    assert!(keys(&account, keys_table).await?.is_empty());

    // While DynamoDB fails, the event is not confirmed. The last failure comes after it has acted.
    let faults = [
        Fault::InternalError,
        Fault::ResetBefore,
        Fault::Hang,
        Fault::ResetAfter,
    ];
    for fault in faults {
        dynamodb.set(Plan::Always(fault));
        let answer = post(&backend, secret, &event).await?;
        assert_eq!(answer, StatusCode::INTERNAL_SERVER_ERROR, "{fault:?}");
    }
    dynamodb.set(Plan::Through);
    // Copies come at once, as the detail and as the whole event.
    let whole = format!(r#"{{"version": "0", "source": "aura", "detail": {event}}}"#);
    let bodies = [&event, &whole].into_iter().cycle().take(10);
    let copies = bodies.map(|body| post(&backend, "the-new-one", body));
    for answer in try_join_all(copies).await? {
        assert_eq!(answer, StatusCode::NO_CONTENT);
    }
    let count = json!({"entity": "callout#5003", "message": ARRIVED, "events": "1"});
    assert_eq!(
        rows(&account, stack.output("CountsTableName")?).await?,
        [count]
    );
    assert_eq!(keys(&account, keys_table).await?, [key_of("5003")]);

    let errors = backend.ended().await?;
    assert!(
        !errors.is_empty() && !errors.contains(secret) && !errors.contains("N. N."),
        "{errors}"
    );
    Ok(())
}

/// A copy has no workspace to take versions from, so they stand in its `Cargo.toml`, too.
#[tokio::test]
async fn the_consumers_versions_are_the_workspaces() -> Result<()> {
    let workspace = Workspace::here()?;
    let mut command = cargo(workspace.root());
    command.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let metadata: Value = serde_json::from_slice(&command.output().await?.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let (own, others): (Vec<_>, Vec<_>) = packages
        .iter()
        .partition(|package| package["name"] == "arrivals");
    let required = |packages: &[&Value]| {
        let all = packages
            .iter()
            .filter_map(|package| package["dependencies"].as_array());
        let version = |dependency: &Value| (dependency["name"].clone(), dependency["req"].clone());
        all.flatten()
            .map(version)
            .map(|its| format!("{its:?}"))
            .collect::<BTreeSet<_>>()
    };
    let (own, others) = (required(&own), required(&others));
    assert!(
        !own.is_empty() && own.is_subset(&others),
        "{:?}",
        own.difference(&others)
    );
    Ok(())
}

/// An event as the stack forwards it.
fn detail(callout: &str, test: bool, origin: &str) -> String {
    let payload = json!({"callout": {"id": callout, "customer": {"name": "N. N."}}});
    json!({"key": key_of(callout), "message": ARRIVED, "entity": {"kind": "callout", "id": callout},
        "test": test, "origin": origin, "payload": payload})
    .to_string()
}

fn key_of(callout: &str) -> String {
    format!("callout#{callout}/{ARRIVED}#1f2e")
}

/// Starts the backend beside its stack. It needs no other permission than the template's policy.
async fn started(
    example: &Example,
    stack: &Stack,
    dynamodb: &str,
    secret: &str,
) -> Result<Backend> {
    role(stack, "backend").await?;
    attach(stack, "backend", "BackendPolicyArn").await?;
    let identity = assume(stack, "backend").await?;
    let secrets = format!("the-new-one,,{secret}");
    let variables = [
        ("AWS_ENDPOINT_URL", dynamodb),
        ("EVENTS_SECRET", secrets.as_str()),
        ("KEYS_TABLE", stack.output("KeysTableName")?),
        ("COUNTS_TABLE", stack.output("CountsTableName")?),
    ];
    example.started_with_node(&identity, &variables).await
}

/// Only the check of its health needs no secret.
async fn needs_its_secret(backend: &Backend, event: &str) -> Result<()> {
    for wrong in ["", "wrong", "the-new-one,"] {
        assert_eq!(post(backend, wrong, event).await?, StatusCode::FORBIDDEN);
    }
    let http = shared::http_client::build()?;
    let without = http.post(&backend.url).body(event.to_owned());
    assert_eq!(without.send().await?.status(), StatusCode::FORBIDDEN);
    let health = http.get(&backend.url).send().await?;
    assert_eq!(health.status(), StatusCode::OK);
    Ok(())
}

async fn post(backend: &Backend, secret: &str, body: &str) -> Result<StatusCode> {
    let request = shared::http_client::build()?.post(&backend.url);
    let request = request.header(HEADER, secret).body(body.to_owned());
    Ok(request.send().await?.status())
}

/// Puts events on the bus, as the processor does.
async fn publish(account: &Account, bus: &str, events: &[&Published]) -> Result<()> {
    let entry = |event: &&Published| {
        let entry = PutEventsRequestEntry::builder().event_bus_name(bus);
        let entry = entry.source(&event.source).detail_type(&event.detail_type);
        Ok(entry.detail(serde_json::to_string(&event.detail)?).build())
    };
    let entries = events.iter().map(entry).collect::<Result<_>>()?;
    let put = account
        .eventbridge()
        .put_events()
        .set_entries(Some(entries));
    ensure!(put.send().await?.failed_entry_count() == 0);
    Ok(())
}

/// The items of a table, each value as text.
async fn rows(account: &Account, table: &str) -> Result<Vec<Value>> {
    let scanned = account.dynamodb().scan().table_name(table).send().await?;
    let text = |value: &AttributeValue| match value {
        AttributeValue::S(text) | AttributeValue::N(text) => Value::from(text.as_str()),
        _ => Value::Null,
    };
    let row = |item: &HashMap<String, AttributeValue>| {
        item.iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect()
    };
    Ok(scanned.items().iter().map(row).collect())
}

/// The keys that a consumer has saved.
async fn keys(account: &Account, table: &str) -> Result<Vec<Value>> {
    let rows = rows(account, table).await?;
    let key = |row: &Value| row.get("key").cloned();
    let keys = rows.iter().map(key).collect::<Option<_>>();
    keys.context("a row has no key")
}

/// The arrivals of each callout.
async fn counts(consumer: &Stack) -> Result<BTreeMap<String, u32>> {
    let rows = rows(consumer.account(), consumer.output("CalloutsTableName")?).await?;
    let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    let count = |row: &Value| Some((text(row, "id")?, text(row, "arrivals")?.parse().ok()?));
    let counts = rows.iter().map(count).collect::<Option<_>>();
    counts.context("a row is not a count")
}

/// How many lines have each outcome.
fn outcomes(lines: &[Value]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts
            .entry(line["outcome"].as_str().unwrap_or_default())
            .or_default() += 1;
    }
    counts
}

/// Plays a callout up to the responder's arrival; returns its id.
async fn arrival(system: &System, phone: &str) -> Result<String> {
    let aura = system.aura().await?;
    let customer = aura.create_customer(phone).await?;
    let callout = aura.create_callout(&customer).await?;
    for action in [Controller::Own, Controller::Acknowledge, Controller::Arrive] {
        aura.control(&callout, action).await?;
    }
    Ok(callout)
}

/// The lines that the consumer has printed, once there are `count` of them.
async fn printed(consumer: &Stack, count: usize) -> Result<Vec<Value>> {
    let enough = async {
        loop {
            let lines = function_logs::lines(consumer, "ArrivalsLogGroupName").await?;
            // Lambda writes its own lines to the log too.
            let lines: Vec<Value> = lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            if lines.len() >= count {
                ensure!(lines.len() == count, "{lines:?}");
                return Ok(lines);
            }
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, enough).await?
}
