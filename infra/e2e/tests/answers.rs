//! Tests of the endpoint's answers through the HTTP API, and of what it stores. (`ingest_faults`
//! tests the answers while a service fails.)

use anyhow::{Context as _, Result};
use e2e::{Local, logs};
use prove::contract;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shared::aws::MAX_QUEUED_BYTES;
use stack::consumers::{Consumers, QUEUES, Queue};
use stack::ledger;
use stack::settled::{all_published, drained};
use stack::stack::Stack;
use stack::system::{Header, Leftovers, System, Webhook};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NEW_CALLOUT: &str = include_str!("../../events/new-callout.json");

async fn system(changes: &[(&str, &str)]) -> Result<(System, Webhook, Client)> {
    let system = Local::shared().await?.system(changes).await?;
    let webhook = system.webhook().await?;
    Ok((system, webhook, shared::http_client::build()?))
}

/// A URL of the API with another path than the webhook's.
fn beside(webhook: &Webhook, path: &str) -> Result<String> {
    let base = webhook.webhook_url.strip_suffix("/aura/events");
    Ok(format!(
        "{}{path}",
        base.context("the webhook's URL doesn't end with its path")?
    ))
}

/// The webhook with a header replaced.
fn with_header(webhook: &Webhook, name: &str, value: &str) -> Webhook {
    Webhook {
        header: Header {
            name: name.into(),
            value: value.into(),
        },
        ..webhook.clone()
    }
}

/// Asserts that no queue and no table holds anything: a refused request leaves no trace.
async fn assert_nothing_stored(stack: &Stack) -> Result<()> {
    drained(stack).await?;
    assert!(
        ledger::items(stack).await?.is_empty(),
        "the ledger holds items"
    );
    assert!(
        Leftovers::count(stack).await?.is_none(),
        "messages are left in queues"
    );
    for output in QUEUES {
        let queue = Queue::new(stack.account().sqs(), stack.output(output)?);
        assert_eq!(queue.depth().await?, 0, "{output}");
    }
    Ok(())
}

/// Posts a request with a raw head, which an HTTP client would correct.
async fn post_raw(url: &str, query: &[u8], header: &[u8], body: &str) -> Result<u16> {
    let url: reqwest::Url = url.parse()?;
    let address = (
        url.host_str().context("the URL has no host")?,
        url.port().context("the URL has no port")?,
    );
    let mut connection = TcpStream::connect(address).await?;
    let end = format!(
        "\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let path = url.path().as_bytes();
    let host = b" HTTP/1.1\r\nhost: localhost\r\n";
    let request = [b"POST ", path, query, host, header, end.as_bytes()].concat();
    connection.write_all(&request).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .context("the answer has no status")?;
    Ok(status.parse()?)
}

#[tokio::test]
async fn without_the_secret_nobody_gets_in() -> Result<()> {
    let (system, webhook, http) = system(&[]).await?;
    let Header { name, value } = &webhook.header;
    let secret = value.strip_prefix("Bearer ").context("another scheme")?;
    let wrong = [
        (name.as_str(), "Bearer wrong"),
        (name, ""),
        (name, secret),
        (name, &value.to_lowercase()),
        (name, &format!("{value}x")),
        (name, value.split_at(value.len() - 1).0),
        ("x-api-key", value),
    ];
    for (name, value) in wrong {
        let answer = with_header(&webhook, name, value)
            .post(&http, NEW_CALLOUT.into())
            .await?;
        assert_eq!(
            (answer.status, &answer.body["status"]),
            (401, &json!(401)),
            "{answer:?}"
        );
    }
    let twice = http
        .post(&webhook.webhook_url)
        .header(name, value)
        .header(name, value);
    assert_eq!(twice.body(NEW_CALLOUT).send().await?.status(), 401);
    let without = http.post(&webhook.webhook_url).body(NEW_CALLOUT);
    assert_eq!(without.send().await?.status(), 401);
    let not_text = b"authorization: Bearer \xff\xfe";
    assert_eq!(
        post_raw(&webhook.webhook_url, b"", not_text, NEW_CALLOUT).await?,
        401
    );
    // With an invalid query string, anybody could make the endpoint answer 500.
    let forged = b"authorization: Bearer wrong";
    assert_eq!(
        post_raw(&webhook.webhook_url, b"?<>&=%zz", forged, NEW_CALLOUT).await?,
        401
    );
    // The same holds for headers that HTTP doesn't allow.
    let illegal = [&b"x-a: a\x01b\r\nx-b: \x7f\r\n"[..], forged].concat();
    assert_eq!(
        post_raw(&webhook.webhook_url, b"", &illegal, NEW_CALLOUT).await?,
        401
    );
    assert_nothing_stored(&system.stack).await?;

    let upper = format!("{}: bearer {secret}", name.to_uppercase());
    let upper = post_raw(&webhook.webhook_url, b"", upper.as_bytes(), NEW_CALLOUT).await?;
    assert_eq!(upper, 202);
    Ok(())
}

#[tokio::test]
async fn another_path_method_or_size_is_refused() -> Result<()> {
    let (system, webhook, http) = system(&[]).await?;
    let Header { name, value } = &webhook.header;
    let ask = async |method: Method, url: &str| {
        let request = http
            .request(method, url)
            .header(name, value)
            .body(NEW_CALLOUT);
        anyhow::Ok(request.send().await?.status())
    };
    for path in [
        "/",
        "/aura",
        "/aura/events/",
        "/AURA/EVENTS",
        "/aura/events/x",
        "/health/",
    ] {
        let status = ask(Method::POST, &beside(&webhook, path)?).await?;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        let status = ask(method, &webhook.webhook_url).await?;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
    let too_large = " ".repeat(MAX_QUEUED_BYTES + 1);
    assert_eq!(webhook.post(&http, too_large.into()).await?.status, 413);
    assert_nothing_stored(&system.stack).await?;

    let refused = http.get(&webhook.webhook_url).send().await?;
    assert_eq!(refused.headers()["allow"], "POST");
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );
    let problem: Value = serde_json::from_str(&refused.text().await?)?;
    assert_eq!(problem["title"], "Method Not Allowed");
    Ok(())
}

#[tokio::test]
async fn the_address_that_api_gateway_saw_decides_and_no_header_does() -> Result<()> {
    let elsewhere = "192.0.2.0/24,2001:db8::/32";
    let (system, webhook, http) = system(&[("AllowedSourceCidrs", elsewhere)]).await?;
    let Header { name, value } = &webhook.header;
    for claimed in [
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "cf-connecting-ip",
    ] {
        let request = http.post(&webhook.webhook_url).header(name, value);
        let request = request.header(claimed, "192.0.2.1").body(NEW_CALLOUT);
        assert_eq!(request.send().await?.status(), 403, "{claimed}");
    }
    assert_nothing_stored(&system.stack).await?;
    let lines = logs::all_lines(&system.stack).await?;
    let told = lines.iter().any(|line| line.contains("\"WrongAddress\":1"));
    assert!(told, "the right secret from a wrong address isn't counted");
    assert_eq!(
        http.get(beside(&webhook, "/health")?)
            .send()
            .await?
            .status(),
        200
    );

    let local = Local::shared().await?;
    let here = [("AllowedSourceCidrs", "192.0.2.0/24,127.0.0.1")];
    let stack = local.update(&system.stack, &here).await?;
    let webhook = Webhook::of(&stack).await?;
    assert_eq!(webhook.post(&http, NEW_CALLOUT.into()).await?.status, 202);
    Ok(())
}

#[tokio::test]
async fn what_is_accepted_is_published_whatever_its_wrapping() -> Result<()> {
    let (system, webhook, http) = system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let Header { name, value } = &webhook.header;
    let body = |id: usize| json!({"message": "NEW_CALLOUT", "callout": {"id": id}}).to_string();
    let types = [
        "application/json",
        "text/plain",
        "application/octet-stream",
        "nonsense",
    ];
    let mut delivery_ids = Vec::new();
    for (id, content_type) in types.into_iter().enumerate() {
        let request = http.post(&webhook.webhook_url).header(name, value);
        let answer = request
            .header("content-type", content_type)
            .body(body(id))
            .send()
            .await?;
        assert_eq!(answer.status(), 202, "{content_type}");
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        assert_eq!(answer["status"], "accepted", "{content_type}");
        delivery_ids.push(
            answer["deliveryId"]
                .as_str()
                .context("the answer has no delivery id")?
                .to_owned(),
        );
    }
    let marked = format!("\u{FEFF}{}", body(types.len()));
    let answer = webhook.post(&http, marked.into()).await?;
    delivery_ids.push(
        answer
            .delivery_id()
            .context("the answer has no delivery id")?
            .to_owned(),
    );
    let header = format!("{name}: {value}");
    let odd_query = post_raw(&webhook.webhook_url, b"?<", header.as_bytes(), &body(99)).await?;
    assert_eq!(odd_query, 202);
    let illegal = format!("x-a: a\u{1}b\r\n{header}");
    let illegal = post_raw(&webhook.webhook_url, b"", illegal.as_bytes(), &body(100)).await?;
    assert_eq!(illegal, 202);
    let lines = logs::all_lines(&system.stack).await?;
    let counted = lines
        .iter()
        .any(|line| line.contains("\"DroppedHeaders\":1"));
    assert!(counted, "the dropped header isn't counted");

    let published = all_published(&system.stack, &mut consumers).await?;
    assert_eq!(published.len(), types.len() + 3);
    for id in delivery_ids {
        assert!(published.iter().any(|event| event.detail.delivery_id == id));
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_understood_is_quarantined_whole_with_its_reason() -> Result<()> {
    let (system, webhook, http) = system(&[]).await?;
    let cases: [(&[u8], &str, &str); 3] = [
        (br#"{"message": "NEW_CALLOUT"}"#, "entity-missing", "text"),
        (b"\xff\x00 not text", "not-utf8", "base64"),
        (b"", "not-json", "empty"),
    ];
    let url = system.stack.output("QuarantineQueueUrl")?;
    let Header { name, value } = &webhook.header;
    for (body, reason, encoding) in cases {
        // With a JSON content type, API Gateway would pass the bytes on as text.
        let request = http.post(&webhook.webhook_url).header(name, value);
        let request = request.header("content-type", "application/octet-stream");
        let answer = request.body(body).send().await?;
        assert_eq!(answer.status(), 202);
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        assert_eq!(answer["status"], "quarantined");
        let sqs = system.stack.account().sqs();
        let call = sqs
            .receive_message()
            .queue_url(url)
            .message_attribute_names("All");
        let received = call.wait_time_seconds(5).send().await?.messages;
        let [message] = received
            .unwrap_or_default()
            .try_into()
            .ok()
            .context("the quarantine doesn't hold exactly one message")?;
        let attributes = message.message_attributes.unwrap_or_default();
        let attribute = |name: &str| {
            attributes
                .get(name)
                .and_then(|it| it.string_value.as_deref())
        };
        assert_eq!(attribute("reason"), Some(reason));
        assert_eq!(attribute("encoding"), Some(encoding));
        assert_eq!(attribute("size"), Some(body.len().to_string().as_str()));
        assert_eq!(attribute("deliveryId"), answer["deliveryId"].as_str());
        let received_at = attribute("receivedAt").context("the message has no receivedAt")?;
        received_at.parse::<jiff::Timestamp>()?;
        let kept = message.body.context("the message has no body")?;
        match encoding {
            "text" => assert_eq!(kept.as_bytes(), body),
            "base64" => assert_eq!(kept, "/wAgbm90IHRleHQ="),
            _ => assert_eq!(kept, "-"),
        }
        let receipt = message
            .receipt_handle
            .context("the message has no receipt handle")?;
        sqs.delete_message()
            .queue_url(url)
            .receipt_handle(receipt)
            .send()
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_body_as_large_as_a_queue_message_is_accepted() -> Result<()> {
    let (system, webhook, http) = system(&[]).await?;
    let start = r#"{"message": "NEW_CALLOUT", "callout": {"id": 1, "x": ""#;
    let end = r#""}}"#;
    let filling = "x".repeat(MAX_QUEUED_BYTES - start.len() - end.len());
    let answer = webhook
        .post(&http, [start, &filling, end].concat().into())
        .await?;
    assert_eq!(
        (answer.status, &answer.body["status"]),
        (202, &json!("accepted")),
        "{answer:?}"
    );
    let depth = Leftovers::count(&system.stack).await?.spill_depth;
    assert_eq!(depth, 0, "the delivery isn't on the queue");
    Ok(())
}

#[tokio::test]
async fn the_health_check_needs_no_secret_and_leaves_no_trace() -> Result<()> {
    let (system, webhook, http) = system(&[]).await?;
    let head = http.head(beside(&webhook, "/health")?).send().await?;
    assert_eq!(head.status(), 200);
    assert!(head.bytes().await?.is_empty());
    let answer = http.get(beside(&webhook, "/health")?).send().await?;
    assert_eq!(answer.status(), 200);
    let body: Value = serde_json::from_str(&answer.text().await?)?;
    assert_eq!(
        body,
        json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})
    );
    assert_nothing_stored(&system.stack).await
}

/// AURA gets in with the old and the new secret during a whole rotation: from
/// [`REFRESH_INTERVAL`](e2e::REFRESH_INTERVAL) after the new value was made until long after it
/// became current.
#[tokio::test]
async fn a_rotation_locks_nobody_out() -> Result<()> {
    let (system, webhook, http) = system(&[]).await?;
    let arn = system.stack.output("WebhookSecretArn")?;
    let secrets = system.stack.account().secretsmanager();
    let with =
        |secret: &str| with_header(&webhook, &webhook.header.name, &format!("Bearer {secret}"));
    // Loads the current secret; there is no pending value yet.
    assert_eq!(webhook.post(&http, NEW_CALLOUT.into()).await?.status, 202);
    let put = secrets
        .put_secret_value()
        .secret_id(arn)
        .secret_string("next");
    let pending = put.version_stages("AWSPENDING").send().await?;
    // Waits for no longer than ingest promises: the registrar waits as long before it registers the
    // next value with AURA.
    tokio::time::sleep(e2e::REFRESH_INTERVAL).await;
    assert_eq!(
        with("next").post(&http, NEW_CALLOUT.into()).await?.status,
        202
    );
    assert_eq!(webhook.post(&http, NEW_CALLOUT.into()).await?.status, 202);

    let current = secrets.get_secret_value().secret_id(arn).send().await?;
    let finish = secrets
        .update_secret_version_stage()
        .secret_id(arn)
        .version_stage("AWSCURRENT");
    let finish = finish.move_to_version_id(
        pending
            .version_id
            .context("the pending value has no version")?,
    );
    finish
        .remove_from_version_id(
            current
                .version_id
                .context("the current value has no version")?,
        )
        .send()
        .await?;
    let update = [("LogLevel", "debug")];
    // New processes read the current and the previous value.
    Local::shared()
        .await?
        .update(&system.stack, &update)
        .await?;
    for webhook in [with("next"), webhook.clone()] {
        assert_eq!(webhook.post(&http, NEW_CALLOUT.into()).await?.status, 202);
    }
    assert_eq!(
        with("none").post(&http, NEW_CALLOUT.into()).await?.status,
        401
    );
    Ok(())
}
