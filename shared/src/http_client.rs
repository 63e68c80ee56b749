//! The HTTP client for everything that isn't AWS: AURA and CloudFormation's answer URL.

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
    // An error says that a provider is installed already, which is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .redirect(Policy::none())
        .build()
}
