//! Tests of the four steps of a rotation, one by one: what each does, and that it does so only
//! once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aura_sim::client::{Fault, FaultyAnswer, REGISTER, Reply, TOKEN};
use aws_sdk_secretsmanager::types::RotationRulesType;
use registrar::journal::Journal;
use registrar::registration::Registrar;
use registrar::rotation::{RotationError, RotationHandler, RotationRequest, RotationStep};
use serde_json::Value;
use shared::secrets::VersionStage;
use stack::proxy::FaultProxy;
use stack::stack::Stack;
use stack::system::Webhook;
use stack::template::OF_INGEST;
use uuid::Uuid;

use crate::registrar_here::registrar;
use crate::registration::trial::{Line, Trial};

/// Takes a step for the stack's own secret.
pub async fn take(
    registrar: &Registrar,
    step: RotationStep,
    token: &str,
) -> Result<(), RotationError> {
    let request = RotationRequest {
        step,
        secret_id: registrar.config.webhook_secret_arn.clone(),
        client_request_token: token.to_owned(),
    };
    let journal = &Journal::default();
    RotationHandler { registrar, journal }
        .handle(&request)
        .await
}

/// The secret's value at a stage, and its version.
pub async fn version(stack: &Stack, stage: VersionStage) -> Result<(String, String)> {
    let get = stack.account().secretsmanager().get_secret_value();
    let get = get.secret_id(stack.output("WebhookSecretArn")?);
    let got = get.version_stage(stage.label()).send().await?;
    let value = got.secret_string.context("the secret has no value")?;
    Ok((
        value,
        got.version_id.context("the secret has no version id")?,
    ))
}

/// Makes a pending version, like a person who rotates by hand.
pub async fn put_pending(stack: &Stack, value: &str) -> Result<String> {
    let token = Uuid::now_v7().to_string();
    let put = stack.account().secretsmanager().put_secret_value();
    let put = put.secret_id(stack.output("WebhookSecretArn")?);
    let put = put.client_request_token(&token).secret_string(value);
    put.version_stages(VersionStage::Pending.label())
        .send()
        .await?;
    Ok(token)
}

/// Begins a rotation while the stack changes, and returns its token. Secrets Manager gets only as
/// far as createSecret.
async fn begun_while_the_stack_changes(
    trial: &Trial,
    stack: &Stack,
    registrar: &Registrar,
) -> Result<String> {
    trial.order(Fault::once(TOKEN, FaultyAnswer::Hang)).await?;
    let changes = [("RegistrationRevision", "2")];
    let update = async { Ok(trial.deploy(&changes).await?) };
    let meanwhile = async {
        trial.until_hanging(TOKEN).await?;
        let token = start_rotation(trial, stack).await?;
        let refused = take(registrar, RotationStep::SetSecret, &token).await;
        let told = refused.err().context("the step must fail")?.to_string();
        assert!(
            told.starts_with("the stack is UPDATE_IN_PROGRESS"),
            "{told}"
        );
        anyhow::Ok(token)
    };
    let (_, token) = tokio::try_join!(update, meanwhile)?;
    Ok(token)
}

#[tokio::test]
async fn each_step_can_be_taken_twice_and_none_while_the_stack_is_changed() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let registrar = registrar(&stack)?;
    let (old_value, old) = version(&stack, VersionStage::Current).await?;

    let token = begun_while_the_stack_changes(&trial, &stack, &registrar).await?;
    let (value, pending) = version(&stack, VersionStage::Pending).await?;
    assert_eq!(pending, token);
    assert_eq!(value.len(), 48);
    assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(trial.registrations().await?.len(), 2);

    for _ in 0..2 {
        take(&registrar, RotationStep::CreateSecret, &token).await?;
        assert!(version(&stack, VersionStage::Pending).await? == (value.clone(), token.clone()));
    }
    // A busy AURA is no reason to fail.
    for call in [TOKEN, REGISTER] {
        let busy = Reply {
            status: 429,
            headers: [("retry-after".to_owned(), "1".to_owned())].into(),
            body: Value::Null,
        };
        trial
            .order(Fault::once(call, FaultyAnswer::Reply(busy)))
            .await?;
    }
    let set = || take(&registrar, RotationStep::SetSecret, &token);
    tokio::try_join!(set(), set())?;
    for _ in 0..2 {
        take(&registrar, RotationStep::TestSecret, &token).await?;
    }
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 6);
    for registration in &registrations[2..] {
        let header = &registration["headers"]["authorization"];
        assert!(
            *header == format!("Bearer {value}"),
            "AURA doesn't have the new value"
        );
    }
    for _ in 0..2 {
        take(&registrar, RotationStep::FinishSecret, &token).await?;
        assert!(version(&stack, VersionStage::Current).await? == (value.clone(), token.clone()));
        assert!(version(&stack, VersionStage::Previous).await? == (old_value.clone(), old.clone()));
    }
    // A step that is over isn't begun again.
    take(&registrar, RotationStep::SetSecret, &token).await?;
    assert_eq!(trial.registrations().await?.len(), 6);
    Ok(())
}

/// A step that went on would register the endpoint from before the deployment.
#[tokio::test]
async fn a_step_that_was_begun_before_a_deployment_registers_nothing_after_it() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let mut registrar = registrar(&stack)?;
    // The deployment must be over before the step goes on.
    let usual = shared::webhook::REFRESH_INTERVAL;
    let config = Arc::get_mut(&mut registrar).map(|registrar| &mut registrar.config);
    config
        .context("another part still uses the configuration")?
        .refresh_interval = usual;
    let token = put_pending(&stack, "another-value").await?;
    let set = take(&registrar, RotationStep::SetSecret, &token);
    let changes = [("WebhookEvents", "NEW_CALLOUT")];
    let update = async {
        // By then the step has begun, and waits for half a minute.
        tokio::time::sleep(Duration::from_secs(1)).await;
        trial.deploy(&changes).await
    };
    let (refused, updated) = Box::pin(async { tokio::join!(set, update) }).await;
    updated?;
    let told = refused.expect_err("the step must fail").to_string();
    assert!(
        told.starts_with("the stack was CREATE_COMPLETE when this began and is UPDATE_COMPLETE"),
        "{told}"
    );
    assert_eq!(trial.register_calls().await?, 2);
    Ok(())
}

/// Has Secrets Manager start a rotation, and waits until it has given up at setSecret.
async fn start_rotation(trial: &Trial, stack: &Stack) -> Result<String> {
    let rotate = stack.account().secretsmanager().rotate_secret();
    let rotate = rotate.secret_id(stack.output("WebhookSecretArn")?);
    let rotate = rotate.rotation_lambda_arn(stack.output("RegistrarFunctionArn")?);
    let token = rotate
        .send()
        .await?
        .version_id
        .context("the rotation has no version id")?;
    let line = trial.until_line(stack, "setSecret").await?;
    assert_eq!(line.succeeded, 0);
    Ok(token)
}

#[tokio::test]
async fn a_request_that_is_no_rotation_of_this_secret_is_refused() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let registrar = registrar(&stack)?;
    let steps = [
        RotationStep::CreateSecret,
        RotationStep::SetSecret,
        RotationStep::TestSecret,
        RotationStep::FinishSecret,
    ];
    for step in steps {
        let refused = take(&registrar, step, &Uuid::now_v7().to_string()).await;
        assert!(
            matches!(refused, Err(RotationError::NotStaged(_))),
            "{refused:?}"
        );
        let (_, current) = version(&stack, VersionStage::Current).await?;
        let request = RotationRequest {
            step,
            secret_id: registrar.config.aura_credentials_secret_arn.clone(),
            client_request_token: current.clone(),
        };
        let (registrar, journal) = (&*registrar, &Journal::default());
        let handler = RotationHandler { registrar, journal };
        let refused = handler.handle(&request).await;
        assert!(
            matches!(refused, Err(RotationError::OtherSecret)),
            "{refused:?}"
        );
        take(registrar, step, &current).await?;
    }
    assert_eq!(trial.registrations().await?.len(), 1);
    Ok(())
}

/// Secrets Manager tests the function in this way when a rotation is configured.
#[tokio::test]
async fn a_test_without_a_new_value_proves_the_current_one_and_registers_nothing() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let rules = RotationRulesType::builder().automatically_after_days(30);
    let configure = stack.account().secretsmanager().rotate_secret();
    let configure = configure.secret_id(stack.output("WebhookSecretArn")?);
    let configure = configure.rotation_lambda_arn(stack.output("RegistrarFunctionArn")?);
    let configure = configure.rotation_rules(rules.build());
    configure.rotate_immediately(false).send().await?;

    let line = trial.until_line(&stack, "testSecret").await?;
    assert_eq!(line.succeeded, 1);
    assert!(
        line.step("Canary")
            .is_some_and(|told| told.starts_with("published"))
    );
    assert!(line.step("Registration").is_none());
    assert_eq!(trial.register_calls().await?, 1);
    let requests = Line::all(&stack).await?;
    let requests: Vec<_> = requests.iter().map(|line| line.request.as_str()).collect();
    assert_eq!(requests, ["Create", "testSecret"]);
    Ok(())
}

#[tokio::test]
async fn a_new_value_that_does_not_work_is_taken_back() -> Result<()> {
    let trial = Trial::begin().await?;
    let secrets = FaultProxy::before(trial.local.endpoint())?;
    let variable = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &*secrets.url());
    let template = trial
        .local
        .template()
        .with_variables(OF_INGEST, &[variable])?;
    let stack = trial.deploy_from(&template, &[]).await?;
    let registrar = registrar(&stack)?;
    // No process of ingest ever reads the new value.
    secrets.down().await;
    let token = put_pending(&stack, "another-value").await?;

    let refusal = FaultyAnswer::refusal(400, "not now");
    trial.order(Fault::once(REGISTER, refusal)).await?;
    let failed = take(&registrar, RotationStep::TestSecret, &token).await;
    let failed = failed.expect_err("the step must fail");
    assert!(
        matches!(failed, RotationError::NotTakenBack { .. }),
        "{failed}"
    );
    let told = failed.to_string();
    assert!(
        told.contains("not now") && told.contains("it may send the new one"),
        "{told}"
    );

    let failed = take(&registrar, RotationStep::TestSecret, &token).await;
    let failed = failed.expect_err("the step must fail");
    assert!(
        matches!(failed, RotationError::TakenBack { .. }),
        "{failed}"
    );
    assert!(!failed.to_string().contains("another-value"));
    let current = Webhook::of(&stack).await?.header;
    let now = trial
        .registrations()
        .await?
        .pop()
        .context("AURA has no registration")?;
    assert!(
        now["headers"][&current.name] == current.value.as_str(),
        "AURA doesn't have the current value"
    );
    assert_eq!(trial.registrations().await?.len(), 2);
    assert!(version(&stack, VersionStage::Pending).await?.1 == token);
    Ok(())
}
