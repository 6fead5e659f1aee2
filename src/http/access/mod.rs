//! Who asks, and what they may: everybody the public parts, whoever has a token or a certificate what its role allows.
//!
//! A handler says by its parameter whom it serves: [`Reader`], [`Operator`], or neither. The configuration has hashes of tokens
//! only, and all of them are compared, in constant time. An address that has tried too many wrong ones is not listened to for a
//! while ([`failures`]).

mod banner_token;
pub mod failures;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::Api;
use super::problem::Problem;
use super::server::Peer;
use crate::config::{Http, SHORTEST_TOKEN, TokenHash};
use crate::gate::Who;

/// What somebody may do; each may also do what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See databases, pools, clients, servers and events.
    Read,
    /// Open and close the gate.
    Operate,
}

/// Somebody who was recognised.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name of the token, or that in the certificate; and the address.
    pub who: Who,
    /// What they may do.
    pub role: Role,
    proof: Proof,
}

/// What somebody was recognised by.
#[derive(Clone, Debug)]
enum Proof {
    /// The hash of their token.
    Token([u8; 32]),
    /// The name in their certificate.
    Certificate(Arc<str>),
}

impl Identity {
    /// What they may do by the configuration of now; None once it does not know them any more. Whoever is told of something for as
    /// long as it takes is asked this again and again.
    pub fn role_now(&self, api: &Api) -> Option<Role> {
        let config = &api.proxy.setup.load().config.http;
        match &self.proof {
            Proof::Token(hash) => by_token(config, hash).map(|(_, role)| role),
            Proof::Certificate(name) => by_certificate(config, name),
        }
    }
}

/// Somebody who may look.
pub struct Reader(pub Identity);

/// Somebody who may open and close the gate.
pub struct Operator(pub Who);

impl FromRequestParts<Arc<Api>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        identify(api, parts).map(Self)
    }
}

impl FromRequestParts<Arc<Api>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let identity = identify(api, parts)?;
        if identity.role < Role::Operate {
            return Err(Problem::forbidden("this needs the role operate"));
        }
        if !parts.method.is_safe() && parts.method != Method::OPTIONS && is_from_elsewhere(&parts.headers) {
            return Err(Problem::forbidden("the request comes from a page of another site"));
        }
        Ok(Self(identity.who))
    }
}

/// The request may see the banner: it is for everybody, or the banner's token or the proof of any role is there.
pub fn may_see_banner(api: &Api, peer: &Peer, headers: &HeaderMap) -> Result<(), Problem> {
    may_see(api, peer, headers, api.proxy.setup.load().config.http.banner_public)
}

/// The request may see the metrics: likewise.
pub fn may_see_metrics(api: &Api, peer: &Peer, headers: &HeaderMap) -> Result<(), Problem> {
    may_see(api, peer, headers, api.proxy.setup.load().config.metrics.public)
}

fn may_see(api: &Api, peer: &Peer, headers: &HeaderMap, everybody: bool) -> Result<(), Problem> {
    if everybody {
        return Ok(());
    }
    let setup = api.proxy.setup.load();
    let config = &setup.config.http;
    match bearer_of(headers)? {
        Some(token) => recognise(api, peer, token, || {
            (banner_token::is_it(config, token) || known(config, token).is_some()).then_some(())
        }),
        None if certified(config, peer).is_some() => Ok(()),
        None => Err(Problem::unauthorized("a token is needed")),
    }
}

/// The token of the request. Of two it is not clear which is meant, and who has looked at which on the way.
fn bearer_of(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(Problem::bad_request("the header Authorization is there more than once"));
    }
    Ok(first.and_then(|value| banner_token::bearer(value.as_bytes())))
}

/// Whom a token stands for, unless too many wrong ones have come from where it comes from.
fn recognise<T>(api: &Api, peer: &Peer, token: &[u8], find: impl FnOnce() -> Option<T>) -> Result<T, Problem> {
    let (address, hash) = (peer.address.ip().to_canonical(), TokenHash::hash(token));
    if !api.failures.is_proven(address, &hash)
        && let Some(seconds) = api.failures.is_barred(address)
    {
        let text = "too many wrong tokens have come from this address";
        return Err(Problem::later(StatusCode::TOO_MANY_REQUESTS, text, seconds));
    }
    let Some(found) = find() else {
        api.failures.note(address);
        tracing::warn!(event = "http_log_in_failed", client = %peer.address, "a request with a wrong token");
        return Err(Problem::unauthorized("the token is not valid"));
    };
    api.failures.prove(address, hash);
    Ok(found)
}

/// Whose token it is. How long it takes does not tell how much of it is right, nor whose.
fn known(config: &Http, token: &[u8]) -> Option<(String, Role)> {
    by_token(config, &TokenHash::hash(token)).filter(|_| token.len() >= SHORTEST_TOKEN)
}

fn by_token(config: &Http, hash: &[u8; 32]) -> Option<(String, Role)> {
    let lists = [(&config.read_tokens, Role::Read), (&config.operate_tokens, Role::Operate)];
    let mut found = None;
    for (one, role) in lists.into_iter().flat_map(|(list, role)| list.iter().map(move |one| (one, role))) {
        if bool::from(one.hash.ct_eq(hash)) {
            found = Some((one.name.clone(), role));
        }
    }
    found
}

fn by_certificate(config: &Http, name: &str) -> Option<Role> {
    let is_in = |list: &[String]| list.iter().any(|one| one == name);
    if is_in(&config.operate_certificates) {
        Some(Role::Operate)
    } else {
        is_in(&config.read_certificates).then_some(Role::Read)
    }
}

fn identify(api: &Api, parts: &Parts) -> Result<Identity, Problem> {
    let Some(peer) = parts.extensions.get::<Peer>() else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the connection is not known"));
    };
    let setup = api.proxy.setup.load();
    let config = &setup.config.http;
    let who = |user: String| Who { user, address: Some(peer.address.to_string()) };
    if let Some(token) = bearer_of(&parts.headers)? {
        let (name, role) = recognise(api, peer, token, || known(config, token))?;
        return Ok(Identity { who: who(name), role, proof: Proof::Token(TokenHash::hash(token)) });
    }
    if let Some((name, role)) = certified(config, peer) {
        return Ok(Identity { who: who(name.to_string()), role, proof: Proof::Certificate(name.clone()) });
    }
    Err(Problem::unauthorized("a token is needed"))
}

fn certified<'p>(config: &Http, peer: &'p Peer) -> Option<(&'p Arc<str>, Role)> {
    let name = peer.certificate.as_ref()?;
    Some((name, by_certificate(config, name)?))
}

/// A browser says so by itself, and sends a certificate by itself as well.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN).and_then(|value| value.to_str().ok()) else {
        return headers.get(ORIGIN).is_some();
    };
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    origin.split_once("://").map(|(_, site)| site) != Some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_role_of_its_list_and_a_short_one_has_none() {
        let entry = |name: &str, token: &str| TokenHash { name: name.into(), hash: TokenHash::hash(token.as_bytes()) };
        let config = Http {
            read_tokens: vec![entry("dash", "0123456789abcdef"), entry("short", "0123456789abcde")],
            operate_tokens: vec![entry("deploy", "fedcba9876543210")],
            ..Http::default()
        };
        assert_eq!(known(&config, b"0123456789abcdef"), Some(("dash".into(), Role::Read)));
        assert_eq!(known(&config, b"fedcba9876543210"), Some(("deploy".into(), Role::Operate)));
        assert_eq!(known(&config, b"0123456789abcde"), None);
        assert_eq!(known(&config, b"0123456789abcdeg"), None);
    }

    #[test]
    fn a_page_of_another_site_is_told_from_ours() {
        let headers = |origin: &str| {
            HeaderMap::from_iter([(HOST, "db:6433".parse().unwrap()), (ORIGIN, origin.parse().unwrap())])
        };
        assert!(!is_from_elsewhere(&headers("http://db:6433")) && !is_from_elsewhere(&HeaderMap::new()));
        assert!(is_from_elsewhere(&headers("http://db")) && is_from_elsewhere(&headers("null")));
    }
}
