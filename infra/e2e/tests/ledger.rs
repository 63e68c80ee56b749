//! Tests of the ledger's adapter against DynamoDB: for every call on an item, the table answers as
//! the pure rules do, and the item is the same afterwards.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use e2e::Local;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use shared::envelope::Origin;
use shared::ledger::{
    self, Claim, ClaimRefusal, ClaimRequest, EventLedger, Item, LedgerError, LedgerKey,
    MOST_OCCURRENCES, Occurrences, RULES, State, Transition, Value,
};
use stack::account::Account;
use uuid::Uuid;

pub const TABLE: &str = "ledger";

const LEASE: SignedDuration = SignedDuration::from_secs(7);
const MILLISECOND: SignedDuration = SignedDuration::from_millis(1);

/// A table with the keys of the template's ledger table.
pub async fn ledger_table(account: &Account) -> Result<Client> {
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

fn key(callout: u64) -> LedgerKey {
    LedgerKey {
        partition: format!("callout#{callout}"),
        sort: "NEW_CALLOUT".into(),
    }
}

fn request(key: LedgerKey, owner: Uuid, now: Timestamp, digest: &str) -> ClaimRequest {
    ClaimRequest {
        key,
        digest: digest.into(),
        delivery_id: Uuid::from_u128(99),
        received_at: now,
        repeat_window: None,
        origin: Origin::Webhook,
        owner,
        now,
        lease_until: now + LEASE,
        expires_at: now + SignedDuration::from_hours(24),
    }
}

/// State of an item before a step, by the clock of the worker that takes the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Before {
    Absent,
    Held,
    AtItsEnd,
    RunOut,
    Published,
}

/// A step, in relation to the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Claim {
        by_its_owner: bool,
        same_digest: bool,
    },
    Complete {
        is_current: bool,
    },
    Release {
        is_current: bool,
    },
    /// DynamoDB's TTL removes the item.
    Expiry,
}

/// Every pair that can occur. An absent item has no owner, and nothing equals it.
fn all_pairs() -> BTreeSet<(Before, Kind)> {
    let either = [false, true];
    let claims = either.map(|by_its_owner| {
        either.map(|same_digest| Kind::Claim {
            by_its_owner,
            same_digest,
        })
    });
    let completions = either.map(|is_current| Kind::Complete { is_current });
    let releases = either.map(|is_current| Kind::Release { is_current });
    let kinds = [claims.as_flattened(), &completions, &releases].concat();
    let with = |before| kinds.iter().map(move |kind| (before, *kind));
    let states = [
        Before::Held,
        Before::AtItsEnd,
        Before::RunOut,
        Before::Published,
    ];
    let foreign = [
        Kind::Claim {
            by_its_owner: false,
            same_digest: false,
        },
        Kind::Complete { is_current: false },
        Kind::Release { is_current: false },
    ];
    let absent = foreign.map(|kind| (Before::Absent, kind));
    states.into_iter().flat_map(with).chain(absent).collect()
}

/// The repeat window in stories of a recurring event: deliveries that arrive within it are copies.
const WINDOW: Duration = Duration::from_mins(5);

/// One event, in memory and in the table, with all claims that were granted.
struct Story {
    ledger: Arc<EventLedger>,
    table: Client,
    key: LedgerKey,
    known: Occurrences,
    /// The repeat window of a recurring event.
    window: Option<Duration>,
    claims: Vec<Claim>,
    random: ChaCha8Rng,
    seen: BTreeSet<(Before, Kind)>,
}

impl Story {
    /// Takes random steps, and compares memory and table after each.
    async fn run(mut self, steps: usize) -> Result<BTreeSet<(Before, Kind)>> {
        for number in 0..steps {
            let before = self.known.0.get(&1).cloned();
            let step = self.step().await;
            let (now, kind) = step.with_context(|| format!("{}: step {number}", self.key))?;
            let pair = (state(before.as_ref(), now)?, kind);
            let item = self.stored().await?;
            ensure!(
                item == attributes(&self.key, &self.known),
                "{}: step {number}, {pair:?} at {now}: the table has {item:?}, expected {:?}",
                self.key,
                self.known
            );
            if self.window.is_none() {
                self.seen.insert(pair);
            }
        }
        Ok(self.seen)
    }

    async fn step(&mut self) -> Result<(Timestamp, Kind)> {
        let now = self.clock()?;
        let kind = match self.random.random_range(0..16) {
            0..8 => self.claim(now).await?,
            8..11 => self.complete(now).await?,
            11..15 => self.release(now).await?,
            _ => self.expire().await?,
        };
        Ok((now, kind))
    }

    async fn claim(&mut self, now: Timestamp) -> Result<Kind> {
        let owner = Uuid::from_u128(self.random.random_range(1..=3));
        let digest = *["a", "b"]
            .choose(&mut self.random)
            .context("there is no digest to choose from")?;
        let kind = Kind::Claim {
            by_its_owner: self.current().is_some_and(|claim| claim.owner == owner),
            same_digest: match self.known.0.get(&1) {
                Some(item) => item.digest()? == digest,
                None => false,
            },
        };
        let arrived = *[0, 250, 1000, 1300]
            .choose(&mut self.random)
            .context("there is no arrival to choose from")?;
        let request = ClaimRequest {
            received_at: Timestamp::from_second(arrived)?,
            repeat_window: self.window,
            ..request(self.key.clone(), owner, now, digest)
        };
        let expected = self.known.claim(&request)?;
        let answer = self.ledger.claim(&request).await?;
        ensure!(
            answer == expected,
            "{kind:?} at {now}: the answer is {answer:?}, expected {expected:?}"
        );
        self.claims.extend(answer.ok());
        Ok(kind)
    }

    /// A claim that completed the event may complete it again: that is granted and changes nothing.
    async fn complete(&mut self, now: Timestamp) -> Result<Kind> {
        let claim = self.some_claim()?;
        let is_current = self.is_current(&claim);
        let bus_event_id = format!("bus-{}", self.random.random_range(0..1000));
        let is_granted = self.take(&RULES.complete(&claim, &bus_event_id, now));
        let item = self.known.0.get(&claim.occurrence);
        let expected =
            is_granted || item.is_some_and(|item| ledger::is_published_under(item, &claim));
        let completed = self.ledger.complete(&self.key, &claim, &bus_event_id, now);
        let answer = granted(completed.await)?;
        let kind = Kind::Complete { is_current };
        ensure!(answer == expected, "{kind:?} at {now}: {answer}");
        Ok(kind)
    }

    async fn release(&mut self, now: Timestamp) -> Result<Kind> {
        let claim = self.some_claim()?;
        let is_current = self.is_current(&claim);
        let expected = self.take(&RULES.release(&claim, now));
        let answer = granted(self.ledger.release(&self.key, &claim, now).await)?;
        let kind = Kind::Release { is_current };
        ensure!(answer == expected, "{kind:?} at {now}: {answer}");
        Ok(kind)
    }

    async fn expire(&mut self) -> Result<Kind> {
        let delete = self.table.delete_item().table_name(TABLE);
        let key = &self.key;
        delete
            .key("pk", AttributeValue::S(key.partition.clone()))
            .key("sk", AttributeValue::S(key.sort.clone()))
            .send()
            .await?;
        self.known = Occurrences::default();
        Ok(Kind::Expiry)
    }

    /// Whether the step is allowed. An allowed step is applied in memory.
    fn take(&mut self, step: &Transition) -> bool {
        let after = self.known.after(step);
        let is_allowed = after.is_some();
        self.known = after.unwrap_or(std::mem::take(&mut self.known));
        is_allowed
    }

    /// The claim to which the state of one of the occurrences belongs.
    fn current(&mut self) -> Option<Claim> {
        let items: Vec<_> = self.known.0.values().collect();
        items.choose(&mut self.random)?.claim().ok()
    }

    fn is_current(&self, claim: &Claim) -> bool {
        let item = self.known.0.get(&claim.occurrence);
        item.and_then(|item| item.claim().ok()) == Some(*claim)
    }

    /// Returns the current claim in half of the calls. In the other half, it returns a claim that
    /// was granted at any time, or one that was never granted: another worker's attempt, or the
    /// next attempt.
    fn some_claim(&mut self) -> Result<Claim> {
        if let Some(current) = self.current()
            && self.random.random()
        {
            return Ok(current);
        }
        let owner = Uuid::from_u128(self.random.random_range(1..=3));
        let attempt = self.random.random_range(1..=3);
        let forged = Claim {
            owner,
            attempt,
            occurrence: 1,
        };
        let claims = [self.claims.as_slice(), &[forged]].concat();
        claims
            .choose(&mut self.random)
            .copied()
            .context("there is no claim to choose from")
    }

    /// A time inside a lease, at its very end, or after it; without a lease, any time.
    fn clock(&mut self) -> Result<Timestamp> {
        let items: Vec<_> = self.known.0.values().collect();
        let item = items.choose(&mut self.random);
        let state = item.map(|item| item.state()).transpose()?;
        let end = match state {
            Some(State::Claimed { lease_until, .. }) => lease_until,
            _ => Timestamp::from_second(self.random.random_range(1_000..2_000))?,
        };
        let hour = SignedDuration::from_hours(1);
        let from_end = [
            -hour,
            -LEASE,
            -MILLISECOND,
            SignedDuration::ZERO,
            MILLISECOND,
            hour,
        ];
        let from_end = from_end
            .choose(&mut self.random)
            .context("there is no time to choose from")?;
        Ok(end.checked_add(*from_end)?)
    }

    /// The item's attributes; empty if there is no item.
    async fn stored(&self) -> Result<HashMap<String, AttributeValue>> {
        let get = self
            .table
            .get_item()
            .table_name(TABLE)
            .consistent_read(true);
        let key = &self.key;
        let answer = get
            .key("pk", AttributeValue::S(key.partition.clone()))
            .key("sk", AttributeValue::S(key.sort.clone()))
            .send();
        Ok(answer.await?.item.unwrap_or_default())
    }
}

fn state(item: Option<&Item>, now: Timestamp) -> Result<Before> {
    let Some(item) = item else {
        return Ok(Before::Absent);
    };
    Ok(match item.state()? {
        State::Published { .. } => Before::Published,
        State::Claimed { lease_until, .. } if now < lease_until => Before::Held,
        State::Claimed { lease_until, .. } if now == lease_until => Before::AtItsEnd,
        State::Claimed { .. } => Before::RunOut,
    })
}

/// All attributes that the event's item must have in the table.
fn attributes(key: &LedgerKey, known: &Occurrences) -> HashMap<String, AttributeValue> {
    if known.0.is_empty() {
        return HashMap::new();
    }
    let own = known.0.iter().flat_map(|(number, item)| {
        item.0.iter().map(|(attribute, value)| {
            let value = match value {
                Value::Text(text) => AttributeValue::S(text.clone()),
                Value::Number(number) => AttributeValue::N(number.to_string()),
            };
            (attribute.name_in(*number).into_owned(), value)
        })
    });
    let key = [
        ("pk".to_owned(), AttributeValue::S(key.partition.clone())),
        ("sk".to_owned(), AttributeValue::S(key.sort.clone())),
    ];
    own.chain(key).collect()
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
async fn dynamodb_and_the_pure_rules_make_the_same_of_every_step_in_every_state() -> Result<()> {
    const STORIES: u64 = 300;
    const STEPS: usize = 8;
    let account = Local::shared().await?.new_account();
    let table = ledger_table(&account).await?;
    let ledger = Arc::new(EventLedger::new(table.clone(), TABLE.into()));
    let story = |seed| Story {
        ledger: Arc::clone(&ledger),
        table: table.clone(),
        key: key(seed),
        known: Occurrences::default(),
        window: (seed % 3 == 0).then_some(WINDOW),
        claims: Vec::new(),
        random: ChaCha8Rng::seed_from_u64(seed),
        seen: BTreeSet::new(),
    };
    let mut seen = BTreeSet::new();
    let seeds: Vec<_> = (0..STORIES).collect();
    for some in seeds.chunks(20) {
        let stories = some.iter().map(|seed| story(*seed).run(STEPS));
        seen.extend(try_join_all(stories).await?.into_iter().flatten());
    }
    // A pair that no step reached isn't tested.
    let unseen: Vec<_> = all_pairs().difference(&seen).copied().collect();
    assert!(unseen.is_empty(), "{unseen:?}");
    Ok(())
}

/// A DynamoDB item may have 400 kB at most.
#[tokio::test]
async fn of_an_event_that_keeps_recurring_the_first_and_the_latest_are_remembered() -> Result<()> {
    let table = ledger_table(&Local::shared().await?.new_account()).await?;
    let ledger = EventLedger::new(table, TABLE.into());
    let most = u32::try_from(MOST_OCCURRENCES)?;
    let arrival = |number: u32| Timestamp::from_second(i64::from(number) * 1000);
    let request = |number: u32| {
        let request = request(
            key(1),
            Uuid::from_u128(number.into()),
            arrival(number)?,
            "a",
        );
        let repeat_window = Some(WINDOW);
        anyhow::Ok(ClaimRequest {
            repeat_window,
            ..request
        })
    };
    for number in 1..=most + 2 {
        let request = request(number)?;
        let claim = ledger
            .claim(&request)
            .await?
            .ok()
            .context("the claim was refused")?;
        ensure!(claim.occurrence == number, "{claim:?}");
        let completed = ledger.complete(&request.key, &claim, "bus", arrival(number)?);
        completed.await?;
    }
    let timeline = ledger.timeline("callout#1").await?;
    let mut occurrences: Vec<_> = timeline
        .iter()
        .map(|(_, item)| item.claim().map(|claim| claim.occurrence))
        .collect::<Result<_, _>>()?;
    occurrences.sort_unstable();
    let expected: Vec<_> = [1].into_iter().chain(4..=most + 2).collect();
    assert_eq!(occurrences, expected);
    for remembered in [1, 4, most + 2] {
        let answer = ledger.claim(&request(remembered)?).await?;
        assert_eq!(answer, Err(ClaimRefusal::Duplicate), "{remembered}");
    }
    Ok(())
}

#[tokio::test]
async fn of_many_who_claim_at_once_one_is_granted() -> Result<()> {
    let table = ledger_table(&Local::shared().await?.new_account()).await?;
    let ledger = Arc::new(EventLedger::new(table, TABLE.into()));
    let mut claims = tokio::task::JoinSet::new();
    for owner in 1..=20 {
        let ledger = Arc::clone(&ledger);
        let owner = Uuid::from_u128(owner);
        let request = request(key(1), owner, Timestamp::UNIX_EPOCH, "a");
        claims.spawn(async move { ledger.claim(&request).await });
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
    let ledger = EventLedger::new(account.dynamodb(), "absent".into());
    let request = request(key(1), Uuid::from_u128(1), Timestamp::UNIX_EPOCH, "a");
    let error = ledger.claim(&request).await.unwrap_err().to_string();
    assert!(error.contains("ResourceNotFoundException"), "{error}");
    Ok(())
}
