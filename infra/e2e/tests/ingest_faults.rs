//! Tests of ingest while AWS fails.
//!
//! Whatever fails, every delivery that was answered 202 is published or quarantined exactly once,
//! either at once or after the spill was sent again. A delivery that couldn't be stored isn't
//! answered 202. Every answer is ingest's own.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{REFRESH_INTERVAL, from_environment};
use stack::consumers::PATIENCE;
use stack::proxy::{Fault, Plan};

use self::trial::{Sent, Trial, Verdict};

mod trial;

fn all_are(status: u16, sent: &[Sent]) -> bool {
    sent.iter().all(|sent| sent.answer.status == status)
}

/// SQS fails once for each of ten deliveries, then every time for ten others, then never. All of
/// the deliveries are answered 202.
async fn lives_through(fault: Fault) -> Result<Verdict> {
    let trial = Trial::begin().await?;
    let mut sent = trial.send(0..1, 1).await?;
    for n in 1..11 {
        trial.sqs.set(Plan::Next(1, fault));
        let before = trial.sends();
        sent.extend(trial.send(n..n + 1, 1).await?);
        assert_eq!(
            trial.sends() - before,
            2,
            "{n} must be tried again exactly once"
        );
    }
    let spilled_before = trial.dynamodb.calls().len();
    assert_eq!(
        spilled_before, 0,
        "a delivery was spilled though the queue has it"
    );

    trial.sqs.set(Plan::Always(fault));
    let before = trial.sends();
    sent.extend(trial.send(11..21, 4).await?);
    let attempts = trial.sends() - before;
    assert!((20..=30).contains(&attempts), "{attempts} attempts for ten");
    trial.sqs.set(Plan::Through);
    sent.extend(trial.send(21..30, 1).await?);

    assert!(all_are(202, &sent));
    let verdict = trial.verdict(&sent).await?;
    assert_eq!((verdict.accepted, verdict.quarantined), (27, 3));
    assert_eq!(verdict.spilled, 10, "{verdict:?}");
    // Each delivery has one message, however often ingest sent it.
    assert_eq!(verdict.queued, 27, "{verdict:?}");
    Ok(verdict)
}

#[tokio::test]
async fn throttling_loses_and_doubles_nothing() -> Result<()> {
    let verdict = lives_through(Fault::Throttled).await?;
    assert_eq!(verdict.spilled_and_queued, 0);
    Ok(())
}

#[tokio::test]
async fn internal_errors_lose_and_double_nothing() -> Result<()> {
    let verdict = lives_through(Fault::InternalError).await?;
    assert_eq!(verdict.spilled_and_queued, 0);
    Ok(())
}

#[tokio::test]
async fn a_reset_before_sqs_acts_loses_and_doubles_nothing() -> Result<()> {
    let verdict = lives_through(Fault::ResetBefore).await?;
    assert_eq!(verdict.spilled_and_queued, 0);
    Ok(())
}

#[tokio::test]
async fn a_reset_after_sqs_acts_loses_and_doubles_nothing() -> Result<()> {
    let verdict = lives_through(Fault::ResetAfter).await?;
    // Of the ten in the spill, one belongs in the quarantine.
    assert_eq!(verdict.spilled_and_queued, 9);
    Ok(())
}

#[tokio::test]
async fn a_hang_loses_and_doubles_nothing() -> Result<()> {
    let verdict = lives_through(Fault::Hang).await?;
    assert_eq!(verdict.spilled_and_queued, 0);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_comes_too_late_loses_and_doubles_nothing() -> Result<()> {
    let verdict = lives_through(Fault::Slow(Duration::from_secs(4))).await?;
    // Of the ten in the spill, one belongs in the quarantine.
    assert_eq!(verdict.spilled_and_queued, 9);
    Ok(())
}

#[tokio::test]
async fn slow_answers_are_waited_for() -> Result<()> {
    let trial = Trial::begin().await?;
    let mut sent = trial.send(0..10, 4).await?;
    let slow = Fault::Slow(Duration::from_millis(300));
    trial.sqs.set(Plan::Always(slow));
    sent.extend(trial.send(10..50, 4).await?);
    assert_eq!(
        trial.sends(),
        50,
        "ingest must not send again when SQS is only slow"
    );
    assert!(all_are(202, &sent));
    let verdict = trial.verdict(&sent).await?;
    assert_eq!((verdict.spilled, verdict.queued), (0, 45), "{verdict:?}");
    Ok(())
}

/// The environment variable that sets for how many seconds SQS is down:
/// `OUTAGE=60 cargo test --test e2e -- sqs_down`. A delivery takes two seconds.
const OUTAGE: &str = "OUTAGE";
const DEFAULT_OUTAGE: u64 = 12;

#[tokio::test]
async fn sqs_down_under_load_loses_and_doubles_nothing() -> Result<()> {
    let trial = Trial::begin().await?;
    let length = from_environment(OUTAGE, DEFAULT_OUTAGE)?;
    let around = Duration::from_secs(3);
    let outage = async {
        tokio::time::sleep(around).await;
        trial.sqs.down().await;
        tokio::time::sleep(Duration::from_secs(length)).await;
        trial.sqs.up()
    };
    let end = Instant::now() + 2 * around + Duration::from_secs(length);
    let (sent, ()) = tokio::try_join!(trial.send_until(end, 0, 8), outage)?;
    assert!(all_are(202, &sent));
    let verdict = trial.verdict(&sent).await?;
    assert!(sent.len() > 100, "{verdict:?}");
    assert!(verdict.spilled > sent.len() / 3, "{verdict:?}");
    assert!(verdict.spilled < sent.len(), "{verdict:?}");
    assert_eq!(verdict.queued, verdict.accepted, "{verdict:?}");
    Ok(())
}

#[tokio::test]
async fn with_queue_and_spill_down_nothing_is_stored_and_nothing_confirmed() -> Result<()> {
    let trial = Trial::begin().await?;
    let mut stored = trial.send(0..10, 4).await?;
    trial.sqs.down().await;
    trial.dynamodb.down().await;
    let mut refused = trial.send(10..40, 4).await?;
    trial.sqs.up()?;
    trial.dynamodb.up()?;
    stored.extend(trial.send(40..50, 4).await?);
    trial.sqs.set(Plan::Always(Fault::Hang));
    trial.dynamodb.set(Plan::Always(Fault::Hang));
    refused.extend(trial.send(50..54, 4).await?);
    trial.sqs.set(Plan::Through);
    trial.dynamodb.set(Plan::Through);
    stored.extend(trial.send(54..60, 4).await?);

    assert!(all_are(202, &stored) && all_are(503, &refused));
    stored.extend(refused);
    let verdict = trial.verdict(&stored).await?;
    assert_eq!(verdict.accepted + verdict.quarantined, 26);
    assert_eq!((verdict.refused, verdict.stored_unanswered), (34, 0));
    assert_eq!(verdict.spilled, 0);
    Ok(())
}

/// Ingest can't know that the delivery was stored, and its answer asks AURA to send again, which
/// AURA never does.
#[tokio::test]
async fn what_queue_and_spill_took_without_confirming_is_not_doubled() -> Result<()> {
    let trial = Trial::begin().await?;
    trial.sqs.set(Plan::Always(Fault::ResetAfter));
    trial.dynamodb.set(Plan::Always(Fault::ResetAfter));
    let sent = trial.send(0..9, 3).await?;
    assert!(all_are(503, &sent));
    let verdict = trial.verdict(&sent).await?;
    assert_eq!((verdict.spilled, verdict.stored_unanswered), (9, 9));
    assert_eq!(verdict.queued, 9, "{verdict:?}");
    Ok(())
}

#[tokio::test]
async fn with_a_queue_down_a_spill_that_fails_at_first_is_tried_again() -> Result<()> {
    let trial = Trial::begin().await?;
    trial.sqs.down().await;
    let faults = [
        Fault::Throttled,
        Fault::InternalError,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Hang,
    ];
    let mut sent = Vec::new();
    for (n, fault) in (0..).zip(faults) {
        trial.dynamodb.set(Plan::Next(1, fault));
        let before = trial.dynamodb.calls().len();
        sent.extend(trial.send(n..n + 1, 1).await?);
        assert_eq!(trial.dynamodb.calls().len() - before, 2, "{fault:?}");
    }
    trial.sqs.up()?;
    assert!(all_are(202, &sent));
    let verdict = trial.verdict(&sent).await?;
    assert_eq!((verdict.spilled, verdict.queued), (5, 5), "{verdict:?}");
    Ok(())
}

#[tokio::test]
async fn before_the_secret_was_ever_read_nobody_gets_in() -> Result<()> {
    let trial = Trial::begin().await?;
    let mut sent = trial.send(0..1, 1).await?;
    trial.secrets.down().await;
    trial.kill_ingest().await?;
    let refused = trial.send(1..4, 1).await?;
    assert!(all_are(503, &refused));
    sent.extend(refused);
    let wrong = trial.post_with("Bearer wrong").await?;
    assert_eq!(wrong.status, 503, "ingest can't know that it is wrong");
    assert_eq!(trial.sends(), 1);

    trial.secrets.up()?;
    let deadline = Instant::now() + PATIENCE;
    for n in 4.. {
        let one = trial.post(n).await?;
        let got_in = one.answer.status == 202;
        sent.push(one);
        if got_in {
            break;
        }
        assert!(Instant::now() < deadline, "ingest still lets nobody in");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(trial.post_with("Bearer wrong").await?.status, 401);
    let verdict = trial.verdict(&sent).await?;
    assert_eq!(verdict.accepted + verdict.quarantined, 2, "{verdict:?}");
    assert_eq!(verdict.stored_unanswered, 0, "{verdict:?}");
    Ok(())
}

#[tokio::test]
async fn what_was_read_of_the_secret_goes_on_working_without_secrets_manager() -> Result<()> {
    let trial = Trial::begin().await?;
    let mut sent = trial.send(0..1, 1).await?;
    trial.secrets.set(Plan::Always(Fault::Hang));
    // From now on an unknown value makes ingest read the secret again.
    tokio::time::sleep(REFRESH_INTERVAL).await;
    let before = trial.secrets.calls().len();
    let began = Instant::now();
    for _ in 0..20 {
        let unknown = trial.post_with("Bearer wrong").await?;
        assert_eq!(unknown.status, 503, "ingest can't know that it is wrong");
    }
    let asked = trial.secrets.calls().len() - before;
    // Ingest reads three versions at most once a second, each in up to three attempts.
    let seconds = 1 + usize::try_from(began.elapsed().as_secs())?;
    assert!((3..=9 * seconds).contains(&asked), "{asked} calls");
    sent.extend(trial.send(1..10, 1).await?);
    trial.secrets.down().await;
    assert_eq!(trial.post_with("Bearer wrong").await?.status, 503);
    sent.extend(trial.send(10..19, 1).await?);
    assert_eq!(
        trial.undecided().await?,
        21,
        "each undecided delivery must be counted"
    );

    assert!(all_are(202, &sent));
    let verdict = trial.verdict(&sent).await?;
    assert_eq!((verdict.accepted, verdict.spilled), (18, 0));
    Ok(())
}

/// The environment variable that sets the number of deliveries, a multiple of ten:
/// `DELIVERIES=2000 cargo test --test e2e -- of_1000`.
const DELIVERIES: &str = "DELIVERIES";
const DEFAULT_DELIVERIES: u32 = 1000;

#[tokio::test]
async fn of_1000_deliveries_with_30_percent_of_all_calls_failing_none_is_lost_or_doubled()
-> Result<()> {
    let deliveries = from_environment(DELIVERIES, DEFAULT_DELIVERIES)?;
    let trial = Trial::begin().await?;
    let faults = [
        Fault::Throttled,
        Fault::InternalError,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Hang,
        Fault::Slow(Duration::from_secs(2)),
    ];
    trial.sqs.set(Plan::share(0.3, &faults, 2026));
    let sent = trial.send(0..deliveries, 16).await?;
    let of = deliveries as usize;
    for fault in faults {
        let calls = trial.sqs.calls();
        let hit = calls.iter().filter(|call| call.fault == Some(fault));
        let hit = hit.count();
        assert!(
            (of * 35 / 1000..=of / 10).contains(&hit),
            "{fault:?}: {hit}"
        );
    }
    assert!(all_are(202, &sent));
    let verdict = trial.verdict(&sent).await?;
    // Every tenth delivery can't be read.
    let (readable, unreadable) = (of - of / 10, of / 10);
    assert_eq!(
        (verdict.accepted, verdict.quarantined),
        (readable, unreadable)
    );
    assert!(verdict.spilled > 10, "{verdict:?}");
    assert!(verdict.spilled_and_queued > 0, "{verdict:?}");
    assert_eq!(verdict.queued, readable, "{verdict:?}");
    Ok(())
}
