//! Asking etcd: one endpoint after the other until one answers, each within a bound.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::EtcdError;
use super::json::{Compare, Op, Read, at as part, encoded, end_of, number, read, transaction};
use super::watch::Watch;

/// Bytes of an answer that are read at most.
const LONGEST_ANSWER: usize = 16 << 20;

/// How etcd is reached.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Its members: `http://` or `https://`, host and port.
    pub endpoints: Vec<String>,
    /// Certificates of those who may have signed its own, as PEM; None: those that the system trusts.
    pub ca: Option<Vec<u8>>,
    /// A certificate of ours and its key, as PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// A user and its password; an empty user: none.
    pub user: (String, String),
    /// How long one endpoint may take for an answer.
    pub patience: Duration,
}

struct Inner {
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    settings: Settings,
    /// The endpoint that has answered last.
    at: AtomicUsize,
    token: Mutex<Option<String>>,
    /// The etcd that has given the lease: an endpoint that belongs to another one is passed over.
    cluster: Mutex<Option<String>>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

impl Client {
    /// # Errors
    /// What is wrong with the certificates.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        match &settings.ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
                }
            }
            None if settings.endpoints.iter().all(|one| one.starts_with("http://")) => {}
            None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let tls = match &settings.identity {
            Some((certificate, key)) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| error.to_string())?;
                tls.with_client_auth_cert(chain.map_err(|error| error.to_string())?, key)
                    .map_err(|error| error.to_string())?
            }
            None => tls.with_no_client_auth(),
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(settings.patience));
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let http = Http::builder(TokioExecutor::new()).build(connector.wrap_connector(tcp));
        Ok(Self(Arc::new(Inner {
            http,
            settings,
            at: AtomicUsize::new(0),
            token: Mutex::default(),
            cluster: Mutex::default(),
        })))
    }

    /// How long one endpoint may take for an answer.
    pub fn patience(&self) -> Duration {
        self.0.settings.patience
    }

    fn token(&self) -> Option<String> {
        self.0.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request to the endpoint of that number, with the token.
    async fn send(&self, at: usize, path: &str, body: &Value) -> Result<Response<Incoming>, EtcdError> {
        let none = || EtcdError::Unreachable("no endpoint".into());
        let endpoint = self.0.settings.endpoints.get(at).ok_or_else(none)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", endpoint.trim_end_matches('/')))
            .header("content-type", "application/json");
        if let Some(token) = self.token() {
            request = request.header("authorization", token);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| EtcdError::Unreachable(error.to_string()))?;
        self.0.http.request(request).await.map_err(|error| EtcdError::Unreachable(crate::log::causes(&error)))
    }

    async fn ask_one(&self, at: usize, path: &str, body: &Value) -> Result<Value, EtcdError> {
        let patience = self.0.settings.patience;
        let asked = timeout(patience, async {
            let answer = self.send(at, path, body).await?;
            let refused = !answer.status().is_success();
            let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
            let bytes = body.map_err(|error| EtcdError::Unreachable(error.to_string()))?.to_bytes();
            let value: Value = serde_json::from_slice(&bytes).map_err(|error| EtcdError::Answer(error.to_string()))?;
            match refused {
                true => Err(refusal(&value)),
                false => self.of_the_same(&value).map(|()| value),
            }
        });
        asked.await.unwrap_or_else(|_| Err(EtcdError::Unreachable(format!("no answer within {patience:?}"))))
    }

    /// Whether an answer is of the etcd that has answered before.
    fn of_the_same(&self, answer: &Value) -> Result<(), EtcdError> {
        let id = [part(answer, "/header/cluster_id"), part(answer, "/result/header/cluster_id")];
        let Some(id) = id.into_iter().find_map(Value::as_str) else {
            return Err(EtcdError::Answer("it is not etcd's".into()));
        };
        let mut known = self.0.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        match known.as_deref() {
            Some(known) if known != id => Err(EtcdError::Another),
            _ => {
                known.get_or_insert_with(|| id.to_owned());
                Ok(())
            }
        }
    }

    /// The endpoints, the one that has answered last first.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (count, first) = (self.0.settings.endpoints.len(), self.0.at.load(Relaxed));
        (0..count).map(move |step| (first + step) % count.max(1))
    }

    /// Asks one endpoint after the other. A request that may have been carried out is sent again only if it does no harm: those of
    /// this client all compare, or say the same again.
    async fn ask(&self, path: &str, body: Value) -> Result<Value, EtcdError> {
        let mut last = None;
        for at in self.order() {
            let answer = match self.ask_one(at, path, &body).await {
                // Without a token etcd may go by the certificate that its gateway shows, and refuse what that may not do.
                Err(EtcdError::Refused(why))
                    if !self.0.settings.user.0.is_empty() && (is_about_token(&why) || self.token().is_none()) =>
                {
                    match self.authenticate(at).await {
                        Ok(()) => self.ask_one(at, path, &body).await,
                        Err(error) => Err(error),
                    }
                }
                answer => answer,
            };
            match answer {
                // What is no etcd, or another one, is passed over as well. Another one is told of only if all have answered: the
                // etcd that is meant may be among those that have not.
                Err(error @ (EtcdError::Unreachable(_) | EtcdError::Answer(_))) => last = Some(error),
                Err(EtcdError::Another) => last = last.or(Some(EtcdError::Another)),
                answer => {
                    self.0.at.store(at, Relaxed);
                    return answer;
                }
            }
        }
        Err(last.unwrap_or_else(|| EtcdError::Unreachable("no endpoint".into())))
    }

    async fn authenticate(&self, at: usize) -> Result<(), EtcdError> {
        *self.0.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (name, password) = &self.0.settings.user;
        let answer = self.ask_one(at, "/v3/auth/authenticate", &json!({ "name": name, "password": password })).await?;
        let token = part(&answer, "/token").as_str().ok_or_else(|| EtcdError::Answer("no token".into()))?;
        *self.0.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
        Ok(())
    }

    /// A lease that ends by itself.
    ///
    /// # Errors
    /// No endpoint has given one.
    pub async fn grant(&self, ttl: Duration) -> Result<i64, EtcdError> {
        let seconds = ttl.as_secs().max(1) + u64::from(ttl.subsec_nanos() > 0);
        let asked = json!({ "TTL": seconds.to_string() });
        let answer = match self.ask("/v3/lease/grant", asked.clone()).await {
            // It may be that etcd was put back from a snapshot, with which it is another one.
            Err(EtcdError::Another) => {
                *self.0.cluster.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.ask("/v3/lease/grant", asked).await?
            }
            answer => answer?,
        };
        match number(part(&answer, "/ID")) {
            0 => Err(EtcdError::Answer("no lease".into())),
            id => Ok(id),
        }
    }

    /// Has a lease last for its whole time again; the revision that etcd is at.
    ///
    /// # Errors
    /// It has ended, or nobody has answered.
    pub async fn keep_alive(&self, lease: i64) -> Result<i64, EtcdError> {
        let answer = self.ask("/v3/lease/keepalive", json!({ "ID": lease.to_string() })).await?;
        let left = number(part(&answer, "/result/TTL"));
        if left > 0 { Ok(number(part(&answer, "/result/header/revision"))) } else { Err(EtcdError::LeaseGone) }
    }

    /// Ends a lease, and with it its keys.
    ///
    /// # Errors
    /// No answer came.
    pub async fn revoke(&self, lease: i64) -> Result<(), EtcdError> {
        self.ask("/v3/lease/revoke", json!({ "ID": lease.to_string() })).await.map(|_| ())
    }

    /// All keys below a prefix, as most members of etcd know them.
    ///
    /// # Errors
    /// No answer came.
    pub async fn read(&self, prefix: &str) -> Result<Read, EtcdError> {
        let body = json!({ "key": encoded(prefix), "range_end": encoded(end_of(prefix)) });
        read(&self.ask("/v3/kv/range", body).await?)
    }

    /// Carries out all or nothing. True if the comparisons held.
    ///
    /// # Errors
    /// No answer came: whether it was carried out is unknown.
    pub async fn transact(&self, compares: &[Compare], ops: &[Op]) -> Result<bool, EtcdError> {
        let answer = self.ask("/v3/kv/txn", transaction(compares, ops)).await?;
        Ok(part(&answer, "/succeeded").as_bool().unwrap_or(false))
    }

    /// What changes below a prefix from that revision on.
    ///
    /// # Errors
    /// No endpoint has begun to tell.
    pub async fn watch(&self, prefix: &str, from: i64) -> Result<Watch, EtcdError> {
        let body = json!({ "create_request": { "key": encoded(prefix), "range_end": encoded(end_of(prefix)),
            "start_revision": from.to_string() } });
        let mut last = EtcdError::Unreachable("no endpoint".into());
        for at in self.order() {
            match timeout(self.0.settings.patience, self.send(at, "/v3/watch", &body)).await {
                Ok(Ok(answer)) if answer.status().is_success() => {
                    let mut watch = Watch::new(answer.into_body());
                    // It says first that it has begun.
                    match timeout(self.0.settings.patience, watch.begin()).await {
                        Ok(Ok(created)) => match self.of_the_same(&created) {
                            Ok(()) => return Ok(watch),
                            Err(error) => last = error,
                        },
                        Ok(Err(error)) => last = error,
                        Err(_) => last = EtcdError::Unreachable("no answer in time".into()),
                    }
                }
                Ok(Ok(answer)) => last = EtcdError::Refused(answer.status().to_string()),
                Ok(Err(error)) => last = error,
                Err(_) => last = EtcdError::Unreachable("no answer in time".into()),
            }
        }
        Err(last)
    }
}

/// What the gateway says with an error.
fn refusal(value: &Value) -> EtcdError {
    if part(value, "/code").is_null() {
        return EtcdError::Answer("it is not etcd's".into());
    }
    let text = part(value, "/error").as_str().or(part(value, "/message").as_str()).unwrap_or("it was refused");
    let text: String = text.chars().take(200).collect();
    if text.contains("requested lease not found") {
        EtcdError::LeaseGone
    } else if ["etcdserver: no leader", "leader changed", "request timed out", "not capable", "unavailable"]
        .iter()
        .any(|sign| text.contains(sign))
    {
        // Another member may do better.
        EtcdError::Unreachable(text)
    } else {
        EtcdError::Refused(text)
    }
}

fn is_about_token(why: &str) -> bool {
    ["auth token", "user name is empty", "revision of auth store is old"].iter().any(|sign| why.contains(sign))
}
