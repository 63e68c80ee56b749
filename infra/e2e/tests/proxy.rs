//! Tests of the fault proxy: the SDK must take each of its faults for AWS's own.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::send_message::SendMessageError;
use e2e::Local;
use stack::account::Account;
use stack::consumers::Queue;
use stack::proxy::{Fault, FaultProxy, Plan};

/// A client in front of a proxy, and a queue.
struct Bench {
    proxy: FaultProxy,
    account: Account,
    queue_url: String,
}

impl Bench {
    async fn new() -> Result<Self> {
        let account = Local::shared().await?.new_account();
        let queue = account.sqs().create_queue().queue_name("q").send().await?;
        Ok(Self {
            proxy: FaultProxy::before(account.endpoint())?,
            queue_url: queue.queue_url.context("no URL")?,
            account,
        })
    }

    /// A client that makes `attempts` attempts of a second each.
    fn sqs(&self, attempts: u32) -> Client {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(1))
            .build();
        let config = aws_sdk_sqs::config::Builder::from(self.account.sdk_config())
            .endpoint_url(self.proxy.url())
            .retry_config(RetryConfig::standard().with_max_attempts(attempts))
            .timeout_config(timeouts);
        Client::from_conf(config.build())
    }

    /// Sends a message, in up to `attempts` attempts.
    async fn send(&self, attempts: u32) -> Result<(), SdkError<SendMessageError>> {
        let message = self.sqs(attempts).send_message().queue_url(&self.queue_url);
        message.message_body("x").send().await?;
        Ok(())
    }

    async fn depth(&self) -> Result<u64> {
        let queue = Queue::new(self.account.sqs(), &self.queue_url);
        queue.depth().await
    }
}

#[tokio::test]
async fn each_fault_does_to_a_call_and_to_the_queue_what_its_name_says() -> Result<()> {
    let late = Fault::Slow(Duration::from_secs(2));
    let cases = [
        (Fault::Throttled, 0),
        (Fault::InternalError, 0),
        (Fault::ResetBefore, 0),
        (Fault::ResetAfter, 1),
        (Fault::Hang, 0),
        (late, 1),
    ];
    for (fault, depth) in cases {
        let bench = Bench::new().await?;
        bench.proxy.set(Plan::Always(fault));
        let error = bench.send(1).await.expect_err("the call must fail");
        let as_named = match fault {
            Fault::Throttled | Fault::InternalError | Fault::TooLarge => {
                matches!(error, SdkError::ServiceError(_))
            }
            Fault::ResetBefore | Fault::ResetAfter => matches!(error, SdkError::DispatchFailure(_)),
            Fault::Hang | Fault::Slow(_) => matches!(error, SdkError::TimeoutError(_)),
        };
        assert!(as_named, "{fault:?}: {error:?}");
        assert_eq!(bench.depth().await?, depth, "{fault:?}");

        bench.proxy.set(Plan::Next(1, fault));
        bench
            .send(2)
            .await
            .with_context(|| format!("{fault:?}: the SDK must try again"))?;
        assert_eq!(bench.depth().await?, 2 * depth + 1, "{fault:?}");
        let faults = bench.proxy.calls().into_iter().map(|call| call.fault);
        let expected = [Some(fault), Some(fault), None];
        assert_eq!(faults.collect::<Vec<_>>(), expected);
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_slow_but_in_time_is_an_answer() -> Result<()> {
    let bench = Bench::new().await?;
    let slow = Fault::Slow(Duration::from_millis(300));
    bench.proxy.set(Plan::Always(slow));
    bench.send(3).await?;
    assert_eq!((bench.depth().await?, bench.proxy.calls().len()), (1, 1));
    Ok(())
}

#[tokio::test]
async fn refusals_are_the_errors_that_the_sdks_know_by_name() -> Result<()> {
    let bench = Bench::new().await?;
    let config = bench.account.sdk_config().to_builder();
    let config = config.endpoint_url(bench.proxy.url()).build();
    let tables = aws_sdk_dynamodb::Client::new(&config);
    let secrets = aws_sdk_secretsmanager::Client::new(&config);

    bench.proxy.set(Plan::Always(Fault::Throttled));
    let error = bench.send(3).await.unwrap_err().into_service_error();
    assert!(error.is_request_throttled(), "{error:?}");
    assert_eq!(error.meta().code(), Some("RequestThrottled"));
    let error = tables.get_item().table_name("t").key("k", s()).send().await;
    let error = error.unwrap_err().into_service_error();
    assert!(error.is_throttling_exception(), "{error:?}");
    let error = secrets.get_secret_value().secret_id("s").send().await;
    let error = error.unwrap_err().into_service_error();
    assert_eq!(error.meta().code(), Some("ThrottlingException"));

    bench.proxy.set(Plan::Always(Fault::InternalError));
    let error = bench.send(3).await.unwrap_err().into_service_error();
    assert_eq!(error.meta().code(), Some("InternalFailure"));
    let error = tables.get_item().table_name("t").key("k", s()).send().await;
    let error = error.unwrap_err().into_service_error();
    assert!(error.is_internal_server_error(), "{error:?}");
    let error = secrets.get_secret_value().secret_id("s").send().await;
    let error = error.unwrap_err().into_service_error();
    assert!(error.is_internal_service_error(), "{error:?}");
    // The SDK tried each of the six calls three times, so it takes all six errors for retryable.
    assert_eq!(bench.proxy.calls().len(), 6 * 3);
    Ok(())
}

fn s() -> aws_sdk_dynamodb::types::AttributeValue {
    aws_sdk_dynamodb::types::AttributeValue::S("x".into())
}

#[tokio::test]
async fn what_is_down_refuses_connections_until_it_is_up_at_the_same_place() -> Result<()> {
    let bench = Bench::new().await?;
    let client = bench.sqs(1);
    let send = async || {
        let message = client.send_message().queue_url(&bench.queue_url);
        message.message_body("x").send().await
    };
    for round in 0..3 {
        send().await.with_context(|| format!("round {round}"))?;
        bench.proxy.down().await;
        for _ in 0..3 {
            let error = send().await.expect_err("the call must fail");
            assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
        }
        let address = bench.proxy.url();
        let error = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await;
        let refused = error.map_err(|error| error.kind());
        assert_eq!(refused.unwrap_err(), std::io::ErrorKind::ConnectionRefused);
        bench.proxy.up()?;
    }
    assert_eq!(bench.proxy.calls().len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_share_is_drawn_from_its_seed() -> Result<()> {
    let bench = Bench::new().await?;
    let faults = [Fault::Throttled, Fault::ResetBefore];
    let client = bench.sqs(1);
    let series = async |seed| {
        bench.proxy.forget();
        bench.proxy.set(Plan::share(0.3, &faults, seed));
        for _ in 0..100 {
            let _ = client
                .get_queue_attributes()
                .queue_url(&bench.queue_url)
                .send()
                .await;
        }
        let calls = bench.proxy.calls();
        calls.iter().map(|call| call.fault).collect::<Vec<_>>()
    };
    let first = series(1).await;
    assert_eq!(series(1).await, first);
    assert_ne!(series(2).await, first);
    for fault in faults {
        let count = first.iter().filter(|its| **its == Some(fault)).count();
        assert!((5..=25).contains(&count), "{fault:?}: {count}");
    }
    Ok(())
}
