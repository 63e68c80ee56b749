//! A function that makes the calls to AWS that `processor` makes for a batch, and nothing else. It
//! uses the same clients, and its calls are as long as `processor`'s. Each invocation says which
//! calls to make.

use std::collections::HashMap;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue,
    ReturnValuesOnConditionCheckFailure as OnRefusal,
};
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use bench_peers::plan::{Plan, Step};
use futures::StreamExt as _;
use futures::future::join;
use futures::stream::FuturesOrdered;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use processor::limits;
use shared::config::Environment;

const CLAIM_CONDITION: &str = "(attribute_not_exists(#state)) OR \
    (#state = :claimed AND #leaseUntil <= :now AND \
    #receivedAt >= :earliest AND #receivedAt <= :latest) OR \
    (#state = :claimed AND #leaseUntil <= :now AND attribute_not_exists(#receivedAt))";
const CLAIM: &str = "SET #state = :claimed, #owner = :owner, #leaseUntil = :leaseUntil, \
    #digest = :digest, #deliveryId = :deliveryId, #receivedAt = :receivedAt, \
    #occurrence = :occurrence, #origin = :origin, #expiresAt = :expiresAt ADD #attempt :one";
const MARK_CONDITION: &str = "(#state = :claimed AND #owner = :owner AND #attempt = :attempt)";
const MARK: &str = "SET #state = :published, #busEventId = :busEventId, #publishedAt = :now \
    REMOVE #leaseUntil";
const NOTE: &str = "SET openedAt = if_not_exists(openedAt, :at), expiresAt = :expiresAt";

const ID: &str = "019abc00-0000-7000-8000-000000000000";
const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const MILLISECOND: &str = "1764403200000";
const SECOND: &str = "1764403200";
/// Id of the first entity, as long as AURA's.
const FIRST_ID: usize = 1_000_000_000;
/// A detail is the beginning of this text, as often as it takes. It has as many quotes to escape as
/// a real detail.
const DETAIL: &str = include_str!("../../../events/new-callout.json");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let peer = Peer::new(&Environment::of_process())?;
    let state = tokio::sync::Mutex::new(Ledger::default());
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Plan>| {
        let mut ledger = state.lock().await;
        for step in &event.payload.0 {
            // Boxed, because the whole future is too deep for the compiler.
            Box::pin(peer.make(step, &mut ledger)).await?;
        }
        Ok::<_, Error>(SqsBatchResponse::default())
    }))
    .await
}

struct Peer {
    dynamo: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    eventbridge: aws_sdk_eventbridge::Client,
    table: String,
    bus: String,
    queue_url: String,
}

/// Numbers of the events' items. Each kind of call takes them in the same order.
#[derive(Default)]
struct Ledger {
    claimed: usize,
    marked: usize,
    claimed_again: usize,
}

impl Peer {
    fn new(environment: &Environment) -> Result<Self, Error> {
        let sdk = shared::aws::sdk_config(environment)?;
        let repeatable = limits::REPEATABLE.applied_to(&sdk);
        Ok(Self {
            dynamo: aws_sdk_dynamodb::Client::new(&repeatable),
            sqs: aws_sdk_sqs::Client::new(&repeatable),
            eventbridge: aws_sdk_eventbridge::Client::new(&limits::PUBLISHING.applied_to(&sdk)),
            table: environment.required("LEDGER_TABLE_NAME")?.to_owned(),
            bus: environment.required("EVENT_BUS_NAME")?.to_owned(),
            queue_url: environment.required("INGEST_QUEUE_URL")?.to_owned(),
        })
    }

    async fn make(&self, step: &Step, ledger: &mut Ledger) -> Result<(), Error> {
        match step {
            Step::Hide(records) => self.hide(*records).await,
            Step::LookUp(notes) => self.look_up(*notes).await,
            Step::Claim { new, known } => {
                let granted = numbers(&mut ledger.claimed, *new);
                let refused = numbers(&mut ledger.claimed_again, *known);
                let claims = granted.chain(refused).map(|number| self.claim(number));
                let refusals = side_by_side(claims)
                    .await?
                    .into_iter()
                    .filter(|granted| !granted);
                if refusals.count() == usize::try_from(*known)? {
                    Ok(())
                } else {
                    Err("other claims were refused than those of known events".into())
                }
            }
            Step::Publish(details) => self.publish(details).await,
            Step::End { marks, notes } => {
                let marks = numbers(&mut ledger.marked, *marks).map(|number| self.mark(number));
                let notes = (0..*notes).map(|_| self.note());
                let (marks, notes) = join(side_by_side(marks), side_by_side(notes)).await;
                marks.and(notes).map(drop)
            }
        }
    }

    async fn hide(&self, records: u32) -> Result<(), Error> {
        let entry = |number: u32| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(number.to_string())
                // The value is as long as a real receipt handle.
                .receipt_handle("AQEB".repeat(64))
                .visibility_timeout(13)
                .build()
        };
        let entries: Result<_, _> = (0..records).map(entry).collect();
        let call = self.sqs.change_message_visibility_batch();
        let call = call.queue_url(&self.queue_url).set_entries(Some(entries?));
        call.send().await?;
        Ok(())
    }

    async fn look_up(&self, notes: u32) -> Result<(), Error> {
        let note = |number| key("note/0".to_owned(), &format!("drill/{}", FIRST_ID + number));
        let keys = KeysAndAttributes::builder()
            .set_keys(Some((0..usize::try_from(notes)?).map(note).collect()))
            .projection_expression("sk")
            .consistent_read(true)
            .build()?;
        let call = self.dynamo.batch_get_item();
        call.request_items(&self.table, keys).send().await?;
        Ok(())
    }

    /// Claims an event, and returns whether the claim was granted.
    async fn claim(&self, number: usize) -> Result<bool, Error> {
        let call = self
            .update_event(number)
            .condition_expression(CLAIM_CONDITION)
            .update_expression(CLAIM);
        let call = named(
            call,
            &[
                "state",
                "owner",
                "leaseUntil",
                "digest",
                "deliveryId",
                "receivedAt",
                "occurrence",
                "origin",
                "expiresAt",
                "attempt",
            ],
        );
        let call = [
            (":claimed", "CLAIMED"),
            (":owner", ID),
            (":digest", DIGEST),
            (":deliveryId", ID),
            (":origin", "webhook"),
        ]
        .into_iter()
        .fold(call, with_text);
        let call = [
            (":now", MILLISECOND),
            (":earliest", MILLISECOND),
            (":latest", MILLISECOND),
            (":leaseUntil", MILLISECOND),
            (":receivedAt", MILLISECOND),
            (":occurrence", "1"),
            (":expiresAt", SECOND),
            (":one", "1"),
        ]
        .into_iter()
        .fold(call, with_number);
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(error.into()),
            },
        }
    }

    async fn mark(&self, number: usize) -> Result<(), Error> {
        let call = self
            .update_event(number)
            .condition_expression(MARK_CONDITION)
            .update_expression(MARK);
        let names = [
            "state",
            "owner",
            "attempt",
            "busEventId",
            "publishedAt",
            "leaseUntil",
        ];
        let call = [
            (":claimed", "CLAIMED"),
            (":published", "PUBLISHED"),
            (":owner", ID),
            (":busEventId", ID),
        ]
        .into_iter()
        .fold(named(call, &names), with_text);
        let call = [(":attempt", "1"), (":now", MILLISECOND)]
            .into_iter()
            .fold(call, with_number);
        call.send().await?;
        Ok(())
    }

    async fn note(&self) -> Result<(), Error> {
        let call = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key("open/0".to_owned(), &FIRST_ID.to_string())))
            .update_expression(NOTE);
        let call = [(":at", MILLISECOND), (":expiresAt", SECOND)]
            .into_iter()
            .fold(call, with_number);
        call.send().await?;
        Ok(())
    }

    fn update_event(&self, number: usize) -> UpdateItemFluentBuilder {
        let partition = format!("callout#{}", FIRST_ID + number);
        self.dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(partition, "NEW_CALLOUT")))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(OnRefusal::AllOld)
    }

    async fn publish(&self, details: &[usize]) -> Result<(), Error> {
        let entry = |bytes: &usize| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.bus)
                .source(shared::published::SOURCE)
                .detail_type("NEW_CALLOUT")
                .time(DateTime::from_secs(1_764_403_200))
                .detail(detail(*bytes))
                .build()
        };
        let entries = details.iter().map(entry).collect();
        let call = self.eventbridge.put_events().set_entries(Some(entries));
        call.send().await?;
        Ok(())
    }
}

/// The next `count` numbers after those that were taken before.
fn numbers(taken: &mut usize, count: u32) -> impl Iterator<Item = usize> + use<> {
    let first = *taken;
    *taken += count as usize;
    first..*taken
}

fn key(partition: String, sort: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(partition)),
        ("sk".to_owned(), AttributeValue::S(sort.to_owned())),
    ])
}

fn named(call: UpdateItemFluentBuilder, names: &[&str]) -> UpdateItemFluentBuilder {
    let with_name = |call: UpdateItemFluentBuilder, name: &&str| {
        call.expression_attribute_names(format!("#{name}"), *name)
    };
    names.iter().fold(call, with_name)
}

fn with_text(
    call: UpdateItemFluentBuilder,
    (placeholder, text): (&str, &str),
) -> UpdateItemFluentBuilder {
    call.expression_attribute_values(placeholder, AttributeValue::S(text.to_owned()))
}

fn with_number(
    call: UpdateItemFluentBuilder,
    (placeholder, number): (&str, &str),
) -> UpdateItemFluentBuilder {
    call.expression_attribute_values(placeholder, AttributeValue::N(number.to_owned()))
}

fn detail(bytes: usize) -> String {
    let mut detail = DETAIL.repeat(bytes.div_ceil(DETAIL.len()));
    detail.truncate(bytes);
    detail
}

/// Waits for all calls, as `processor` does.
async fn side_by_side<T>(
    calls: impl Iterator<Item = impl Future<Output = Result<T, Error>>>,
) -> Result<Vec<T>, Error> {
    let calls: FuturesOrdered<_> = calls.collect();
    let answers: Vec<_> = calls.collect().await;
    answers.into_iter().collect()
}
