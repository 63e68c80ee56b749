//! Tests of registrations that fail: AURA refuses, fails, hangs or contradicts itself, or the
//! registrar dies; and of the deployments after that.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aura_sim::CLIENT_ID;
use aura_sim::client::{Fault, FaultyAnswer, REGISTER, Reply, TOKEN};
use serde_json::json;
use stack::function_logs;
use stack::processes;
use stack::progress::Progress;
use stack::stack::{DeployError, Stack};

use crate::registration::trial::{Line, Trial, rolled_back};

/// Start of the template's line that says how long CloudFormation waits for an answer.
const SERVICE_TIMEOUT: &str = "      ServiceTimeout: ";
/// The URL to hand AURA back to when the stack is deleted.
const BEFORE: &str = "http://127.0.0.1:9/before";

/// Has the stack registered once more, with another `RegistrationRevision`.
async fn again(trial: &Trial, revision: u32) -> Result<Stack, DeployError> {
    let revision = revision.to_string();
    trial.deploy(&[("RegistrationRevision", &revision)]).await
}

#[tokio::test]
async fn temporary_failures_of_aura_are_survived() -> Result<()> {
    let trial = Trial::begin().await?;
    for call in [TOKEN, REGISTER] {
        let failing = Fault {
            times: 2,
            ..Fault::once(call, FaultyAnswer::refusal(500, "later"))
        };
        trial.order(failing).await?;
    }
    let stack = again(&trial, 1).await?;
    assert_eq!(trial.register_calls().await?, 3);
    assert_eq!(trial.registrations().await?.len(), 1);

    // AURA has registered, but its answer is lost: the registrar asks once more.
    trial.order(Fault::lost_answer(REGISTER)).await?;
    again(&trial, 2).await?;
    assert_eq!(trial.registrations().await?.len(), 3);

    for call in [TOKEN, REGISTER] {
        trial.order(Fault::once(call, FaultyAnswer::Hang)).await?;
    }
    again(&trial, 3).await?;
    // AURA gets too many calls. It says when to try again in seconds or as a date that has passed,
    // and once refuses a request that came too slowly.
    for call in [TOKEN, REGISTER] {
        for (status, asked) in [
            (429, "1"),
            (429, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (408, "0"),
        ] {
            trial.order(Fault::once(call, busy(status, asked))).await?;
        }
    }
    again(&trial, 4).await?;
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 5);
    assert!(registrations.iter().all(|its| *its == registrations[0]));
    let lines = Line::all(&stack).await?;
    assert!(lines.iter().all(|line| line.succeeded == 1), "{lines:?}");
    Ok(())
}

/// The answer "not now" with a time to try again.
fn busy(status: u16, retry_after: &str) -> FaultyAnswer {
    FaultyAnswer::Reply(Reply {
        status,
        headers: [("retry-after".to_owned(), retry_after.to_owned())].into(),
        body: json!({"message": "not now"}),
    })
}

#[tokio::test]
async fn a_wait_longer_than_the_time_left_fails_at_once_and_says_so() -> Result<()> {
    let trial = Trial::begin().await?;
    trial.order(Fault::once(TOKEN, busy(429, "3600"))).await?;
    rolled_back(again(&trial, 1).await)?;
    let reason = trial.reason().await?;
    let told = "AURA failed at the token with 429 and asks to wait for 3600 s; try again later";
    assert!(reason.contains(told), "{reason}");
    assert_eq!(trial.register_calls().await?, 0);
    Ok(())
}

/// AURA already delivers to the endpoint by then.
#[tokio::test]
async fn an_answer_that_differs_harmlessly_is_reported_and_the_deployment_stays() -> Result<()> {
    let trial = Trial::begin().await?;
    let config = json!({"method": "WEBHOOK", "events": ["NEW_CALLOUT"], "id": 7,
        "headers": {"other": "***"}});
    let patch = json!({"notifier": {"config": config}});
    trial
        .order(Fault::once(REGISTER, FaultyAnswer::Patch(patch)))
        .await?;
    let changes = [("WebhookEvents", "NEW_CALLOUT,CALLOUT_CLOSED")];
    let stack = trial.deploy(&changes).await?;
    let told = stack.output("Registration")?;
    let expected = "Confirmation: WARNING, not as asked: the method in another letter case, \
        without the events CALLOUT_CLOSED, without the header authorization, 1 headers that were \
        not asked for, 1 fields that AURA doesn't document; and missing from AURA's answer: url (";
    assert!(told.contains(expected), "{told}");
    let log = function_logs::lines(&stack, "RegistrarLogGroupName").await?;
    let warns = |line: &String| line.contains("WARN") && line.contains("CALLOUT_CLOSED");
    assert!(log.iter().any(warns), "{log:?}");
    assert_eq!(trial.registrations().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_empty_answer_of_aura_is_reported_and_is_no_failure() -> Result<()> {
    let trial = Trial::begin().await?;
    let thanks = Reply {
        status: 200,
        headers: [].into(),
        body: "Thank you!".into(),
    };
    let answer = Fault {
        done: true,
        ..Fault::once(REGISTER, FaultyAnswer::Reply(thanks))
    };
    trial.order(answer).await?;
    let stack = again(&trial, 1).await?;
    let told = stack.output("Registration")?;
    assert!(
        told.contains("missing from AURA's answer: everything"),
        "{told}"
    );
    assert_eq!(trial.registrations().await?.len(), 1);
    Ok(())
}

/// AURA then delivers to an unknown place, so the rollback registers the endpoint before it again.
#[tokio::test]
async fn an_answer_with_another_url_fails_and_is_taken_back() -> Result<()> {
    let trial = Trial::begin().await?;
    again(&trial, 1).await?;
    let elsewhere = json!({"config": [{"url": "https://example.com/", "events": ["NEW_CALLOUT"]}]});
    let patch = FaultyAnswer::Patch(json!({"notifier": elsewhere}));
    trial.order(Fault::once(REGISTER, patch)).await?;
    let changes = [("WebhookEvents", "NEW_CALLOUT")];
    let failure = rolled_back(trial.deploy(&changes).await)?;
    assert_eq!(failure.status, "UPDATE_ROLLBACK_COMPLETE", "{failure}");
    let reason = trial.reason().await?;
    assert!(reason.contains("another URL than it was asked"), "{reason}");
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 3);
    assert!(
        registrations[0] == registrations[2],
        "the old registration isn't back"
    );
    Ok(())
}

#[tokio::test]
async fn refused_or_incomplete_credentials_are_named() -> Result<()> {
    let refused = json!({"clientId": CLIENT_ID, "clientSecret": "marker-wrong"});
    let missing = json!({"clientId": "marker-id"});
    let cases = [
        (refused, "AURA refused the credentials (401"),
        (missing, "clientSecret is missing"),
    ];
    for (credentials, expected) in cases {
        let trial = Trial::begin().await?;
        trial.store_credentials(&credentials.to_string()).await?;
        let changes = [("HandBackUrl", BEFORE)];
        rolled_back(trial.deploy(&changes).await)?;
        let reason = trial.reason().await?;
        assert!(reason.contains(expected), "{reason}");
        assert!(!reason.contains("marker"), "{reason}");
        assert_eq!(trial.register_calls().await?, 0);
        assert_eq!(
            trial.stack_statuses().await?.last().map(String::as_str),
            Some("ROLLBACK_COMPLETE")
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_registrar_that_is_killed_is_a_failure_soon_and_the_next_try_works() -> Result<()> {
    let trial = Trial::begin().await?;
    let text = trial.local.template().text();
    let line = text.lines().find(|line| line.starts_with(SERVICE_TIMEOUT));
    let line = line.context("the template has no service timeout")?;
    let shorter = format!("{SERVICE_TIMEOUT}3");
    let template = trial.local.template().with_first(line, &shorter)?;
    let stack = trial.deploy_from(&template, &[]).await?;
    trial.order(Fault::once(TOKEN, FaultyAnswer::Hang)).await?;
    let changes = [("WebhookEvents", "NEW_CALLOUT")];
    let update = async { rolled_back(trial.deploy_from(&template, &changes).await) };
    let kill = async {
        trial.until_hanging(TOKEN).await?;
        processes::kill(&stack, "RegistrarFunctionName")
    };
    let limit = Duration::from_mins(1);
    let both = tokio::time::timeout(limit, async { tokio::try_join!(update, kill) });
    let (failure, _) = both.await.context("CloudFormation still waits")??;
    assert_eq!(failure.status, "UPDATE_ROLLBACK_COMPLETE", "{failure}");
    let reason = trial.reason().await?;
    assert!(reason.contains("timed out"), "{reason}");
    // The rollback registers what was registered before.
    let registrations = trial.registrations().await?;
    assert!(registrations.iter().all(|its| *its == registrations[0]));

    trial.deploy_from(&template, &changes).await?;
    let now = trial
        .registrations()
        .await?
        .pop()
        .context("AURA has no registration")?;
    assert_eq!(now["events"], json!(["NEW_CALLOUT"]));
    Ok(())
}

#[tokio::test]
async fn a_stack_that_cannot_be_handed_back_says_what_to_do_and_can_be_deleted_later() -> Result<()>
{
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[("HandBackUrl", BEFORE)]).await?;
    let refusal = FaultyAnswer::refusal(403, "not allowed");
    trial.order(Fault::once(REGISTER, refusal)).await?;
    let deleted = stack.clone().delete(Progress::to_stderr()).await;
    let Err(DeployError::RolledBack(failure)) = deleted else {
        panic!("the stack must not be deleted");
    };
    assert_eq!(failure.status, "DELETE_FAILED");
    let reason = trial.reason().await?;
    assert!(reason.contains("not allowed"), "{reason}");
    let hint = "AURA still delivers to this stack. Mend the cause and delete the stack again";
    assert!(reason.contains(hint), "{reason}");
    assert_eq!(trial.registrations().await?.len(), 1);

    stack.delete(Progress::to_stderr()).await?;
    let now = trial
        .registrations()
        .await?
        .pop()
        .context("AURA has no registration")?;
    assert_eq!(now["url"], BEFORE);
    Ok(())
}
