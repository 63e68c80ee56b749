//! Between Lambda's runtime and the handler.

use std::sync::Arc;

use lambda_http::http::header::HOST;
use lambda_http::request::LambdaRequest;
use lambda_http::{
    Adapter, Body, Error, LambdaEvent, Request, Response, Service as _, lambda_runtime, service_fn,
};

use crate::answer::{Answer, Refusal};
use crate::handler::Ingest;
use crate::secret::SecretSource;
use crate::store::Store;

/// Answers requests for as long as the process lives.
///
/// # Errors
///
/// Lambda's Runtime API can't be reached.
pub async fn run<V: SecretSource, S: Store + 'static>(ingest: Ingest<V, S>) -> Result<(), Error> {
    let ingest = Arc::new(ingest);
    let mut adapter = Adapter::from(service_fn(move |request| {
        let answer = answer(Arc::clone(&ingest), request);
        async { Ok::<_, Error>(answer.await) }
    }));
    let service = service_fn(move |mut event: LambdaEvent<LambdaRequest>| {
        without_uri(&mut event.payload);
        adapter.call(event)
    });
    lambda_runtime::run(service).await
}

/// A panic is an answer of ours too: the runtime would hand its message to API Gateway, which may
/// log it, and it may quote a delivery.
async fn answer<V, S>(ingest: Arc<Ingest<V, S>>, request: Request) -> Response<Body>
where
    V: SecretSource,
    S: Store + 'static,
{
    // Boxed: by value, a future of some kilobytes is moved many times on its way to the runtime.
    let answer = Box::pin(async move { ingest.handle(request).await });
    let answer = tokio::spawn(answer).await;
    answer.unwrap_or_else(|_panicked| Answer::Refused(Refusal::StoreUnavailable).into_response())
}

/// Drops what only a request's URI is made of. `lambda_http` makes one of host and query, and
/// panics where it can't: anybody could have the endpoint answer 500, and raise its alarm, by a
/// query that is none. Routing goes by the raw path.
pub fn without_uri(request: &mut LambdaRequest) {
    if let LambdaRequest::ApiGatewayV2(request) = request {
        request.raw_query_string = None;
        request.request_context.domain_name = None;
        request.headers.remove(HOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes;

    #[tokio::test]
    async fn a_panic_is_answered_503_and_says_nothing() {
        let mut ingest = fakes::ingest().await;
        ingest.now = || panic!("a phone number");
        let response = answer(Arc::new(ingest), Request::default()).await;
        assert_eq!(response.status(), 503);
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(!body.contains("phone"), "{body}");
    }

    #[test]
    fn a_host_or_query_that_is_none_is_no_reason_to_panic() {
        let event = r#"{
            "version": "2.0", "routeKey": "POST /aura/events", "rawPath": "/aura/events",
            "rawQueryString": "<\u0001>", "headers": {"host": "a b", "x-forwarded-proto": "<"},
            "requestContext": {"stage": "$default", "domainName": "a b", "timeEpoch": 0,
                "http": {"method": "POST", "path": "/aura/events", "sourceIp": "192.0.2.1"}},
            "isBase64Encoded": false
        }"#;
        let mut request: LambdaRequest = serde_json::from_str(event).unwrap();
        without_uri(&mut request);
        let request: Request = request.into();
        assert_eq!(request.method(), "POST");
    }
}
