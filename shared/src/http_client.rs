//! The HTTP client for everything that isn't AWS: AURA, CloudFormation's answer URL, and our own
//! endpoint.

use std::time::Duration;

use reqwest::redirect::Policy;

/// The time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time of one request, including the time to connect.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a client with limits. It never follows a redirect, because its requests are meant for one
/// host.
///
/// # Errors
///
/// The TLS set-up of this machine is broken, for example because root certificates are missing.
pub fn build() -> Result<reqwest::Client, reqwest::Error> {
    builder().build()
}

/// The builder that [`build`] uses, for callers that need shorter limits. It uses no proxy from the
/// environment: the SDKs' clients don't either, and a proxy can't reach this machine's own addresses.
#[expect(
    clippy::disallowed_methods,
    reason = "all other clients are made from this one"
)]
pub fn builder() -> reqwest::ClientBuilder {
    // An error means that a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .redirect(Policy::none())
        .no_proxy()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use aura_sim::{AuraSim, Options};

    use super::*;

    #[tokio::test]
    async fn a_server_on_this_machine_is_reached() {
        let aura = AuraSim::start(Options {
            port: 0,
            client_id: "partner".into(),
            client_secret: "s3cret".into(),
            allow_http_loopback: true,
        })
        .await
        .unwrap();
        let answer = build().unwrap().get(aura.url()).send().await.unwrap();
        assert_eq!(answer.status(), 404);
    }

    /// Runs the test above in a process of its own, because all tests of this process share its
    /// variables.
    #[test]
    fn a_proxy_in_the_environment_is_not_used() {
        const NOBODY: &str = "http://127.0.0.1:9";
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args([
            "--exact",
            "http_client::tests::a_server_on_this_machine_is_reached",
        ]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            test.env(name, NOBODY).env(name.to_lowercase(), NOBODY);
        }
        let ran = test
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{told}");
        assert!(told.contains("1 passed"), "{told}");
    }
}
