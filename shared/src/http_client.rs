//! The HTTP client for everything that isn't AWS: AURA, CloudFormation's answer URL, and our own
//! endpoint.

use std::time::Duration;

use reqwest::redirect::Policy;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for one request, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A client with limits that never follows a redirect: what it carries is meant for one host.
///
/// # Errors
///
/// The TLS set-up of this machine is broken (no root certificates, say).
pub fn build() -> Result<reqwest::Client, reqwest::Error> {
    builder().build()
}

/// What [`build`] builds, for whoever has less time. It uses no proxy of the environment: neither
/// do the SDKs' clients, and a proxy can't reach this machine's own addresses.
#[expect(
    clippy::disallowed_methods,
    reason = "all others are made from this one"
)]
pub fn builder() -> reqwest::ClientBuilder {
    // An error says that a provider is installed already, which is just as good.
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

    /// The test above, in a process of its own: a variable of this one is every test's.
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
