//! The rule of the HBA file that holds for a client, and what a rule asks for besides a password: a certificate, the user of
//! the operating system, a map of names.

use std::rc::Rc;
use std::sync::Arc;

use super::authenticate::Candidate;
use super::negotiate::Named;
use crate::auth::hba::{Asked, CertificateName, ClientCertificate, From, Rule, RuleMethod, Verdict};
use crate::client::errors;
use crate::client::replication::Replication;
use crate::net::Stream;
use crate::protocol::{Report, Severity};
use crate::shared::user_lookup::Failure;
use crate::shared::{LoginRules, WorkerState};
use crate::tls::{common_name, distinguished_name};

impl Candidate<'_> {
    fn asked<'a>(&'a self, is_tls: bool, roles: Option<&'a [String]>) -> Asked<'a> {
        Asked {
            user: self.user,
            database: self.database,
            replication: self.replication == Some(Replication::Physical),
            from: match self.address {
                None => From::Local,
                Some(address) => From::Host { address: address.ip(), tls: is_tls },
            },
            roles,
        }
    }

    /// `host "…", user "…", …`, as PostgreSQL says it.
    fn words(&self, is_tls: bool) -> String {
        let host = self.address.map_or_else(|| "[local]".to_owned(), |address| address.ip().to_canonical().to_string());
        let encryption = if is_tls { "SSL encryption" } else { "no encryption" };
        match self.replication {
            Some(Replication::Physical) => format!("host \"{host}\", user \"{}\", {encryption}", self.user),
            _ => format!("host \"{host}\", user \"{}\", database \"{}\", {encryption}", self.user, self.database),
        }
    }
}

/// A question about a user that no server has answered. Nobody is let in for lack of an answer.
pub(super) fn unanswered(failure: Failure, named: &mut Named) -> Report {
    match failure {
        Failure::Unreachable(why) => {
            named.detail = Some(why);
            errors::no_server(Severity::Fatal)
        }
        Failure::Disabled(why) => errors::unavailable(why),
        Failure::Failed(why) | Failure::NoSuchDatabase(why) => {
            named.detail = Some(why);
            errors::lookup_failed()
        }
    }
}

/// Finds the rule for a client; refuses it where there is none, where that says so, or where it has no certificate.
pub(super) async fn find(
    core: &Rc<WorkerState>,
    rules: &LoginRules,
    stream: &Stream,
    candidate: &Candidate<'_>,
    named: &mut Named,
) -> Result<Rule, Report> {
    let is_tls = stream.is_tls();
    let mut roles: Option<Arc<[String]>> = None;
    let rule = loop {
        match rules.hba.find(&candidate.asked(is_tls, roles.as_deref())) {
            Verdict::Rule(rule) => break rule.clone(),
            Verdict::NeedsRoles if roles.is_none() => {
                let asked = core.proxy.look_up_roles(candidate.database, candidate.user).await;
                roles = Some(asked.map_err(|failure| unanswered(failure, named))?);
            }
            Verdict::NoRule | Verdict::NeedsRoles => {
                let what = match candidate.replication {
                    Some(Replication::Physical) => "entry for replication connection from",
                    _ => "entry for",
                };
                let text = format!("no pg_hba.conf {what} {}", candidate.words(is_tls));
                return Err(errors::not_let_in(text));
            }
        }
    };
    if rule.method == RuleMethod::Reject {
        let what = match candidate.replication {
            Some(Replication::Physical) => "replication connection",
            _ => "connection",
        };
        let text = format!("pg_hba.conf rejects {what} for {}", candidate.words(is_tls));
        return Err(errors::not_let_in(text));
    }
    if rule.options.client_certificate.is_some() && stream.peer_certificate().is_none() {
        return Err(errors::not_let_in("connection requires a valid client certificate"));
    }
    Ok(rule)
}

/// PostgreSQL's words for a client that was not let in by that method.
pub(super) fn failed(method: RuleMethod, user: &str) -> Report {
    let (code, what) = match method {
        RuleMethod::Md5 | RuleMethod::Password | RuleMethod::ScramSha256 => ("28P01", "password"),
        RuleMethod::Trust => ("28000", "\"trust\""),
        RuleMethod::Reject => ("28000", "rejected"),
        RuleMethod::Cert => ("28000", "certificate"),
        RuleMethod::Peer => ("28000", "Peer"),
        RuleMethod::Ldap => ("28000", "LDAP"),
        RuleMethod::Pam => ("28000", "PAM"),
    };
    errors::authentication_failed(code, what, user)
}

/// The name in the certificate has to stand for the role, where the rule says so.
pub(super) async fn check_certificate(
    core: &Rc<WorkerState>,
    rules: &LoginRules,
    rule: &Rule,
    stream: &Stream,
    candidate: &Candidate<'_>,
    named: &mut Named,
) -> Result<(), Report> {
    if rule.options.client_certificate != Some(ClientCertificate::VerifyFull) {
        return Ok(());
    }
    let name = stream.peer_certificate().and_then(|certificate| match rule.options.certificate_name {
        CertificateName::Cn => common_name(certificate),
        CertificateName::Dn => distinguished_name(certificate),
    });
    let Some(name) = name else {
        named.detail = Some("client certificate contains no user name".to_owned());
        return Err(failed(rule.method, candidate.user));
    };
    check_map(core, rules, rule, &name, candidate, named).await
}

/// The user of the operating system at the other end of the socket has to stand for the role.
pub(super) async fn check_peer(
    core: &Rc<WorkerState>,
    rules: &LoginRules,
    rule: &Rule,
    stream: &Stream,
    candidate: &Candidate<'_>,
    named: &mut Named,
) -> Result<(), Report> {
    // The list of users may be on another machine.
    let name = match stream.socket().peer_uid() {
        Some(uid) => tokio::task::spawn_blocking(move || name_of(uid)).await.ok().flatten(),
        None => None,
    };
    let Some(name) = name else {
        named.detail = Some("the user at the other end of the socket has no name".to_owned());
        return Err(failed(rule.method, candidate.user));
    };
    check_map(core, rules, rule, &name, candidate, named).await
}

fn name_of(uid: u32) -> Option<String> {
    nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name)
}

async fn check_map(
    core: &Rc<WorkerState>,
    rules: &LoginRules,
    rule: &Rule,
    outside: &str,
    candidate: &Candidate<'_>,
    named: &mut Named,
) -> Result<(), Report> {
    let map = rule.options.map.as_deref();
    let is_tls = candidate.address.is_some();
    let allowed = match rules.maps.allows(map, outside, &candidate.asked(is_tls, None)) {
        Some(allowed) => allowed,
        None => {
            let roles = core.proxy.look_up_roles(candidate.database, candidate.user).await;
            let roles = roles.map_err(|failure| unanswered(failure, named))?;
            rules.maps.allows(map, outside, &candidate.asked(is_tls, Some(&roles))).unwrap_or(false)
        }
    };
    if allowed {
        return Ok(());
    }
    named.detail = Some(match map {
        Some(map) => {
            format!("no match in usermap \"{map}\" for user \"{}\" authenticated as \"{outside}\"", candidate.user)
        }
        None => {
            format!("provided user name ({}) and authenticated user name ({outside}) do not match", candidate.user)
        }
    });
    Err(failed(rule.method, candidate.user))
}
