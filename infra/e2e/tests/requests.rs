//! CloudFormation's requests, as it may send them and MiniStack doesn't: twice, or after a failure.

use anyhow::Result;
use local::proxy::{Fault, FaultProxy, Plan};
use registrar::answer::{NOT_REGISTERED, PHYSICAL_RESOURCE_ID};
use serde_json::json;

use crate::registrar_here::Requests;
use crate::registration::trial::Trial;

#[tokio::test]
async fn a_request_that_comes_twice_does_no_harm() -> Result<()> {
    let trial = Trial::begin().await?;
    let requests = Requests::awaited_by(&trial.deploy(&[]).await?).await?;
    let id = PHYSICAL_RESOURCE_ID;
    let kinds = [
        ("Create", None),
        ("Update", Some(id)),
        // Nowhere to hand back to.
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
    let requests = Requests::awaited_by(&trial.deploy(&[]).await?).await?;
    let mut properties = requests.properties()?;
    properties["Events"] = json!(["NOT_AN_EVENT"]);
    properties["HandBackUrl"] = "http://127.0.0.1:9/before".into();
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
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_put_again() -> Result<()> {
    let trial = Trial::begin().await?;
    let requests = Requests::awaited_by(&trial.deploy(&[]).await?).await?;
    let proxy = FaultProxy::before(requests.url())?;
    let id = Some(PHYSICAL_RESOURCE_ID);
    let mut delete = requests.request("Delete", id, &requests.properties()?);
    delete["ResponseURL"] = proxy.url().into();
    for (times, fault) in [(1, Fault::ResetBefore), (2, Fault::InternalError)] {
        proxy.forget();
        proxy.set(Plan::Next(times, fault));
        let answer = requests.send(&delete).await?;
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        assert_eq!(proxy.calls().len(), times + 1);
    }
    Ok(())
}
