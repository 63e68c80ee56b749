//! Tests of the registration from the first deployment to the deletion of the stack.
//! CloudFormation's events, AURA's list of registrations and the registrar's log lines show what
//! happened.

use anyhow::{Context as _, Result};
use aura_sim::client::{Aura, REGISTER};
use aura_sim::{AuraSim, Options};
use e2e::Local;
use e2e::inbox::queue_with_a_rule;
use prove::contract;
use serde_json::{Value, json};
use shared::catalogue::{EVENT_NAMES, names_to_register};
use stack::consumers::Consumers;
use stack::function_logs;
use stack::ledger;
use stack::progress::Progress;
use stack::proxy::FaultProxy;
use stack::reconciler::{self, Run};
use stack::settled::all_published;
use stack::stack::Stack;
use stack::system::{Header, Leftovers, STACK_NAME, Webhook};
use stack::template::{OF_INGEST, Template};

use self::trial::{
    Line, SECRET_OF_INGEST, Trial, WEBHOOK, failing_at_last, impatient, rolled_back,
};

pub mod trial;

const BODY: &str = include_str!("../../events/new-callout.json");
/// The URL to hand AURA back to when the stack is deleted.
const BEFORE: &str = "http://127.0.0.1:9/before";
/// CloudFormation's events for the registration in a deployment that succeeds.
const CREATED: [&str; 2] = ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"];
const UPDATED: [&str; 2] = ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"];

#[tokio::test]
async fn a_stack_is_registered_once_and_proven_by_a_canary_that_no_consumer_gets() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let mut consumers = Consumers::read(&stack, contract::check);

    let registrations = trial.registrations().await?;
    let [registered] = registrations.as_slice() else {
        panic!("{} registrations", registrations.len());
    };
    let webhook = Webhook::of(&stack).await?;
    assert_eq!(registered["url"], stack.output("WebhookUrl")?);
    assert_eq!(registered["method"], "webhook");
    let names: Vec<_> = names_to_register().collect();
    assert_eq!(registered["events"], json!(names));
    let header = &registered["headers"][&webhook.header.name];
    assert!(
        header == webhook.header.value.as_str(),
        "AURA doesn't have the stack's header"
    );
    assert_eq!(trial.register_calls().await?, 1);
    assert_eq!(statuses_of(&trial).await?, CREATED);

    let told = stack.output("Registration")?;
    let steps = [
        "Token: granted (",
        "Canary: published (",
        "Registration: done (",
    ];
    let steps = steps.into_iter().chain(["Confirmation: as asked ("]);
    for (told, step) in told.split("; ").zip(steps) {
        assert!(told.starts_with(step) && told.ends_with(" ms)"), "{told}");
    }
    assert_eq!(told.split("; ").count(), 4, "{told}");

    assert_eq!(published_canaries(&stack).await?, 1);
    assert!(ledger::items(&stack).await?.is_empty());
    let got = all_published(&stack, &mut consumers).await?;
    assert!(got.is_empty(), "{got:?}");
    let leftovers = Leftovers::count(&stack).await?;
    assert!(leftovers.is_none(), "{leftovers}");
    Ok(())
}

#[tokio::test]
async fn a_canary_is_on_the_bus_as_what_it_is() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let pattern = json!({"detail": {"origin": ["canary"]}});
    let canaries = queue_with_a_rule(&stack, "canaries", &pattern).await?;
    let stack = trial.deploy(&[("RegistrationRevision", "2")]).await?;
    let body = canaries
        .receive()
        .await?
        .pop()
        .context("no canary came to the queue")?;
    let event: Value = serde_json::from_str(&body)?;
    contract::check(&event)?;
    assert_eq!(event["detail"]["origin"], "canary");
    assert_eq!(event["detail"]["entity"]["kind"], "canary");
    assert_eq!(published_canaries(&stack).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_canary_needs_no_address_of_auras_and_a_delivery_does() -> Result<()> {
    let trial = Trial::begin().await?;
    let elsewhere = ("AllowedSourceCidrs", "203.0.113.0/24");
    let stack = trial.deploy(&[elsewhere]).await?;
    assert_eq!(published_canaries(&stack).await?, 1);
    assert_eq!(post(&Webhook::of(&stack).await?).await?, 403);
    assert!(ledger::items(&stack).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_update_of_the_events_takes_effect_and_deliveries_go_on() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let events = "NEW_CALLOUT,CALLOUT_CLOSED,CREATED_CUSTOMER";
    let changes = [("WebhookEvents", events)];
    let update = async { Ok(trial.deploy(&changes).await?) };
    trial.under_traffic(&stack, update).await?;
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 2);
    let mut expected = registrations[0].clone();
    expected["events"] = json!(["NEW_CALLOUT", "CALLOUT_CLOSED", "CREATED_CUSTOMER"]);
    assert!(
        registrations[1] == expected,
        "more than the events has changed"
    );
    assert_eq!(statuses_of(&trial).await?, [CREATED, UPDATED].concat());
    assert_eq!(published_canaries(&stack).await?, 2);
    Ok(())
}

/// CloudFormation calls the registrar only when a property changes.
#[test]
fn a_name_that_is_new_to_the_catalogue_makes_the_next_deployment_register() {
    let template = include_str!("../../../template.yaml");
    let line = format!("\n      KnownEvents: {}\n", names_to_register().count());
    assert!(template.contains(&line), "template.yaml doesn't say {line}");
}

/// A stack that was deployed when this list was the default still has the list.
#[tokio::test]
async fn a_list_with_a_deprecated_name_is_registered_under_todays_names() -> Result<()> {
    let trial = Trial::begin().await?;
    let list = EVENT_NAMES.join(",");
    trial.deploy(&[("WebhookEvents", &list)]).await?;
    let now = trial
        .registrations()
        .await?
        .pop()
        .context("AURA has no registration")?;
    let names: Vec<_> = names_to_register().collect();
    assert_eq!(now["events"], json!(names));
    Ok(())
}

#[tokio::test]
async fn all_together_with_single_event_names_is_refused_and_aura_is_not_asked() -> Result<()> {
    let trial = Trial::begin().await?;
    let changes = [("WebhookEvents", "ALL,NEW_CALLOUT")];
    rolled_back(trial.deploy(&changes).await)?;
    let reason = trial.reason().await?;
    assert!(reason.contains("ALL and other names"), "{reason}");
    assert!(
        trial
            .aura
            .calls()
            .await?
            .iter()
            .all(|call| call.name != REGISTER)
    );
    Ok(())
}

#[tokio::test]
async fn a_registered_stack_stays_with_its_aura_and_the_other_hears_nothing() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let sim = AuraSim::start(Options::default()).await?;
    let other = Aura::connect(&sim.url()).await?;
    let calls = other.calls().await?.len();
    let secrets = stack.account().secretsmanager();
    let secret = secrets.create_secret().name("others-credentials");
    let secret = secret.secret_string("{}").send().await?.arn;
    let secret = secret.context("the secret has no ARN")?;
    let update = async {
        for change in [
            ("AuraBaseUrl", &sim.url()),
            ("AuraCredentialsSecretArn", &secret),
        ] {
            let failure = rolled_back(trial.deploy(&[(change.0, change.1)]).await)?;
            assert_eq!(failure.status, "UPDATE_ROLLBACK_COMPLETE", "{failure}");
            let reason = trial.reason().await?;
            let told = format!("{} of a registered stack can't be changed", change.0);
            assert!(reason.contains(&told), "{reason}");
            assert!(reason.contains("Deploy a second stack"), "{reason}");
        }
        Ok(())
    };
    Box::pin(trial.under_traffic(&stack, update)).await?;
    assert_eq!(other.calls().await?.len(), calls);
    // CloudFormation doesn't know that nothing has changed, and has the old registration proven
    // again.
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 3);
    assert!(registrations.iter().all(|its| *its == registrations[0]));
    Ok(())
}

/// The deployment gives the reconciler another AURA before the registrar can refuse it.
#[tokio::test]
async fn the_reconciler_of_a_registered_stack_asks_no_other_aura() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let sim = AuraSim::start(Options::default()).await?;
    let other = Aura::connect(&sim.url()).await?;
    let pointed_at_other = trial.local.template().with_first(
        "AURA_BASE_URL: !Ref AuraBaseUrl",
        &format!("AURA_BASE_URL: {}", sim.url()),
    )?;
    // The reconciler has told nothing yet, so it may still change to another AURA.
    trial.deploy_from(&pointed_at_other, &[]).await?;
    assert_eq!(reconciler::invoke(&stack).await?, Run::Done);
    trial.deploy(&[]).await?;
    assert_eq!(reconciler::invoke(&stack).await?, Run::Done);

    let customer = trial.aura.create_customer("+27820000001").await?;
    trial.aura.create_callout(&customer).await?;
    trial.aura.all_answered().await?;
    let theirs = other.create_customer("+27820000002").await?;
    other.create_callout(&theirs).await?;
    trial.deploy_from(&pointed_at_other, &[]).await?;
    let calls = other.calls().await?.len();
    for _ in 0..2 {
        let run = reconciler::invoke(&stack).await?;
        let told = |why: &str| why.contains("belongs to another AURA system");
        assert!(matches!(&run, Run::Failed(why) if told(why)), "{run:?}");
    }
    assert_eq!(other.calls().await?.len(), calls);

    trial.deploy(&[]).await?;
    assert_eq!(reconciler::invoke(&stack).await?, Run::Done);
    let published = all_published(&stack, &mut Consumers::read(&stack, contract::check)).await?;
    let told = published
        .iter()
        .filter(|its| its.detail.entity.kind == "callout");
    let told: Vec<_> = told
        .map(|its| (&*its.detail.message, &*its.detail.origin))
        .collect();
    assert_eq!(told, [("NEW_CALLOUT", "webhook")]);
    Ok(())
}

#[tokio::test]
async fn an_update_of_the_header_takes_effect() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let before = Webhook::of(&stack).await?;
    let changes = [
        ("WebhookHeaderName", "x-secret"),
        ("WebhookHeaderScheme", "none"),
    ];
    let after = Webhook::of(&trial.deploy(&changes).await?).await?;
    let now = trial
        .registrations()
        .await?
        .pop()
        .context("AURA has no registration")?;
    assert!(
        now["headers"] == json!({"x-secret": after.header.value}),
        "AURA doesn't have the new header"
    );
    assert_eq!(post(&after).await?, 202);
    assert_eq!(post(&before).await?, 401);
    Ok(())
}

#[tokio::test]
async fn an_update_of_the_url_takes_effect_and_deliveries_go_on() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    // Under another name, the API is a new one with a new URL.
    let text = trial.local.template().text().replace("HttpApi", "OtherApi");
    let template = Template::from_text(text);
    let update = async { Ok(trial.deploy_from(&template, &[]).await?) };
    let updated = Box::pin(trial.under_traffic(&stack, update)).await?;

    let (old, new) = (stack.output("WebhookUrl")?, updated.output("WebhookUrl")?);
    assert_ne!(old, new);
    let registrations = trial.registrations().await?;
    let urls: Vec<_> = registrations.iter().map(|its| &its["url"]).collect();
    assert_eq!(urls, [old, new]);
    assert_eq!(post(&Webhook::of(&updated).await?).await?, 202);
    Ok(())
}

#[tokio::test]
async fn a_secret_that_was_changed_by_hand_is_registered_by_the_next_update() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let before = Webhook::of(&stack).await?;
    let update = async {
        let secrets = stack.account().secretsmanager();
        let put = secrets.put_secret_value();
        let put = put.secret_id(stack.output("WebhookSecretArn")?);
        put.secret_string("another-value").send().await?;
        Ok(trial.deploy(&[("RegistrationRevision", "2")]).await?)
    };
    let updated = Box::pin(trial.under_traffic(&stack, update)).await?;

    let after = Webhook::of(&updated).await?;
    let registrations = trial.registrations().await?;
    let values = registrations
        .iter()
        .map(|its| &its["headers"]["authorization"]);
    let expected = [&before, &after].map(|webhook| webhook.header.value.as_str());
    assert!(values.eq(expected), "AURA wasn't told the expected headers");
    assert_eq!(post(&after).await?, 202);
    // A delivery with the old header that was on its way since before the registration.
    assert_eq!(post(&before).await?, 202);
    let header = Header {
        value: "Bearer neither".to_owned(),
        ..before.header.clone()
    };
    assert_eq!(post(&Webhook { header, ..before }).await?, 401);
    Ok(())
}

#[tokio::test]
async fn an_update_that_aura_refuses_rolls_back_with_auras_own_words() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let changes = [("WebhookEvents", "NOT_AN_EVENT")];
    let update = async { rolled_back(trial.deploy(&changes).await) };
    let failure = trial.under_traffic(&stack, update).await?;

    assert_eq!(failure.status, "UPDATE_ROLLBACK_COMPLETE");
    let cause = &failure.failures[0];
    assert_eq!(cause.resource, WEBHOOK, "{failure}");
    assert!(cause.reason.contains("400"), "{failure}");
    assert!(cause.reason.contains("NOT_AN_EVENT"), "{failure}");
    assert_eq!(trial.reason().await?, cause.reason);
    let statuses = statuses_of(&trial).await?;
    let failed = ["UPDATE_IN_PROGRESS", "UPDATE_FAILED"];
    assert_eq!(statuses, [CREATED, failed, UPDATED].concat());
    // CloudFormation doesn't know that nothing has changed at AURA, and has the old registration
    // proven again.
    let registrations = trial.registrations().await?;
    assert_eq!(registrations.len(), 2);
    assert!(
        registrations[0] == registrations[1],
        "the registration has changed"
    );
    Ok(())
}

#[tokio::test]
async fn a_first_deployment_that_aura_refuses_registers_nothing() -> Result<()> {
    let trial = Trial::begin().await?;
    let changes = [("WebhookEvents", "NEW_CALLOUT,NOT_AN_EVENT")];
    let failure = rolled_back(trial.deploy(&changes).await)?;
    assert_eq!(failure.status, "ROLLBACK_COMPLETE");
    let reason = trial.reason().await?;
    assert!(
        reason.contains("400") && reason.contains("NOT_AN_EVENT"),
        "{reason}"
    );
    assert!(trial.registrations().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_update_that_fails_after_the_registration_takes_it_back_proven() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let template = failing_at_last(trial.local.template())?;
    let changes = [("WebhookEvents", "NEW_CALLOUT")];
    let update = async { rolled_back(trial.deploy_from(&template, &changes).await) };
    let failure = trial.under_traffic(&stack, update).await?;

    assert_eq!(failure.failures[0].resource, "Failing", "{failure}");
    assert_eq!(failure.status, "UPDATE_ROLLBACK_COMPLETE");
    assert_eq!(
        statuses_of(&trial).await?,
        [CREATED, UPDATED, UPDATED].concat()
    );
    assert_taken_back(&trial.registrations().await?);
    assert_eq!(published_canaries(&stack).await?, 3);
    let lines = Line::all(&stack).await?;
    let last = lines.last().context("the registrar logged no line")?;
    assert!(
        last.step("Canary")
            .is_some_and(|told| told.starts_with("published"))
    );
    Ok(())
}

/// A rollback must register the old endpoint even if it no longer works, because there is no better
/// one.
#[tokio::test]
async fn a_rollback_registers_an_old_endpoint_that_no_longer_works_and_says_so() -> Result<()> {
    let trial = Trial::begin().await?;
    let endpoint = trial.local.endpoint();
    let (sqs, dynamodb) = (FaultProxy::before(endpoint)?, FaultProxy::before(endpoint)?);
    let behind_proxies = trial.local.template().with_variables(
        OF_INGEST,
        &[
            ("AWS_ENDPOINT_URL_SQS", &sqs.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb.url()),
        ],
    )?;
    let stack = trial.deploy_from(&behind_proxies, &[]).await?;
    // The new endpoint doesn't use the proxies, and the old one needs them.
    sqs.down().await;
    dynamodb.down().await;
    let template = failing_at_last(trial.local.template())?;
    let changes = [("WebhookEvents", "NEW_CALLOUT")];
    let failure = rolled_back(trial.deploy_from(&template, &changes).await)?;

    assert_eq!(failure.status, "UPDATE_ROLLBACK_COMPLETE", "{failure}");
    assert_taken_back(&trial.registrations().await?);
    let lines = Line::all(&stack).await?;
    let last = lines.last().context("the registrar logged no line")?;
    let canary = last.step("Canary").context("the line has no step Canary")?;
    assert!(
        canary.starts_with("failed: the endpoint answered 503"),
        "{canary}"
    );
    assert!(
        last.step("Registration")
            .is_some_and(|told| told.starts_with("done"))
    );
    assert_eq!((last.request.as_str(), last.succeeded), ("Update", 1));
    let log = function_logs::lines(&stack, "RegistrarLogGroupName").await?;
    assert!(log.iter().any(|line| line.contains("the last known good")));
    Ok(())
}

/// Asserts that there are the old registration, another one, and the old one again.
fn assert_taken_back(registrations: &[Value]) {
    assert_eq!(registrations.len(), 3);
    let events: Vec<_> = registrations.iter().map(|its| its.get("events")).collect();
    assert_ne!(events.first(), events.get(1));
    let back = registrations.first() == registrations.last();
    assert!(back, "the old registration isn't back");
}

#[tokio::test]
async fn where_function_and_registrar_read_different_secrets_aura_is_not_asked() -> Result<()> {
    let other = "WEBHOOK_SECRET_ARN: !Ref AuraCredentialsSecretArn";
    let trial = Trial::begin().await?;
    let template = trial.local.template().with_first(SECRET_OF_INGEST, other)?;
    // Ingest's statement is the first of these.
    let (may_read, may_read_other) = (
        "Resource: !GetAtt WebhookSecret.Id",
        "Resource: !Ref AuraCredentialsSecretArn",
    );
    let template = template.with_first(may_read, may_read_other)?;
    let changes = [("HandBackUrl", BEFORE)];
    let failure = rolled_back(trial.deploy_from(&template, &changes).await)?;
    assert_eq!(failure.status, "ROLLBACK_COMPLETE");
    let reason = trial.reason().await?;
    assert!(reason.contains("read different secrets"), "{reason}");
    assert_nothing_registered(&trial).await
}

#[tokio::test]
async fn where_ingest_may_not_send_aura_is_not_asked() -> Result<()> {
    let trial = Trial::begin_at(Local::with_iam().await?).await?;
    let template = trial.local.template();
    let template = template.without_permission("IngestRole", "StoreDeliveries")?;
    let template = impatient(&template, 5)?;
    let changes = [("HandBackUrl", BEFORE)];
    rolled_back(trial.deploy_from(&template, &changes).await)?;
    let reason = trial.reason().await?;
    assert!(
        reason.contains("whether ingest may send to its queue"),
        "{reason}"
    );
    assert_nothing_registered(&trial).await
}

/// Asserts that neither the deployment nor the deletion registered anything.
async fn assert_nothing_registered(trial: &Trial) -> Result<()> {
    let stack = Stack::find(trial.site.account(), STACK_NAME).await?;
    stack.delete(Progress::to_stderr()).await?;
    assert!(trial.registrations().await?.is_empty());
    assert_eq!(trial.register_calls().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_deleted_stack_hands_aura_back_to_the_given_url_and_changes_nothing_else() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[("HandBackUrl", BEFORE)]).await?;
    stack.delete(Progress::to_stderr()).await?;
    let registrations = trial.registrations().await?;
    let [registered, handed_back] = registrations.as_slice() else {
        panic!("{} registrations", registrations.len());
    };
    let mut expected = registered.clone();
    expected["url"] = BEFORE.into();
    assert!(*handed_back == expected, "more than the URL has changed");
    Ok(())
}

#[tokio::test]
async fn a_deleted_stack_without_a_hand_back_url_says_what_to_ask_aura_for() -> Result<()> {
    let trial = Trial::begin().await?;
    // Keeps the log group after the stack is deleted.
    let group = "  RegistrarLogGroup:\n    Type: AWS::Logs::LogGroup\n";
    let kept = format!("{group}    DeletionPolicy: Retain\n");
    let template = trial.local.template().with_first(group, &kept)?;
    let stack = trial.deploy_from(&template, &[]).await?;
    stack.clone().delete(Progress::to_stderr()).await?;
    assert_eq!(trial.register_calls().await?, 1);
    let log = function_logs::lines(&stack, "RegistrarLogGroupName").await?;
    assert!(log.iter().any(|line| line.contains("ask AURA to remove")));
    let statuses = statuses_of(&trial).await?;
    assert_eq!(statuses.last().map(String::as_str), Some("DELETE_COMPLETE"));
    Ok(())
}

/// CloudFormation's statuses of the registration, without reasons.
async fn statuses_of(trial: &Trial) -> Result<Vec<String>> {
    let statuses = trial.statuses().await?.into_iter();
    Ok(statuses.map(|(status, _)| status).collect())
}

/// Number of canaries that were published. Asserts that every canary was.
async fn published_canaries(stack: &Stack) -> Result<usize> {
    let canaries = ledger::canaries(stack).await?;
    let states = canaries.iter().map(|item| item["state"].as_s());
    for state in states {
        assert_eq!(state, Ok(&"PUBLISHED".to_owned()));
    }
    Ok(canaries.len())
}

/// The status of the answer to a delivery.
async fn post(webhook: &Webhook) -> Result<u16> {
    let http = shared::http_client::build()?;
    Ok(webhook.post(&http, BODY.into()).await?.status)
}
