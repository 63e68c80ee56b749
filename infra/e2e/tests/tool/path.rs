//! Tests of the commands about the whole path: status, canary, register.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::Local;
use jiff::{SignedDuration, Timestamp};
use local::drill::alarms::State;
use local::drill::endpoint::remove_routes;
use serde_json::{Value, json};
use shared::ledger::spill::Spill;
use shared::queue::{Destination, Message, Outgoing};
use stack::ops::Identity;
use stack::reconciler::{self, Run};
use stack::settled::drained;
use stack::stack::Stack;
use stack::system::Webhook;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use uuid::{NoContext, Uuid};

use super::ops;
use crate::alarms::wait_for;
use crate::registration::trial::Trial;
use crate::reregistration::register_elsewhere;

/// Runs the program, and returns what it printed if it ended with this code.
async fn run(stack: &Stack, arguments: &[&str], code: i32) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = ops().await?.run(stack, arguments).await?;
    let (printed, errors) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    let has_ended_so = status.code() == Some(code);
    ensure!(has_ended_so, "{arguments:?}: {status}: {printed}{errors}");
    Ok(printed + &errors)
}

async fn status(stack: &Stack) -> Result<Value> {
    ops().await?.json(stack, &["status"]).await
}

async fn send(stack: &Stack, body: &str) -> Result<()> {
    let http = shared::http_client::build()?;
    let answer = Webhook::of(stack).await?.post(&http, body.into()).await?;
    ensure!(answer.status == 202, "{answer:?}");
    Ok(())
}

/// Interrupts `status --watch` after its first screen, and returns what it printed and its exit
/// code.
async fn watch(stack: &Stack) -> Result<(String, Option<i32>)> {
    let mut command = ops()
        .await?
        .command(stack, &Identity::root(stack), &["status", "--watch"]);
    let mut watching = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = watching.stdout.take().context("it prints nothing")?;
    let mut printed = Vec::new();
    while !String::from_utf8_lossy(&printed).contains("Ctrl-C ends this.") {
        ensure!(stdout.read_buf(&mut printed).await? > 0, "it has ended");
    }
    let id = watching.id().context("it has ended")?.to_string();
    Command::new("kill").args(["-INT", &id]).status().await?;
    stdout.read_to_end(&mut printed).await?;
    let code = watching.wait().await?.code();
    Ok((String::from_utf8(printed)?, code))
}

#[tokio::test]
async fn the_status_of_a_healthy_stack_shows_the_whole_path_and_needs_nobody() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let stack = &system.stack;
    send(
        stack,
        r#"{"message": "CREATED_CUSTOMER", "customer": {"id": 7}}"#,
    )
    .await?;
    drained(stack).await?;
    assert_eq!(reconciler::invoke(stack).await?, Run::Done);
    run(stack, &["canary"], 0).await?;

    let shown = run(stack, &["status"], 0).await?;
    for part in [
        "Nothing needs a person.",
        "AURA delivers to  http",
        "proven by         Token: granted (",
        "Canary: published (",
        " ago: published in ",
        " ago: nothing was missing",
        "spill             empty",
        "customer events  1        0",
        "The other 10 queues are empty.",
    ] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    let status = status(stack).await?;
    assert_eq!(status["needs"], json!([]));
    assert_eq!(status["registration"]["events"], "ALL");
    for time in [
        "/registration/at",
        "/lastDelivery",
        "/reconciler/at",
        "/canary/at",
    ] {
        let at = status.pointer(time).and_then(Value::as_str);
        at.with_context(|| format!("{time} is missing in {status}"))?;
    }
    assert_eq!(status["queues"].as_array().map(Vec::len), Some(11));

    let (screens, code) = watch(stack).await?;
    assert_eq!(code, Some(0), "{screens}");
    // The first screen, and the last one, which stays.
    assert_eq!(screens.matches("Nothing needs a person.").count(), 2);
    Ok(())
}

/// Puts a delivery into the spill as ingest would have done. Its body fills more than one item.
async fn spill_eleven_minutes_ago(stack: &Stack) -> Result<()> {
    let at = Timestamp::now() - SignedDuration::from_mins(11);
    let at = uuid::Timestamp::from_unix(NoContext, at.as_second().try_into()?, 0);
    let delivery = Outgoing {
        delivery_id: Uuid::new_v7(at),
        destination: Destination::Ingest,
        message: Message {
            body: "x".repeat(500_000),
            group_id: "callout#1".to_owned(),
            deduplication_id: "a".to_owned(),
            attributes: BTreeMap::new(),
        },
    };
    let table = stack.output("LedgerTableName")?.to_owned();
    let spill = Spill::new(stack.account().dynamodb(), table);
    Ok(spill.put(&delivery).await?)
}

#[tokio::test]
async fn the_status_names_what_needs_a_person_once_and_the_most_urgent_first() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let stack = &system.stack;
    send(stack, "unreadable").await?;
    let needs = &status(stack).await?["needs"];
    assert_eq!(needs.as_array().map(Vec::len), Some(1), "{needs}");
    assert_eq!(needs[0]["command"], "aura-ops quarantine list");

    let letters = stack.output("DeadLetterQueueUrl")?;
    let message = stack.account().sqs().send_message().queue_url(letters);
    let message = message.message_body("a").message_group_id("a");
    message.message_deduplication_id("a").send().await?;
    spill_eleven_minutes_ago(stack).await?;
    wait_for(&system, "DeadLettersAlarm", State::Alarm).await?;
    let status = status(stack).await?;
    let needs = &status["needs"];
    assert_eq!(needs.as_array().map(Vec::len), Some(3), "{needs}");
    assert_eq!(needs[0]["alarm"], "SpillWaitsAlarm");
    assert_eq!(needs[0]["rings"], false);
    assert_eq!(status["spill"]["waiting"], 1);
    assert_eq!(needs[1]["alarm"], "DeadLettersAlarm");
    assert_eq!(needs[1]["rings"], true);
    assert_eq!(needs[1]["runbook"], "docs/operate.md#deadlettersalarm");
    let shown = run(stack, &["status"], 1).await?;
    for part in [
        "Several things need a person, the most urgent first.",
        "Events are late: a delivery has waited in the spill for 11 min ",
        "DeadLettersAlarm has rung for ",
        "aura-ops dead-letters list`",
        "ingest dead letters  1        0",
    ] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    Ok(())
}

#[tokio::test]
async fn a_canary_shows_its_hops_and_one_without_a_route_says_how_far_it_came() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let stack = &system.stack;
    let trip: Value = ops().await?.json(stack, &["canary"]).await?;
    let hops = trip["hops"].as_array().context("there are no hops")?;
    let whats: Vec<_> = hops.iter().map(|hop| hop["what"].as_str()).collect();
    let expected = [
        "the registrar sent it",
        "ingest has it",
        "the bus has it, and the ledger says so",
    ];
    assert_eq!(whats, expected.map(Some));
    let times: Vec<_> = hops.iter().filter_map(|hop| hop["at"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(trip["milliseconds"].as_u64() > Some(0), "{trip}");

    remove_routes(stack).await?;
    let told = run(stack, &["canary"], 2).await?;
    for part in [
        "the endpoint answered 404",
        "docs/operate.md#canaryfailsalarm",
    ] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
    let shown = run(stack, &["status"], 1).await?;
    assert!(shown.contains("the last canary failed"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn register_asks_first_and_then_points_aura_here_again() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let before = status(&stack).await?;
    register_elsewhere(&trial).await?;
    let told = run(&stack, &["register"], 2).await?;
    assert!(told.contains("AURA delivers nowhere else"), "{told}");
    assert_eq!(trial.registrations().await?.len(), 2);

    let shown = run(&stack, &["register", "--yes"], 0).await?;
    assert!(shown.contains("Confirmation: as asked ("), "{shown}");
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 3);
    assert!(
        registrations[0] == registrations[2],
        "the endpoint is registered differently than before"
    );
    let after = status(&stack).await?;
    let time = |status: &Value| -> Result<Timestamp> {
        let at = status["registration"]["at"].as_str();
        Ok(at.context("the registration has no time")?.parse()?)
    };
    assert!(time(&after)? > time(&before)?, "{after}");
    let proof = after["registration"]["proof"].as_str();
    assert!(proof.is_some_and(|proof| shown.contains(proof)), "{after}");

    remove_routes(&stack).await?;
    let told = run(&stack, &["register", "--yes"], 2).await?;
    assert!(told.contains("the endpoint answered 404"), "{told}");
    assert_eq!(trial.registrations().await?.len(), 3);
    Ok(())
}
