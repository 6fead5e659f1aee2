//! The request itself.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::Sha256;
use tokio::time::timeout;

use super::queue::Entry;
use crate::config::Webhook;

/// Bytes of an answer that are read before the connection is used again.
const ANSWER: usize = 64 * 1024;

/// Sends requests to one receiver.
pub(super) struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    secret: String,
    patience: Duration,
}

impl Sender {
    /// # Errors
    /// What is wrong with the certificates.
    pub(super) fn new(settings: &Webhook) -> Result<Self, String> {
        let roots = roots(settings.ca_file.as_deref(), settings.url.is_plain())?;
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector.build()),
            url: settings.url.expose().to_owned(),
            secret: settings.secret.expose().to_owned(),
            patience: settings.timeout,
        })
    }

    /// # Errors
    /// Why the receiver cannot be taken to have it. The URL is not in it.
    pub(super) async fn send(&self, entry: &Entry) -> Result<(), String> {
        let time = Timestamp::now().as_second();
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header("content-type", "application/json")
            .header("user-agent", concat!("pgsluice/", env!("CARGO_PKG_VERSION")))
            .header("pgsluice-event", &entry.event)
            .header("pgsluice-event-id", entry.id)
            .header("pgsluice-signature", format!("t={time},v1={}", signature(&self.secret, time, &entry.json)))
            .body(Full::new(Bytes::from(entry.json.clone())))
            .map_err(|error| error.to_string())?;
        let answered = timeout(self.patience, async {
            let answer = self.client.request(request).await.map_err(|error| crate::log::causes(&error))?;
            let status = answer.status();
            // Read to its end, so that the connection can be used again; unless it has none.
            let mut body = answer.into_body();
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > ANSWER {
                    break;
                }
            }
            if status.is_success() { Ok(()) } else { Err(format!("the answer was {status}")) }
        });
        answered.await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

/// HMAC-SHA256 over the time, a dot, and the body, in hexadecimal.
fn signature(secret: &str, time: i64, body: &str) -> String {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn roots(ca_file: Option<&Path>, plain: bool) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| format!("{}: {error}", path.display()))?;
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        None if plain => {}
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_openssl() {
        // printf '1764500000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "79a732286b2ea7a7773bb8300280b9d1e53efe856c5f53fe36eb41210ac38399";
        assert_eq!(signature("0123456789abcdef", 1_764_500_000, "{}"), expected);
    }
}
