//! Tests that AURA is registered with the stack again after somebody has registered another
//! endpoint, also between the steps of a rotation.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aura_sim::client::{Fault, FaultyAnswer, REGISTER};
use aura_sim::{CLIENT_ID, CLIENT_SECRET};
use local::rotate::rotate;
use registrar::rotation::RotationStep;
use serde_json::{Value, json};
use shared::panic_api::{Credentials, PanicApi, Registration};
use shared::reregister::ReregisterRequest;
use stack::ledger;
use stack::progress::Progress;
use stack::proxy::FaultProxy;
use stack::stack::Stack;
use stack::system::Webhook;
use stack::template::OF_INGEST;
use uuid::Uuid;

use crate::registrar_here::{ENOUGH, function, function_in_progress, registrar};
use crate::registration::trial::Trial;
use crate::rotation_steps::{put_pending, take};

/// An address where nobody listens.
const ELSEWHERE: &str = "http://127.0.0.1:9/elsewhere";
/// A moment within a rotation's wait: a registration asked for then waits until the rotation is
/// over.
const LATER: Duration = Duration::from_secs(3);

/// Registers another endpoint without the stack's knowledge, as AURA's portal does.
pub async fn register_elsewhere(trial: &Trial) -> Result<()> {
    let credentials = json!({"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET}).to_string();
    let credentials = Credentials::parse(&credentials.into())?;
    let (http, base) = (shared::http_client::build()?, trial.site.aura.url());
    let aura = PanicApi::new(http, base.parse()?, credentials);
    let registration = Registration {
        url: ELSEWHERE.parse()?,
        events: vec!["NEW_CALLOUT".to_owned()],
        method: "webhook".to_owned(),
        headers: [].into_iter().collect(),
    };
    aura.register_webhook(&registration).await?;
    Ok(())
}

pub fn event() -> Result<Value> {
    let request_id = Uuid::now_v7();
    Ok(serde_json::to_value(ReregisterRequest::Reregister {
        request_id,
    })?)
}

/// Registers again with a registrar like the stack's own.
async fn reregister(stack: &Stack) -> Result<()> {
    function(stack)?.handle(event()?, ENOUGH).await?;
    Ok(())
}

/// Invokes the stack's own registrar without waiting for its end.
pub async fn invoke(stack: &Stack, event: &Value) -> Result<()> {
    let account = stack.account();
    let name = stack.output("RegistrarFunctionName")?;
    let endpoint = account.endpoint();
    let url = format!("{endpoint}/2015-03-31/functions/{name}/invocations");
    let scope = format!("{}/20260101/us-east-1/lambda/aws4_request", account.id());
    let signed = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    let request = shared::http_client::build()?.post(url).json(event);
    let request = request.header("X-Amz-Invocation-Type", "Event");
    let answer = request.header("Authorization", signed).send().await?;
    ensure!(
        answer.status() == 202,
        "Lambda answered {}",
        answer.status()
    );
    Ok(())
}

/// The header that AURA sends with its deliveries.
async fn header_of_aura(trial: &Trial) -> Result<Value> {
    let now = trial
        .registrations()
        .await?
        .pop()
        .context("AURA has no registration")?;
    let value = now.pointer("/headers/authorization");
    Ok(value
        .context("the registration has no authorization header")?
        .clone())
}

#[tokio::test]
async fn a_registration_that_was_replaced_is_proven_and_made_again_once() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    register_elsewhere(&trial).await?;

    let event = event()?;
    invoke(&stack, &event).await?;
    let line = trial.until_line(&stack, "Reregister").await?;
    assert_eq!(line.succeeded, 1, "{line:?}");
    assert_eq!(event["Reregister"]["requestId"], line.request_id.as_str());
    let expected = [
        "Token: granted (",
        "Canary: published (",
        "Registration: done (",
        "Confirmation: as asked (",
    ];
    assert_eq!(line.steps.len(), expected.len(), "{line:?}");
    for (told, step) in line.steps.iter().zip(expected) {
        assert!(told.starts_with(step), "{told}");
    }
    assert_eq!(ledger::canaries(&stack).await?.len(), 2);

    let registrations = trial.registrations().await?;
    let [first, elsewhere, again] = registrations.as_slice() else {
        panic!("{} registrations", registrations.len());
    };
    assert_eq!(elsewhere["url"], ELSEWHERE);
    assert!(
        first == again,
        "the endpoint is registered differently than before"
    );
    trial.under_traffic(&stack, async { Ok(()) }).await
}

#[tokio::test]
async fn a_canary_that_fails_leaves_auras_registration_as_it_is() -> Result<()> {
    let trial = Trial::begin().await?;
    let endpoint = trial.local.endpoint();
    let (sqs, dynamodb) = (FaultProxy::before(endpoint)?, FaultProxy::before(endpoint)?);
    let template = trial.local.template().with_variables(
        OF_INGEST,
        &[
            ("AWS_ENDPOINT_URL_SQS", &sqs.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb.url()),
        ],
    )?;
    let stack = trial.deploy_from(&template, &[]).await?;
    register_elsewhere(&trial).await?;
    let before = trial.registrations().await?;
    sqs.down().await;
    dynamodb.down().await;

    let failed = reregister(&stack)
        .await
        .expect_err("the registration must fail");
    let told = failed.to_string();
    assert!(told.starts_with("the endpoint answered 503"), "{told}");
    assert!(
        trial.registrations().await? == before,
        "the registration has changed"
    );
    // The two calls are the deployment's and somebody else's.
    assert_eq!(trial.register_calls().await?, 2);
    Ok(())
}

#[tokio::test]
async fn nothing_is_registered_while_the_stack_is_changed() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let function = function_in_progress(&stack).await?;
    let refused = function.handle(event()?, ENOUGH).await;
    let told = refused.expect_err("the registration must fail").to_string();
    assert!(
        told.starts_with("the stack is CREATE_IN_PROGRESS"),
        "{told}"
    );
    assert_eq!(trial.register_calls().await?, 1);
    Ok(())
}

/// Registers again at two moments while Secrets Manager rotates with the stack's own registrar.
#[tokio::test]
async fn a_reregistration_during_a_rotation_refuses_nothing_and_ends_with_the_new_value()
-> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let later = async {
        tokio::time::sleep(LATER).await;
        reregister(&stack).await
    };
    let rotation = rotate(&stack, Progress::to_stderr());
    let all = async { tokio::try_join!(rotation, reregister(&stack), later) };
    Box::pin(trial.under_traffic(&stack, all)).await?;
    let current = Webhook::of(&stack).await?.header.value;
    assert!(
        header_of_aura(&trial).await? == current,
        "AURA doesn't have the current value"
    );
    Ok(())
}

#[tokio::test]
async fn between_two_steps_of_a_rotation_aura_keeps_the_new_value() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let registrar = registrar(&stack)?;
    let token = put_pending(&stack, "another-value").await?;
    take(&registrar, RotationStep::SetSecret, &token).await?;
    register_elsewhere(&trial).await?;
    reregister(&stack).await?;
    assert!(header_of_aura(&trial).await? == "Bearer another-value");
    let finish = async { Ok(take(&registrar, RotationStep::FinishSecret, &token).await?) };
    Box::pin(trial.under_traffic(&stack, finish)).await?;
    let current = Webhook::of(&stack).await?.header.value;
    assert!(
        header_of_aura(&trial).await? == current,
        "AURA doesn't have the current value"
    );
    Ok(())
}

/// If the reregistration ended with the replaced value, AURA would have that value until the next
/// rotation.
#[tokio::test]
async fn a_value_that_becomes_current_during_a_reregistration_is_registered_last() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let registrar = registrar(&stack)?;
    let first = Webhook::of(&stack).await?.header.value;
    trial
        .order(Fault::once(REGISTER, FaultyAnswer::Hang))
        .await?;
    let meanwhile = async {
        trial.until_hanging(REGISTER).await?;
        let token = put_pending(&stack, "another-value").await?;
        Ok(take(&registrar, RotationStep::FinishSecret, &token).await?)
    };
    tokio::try_join!(reregister(&stack), meanwhile)?;
    let registrations = trial.registrations().await?;
    let values = registrations
        .iter()
        .map(|its| &its["headers"]["authorization"]);
    let expected = [&first, &first, "Bearer another-value"];
    assert!(values.eq(expected), "AURA was told other values");
    Ok(())
}

#[tokio::test]
async fn a_new_value_that_the_endpoint_refuses_is_not_registered_but_the_current_one() -> Result<()>
{
    let trial = Trial::begin().await?;
    let secrets = FaultProxy::before(trial.local.endpoint())?;
    let variable = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &*secrets.url());
    let template = trial
        .local
        .template()
        .with_variables(OF_INGEST, &[variable])?;
    let stack = trial.deploy_from(&template, &[]).await?;
    // No process of ingest ever reads the new value.
    secrets.down().await;
    put_pending(&stack, "another-value").await?;
    register_elsewhere(&trial).await?;
    reregister(&stack).await?;
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 3);
    assert!(
        registrations.first() == registrations.last(),
        "the registration has changed"
    );
    Ok(())
}
