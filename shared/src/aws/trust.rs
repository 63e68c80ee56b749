//! The authorities that the SDKs trust.
//!
//! AWS's services show certificates of Amazon's own authority, and its five roots are compiled in. So a
//! cold start doesn't parse the system's roots, which are more than a hundred. They are read once a
//! certificate is refused: in AWS's regions in China, behind a proxy that reads TLS, or when Amazon has
//! new roots.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
    http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// Amazon Root CA 1 to 4, and Starfield Services Root Certificate Authority - G2, as
/// <https://www.amazontrust.com/repository/> lists them.
const AMAZONS_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// The HTTP client of all SDKs: rustls on ring, one pool of connections per function. It trusts Amazon's
/// roots, and the system's from the first certificate on that these don't prove.
///
/// The call that meets this certificate fails like a lost connection, so the SDK makes it again.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    let of_amazon = TrustStore::empty().with_pem_certificate(AMAZONS_ROOTS);
    let of_amazon = client_with(of_amazon);
    let of_system = client_with(TrustStore::default());
    let was_refused = Arc::new(AtomicBool::new(false));
    http_client_fn(move |settings, components| {
        if was_refused.load(Ordering::Relaxed) {
            return of_system.http_connector(settings, components);
        }
        SharedHttpConnector::new(Watched {
            connector: of_amazon.http_connector(settings, components),
            was_refused: Arc::clone(&was_refused),
        })
    })
}

fn client_with(trusted: TrustStore) -> SharedHttpClient {
    let tls = TlsContext::builder().with_trust_store(trusted).build();
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        // Without an own store, which can't fail, the system's is used.
        .tls_context(tls.unwrap_or_default())
        .build_https()
}

/// A connector that notes whether a service's certificate was refused.
#[derive(Debug)]
struct Watched {
    connector: SharedHttpConnector,
    was_refused: Arc<AtomicBool>,
}

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.connector.call(request);
        let was_refused = Arc::clone(&self.was_refused);
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            if answer.as_ref().is_err_and(|error| is_refusal(error)) {
                tracing::info!("a certificate isn't Amazon's: the system's roots are trusted");
                was_refused.store(true, Ordering::Relaxed);
            }
            answer
        })
    }
}

/// Whether rustls refused a certificate.
fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    // An I/O error leaves out the error that it holds when it is asked for its source.
    let held = error.downcast_ref().and_then(io::Error::get_ref);
    match held {
        Some(held) => is_refusal(held),
        None => error.source().is_some_and(is_refusal),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::process::Command;

    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::aws::{describe, sdk_config};
    use crate::config::Environment;

    /// A certificate that no authority has signed.
    const CERTIFICATE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../infra/e2e/tests/forward/certificate.pem"
    );
    const KEY: &[u8] = include_bytes!("../../../infra/e2e/tests/forward/key.pem");

    /// Answers each request as SQS does if there are no queues. Returns its address.
    async fn serve() -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificate = CertificateDer::from_pem_file(CERTIFICATE).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that refuses the certificate ends the connection.
                let Ok(mut stream) = tls.accept(stream).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        format!("https://{address}")
    }

    /// Lists queues at a service whose certificate isn't Amazon's. `SSL_CERT_FILE` says what the system
    /// trusts.
    async fn list_queues() -> Result<(), String> {
        let environment = Environment::from([
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
            ("AWS_ENDPOINT_URL", &*serve().await),
        ]);
        let client = aws_sdk_sqs::Client::new(&sdk_config(&environment).unwrap());
        let answer = client.list_queues().send().await;
        answer.map(|_| ()).map_err(|error| describe(&error))
    }

    /// Is run by the tests below, in processes of their own: all tests of one process share its variables.
    #[tokio::test]
    #[ignore = "needs SSL_CERT_FILE"]
    async fn call_with_the_systems_roots() {
        list_queues().await.unwrap();
    }

    /// Whether a call succeeds if the system trusts the certificates in this file.
    fn succeeds_with(system: &str) -> bool {
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact"])
            .arg("aws::trust::tests::call_with_the_systems_roots")
            .env("SSL_CERT_FILE", system)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(told.contains("running 1 test"), "{told}");
        ran.status.success()
    }

    #[test]
    fn a_certificate_that_is_not_amazons_is_proven_by_the_systems_roots() {
        assert!(succeeds_with(CERTIFICATE));
    }

    #[test]
    fn a_certificate_that_nobody_has_signed_is_refused() {
        let roots = concat!(env!("CARGO_MANIFEST_DIR"), "/src/aws/amazon-roots.pem");
        assert!(!succeeds_with(roots));
    }
}
