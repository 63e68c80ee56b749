//! The service that Lambda's runtime calls, around the handler.

use std::sync::Arc;

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::{Body, Error, LambdaEvent, Response, lambda_runtime, service_fn};

use crate::answer::{Answer, Refusal};
use crate::handler::Ingest;
use crate::request::GatewayEvent;
use crate::secret::SecretSource;
use crate::store::Store;

/// Answers requests until the process ends.
///
/// `lambda_http::run` isn't used. It first turns the event into an HTTP request. That fails or
/// panics if a header, the host, the query or the body is malformed. API Gateway then answers 502.
pub async fn run<V: SecretSource, S: Store + 'static>(ingest: Ingest<V, S>) -> Result<(), Error> {
    let ingest = Arc::new(ingest);
    let service = service_fn(move |event: LambdaEvent<GatewayEvent>| {
        let answer = answer(Arc::clone(&ingest), event.payload);
        async { Ok::<_, Error>(in_format_2(answer.await)) }
    });
    lambda_runtime::run(service).await
}

/// Answers a request even if the handler panics. The runtime would otherwise hand the panic's
/// message to API Gateway, which may log it, and the message may quote a delivery.
async fn answer<V, S>(ingest: Arc<Ingest<V, S>>, event: GatewayEvent) -> Response<Body>
where
    V: SecretSource,
    S: Store + 'static,
{
    // The future has some kilobytes. It is boxed, because it is moved many times on its way to the
    // runtime.
    let answer = Box::pin(async move { ingest.handle(event).await });
    let answer = tokio::spawn(answer).await;
    answer.unwrap_or_else(|_panicked| Answer::Refused(Refusal::StoreUnavailable).into_response())
}

/// Converts an answer, which is text or empty, into API Gateway's payload format 2.0.
fn in_format_2(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = parts.status.as_u16().into();
    response.headers = parts.headers;
    response.body = Some(body).filter(|body| *body != Body::Empty);
    response
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fakes;
    use crate::promises::SentRequest;

    #[tokio::test]
    async fn a_panic_is_answered_503_and_says_nothing() {
        let mut ingest = fakes::ingest().await;
        ingest.now = || panic!("a phone number");
        let event = SentRequest::delivery(Vec::new()).event();
        let response = answer(Arc::new(ingest), event).await;
        assert_eq!(response.status(), 503);
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(!body.contains("phone"), "{body}");
    }

    #[test]
    fn an_answer_is_what_api_gateway_reads() {
        let refusal = Answer::Refused(Refusal::Unauthorized).into_response();
        let told = serde_json::to_value(in_format_2(refusal)).unwrap();
        assert_eq!(told["statusCode"], 401);
        assert_eq!(told["headers"]["content-type"], "application/problem+json");
        assert_eq!(told["isBase64Encoded"], false);
        let body: Value = serde_json::from_str(told["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["title"], "Unauthorized");

        let empty = serde_json::to_value(in_format_2(Response::new(Body::Empty))).unwrap();
        assert_eq!(empty["statusCode"], json!(200));
        assert_eq!(empty.get("body"), None);
    }
}
