//! A function that only puts each request's body on the ingest queue. It uses `ingest`'s client,
//! and adds as many bytes around the body as `ingest` does.

use aws_sdk_sqs::Client;
use bench_peers::accepted;
use ingest::limits;
use lambda_http::{Error, Request, RequestExt as _, service_fn};
use shared::config::Environment;

/// The part of the envelope before the payload: as long as the real one, with as many quotes to
/// escape.
const ENVELOPE: &str = concat!(
    r#"{"version":1,"deliveryId":"019abc00-0000-7000-8000-000000000000","#,
    r#""receivedAt":"2026-11-22T08:00:00.123456789Z","origin":"webhook","payload":"#
);
/// A group id that is as long as a `NEW_CALLOUT`'s.
const GROUP_ID: &str = "callout#1000000000";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let queue_url = std::env::var("INGEST_QUEUE_URL")?;
    let sdk = shared::aws::sdk_config(&Environment::of_process())?;
    let client = Client::new(&limits::QUEUE.applied_to(&sdk));
    lambda_http::run(service_fn(async |request: Request| {
        let body = std::str::from_utf8(request.body())?;
        client
            .send_message()
            .queue_url(&queue_url)
            .message_group_id(GROUP_ID)
            .message_deduplication_id(&request.lambda_context().request_id)
            .message_body([ENVELOPE, body, "}"].concat())
            .send()
            .await?;
        Ok::<_, Error>(accepted())
    }))
    .await
}
