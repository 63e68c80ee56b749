//! Tests of rotations of the secret while emergencies go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aura_sim::client::{Aura, Day};
use e2e::{Local, REFRESH_INTERVAL, from_environment};
use local::rotate::rotate;
use prove::contract;
use stack::consumers::Consumers;
use stack::progress::Progress;
use stack::settled::all_published;
use stack::system::{Header, System, Webhook};
use stack::tally::Tally;

/// The environment variable that sets the number of rotations:
/// `ROTATIONS=10 RATE=50 cargo test -p e2e -- rotations`. A rotation takes 7 s.
const ROTATIONS: &str = "ROTATIONS";
const DEFAULT_ROTATIONS: usize = 3;
/// The environment variable that sets the number of deliveries a second during the rotations.
const RATE: &str = "RATE";
const DEFAULT_RATE: u32 = 10;

/// Length of a day in seconds; the next day follows at once.
const DAY: u32 = 5;

/// Ingest's answer to an unknown value if reading the secret again takes too long, as on a busy
/// machine.
const UNDECIDED: u16 = 503;

/// From its answer to a registration on, AURA sends the value of that registration.
#[tokio::test]
async fn rotations_refuse_nothing_and_lose_nothing_and_end_with_the_old_values_refused()
-> Result<()> {
    let rotations = from_environment(ROTATIONS, DEFAULT_ROTATIONS)?;
    let rate = from_environment(RATE, DEFAULT_RATE)?;
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let aura = system.aura().await?;
    let over = AtomicBool::new(false);
    let (values, (), ()) = tokio::try_join!(
        async {
            let values = rotated(&system, rotations).await;
            over.store(true, Ordering::Relaxed);
            values
        },
        busy_until(&over, &aura, rate),
        forge_until(&over, &system),
    )?;

    let deliveries = aura.all_answered().await?;
    let refused = deliveries.iter().filter(|sent| sent.status != Some(202));
    assert_eq!(refused.count(), 0);
    let published = all_published(&system.stack, &mut consumers).await?;
    let tally = Tally::of(&deliveries, &published);
    println!("{rotations} rotations, {rate} deliveries a second: {tally:?}");
    assert!(tally.is_each_once(), "{tally:?}");
    assert_all_values_were_used(&aura, &values).await?;
    only_the_last_two_are_valid(&system, &values).await
}

/// Rotates `rotations` times. Returns every value that the secret had, the oldest first.
async fn rotated(system: &System, rotations: usize) -> Result<Vec<Header>> {
    let mut values = vec![system.webhook().await?.header];
    for _ in 0..rotations {
        rotate(&system.stack, Progress::to_stderr()).await?;
        values.push(system.webhook().await?.header);
    }
    Ok(values)
}

/// Plays one day after the other until the rotations are over, and one more day after that.
async fn busy_until(over: &AtomicBool, aura: &Aura, rate: u32) -> Result<()> {
    for seed in 1.. {
        let is_last = over.load(Ordering::Relaxed);
        let day = Day {
            seed,
            events: u64::from(rate * DAY),
            per_second: f64::from(rate),
            duplicates: 0.0,
            closing_after: 0,
        };
        aura.play(&day).await?;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Uses up the times that ingest reads its secret again for unknown values. So a new value that
/// AURA sends too early would be refused.
async fn forge_until(over: &AtomicBool, system: &System) -> Result<()> {
    let webhook = system.webhook().await?;
    let http = shared::http_client::build()?;
    while !over.load(Ordering::Relaxed) {
        let status = post_with(&webhook, "Bearer forged", &http).await?;
        assert!([401, UNDECIDED].contains(&status), "{status}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn post_with(webhook: &Webhook, value: &str, http: &reqwest::Client) -> Result<u16> {
    let header = Header {
        name: webhook.header.name.clone(),
        value: value.to_owned(),
    };
    let webhook = Webhook {
        header,
        ..webhook.clone()
    };
    let body = include_str!("../../events/new-callout.json");
    Ok(webhook.post(http, body.into()).await?.status)
}

/// The values of the header that AURA was told, the oldest first. Equal values in a row count once.
async fn history(aura: &Aura) -> Result<Vec<String>> {
    let history = aura.registration().await?.history;
    let values = history
        .into_iter()
        .map(|mut its| its.headers.remove("authorization"));
    let values = values.collect::<Option<Vec<_>>>();
    let mut values = values.context("a registration has no authorization header")?;
    values.dedup();
    Ok(values)
}

async fn assert_all_values_were_used(aura: &Aura, values: &[Header]) -> Result<()> {
    let values: Vec<_> = values.iter().map(|header| header.value.as_str()).collect();
    ensure!(history(aura).await? == values, "AURA was told other values");
    Ok(())
}

/// Asserts that ingest refuses a value that is neither current nor previous as soon as it has read
/// the secret again. An unknown value makes it read the secret.
async fn only_the_last_two_are_valid(system: &System, values: &[Header]) -> Result<()> {
    tokio::time::sleep(REFRESH_INTERVAL).await;
    let webhook = system.webhook().await?;
    let http = shared::http_client::build()?;
    let old = values.len().saturating_sub(2);
    let old = values.iter().take(old).map(|header| (&*header.value, 401));
    let valid = values.iter().rev().take(2);
    let valid = valid.map(|header| (&*header.value, 202));
    let forged = [("Bearer forged", 401)];
    for (value, expected) in forged.into_iter().chain(old).chain(valid) {
        let mut status = post_with(&webhook, value, &http).await?;
        while status == UNDECIDED {
            status = post_with(&webhook, value, &http).await?;
        }
        assert_eq!(status, expected);
    }
    Ok(())
}
