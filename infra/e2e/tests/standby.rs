//! Tests of a standby, a second stack for the same AURA: it keeps silent, it takes over, and it
//! finds what AURA sent while the first stack was gone.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use aura_sim::client::{Aura, Controller, Delivery};
use jiff::Timestamp;
use local::drill::endpoint::remove_routes;
use prove::contract;
use serde_json::Value;
use stack::consumers::{Consumers, Published};
use stack::ledger;
use stack::progress::Progress;
use stack::reconciler::{self, Run};
use stack::settled::all_published;
use stack::stack::Stack;
use stack::system::Leftovers;
use stack::tally::Tally;

use crate::reconciler::trial::{PATIENT, deafen};
use crate::registration::trial::{Trial, rolled_back};
use crate::tool::ops;

const STANDBY: (&str, &str) = ("Register", "false");

#[tokio::test]
async fn a_standby_proves_itself_and_never_calls_aura() -> Result<()> {
    let trial = Trial::begin().await?;
    let before = trial.aura.calls().await?.len();
    let eager = [
        STANDBY,
        ("ReconcilerEnabled", "true"),
        ("SelfHeal", "true"),
        ("RotationDays", "30"),
        ("HandBackUrl", "http://127.0.0.1:9/before"),
    ];
    let stack = trial.deploy(&eager).await?;
    let proof = stack.output("Registration")?;
    assert!(proof.starts_with("Canary: published ("), "{proof}");
    assert!(!proof.contains("; "), "{proof}");
    assert_eq!(ledger::canaries(&stack).await?.len(), 1);

    let changed = [&eager[..], &[("WebhookEvents", "NEW_CALLOUT")]].concat();
    let stack = trial.deploy(&changed).await?;
    assert_eq!(ledger::canaries(&stack).await?.len(), 2);
    let eventbridge = stack.account().eventbridge();
    let schedule = stack.resource("ReconcilerSchedule").await?;
    let rule = eventbridge.describe_rule().name(schedule).send().await?;
    assert_eq!(
        rule.state.map(|state| state.to_string()).as_deref(),
        Some("DISABLED")
    );
    let secrets = stack.account().secretsmanager();
    let secret = secrets.describe_secret();
    let secret = secret.secret_id(stack.output("WebhookSecretArn")?);
    assert_ne!(secret.send().await?.rotation_enabled, Some(true));
    let status: Value = ops().await?.json(&stack, &["status"]).await?;
    assert_eq!(status["registration"]["isStandby"], true);
    assert_eq!(status["registration"]["at"], Value::Null);

    stack.delete(Progress::to_stderr()).await?;
    assert_eq!(trial.aura.calls().await?.len(), before);
    assert!(trial.registrations().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_standby_that_took_over_is_not_handed_back_by_its_updates() -> Result<()> {
    let trial = Trial::begin().await?;
    let first = trial.deploy(&[]).await?;
    let second = trial.local.deploy_beside(&trial.site, &[STANDBY]).await?;
    assert_eq!(urls(&trial).await?, [first.output("WebhookUrl")?]);
    let registered = take_over(&second).await?;
    let next = registered["next"].as_str().unwrap_or_default();
    assert!(next.contains("Register=true"), "{registered}");
    let expected = [first.output("WebhookUrl")?, second.output("WebhookUrl")?];
    assert_eq!(urls(&trial).await?, expected);

    // Neither an update of the standby nor the one that makes the first stack a standby changes
    // AURA's registration. The first one is still broken: if this update failed, its rollback would
    // register it again.
    let revised = ("RegistrationRevision", "2");
    let second = trial.local.update(&second, &[revised]).await?;
    remove_routes(&first).await?;
    let first = trial.deploy(&[STANDBY, revised]).await?;
    let proof = first.output("Registration")?;
    assert!(proof.contains("the endpoint answered 404"), "{proof}");
    assert_eq!(urls(&trial).await?, expected);
    // A standby that stays one must prove itself.
    let changes = [STANDBY, ("RegistrationRevision", "3")];
    rolled_back(trial.deploy(&changes).await)?;
    assert_eq!(urls(&trial).await?, expected);

    let second = trial.local.update(&second, &[("Register", "true")]).await?;
    let told = urls(&trial).await?;
    assert_eq!(
        told.get(2).map(String::as_str),
        Some(second.output("WebhookUrl")?)
    );
    Ok(())
}

/// The first stack is killed under load. AURA's deliveries are lost until the second one is
/// registered, and no others.
#[tokio::test]
async fn what_is_lost_when_a_stack_dies_is_what_aura_sent_until_the_other_took_over() -> Result<()>
{
    let trial = Trial::begin().await?;
    let first = trial.deploy(&[]).await?;
    let standby = [&PATIENT[..], &[STANDBY]].concat();
    let second = trial.local.deploy_beside(&trial.site, &standby).await?;
    let mut at_first = Consumers::read(&first, contract::check);
    let mut at_second = Consumers::read(&second, contract::check);
    let (before, over) = (open_callout(&trial.aura, 1).await?, AtomicBool::new(false));

    let disaster = async {
        trial
            .until_some(|sent| sent.was_answered("accepted"))
            .await?;
        let killed_at = Timestamp::now();
        remove_routes(&first).await?;
        let between = open_callout(&trial.aura, 2).await?;
        trial.until_some(|sent| sent.status == Some(404)).await?;
        take_over(&second).await?;
        let url = second.output("WebhookUrl")?;
        let is_there =
            |sent: &Delivery| sent.was_answered("accepted") && sent.url.as_deref() == Some(url);
        trial.until_some(is_there).await?;
        over.store(true, Ordering::Relaxed);
        anyhow::Ok((killed_at, between))
    };
    let (killed_at, between) =
        tokio::try_join!(trial.play_until(&over), disaster).map(|((), done)| done)?;

    // Deliveries that AURA still has to send aren't queued yet.
    trial.aura.all_answered().await?;
    let mut published = all_published(&first, &mut at_first).await?;
    published.extend(all_published(&second, &mut at_second).await?);
    only_the_gap_is_lost(&trial, &published, killed_at).await?;

    // The second ledger knows neither opening of these two callouts. The one that the first stack has
    // published comes once more, with the same key.
    let published = keys(&published);
    assert!(published.contains(&opening(&before)), "{published:?}");
    assert!(!published.contains(&opening(&between)), "{published:?}");
    let second = trial.local.update(&second, &[("Register", "true")]).await?;
    let found = run(&second, &mut at_second).await?;
    for id in [&before, &between] {
        assert!(found.contains(&opening(id)), "{id}: {found:?}");
    }
    // From now on it knows the callouts, so it also finds a closing that AURA does not deliver.
    for id in [&before, &between] {
        secretly_close(&trial.aura, id).await?;
    }
    let found = run(&second, &mut at_second).await?;
    for id in [&before, &between] {
        assert!(found.contains(&closing(id)), "{id}: {found:?}");
    }
    let leftovers = Leftovers::count(&second).await?;
    assert!(leftovers.is_none(), "{leftovers}");
    Ok(())
}

/// Asserts that what AURA sent between the end of the first stack and the registration of the second
/// is lost, and that everything else is published once.
async fn only_the_gap_is_lost(
    trial: &Trial,
    published: &[Published],
    killed_at: Timestamp,
) -> Result<()> {
    let deliveries = trial.aura.all_answered().await?;
    let history = trial.aura.registration().await?.history;
    let [first, _] = history.as_slice() else {
        bail!("{} registrations", history.len());
    };
    let refused: Vec<_> = deliveries
        .iter()
        .filter(|sent| !sent.was_answered("accepted"))
        .collect();
    let tally = Tally::of(&deliveries, published);
    let counts = (tally.lost, tally.doubled, tally.strangers);
    assert_eq!(counts, (refused.len(), 0, 0), "{tally:?}");
    assert_eq!(tally.published, tally.accepted, "{tally:?}");
    for sent in refused {
        // AURA sent it before it knew the second stack, and the first one was gone.
        assert_eq!(sent.url.as_deref(), Some(first.url.as_str()), "{}", sent.n);
        assert_eq!(sent.status, Some(404));
        let answered_at = sent.answered_at.context("it was never answered")?;
        assert!(killed_at <= answered_at, "{} was lost before", sent.n);
    }
    Ok(())
}

fn opening(id: &str) -> String {
    format!("callout#{id}/NEW_CALLOUT")
}

fn closing(id: &str) -> String {
    format!("callout#{id}/CALLOUT_CLOSED")
}

fn keys(published: &[Published]) -> HashSet<String> {
    published.iter().map(|its| its.detail.key.clone()).collect()
}

async fn urls(trial: &Trial) -> Result<Vec<String>> {
    let report = trial.aura.registration().await?;
    Ok(report.history.into_iter().map(|its| its.url).collect())
}

/// Registers the stack as an operator does.
async fn take_over(stack: &Stack) -> Result<Value> {
    ops().await?.json(stack, &["register", "--yes"]).await
}

/// Opens a callout of a customer with this number, which stays open.
async fn open_callout(aura: &Aura, customer: u32) -> Result<String> {
    let customer = aura
        .create_customer(&format!("+2782111{customer:04}"))
        .await?;
    aura.create_callout(&customer).await
}

/// Closes a callout, and AURA delivers nothing of it.
async fn secretly_close(aura: &Aura, id: &str) -> Result<()> {
    deafen(aura).await?;
    aura.control(id, Controller::Close).await?;
    aura.end_plan().await?;
    Ok(())
}

/// Runs the reconciler, and returns the keys of what was published since the last call.
async fn run(stack: &Stack, consumers: &mut Consumers) -> Result<HashSet<String>> {
    let run = reconciler::invoke(stack).await?;
    ensure!(run == Run::Done, "{run:?}");
    Ok(keys(&all_published(stack, consumers).await?))
}
