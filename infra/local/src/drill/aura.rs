//! Drills in which something is wrong between AURA and the stack: the secret, the registration, AURA's
//! API, the credentials, or requests that only look like AURA's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aura_sim::client::{EventName, Fault, FaultyAnswer, TOKEN};
use aura_sim::{CLIENT_ID, CLIENT_SECRET};
use futures::future::try_join_all;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;
use stack::system::Webhook;

use super::alarms::{self, State};
use super::count::Count;
use super::runbook::Page;
use super::scene::Scene;
use super::{BASE, Drill, PATIENCE, RECONCILER_EVERY};

/// The call for the list of active callouts, with which each run of the reconciler begins.
const LIST: &str = "GET /callouts/activeCallouts";
/// Another endpoint. Nobody listens there.
const ELSEWHERE: &str = "https://127.0.0.1:9/registered-in-the-portal";
/// The procedure's heading.
const REGISTER_AGAIN: &str = "Register the endpoint again";
/// The most forged requests of a flood.
const FORGED: usize = 6_000;
/// How often, and after which pause, somebody tries a new secret until the old one is refused.
const ROUNDS: usize = 20;
const ROUND: Duration = Duration::from_secs(1);
/// How many requests of a drill are under way at once.
const AT_ONCE: usize = 4;

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        name: "secret-changed",
        alarm: "DeliveriesRefusedAlarm",
        breaks: "somebody changes the webhook's secret by hand, twice",
        mends: "a person registers the endpoint again",
        breaking: |scene| change_secret(scene).boxed(),
        mending: |scene| register_again(scene).boxed(),
        expects: Count::is_each_once_but_refused,
        ..BASE
    },
    Drill {
        name: "registration-replaced",
        alarm: "WebhookDownAlarm",
        breaks: "somebody registers another endpoint in AURA's portal",
        mends: "a person registers the endpoint again",
        reconciles: Some(RECONCILER_EVERY),
        breaking: |scene| replace_registration(scene).boxed(),
        mending: |scene| register_again(scene).boxed(),
        expects: |count| count.is_each_once_but_refused() && count.recovered > 0,
        ..BASE
    },
    Drill {
        name: "aura-down",
        alarm: "ReconcilerFailsAlarm",
        breaks: "AURA's API closes every connection without an answer",
        mends: "AURA's API answers again",
        reconciles: Some(RECONCILER_EVERY),
        breaking: |scene| take_aura_down(scene).boxed(),
        mending: |scene| async { scene.aura.forget_faults().await.map(drop) }.boxed(),
        ..BASE
    },
    Drill {
        name: "credentials-refused",
        alarm: "AuraRefusesAlarm",
        breaks: "the secret with AURA's credentials has a value that AURA refuses",
        mends: "a person writes the right credentials into credentials.json and stores them",
        reconciles: Some(RECONCILER_EVERY),
        breaking: |scene| spoil_credentials(scene).boxed(),
        mending: |scene| store_credentials(scene).boxed(),
        ..BASE
    },
    Drill {
        name: "forged-flood",
        alarm: "RefusedFloodAlarm",
        breaks: "somebody floods the endpoint with forged requests until the alarm is raised",
        mends: "the flood is over",
        breaking: |scene| flood(scene).boxed(),
        ..BASE
    },
];

/// Changes the secret twice, because ingest accepts the value before the current one, too.
async fn change_secret(scene: &mut Scene) -> Result<()> {
    let stack = &scene.system.stack;
    for value in ["changed-by-hand", "changed-by-hand-again"] {
        let put = stack.account().secretsmanager().put_secret_value();
        put.secret_id(stack.output("WebhookSecretArn")?)
            .secret_string(value)
            .send()
            .await
            .context("cannot change the webhook's secret")?;
    }
    // An instance of ingest keeps the values that it knows for five minutes, or until it gets another one.
    // So somebody tries the new one, until an instance refuses AURA's, with a delivery that AURA has made
    // already. The ledger drops it.
    let http = shared::http_client::build()?;
    let webhook = Webhook::of(stack).await?;
    for _ in 0..ROUNDS {
        let sent = scene.aura.deliveries().await?.deliveries;
        if sent.iter().any(|delivery| delivery.status == Some(401)) {
            return Ok(());
        }
        let is_event = |message| message != EventName::CalloutEventsChanged;
        let known = sent
            .into_iter()
            .rfind(|delivery| delivery.was_answered("accepted") && is_event(delivery.message));
        let known = known.context("AURA has delivered nothing before the secret is changed")?;
        let posts = (0..AT_ONCE).map(|_| webhook.post(&http, known.body.clone().into_bytes()));
        for answer in try_join_all(posts).await? {
            let status = answer.status;
            ensure!(status == 202, "ingest answers {status} to the new secret");
        }
        tokio::time::sleep(ROUND).await;
    }
    bail!("ingest goes on to accept the old secret")
}

async fn replace_registration(scene: &mut Scene) -> Result<()> {
    let current = scene.aura.registration().await?.current;
    let events = current.context("AURA has no registration")?.events;
    let events: Vec<_> = events.iter().map(ToString::to_string).collect();
    let events: Vec<_> = events.iter().map(String::as_str).collect();
    let headers = BTreeMap::new();
    scene.aura.register(ELSEWHERE, &events, &headers).await
}

async fn register_again(scene: &mut Scene) -> Result<()> {
    let page = Page::Procedures;
    scene.type_block(page, REGISTER_AGAIN, 0).await.map(drop)
}

async fn take_aura_down(scene: &mut Scene) -> Result<()> {
    for call in [TOKEN, LIST] {
        let fault = Fault {
            times: u32::MAX,
            ..Fault::once(call, FaultyAnswer::HangUp)
        };
        scene.aura.order(&fault).await?;
    }
    Ok(())
}

async fn spoil_credentials(scene: &mut Scene) -> Result<()> {
    let stack = &scene.system.stack;
    let arn = stack.parameters().get("AuraCredentialsSecretArn");
    let credentials = json!({"clientId": CLIENT_ID, "clientSecret": "not AURA's"});
    let put = stack.account().secretsmanager().put_secret_value();
    put.secret_id(arn.context("the stack has no AuraCredentialsSecretArn")?)
        .secret_string(credentials.to_string())
        .send()
        .await
        .context("cannot change AURA's credentials")?;
    // The reconciler keeps the credentials that it has read, and reads the secret when AURA refuses them.
    let refused = FaultyAnswer::refusal(401, "these credentials are no longer valid");
    scene.aura.order(&Fault::once(TOKEN, refused)).await?;
    scene.aura.expire_tokens().await.map(drop)
}

async fn store_credentials(scene: &mut Scene) -> Result<()> {
    let credentials = json!({"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET});
    scene.write("credentials.json", &credentials.to_string())?;
    let (alarm, command) = ("AuraRefusesAlarm", "aws secretsmanager put-secret-value");
    scene
        .type_inline(Page::Operate, alarm, command)
        .await
        .map(drop)
}

/// Sends forged requests beside AURA's deliveries until the alarm is raised.
async fn flood(scene: &mut Scene) -> Result<()> {
    let stack = &scene.system.stack;
    let mut forged = Webhook::of(stack).await?;
    "Bearer forged".clone_into(&mut forged.header.value);
    let http = shared::http_client::build()?;
    let posts = (0..FORGED).map(|_| forged.post(&http, b"{}".to_vec()));
    let posts: Vec<_> = posts.map(Box::pin).collect();
    let mut answers = futures::stream::iter(posts).buffer_unordered(AT_ONCE);
    let flooding = async {
        while let Some(answer) = answers.next().await {
            let status = answer?.status;
            // 503: on a busy machine, Secrets Manager wasn't asked in time.
            ensure!(
                [401, 503].contains(&status),
                "the endpoint answers {status} to a forged request"
            );
        }
        bail!("{FORGED} forged requests don't raise the alarm")
    };
    tokio::select! {
        raised = alarms::until(stack, "RefusedFloodAlarm", State::Alarm, PATIENCE) => raised,
        ended = flooding => ended,
    }
}
