//! The adapters against the services that they adapt to.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use e2e::Local;
use jiff::{SignedDuration, Timestamp};
use local::account::Account;
use processor::ledger::{DynamoLedger, Ledger as _, LedgerError};
use shared::aws::MAX_QUEUED_BYTES;
use shared::ledger::{Claim, ClaimRequest, Item, LedgerKey, RULES, Refusal, Step as Transition};
use shared::quarantine::{Id, Quarantined};
use shared::queue::{Destination, Message, Outgoing};
use shared::spill::{self, Spill};
use uuid::Uuid;

const TABLE: &str = "ledger";
const LEASE: SignedDuration = SignedDuration::from_secs(7);

/// A table with the keys of the template's ledger table.
async fn ledger_table(account: &Account) -> Result<Client> {
    let client = account.dynamodb();
    let attribute = |name: &str| {
        let kind = ScalarAttributeType::S;
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
    };
    let key = |name: &str, kind: KeyType| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
    };
    client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk")?)
        .attribute_definitions(attribute("sk")?)
        .key_schema(key("pk", KeyType::Hash)?)
        .key_schema(key("sk", KeyType::Range)?)
        .send()
        .await?;
    Ok(client)
}

async fn ledger(account: &Account) -> Result<DynamoLedger> {
    let client = ledger_table(account).await?;
    Ok(DynamoLedger::new(client, TABLE.into()))
}

fn key() -> LedgerKey {
    LedgerKey {
        partition: "callout#5003".into(),
        sort: "NEW_CALLOUT".into(),
    }
}

fn request(owner: u128, now: Timestamp, digest: &str) -> ClaimRequest {
    ClaimRequest {
        key: key(),
        digest: digest.into(),
        delivery_id: Uuid::from_u128(99),
        owner: Uuid::from_u128(owner),
        now,
        lease_until: now + LEASE,
        expires_at: now + SignedDuration::from_hours(24),
    }
}

/// What the rules make of the same steps in memory.
#[derive(Default)]
struct Model {
    item: Option<Item>,
}

impl Model {
    fn claim(&mut self, request: &ClaimRequest) -> Result<Result<Claim, Refusal>> {
        if self.take(&RULES.claim(request)) {
            let item = self.item.as_ref().context("no item")?;
            return Ok(Ok(item.claim()?));
        }
        let item = self.item.as_ref().context("no item")?;
        Ok(shared::ledger::refused(item, request)?)
    }

    /// Completing again what this very claim has completed changes nothing and is granted.
    fn complete(&mut self, claim: &Claim) -> bool {
        self.take(&RULES.complete(claim, "bus", Timestamp::MIN))
            || (self.item.as_ref())
                .is_some_and(|item| shared::ledger::is_published_under(item, claim))
    }

    fn release(&mut self, claim: &Claim) -> bool {
        self.take(&RULES.release(claim, Timestamp::UNIX_EPOCH))
    }

    /// Whether the step was granted.
    fn take(&mut self, step: &Transition) -> bool {
        let changed = step.apply(self.item.as_ref());
        let granted = changed.is_some();
        self.item = changed.or(self.item.take());
        granted
    }
}

/// One step of a story about one event. Owners are numbers, times are seconds from its beginning,
/// and completing and releasing is done under the last claim that the owner was granted.
enum Step {
    Claim(u128, i64, &'static str),
    Complete(u128),
    Release(u128),
}

/// DynamoDB and the pure rules give the same answers to the same steps, in every state of an
/// item: absent, held, run out, released, published.
#[tokio::test]
async fn the_ledger_table_keeps_the_ledgers_rules() -> Result<()> {
    use Step::{Claim, Complete, Release};
    let held_until = LEASE.as_secs();
    let stories = [
        vec![
            Claim(1, 0, "a"),
            Complete(1),
            Claim(2, 0, "a"),
            Claim(2, 0, "b"),
        ],
        vec![
            Claim(1, 0, "a"),
            Claim(2, held_until - 1, "a"),
            Claim(2, held_until, "a"),
        ],
        // The first owner stalled past its lease: it changes nothing.
        vec![
            Claim(1, 0, "a"),
            Claim(2, held_until, "a"),
            Complete(1),
            Release(1),
            Complete(2),
        ],
        vec![
            Claim(1, 0, "a"),
            Release(1),
            Claim(2, 0, "b"),
            Release(1),
            Claim(3, 0, "b"),
        ],
        // Published: nothing changes it, however much later.
        vec![
            Claim(1, 0, "a"),
            Complete(1),
            Release(1),
            Claim(2, 1000 * held_until, "a"),
        ],
        // The answer to the first call was lost: the SDK's second meets the first one's claim.
        vec![Claim(1, 0, "a"), Claim(1, 0, "a"), Complete(1), Complete(1)],
    ];
    for (number, story) in stories.into_iter().enumerate() {
        let ledger = ledger(&Local::shared().await?.new_account()).await?;
        follow(&ledger, story)
            .await
            .with_context(|| format!("story {number}"))?;
    }
    Ok(())
}

async fn follow(ledger: &DynamoLedger, story: Vec<Step>) -> Result<()> {
    let mut model = Model::default();
    let mut claims = HashMap::new();
    for (number, step) in story.into_iter().enumerate() {
        match step {
            Step::Claim(owner, second, digest) => {
                let request = request(owner, Timestamp::from_second(second)?, digest);
                let answer = ledger.claim(&request).await?;
                ensure!(
                    answer == model.claim(&request)?,
                    "step {number}: {answer:?}"
                );
                claims.extend(answer.ok().map(|claim| (owner, claim)));
            }
            Step::Complete(owner) => {
                let claim = claims.get(&owner).context("no claim")?;
                let done = granted(ledger.complete(&key(), claim, "bus", Timestamp::MIN).await)?;
                ensure!(done == model.complete(claim), "step {number}");
            }
            Step::Release(owner) => {
                let claim = claims.get(&owner).context("no claim")?;
                let done = granted(ledger.release(&key(), claim, Timestamp::UNIX_EPOCH).await)?;
                ensure!(done == model.release(claim), "step {number}");
            }
        }
    }
    Ok(())
}

/// Whether a fenced step was granted.
fn granted(answer: Result<(), LedgerError>) -> Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(LedgerError::Stale) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn of_many_who_claim_at_once_one_is_granted() -> Result<()> {
    let ledger = ledger(&Local::shared().await?.new_account()).await?;
    let ledger = std::sync::Arc::new(ledger);
    let mut claims = tokio::task::JoinSet::new();
    for owner in 1..=20 {
        let ledger = std::sync::Arc::clone(&ledger);
        claims.spawn(async move {
            ledger
                .claim(&request(owner, Timestamp::UNIX_EPOCH, "a"))
                .await
        });
    }
    let mut granted = 0;
    for claim in claims.join_all().await {
        granted += usize::from(claim.context("claim failed")?.is_ok());
    }
    assert_eq!(granted, 1);
    Ok(())
}

#[tokio::test]
async fn a_call_to_a_table_that_is_not_there_fails_and_says_so() -> Result<()> {
    let account = Local::shared().await?.new_account();
    let ledger = DynamoLedger::new(account.dynamodb(), "absent".into());
    let error = ledger
        .claim(&request(1, Timestamp::UNIX_EPOCH, "a"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("ResourceNotFoundException"), "{error}");
    Ok(())
}

/// A delivery of the day's second `n`.
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
        // Twenty of them are spread over all shards.
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
        id: Id::Delivery(Uuid::from_u128(7)),
        received_at: Timestamp::UNIX_EPOCH,
        body: b"\xff",
        conflict: None,
    };
    let mut deliveries: Vec<_> = (0..40).map(|n| for_ingest(n, n.to_string())).collect();
    // In one shard with each other, and larger together than a page of a query.
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
    for shard in 0..spill::SHARDS {
        let of_shard = spill.oldest(shard, usize::MAX).await?;
        assert!(of_shard.len() > 1, "shard {shard}");
        assert!(of_shard.is_sorted_by_key(|delivery| delivery.delivery_id));
        // No group is in another shard too: its order would be lost.
        let own: HashSet<_> = of_shard
            .iter()
            .map(|delivery| delivery.message.group_id.clone())
            .collect();
        assert!(groups.is_disjoint(&own));
        groups.extend(own);
        assert_eq!(spill.oldest(shard, 1).await?, of_shard[..1]);
        found.extend(of_shard);
    }
    found.sort_by_key(|delivery| delivery.delivery_id);
    assert!(found == deliveries, "what was found is not what was put");

    for delivery in &deliveries {
        spill.remove(delivery).await?;
        spill.remove(delivery).await?;
    }
    let left = account.dynamodb().scan().table_name(TABLE).send().await?;
    assert_eq!(left.count, 0);
    Ok(())
}
