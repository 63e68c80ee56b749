//! Tests of the adapters against their services. The ledger's adapter has tests of its own.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use e2e::Local;
use jiff::Timestamp;
use shared::aws::MAX_QUEUED_BYTES;
use shared::ledger::SHARDS;
use shared::ledger::notes::{Note, Notes};
use shared::ledger::spill::{Spill, Spilled};
use shared::quarantine::{QuarantineId, Quarantined};
use shared::queue::{Destination, Message, Outgoing};
use uuid::Uuid;

use crate::ledger::{TABLE, ledger_table};

/// A delivery that arrives in second `n` of the day.
fn outgoing(n: u8, destination: Destination, message: Message) -> Outgoing {
    Outgoing {
        delivery_id: Uuid::new_v7(uuid::Timestamp::from_unix_time(n.into(), 0, 0, 0)),
        destination,
        message,
    }
}

fn for_ingest(n: u8, body: String) -> Outgoing {
    let message = Message {
        body,
        // Twenty groups are spread over all shards.
        group_id: format!("callout#{}", n % 20),
        deduplication_id: n.to_string(),
        attributes: BTreeMap::new(),
    };
    outgoing(n, Destination::Ingest, message)
}

#[tokio::test]
async fn what_is_spilled_is_found_whole_and_oldest_first_until_it_is_removed() -> Result<()> {
    let account = Local::shared().await?.new_account();
    let spill = Spill::new(ledger_table(&account).await?, TABLE.into());
    let quarantined = Quarantined {
        reason: "not-utf8",
        id: QuarantineId::Delivery(Uuid::from_u128(7)),
        received_at: Timestamp::UNIX_EPOCH,
        body: b"\xff",
        conflict: None,
    };
    let mut deliveries: Vec<_> = (0..40).map(|n| for_ingest(n, n.to_string())).collect();
    // Three deliveries of one shard that together are larger than a page of a query.
    deliveries.push(for_ingest(40, "\u{20ac}".repeat(MAX_QUEUED_BYTES / 3)));
    deliveries.push(for_ingest(60, "x".repeat(MAX_QUEUED_BYTES)));
    let message = quarantined.message();
    deliveries.push(outgoing(61, Destination::Quarantine, message));
    for delivery in deliveries.iter().rev() {
        spill.put(delivery).await?;
        spill.put(delivery).await?;
    }

    let mut found = Vec::new();
    let mut groups = HashSet::new();
    for shard in 0..SHARDS {
        let of_shard = deliveries_of(spill.page(shard, None, usize::MAX).await?)?;
        assert!(of_shard.len() > 1, "shard {shard}");
        assert!(of_shard.is_sorted_by_key(|delivery| delivery.delivery_id));
        // A group that is in two shards would lose its order.
        let own: HashSet<_> = of_shard
            .iter()
            .map(|delivery| delivery.message.group_id.clone())
            .collect();
        assert!(groups.is_disjoint(&own));
        groups.extend(own);
        // Read page by page, the result is the same, however large a delivery is.
        let (mut by_page, mut after) = (Vec::new(), None);
        loop {
            let page = spill.page(shard, after.as_ref(), 2).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.position());
            by_page.extend(deliveries_of(page)?);
        }
        assert!(by_page == of_shard, "shard {shard}");
        found.extend(of_shard);
    }
    found.sort_by_key(|delivery| delivery.delivery_id);
    assert!(
        found == deliveries,
        "the deliveries found differ from those spilled"
    );

    for delivery in &deliveries {
        spill.remove(delivery).await?;
        spill.remove(delivery).await?;
    }
    let left = account.dynamodb().scan().table_name(TABLE).send().await?;
    assert_eq!(left.count, 0);
    Ok(())
}

fn deliveries_of(spilled: Vec<Spilled>) -> Result<Vec<Outgoing>> {
    let delivery = |spilled| match spilled {
        Spilled::Delivery(delivery) => Ok(delivery),
        Spilled::Unreadable { error, .. } => Err(error.into()),
    };
    spilled.into_iter().map(delivery).collect()
}

#[tokio::test]
async fn notes_are_found_by_one_look_up_and_noting_again_extends_them() -> Result<()> {
    let account = Local::shared().await?.new_account();
    let client = ledger_table(&account).await?;
    let notes = Notes::new(client.clone(), TABLE.into());
    notes.connect().await?;
    let (mut asked, mut expected) = (Vec::new(), Vec::new());
    for n in 0..50_u8 {
        // An id may hold any characters.
        let drill = Note::drill(&format!("{n}#/%{{\u{20ac}\""));
        let kept = Note::kept(Uuid::from_u128(n.into()));
        if n.is_multiple_of(2) {
            notes.write(&drill, Timestamp::from_second(100)?).await?;
        } else {
            notes.write(&kept, Timestamp::from_second(100)?).await?;
        }
        asked.extend([drill, kept]);
        expected.extend([n.is_multiple_of(2), !n.is_multiple_of(2)].map(Some));
    }
    let known = notes.look_up(&asked).await?;
    let found: Vec<_> = asked.iter().map(|note| known.is_noted(note)).collect();
    assert_eq!(found, expected);

    notes.write(&asked[0], Timestamp::from_second(200)?).await?;
    let items = client.scan().table_name(TABLE).send().await?;
    let expiries = items.items().iter().map(|item| item["expiresAt"].as_n());
    let mut expiries: Vec<_> = expiries.filter_map(std::result::Result::ok).collect();
    expiries.sort();
    assert_eq!(expiries.len(), 50);
    assert_eq!(
        (expiries[48].as_str(), expiries[49].as_str()),
        ("100", "200")
    );
    Ok(())
}
