//! Tests that the logs alone tell what became of a delivery, by the id that the endpoint answered.

use anyhow::{Result, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use e2e::sender::Sender;
use e2e::{Local, logs};
use serde_json::json;
use stack::settled::drained;
use stack::system::System;

/// The name of an event that AURA does not document. It must not be logged.
const UNDOCUMENTED: &str = "CALLOUT_TELEPORTED";

/// Sends an event about a callout, and returns the id that the endpoint answered.
async fn event(sender: &Sender, message: &str, callout: u32, text: &str) -> Result<String> {
    let event = json!({"message": message, "callout": {"id": callout}, "text": text});
    sender.send(event.to_string()).await
}

#[tokio::test]
async fn the_logs_tell_the_fate_of_every_delivery_that_was_answered() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    malformed_item(&system, "callout#3").await?;
    let sender = Sender::new(&system).await?;
    // Name, callout and text of each event, its name in the log, and what becomes of it.
    let events = [
        ("NEW_CALLOUT", 1, "a", "NEW_CALLOUT", "published"),
        ("NEW_CALLOUT", 1, "a", "NEW_CALLOUT", "duplicate"),
        ("NEW_CALLOUT", 1, "b", "NEW_CALLOUT", "conflict"),
        (UNDOCUMENTED, 2, "a", "other", "published"),
        ("NEW_CALLOUT", 3, "a", "NEW_CALLOUT", "quarantined"),
    ];
    let mut sent = Vec::new();
    for (message, callout, text, logged, outcome) in events {
        let id = event(&sender, message, callout, text).await?;
        sent.push((id, logged, outcome));
    }
    let unreadable = sender.send("unreadable".to_owned()).await?;
    drained(&system.stack).await?;

    for (id, logged, outcome) in sent {
        let trail = logs::trail(&system.stack, &id).await?;
        assert_eq!(trail.answer, "accepted", "{trail:?}");
        let [only] = trail.tries.as_slice() else {
            bail!("{outcome}: {trail:?}");
        };
        assert_eq!(
            (only.message.as_deref(), &*only.outcome),
            (Some(logged), outcome)
        );
        // One id of SQS's joins what both functions logged.
        assert_eq!(
            trail.message_id.as_ref(),
            Some(&only.message_id),
            "{trail:?}"
        );
    }
    let trail = logs::trail(&system.stack, &unreadable).await?;
    assert_eq!(trail.answer, "quarantined", "{trail:?}");
    assert!(
        trail.message_id.is_some() && trail.tries.is_empty(),
        "{trail:?}"
    );
    let lines = logs::all_lines(&system.stack).await?;
    assert!(!lines.iter().any(|line| line.contains(UNDOCUMENTED)));
    Ok(())
}

/// Puts an item into the ledger that no version has written. So the processor quarantines the event.
async fn malformed_item(system: &System, partition: &str) -> Result<()> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let stack = &system.stack;
    let put = stack.account().dynamodb().put_item();
    put.table_name(stack.output("LedgerTableName")?)
        .item("pk", text(partition))
        .item("sk", text("NEW_CALLOUT"))
        .item("state", text("MALFORMED"))
        .send()
        .await?;
    Ok(())
}
