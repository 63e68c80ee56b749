//! Tests of events that are forwarded to an existing backend, over HTTP.

mod backend;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aura_sim::client::Aura;
use aura_sim::client::Controller::{Acknowledge, Arrive, Close, Complete, Own};
use e2e::{Local, logs};
use local::drill::RETRIES_DIVIDED_BY;
use local::drill::alarms::{State, until};
use prove::contract;
use serde_json::{Value, json};
use stack::consumers::{Consumers, PATIENCE, Published};
use stack::settled::{all_published, drained};
use stack::stack::{DeployError, Stack};
use stack::system::{Site, Webhook};
use stack::template::Template;

use self::backend::{Answer, Backend, Received};
use crate::tool::ops;
use crate::tool::permissions::{assume, attach, role};

/// The header in which the backend gets its secret, and that secret.
const HEADER: &str = "x-backend-key";
const REDRIVE: [&str; 6] = [
    "dead-letters",
    "redrive",
    "--queue",
    "forward",
    "--all",
    "--yes",
];
const SECRET: &str = "marker-of-the-backend";
/// The only permission of the role with which EventBridge posts.
pub const PERMISSION: (&str, &str, &str) = (
    "ForwardRole",
    "PostToTheBackend",
    "events:InvokeApiDestination",
);
/// An hour of EventBridge's retries.
const HOUR: Duration = Duration::from_secs(3600 / RETRIES_DIVIDED_BY as u64);
const LIST: [&str; 4] = ["dead-letters", "list", "--queue", "forward"];

/// A stack that forwards its events to a backend.
struct Scene {
    site: Site,
    stack: Stack,
    webhook: Webhook,
}

impl Scene {
    async fn set(backend: &Backend, changes: &[(&str, &str)]) -> Result<Self> {
        let template = Local::shared().await?.template();
        Self::set_from(template, backend, changes).await
    }

    async fn set_from(
        template: &Template,
        backend: &Backend,
        changes: &[(&str, &str)],
    ) -> Result<Self> {
        let local = Local::with_iam().await?;
        let site = local.site().await?;
        let secret = site.account().secretsmanager().create_secret();
        let secret = secret.name("backend").secret_string(SECRET).send().await?;
        let secret = secret.arn().context("the secret has no ARN")?;
        let parameters = [
            ("ForwardUrl", backend.url()),
            ("ForwardHeaderName", HEADER),
            ("ForwardSecretArn", secret),
        ];
        let parameters = [&parameters[..], changes].concat();
        let stack = local.deploy_at(&site, template, &parameters).await?;
        let webhook = Webhook::of(&stack).await?;
        Ok(Self {
            site,
            stack,
            webhook,
        })
    }

    async fn aura(&self) -> Result<Aura> {
        Aura::connect(&self.site.aura.url()).await
    }

    /// Delivers the opening of a callout.
    async fn open(&self, callout: u32) -> Result<()> {
        let callout = json!({"id": callout, "text": "Grüße"});
        self.deliver(&json!({"message": "NEW_CALLOUT", "callout": callout}))
            .await
    }

    async fn deliver(&self, body: &Value) -> Result<()> {
        let http = shared::http_client::build()?;
        let answer = self.webhook.post(&http, body.to_string().into()).await?;
        ensure!(answer.status == 202, "{answer:?}");
        Ok(())
    }

    async fn alarm(&self, name: &str, state: State) -> Result<()> {
        until(&self.stack, name, state, PATIENCE).await
    }

    /// The backend's dead letters, once there are `count` of them.
    async fn dead_letters(&self, count: usize) -> Result<Vec<Value>> {
        self.alarm("ForwardDeadLettersAlarm", State::Alarm).await?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let list: Value = ops().await?.json(&self.stack, &LIST).await?;
            let messages = list.get("messages").and_then(Value::as_array);
            let messages = messages.context("no list")?;
            if messages.len() == count {
                return Ok(messages.clone());
            }
            ensure!(tokio::time::Instant::now() < deadline, "{list}");
        }
    }

    /// Sends the dead letters to the backend again. The operators' policies are enough to do so.
    async fn redrive_as_operator(&self) -> Result<()> {
        role(&self.stack, "acts").await?;
        for policy in ["OperatorReadPolicyArn", "OperatorActPolicyArn"] {
            attach(&self.stack, "acts", policy).await?;
        }
        let acts = assume(&self.stack, "acts").await?;
        let mut redrive = ops().await?.command(&self.stack, &acts, &REDRIVE);
        let output = redrive.output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{errors}");
        Ok(())
    }
}

fn keys(received: &[Received]) -> Vec<&str> {
    let keys = received.iter().filter_map(|one| one.body.get("key"));
    let mut keys: Vec<_> = keys.filter_map(Value::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Plays a callout from its opening to its end.
async fn play(aura: &Aura, callout: &str) -> Result<()> {
    for act in [Own, Acknowledge, Arrive, Complete, Close] {
        aura.control(callout, act).await?;
    }
    Ok(())
}

/// The details of events, by their keys.
fn details<'a>(events: impl Iterator<Item = &'a Published>) -> Result<Vec<Value>> {
    let details: Result<Vec<_>, _> = events
        .map(|event| serde_json::to_value(&event.detail))
        .collect();
    Ok(by_key(details?))
}

fn by_key(mut details: Vec<Value>) -> Vec<Value> {
    details.sort_by_key(|detail| detail["key"].to_string());
    details
}

#[tokio::test]
async fn a_backend_gets_each_event_with_its_secret_and_neither_drills_nor_canaries() -> Result<()> {
    let backend = Backend::start().await?;
    let scene = Scene::set(&backend, &[("LogLevel", "trace")]).await?;
    let mut consumers = Consumers::read(&scene.stack, contract::check);
    let aura = scene.aura().await?;
    let customer = aura.create_customer("+27830000001").await?;
    let drilled = aura.create_customer("+27830000002").await?;
    let drill = aura.create_drill(&drilled).await?;
    let callout = aura.create_callout(&customer).await?;
    for callout in [&drill, &callout] {
        play(&aura, callout).await?;
    }
    scene.open(7).await?;
    let published = all_published(&scene.stack, &mut consumers).await?;
    let drills = published.iter().filter(|event| event.detail.test).count();
    assert!(drills > 0, "the drill must be published, too");

    let received = backend.taken(published.len() - drills).await?;
    assert_eq!(received.len(), published.len() - drills);
    for one in &received {
        assert_eq!(one.secret.as_deref(), Some(SECRET));
        assert_eq!(one.content_type, "application/json; charset=utf-8");
        contract::check_detail(&one.body)?;
    }
    let forwarded = by_key(received.into_iter().map(|one| one.body).collect());
    let expected = details(published.iter().filter(|event| !event.detail.test))?;
    assert_eq!(forwarded, expected);

    let lines = logs::all_lines(&scene.stack).await?;
    assert!(!lines.iter().any(|line| line.contains(SECRET)));
    let log = std::fs::read_to_string(Local::with_iam().await?.log())?;
    assert!(!log.contains(SECRET), "the local AWS logs the secret");
    Ok(())
}

#[tokio::test]
async fn a_cloud_event_holds_the_detail_and_drills_and_single_kinds_can_be_chosen() -> Result<()> {
    let backend = Backend::start().await?;
    let changes = [
        ("ForwardFormat", "cloudevents"),
        ("ForwardKinds", "callout"),
        ("ForwardTests", "true"),
    ];
    let scene = Scene::set(&backend, &changes).await?;
    let mut consumers = Consumers::read(&scene.stack, contract::check);
    let aura = scene.aura().await?;
    let customer = aura.create_customer("+27830000001").await?;
    let drill = aura.create_drill(&customer).await?;
    play(&aura, &drill).await?;
    let other = json!({"message": "CREATED_CUSTOMER", "customer": {"id": 1}});
    scene.deliver(&other).await?;
    let published = all_published(&scene.stack, &mut consumers).await?;
    let of_callouts = || {
        published
            .iter()
            .filter(|event| event.detail.entity.kind == "callout")
    };
    assert!(of_callouts().count() < published.len());

    let received = backend.taken(of_callouts().count()).await?;
    for one in &received {
        assert_eq!(one.content_type, "application/cloudevents+json");
        contract::check_cloud_event(&one.body)?;
        let data = &one.body["data"];
        assert_eq!(one.body["id"], data["key"]);
        assert_eq!(one.body["type"], data["message"]);
        assert_eq!(one.body["time"], data["receivedAt"]);
        assert_eq!(
            one.body["source"],
            scene.site.aura.url().trim_end_matches('/')
        );
        assert_eq!(data["test"], true);
    }
    let data = received.iter().map(|one| one.body["data"].clone());
    assert_eq!(by_key(data.collect()), details(of_callouts())?);
    Ok(())
}

#[tokio::test]
async fn what_a_backend_does_not_take_for_a_while_comes_again_until_it_does() -> Result<()> {
    let backend = Backend::start().await?;
    let scene = Scene::set(&backend, &[]).await?;

    // It fails for a while: the same event comes with each try.
    let fails = [500, 503, 401, 407, 409, 500].map(Answer::Status);
    backend.answer_next(&fails);
    scene.open(1).await?;
    let received = backend.taken(1).await?;
    assert_eq!(keys(&received), ["callout#1/NEW_CALLOUT"; 7]);
    assert!(received.iter().all(|one| one.body == received[0].body));
    scene.alarm("ForwardRetriesAlarm", State::Alarm).await?;

    // It asks for an hour's time.
    backend.answer_next(&[Answer::Later(3600)]);
    scene.open(2).await?;
    let received = backend.taken(2).await?;
    let [.., refused, taken] = received.as_slice() else {
        anyhow::bail!("{received:?}");
    };
    assert_eq!(received.len(), 9);
    assert!(taken.at.duration_since(refused.at) >= HOUR);

    // It is slow: it may have done the work, and gets the event a second time.
    backend.answer_next(&[Answer::Slow]);
    scene.open(3).await?;
    let received = backend.taken(3).await?;
    assert_eq!(keys(&received[9..]), ["callout#3/NEW_CALLOUT"; 2]);

    // It is down for an hour.
    backend.answer(Some(Answer::Down));
    for callout in 10..15 {
        scene.open(callout).await?;
    }
    drained(&scene.stack).await?;
    tokio::time::sleep(HOUR).await;
    backend.answer(None);
    let received = backend.taken(8).await?;
    let taken: Vec<_> = received.into_iter().filter(|one| one.is_taken).collect();
    let mut expected: Vec<_> = [1, 2, 3, 10, 11, 12, 13, 14]
        .map(|callout| format!("callout#{callout}/NEW_CALLOUT"))
        .into();
    expected.sort_unstable();
    assert_eq!(keys(&taken), expected);
    Ok(())
}

#[tokio::test]
async fn what_a_backend_refuses_is_kept_and_an_operator_sends_it_to_the_backend_alone() -> Result<()>
{
    let (backend, other) = (Backend::start().await?, Backend::start().await?);
    let scene = Scene::set(&backend, &[]).await?;
    let mut consumers = Consumers::read(&scene.stack, contract::check);
    let refusals = [
        Answer::Status(403),
        Answer::Elsewhere(other.url().to_owned()),
        Answer::Status(404),
    ];
    backend.answer_next(&refusals);
    for callout in 1..=3 {
        scene.open(callout).await?;
    }
    scene.alarm("ForwardFailsAlarm", State::Alarm).await?;
    let letters = scene.dead_letters(3).await?;
    // Nothing was tried again, and nobody followed the redirect with the secret.
    assert_eq!(backend.received().len(), 3);
    assert_eq!(other.connections(), 0);
    let mut reasons: Vec<_> = letters.iter().map(|one| one["reason"].as_str()).collect();
    reasons.sort_unstable();
    let reason = |status| {
        format!(
            "EventBridge could not deliver it: SDK_CLIENT_ERROR: Unable to invoke ApiDestination \
             endpoint: status {status}"
        )
    };
    let expected = [307, 403, 404].map(reason);
    assert_eq!(reasons, expected.each_ref().map(|text| Some(text.as_str())));
    assert_eq!(all_published(&scene.stack, &mut consumers).await?.len(), 3);

    let status: Value = ops().await?.json(&scene.stack, &["status"]).await?;
    let needs = status["needs"].as_array().context("no needs")?;
    let is_said = |alarm: &str| needs.iter().any(|need| need["alarm"] == alarm);
    assert!(is_said("ForwardDeadLettersAlarm"), "{status}");

    scene.redrive_as_operator().await?;
    let received = backend.taken(3).await?;
    let (first, again) = received.split_at(3);
    let bodies = |part: &[Received]| by_key(part.iter().map(|one| one.body.clone()).collect());
    assert_eq!(bodies(first), bodies(again));
    assert!(
        again
            .iter()
            .all(|one| one.secret.as_deref() == Some(SECRET))
    );
    // No other consumer gets anything.
    assert_eq!(all_published(&scene.stack, &mut consumers).await?.len(), 0);
    scene.alarm("ForwardDeadLettersAlarm", State::Ok).await?;

    // What fails again comes back.
    backend.answer_next(&[Answer::Status(410)]);
    scene.open(4).await?;
    scene.dead_letters(1).await?;
    backend.answer_next(&[Answer::Status(410)]);
    let output = ops().await?.run(&scene.stack, &REDRIVE).await?;
    ensure!(output.status.success());
    scene.dead_letters(1).await?;
    assert_eq!(backend.received().len(), 8);
    Ok(())
}

#[tokio::test]
async fn a_backend_with_a_wrong_certificate_gets_nothing_and_after_a_day_the_event_is_kept()
-> Result<()> {
    let backend = Backend::start_untrusted().await?;
    let scene = Scene::set(&backend, &[]).await?;
    scene.open(1).await?;
    let letters = scene.dead_letters(1).await?;
    assert_eq!(letters[0]["entity"], "callout#1");
    let reason = letters[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("SSLCertVerificationError"), "{reason}");
    // The connections came, and ended before anything was said.
    assert!(backend.connections() > 100, "{}", backend.connections());
    assert_eq!(backend.received().len(), 0);
    Ok(())
}

#[tokio::test]
async fn without_its_permission_nothing_is_posted_and_all_is_kept() -> Result<()> {
    let backend = Backend::start().await?;
    let (role, sid, _) = PERMISSION;
    let template = Local::with_iam().await?.template();
    let template = template.without_permission(role, sid)?;
    let scene = Scene::set_from(&template, &backend, &[]).await?;
    scene.open(1).await?;
    let letters = scene.dead_letters(1).await?;
    let reason = letters[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("NO_PERMISSIONS"), "{reason}");
    assert_eq!(backend.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn a_stack_with_half_of_the_settings_is_refused_with_the_reason() -> Result<()> {
    let local = Local::shared().await?;
    let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:backend-AAAAAA";
    for (parameter, value, reason) in [
        (
            "ForwardUrl",
            "https://backend.example.com/events",
            "ForwardUrl needs ForwardSecretArn",
        ),
        ("ForwardSecretArn", arn, "Nothing would be forwarded"),
        ("ForwardUrl", "http://backend.example.com", "https://"),
        ("ForwardKinds", "callout,ALL", "ALL beside other kinds"),
        ("ForwardHeaderName", "origin", "authorization, or x-"),
    ] {
        let site = local.site().await?;
        let changes = [(parameter, value)];
        let deployed = local.deploy_at(&site, local.template(), &changes).await;
        let Err(DeployError::Other(error)) = deployed else {
            anyhow::bail!("{parameter}={value} is deployed");
        };
        let error = format!("{error:#}");
        assert!(error.contains(reason), "{error}");
    }
    Ok(())
}
