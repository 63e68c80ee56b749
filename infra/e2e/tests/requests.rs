//! Tests of CloudFormation's requests in cases that MiniStack doesn't play: sent twice, or after a
//! failure.

use anyhow::Result;
use aura_sim::client::{Aura, Fault, FaultyAnswer, REGISTER, Reply};
use aura_sim::{AuraSim, Options};
use registrar::custom_resource::{NOT_REGISTERED, PHYSICAL_RESOURCE_ID};
use serde_json::{Value, json};
use stack::proxy::{self, FaultProxy, Plan};

use crate::registrar_here::Requests;
use crate::registration::trial::Trial;

/// The URL to hand AURA back to when the stack is deleted.
const BEFORE: &str = "http://127.0.0.1:9/before";

#[tokio::test]
async fn a_request_that_comes_twice_does_no_harm() -> Result<()> {
    let trial = Trial::begin().await?;
    let requests = Requests::awaited_by(&trial.deploy(&[]).await?).await?;
    let id = PHYSICAL_RESOURCE_ID;
    let kinds = [
        ("Create", None),
        ("Update", Some(id)),
        // The stack has no URL to hand AURA back to.
        ("Delete", Some(id)),
    ];
    for (kind, given) in kinds {
        let request = requests.request(kind, given, &requests.properties()?);
        for _ in 0..2 {
            let answer = requests.send(&request).await?;
            assert_eq!(answer["Status"], "SUCCESS", "{answer}");
            assert_eq!(answer["PhysicalResourceId"], id, "{kind}");
            assert_eq!(answer["RequestId"], request["RequestId"]);
        }
    }
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 5);
    assert!(registrations.iter().all(|its| *its == registrations[0]));
    Ok(())
}

#[tokio::test]
async fn a_request_that_comes_when_its_deployment_is_over_registers_nothing() -> Result<()> {
    let trial = Trial::begin().await?;
    let requests = Requests::late_for(&trial.deploy(&[]).await?).await?;
    for (kind, id) in [("Create", None), ("Update", Some(PHYSICAL_RESOURCE_ID))] {
        let request = requests.request(kind, id, &requests.properties()?);
        let answer = requests.send(&request).await?;
        assert_eq!(answer["Status"], "FAILED", "{answer}");
        let reason = answer["Reason"].as_str().unwrap_or_default();
        assert!(reason.contains("this request is over"), "{reason}");
    }
    assert_eq!(trial.register_calls().await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_delete_after_a_create_that_aura_refused_touches_nothing() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[("HandBackUrl", BEFORE)]).await?;
    let requests = Requests::awaited_by(&stack).await?;
    let properties = requests.properties()?;
    // The second refusal isn't about the request itself, and still counts as a refusal.
    for status in [400, 429] {
        let refusal = Reply {
            status,
            headers: [("retry-after".to_owned(), "3600".to_owned())].into(),
            body: json!({"message": "no"}),
        };
        let refusal = Fault::once(REGISTER, FaultyAnswer::Reply(refusal));
        trial.order(refusal).await?;
        let create = requests.request("Create", None, &properties);
        let created = requests.send(&create).await?;
        assert_eq!(created["Status"], "FAILED", "{created}");
        assert_eq!(created["PhysicalResourceId"], NOT_REGISTERED);

        let calls = trial.aura.calls().await?.len();
        let delete = requests.request("Delete", Some(NOT_REGISTERED), &properties);
        let deleted = requests.send(&delete).await?;
        assert_eq!(deleted["Status"], "SUCCESS", "{deleted}");
        assert_eq!(trial.aura.calls().await?.len(), calls);
        assert_eq!(trial.registrations().await?.len(), 1);
    }
    Ok(())
}

/// If such a request were accepted, everybody who may invoke the function could have AURA's
/// credentials and the webhook's secret sent to an address of their own.
#[tokio::test]
async fn properties_that_were_not_deployed_are_refused_and_nobody_is_called() -> Result<()> {
    let trial = Trial::begin().await?;
    let requests = Requests::awaited_by(&trial.deploy(&[]).await?).await?;
    let sim = AuraSim::start(Options::default()).await?;
    let theirs = sim.url();
    let elsewhere = Aura::connect(&theirs).await?;
    let calls_there = elsewhere.calls().await?.len();
    let cases = [
        ("AuraBaseUrl", json!(theirs)),
        ("WebhookUrl", json!(format!("{theirs}/aura/events"))),
        ("Events", json!(["NEW_CALLOUT"])),
        ("HeaderName", json!("x-theirs")),
        ("HeaderScheme", json!("Theirs")),
        ("HandBackUrl", json!(format!("{theirs}/after"))),
        ("Register", json!("false")),
        ("AuraCredentialsSecretArn", json!("arn:theirs")),
        ("WebhookSecretArn", json!("arn:theirs")),
        ("AuraBaseUrl", json!({})),
        ("Events", Value::Null),
    ];
    let (registered, calls) = (
        trial.registrations().await?,
        trial.aura.calls().await?.len(),
    );
    for (property, value) in cases {
        for (kind, id) in [("Create", None), ("Update", Some(PHYSICAL_RESOURCE_ID))] {
            let mut properties = requests.properties()?;
            properties[property] = value.clone();
            let answer = requests
                .send(&requests.request(kind, id, &properties))
                .await?;
            assert_eq!(answer["Status"], "FAILED", "{answer}");
            let reason = answer["Reason"].as_str().unwrap_or_default();
            let told =
                format!("the request and this function's own configuration differ in {property},");
            assert!(reason.starts_with(&told), "{reason}");
        }
    }
    assert!(
        trial.registrations().await? == registered,
        "the registration has changed"
    );
    assert_eq!(trial.aura.calls().await?.len(), calls);
    assert_eq!(elsewhere.calls().await?.len(), calls_there);
    Ok(())
}

#[tokio::test]
async fn only_a_resource_that_is_not_registered_may_choose_another_aura() -> Result<()> {
    let trial = Trial::begin().await?;
    let requests = Requests::awaited_by(&trial.deploy(&[]).await?).await?;
    for name in ["AuraBaseUrl", "AuraCredentialsSecretArn"] {
        let mut before = requests.properties()?;
        before[name] = "https://panic.aura.services".into();
        for (id, status) in [
            (PHYSICAL_RESOURCE_ID, "FAILED"),
            (NOT_REGISTERED, "SUCCESS"),
        ] {
            let mut update = requests.request("Update", Some(id), &requests.properties()?);
            update["OldResourceProperties"] = before.clone();
            let calls = trial.aura.calls().await?.len();
            let answer = requests.send(&update).await?;
            assert_eq!(answer["Status"], status, "{answer}");
            let was_called = trial.aura.calls().await?.len() > calls;
            assert_eq!(was_called, status == "SUCCESS", "{answer}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_response_that_is_not_accepted_is_sent_again() -> Result<()> {
    let trial = Trial::begin().await?;
    let requests = Requests::awaited_by(&trial.deploy(&[]).await?).await?;
    let proxy = FaultProxy::before(requests.url())?;
    let id = Some(PHYSICAL_RESOURCE_ID);
    let mut delete = requests.request("Delete", id, &requests.properties()?);
    delete["ResponseURL"] = proxy.url().into();
    let faults = [
        (1, proxy::Fault::ResetBefore),
        (2, proxy::Fault::InternalError),
    ];
    for (times, fault) in faults {
        proxy.forget();
        proxy.set(Plan::Next(times, fault));
        let answer = requests.send(&delete).await?;
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        assert_eq!(proxy.calls().len(), times + 1);
    }
    Ok(())
}
