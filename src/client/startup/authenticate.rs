//! Who a client is: the method that holds for it, its secret, and the messages that prove it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::negotiate::{Named, Refused};
use super::{login_rule, outside};
use crate::auth::hba::RuleMethod;
use crate::auth::{AuthError, ClientAuth, Credential, Method, Secret, Step};
use crate::client::errors;
use crate::client::replication::Replication;
use crate::config::{AuthType, Credentials};
use crate::net::Stream;
use crate::protocol::frame::{HEADER, peek_front};
use crate::protocol::{Report, backend};
use crate::shared::WorkerState;
use crate::shared::user_lookup::{Answer, Failure};

/// Whom a client claims to be, what it wants, and where it comes from.
pub(super) struct Candidate<'c> {
    /// The role.
    pub(super) user: &'c Arc<str>,
    /// The database.
    pub(super) database: &'c str,
    /// None for a unix socket.
    pub(super) address: Option<SocketAddr>,
    /// The kind of replication it is for, if any.
    pub(super) replication: Option<Replication>,
}

/// What is known of a user.
struct Known {
    /// None: there is no such user.
    secret: Option<Secret>,
    /// It is the newest that there is.
    is_fresh: bool,
    /// A server was asked.
    asked: bool,
}

/// Whom "trust" lets in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trusted {
    /// Whoever has been proven otherwise, or whom the server lets in.
    Everybody,
    /// Users that auth_file or auth_query knows, as in PgBouncer.
    Known,
}

/// Has a client prove who it is; gives what can be shown to servers in its name.
pub(super) async fn authenticate(
    core: &Rc<WorkerState>,
    stream: &mut Stream,
    candidate: &Candidate<'_>,
    named: &mut Named,
) -> Result<Credential, Refused> {
    let setup = core.setup();
    let Some(rules) = &setup.rules else {
        let method = match setup.config.auth.auth_type {
            AuthType::Trust | AuthType::Any => Method::Trust,
            AuthType::Md5 => Method::Md5,
            AuthType::ScramSha256 => Method::ScramSha256,
            AuthType::Plain => Method::Password,
            // These have rules.
            AuthType::Cert | AuthType::Hba => return Err(Refused::Gone),
        };
        let trusted = if setup.config.auth.auth_type == AuthType::Any { Trusted::Everybody } else { trusted(core) };
        return by_secret(core, stream, candidate, method, trusted, named).await;
    };
    let all = Trusted::Everybody;
    let rule = login_rule::find(core, rules, stream, candidate, named).await?;
    let credential = match rule.method {
        RuleMethod::Trust => by_secret(core, stream, candidate, Method::Trust, trusted(core), named).await?,
        RuleMethod::Md5 => by_secret(core, stream, candidate, Method::Md5, all, named).await?,
        RuleMethod::ScramSha256 => by_secret(core, stream, candidate, Method::ScramSha256, all, named).await?,
        RuleMethod::Password => by_secret(core, stream, candidate, Method::Password, all, named).await?,
        RuleMethod::Cert => by_secret(core, stream, candidate, Method::Trust, all, named).await?,
        RuleMethod::Peer => {
            login_rule::check_peer(core, rules, &rule, stream, candidate, named).await?;
            by_secret(core, stream, candidate, Method::Trust, all, named).await?
        }
        RuleMethod::Ldap | RuleMethod::Pam => outside::prove(core, stream, &rule, candidate, named).await?,
        RuleMethod::Reject => return Err(login_rule::failed(rule.method, candidate.user).into()),
    };
    login_rule::check_certificate(core, rules, &rule, stream, candidate, named).await?;
    Ok(credential)
}

fn trusted(core: &WorkerState) -> Trusted {
    if core.is_like_pgbouncer() { Trusted::Known } else { Trusted::Everybody }
}

/// By what is known of the user.
async fn by_secret(
    core: &Rc<WorkerState>,
    stream: &mut Stream,
    candidate: &Candidate<'_>,
    method: Method,
    trusted: Trusted,
    named: &mut Named,
) -> Result<Credential, Refused> {
    let known = match look_up(core, candidate, false, named).await {
        Ok(known) => known,
        // It is let in whatever its secret is; servers may ask for none.
        Err(_) if method == Method::Trust && trusted == Trusted::Everybody => {
            Known { secret: None, is_fresh: true, asked: false }
        }
        Err(report) => return Err(report.into()),
    };
    if method == Method::Trust && trusted == Trusted::Known && known.secret.is_none() {
        let report = if known.asked {
            errors::not_let_in("no such user")
        } else {
            login_rule::failed(RuleMethod::Trust, candidate.user)
        };
        return Err(report.into());
    }
    prove(core, stream, candidate, method, known, named).await
}

/// The secret of auth_file, else the one that the server answers.
async fn look_up(
    core: &Rc<WorkerState>,
    candidate: &Candidate<'_>,
    fresh: bool,
    named: &mut Named,
) -> Result<Known, Report> {
    let setup = core.setup();
    let listed = match &setup.config.credentials {
        Credentials::One { user, password } if **user == **candidate.user => Some(Secret::from_text(password.expose())),
        Credentials::One { .. } => None,
        Credentials::None | Credentials::File(_) => setup.userlist.get(candidate.user).cloned(),
    };
    if listed.is_some() {
        return Ok(Known { secret: listed, is_fresh: true, asked: false });
    }
    match core.proxy.look_up_secret(candidate.database, candidate.user, fresh).await {
        None => Ok(Known { secret: None, is_fresh: true, asked: false }),
        Some(Ok(found)) => match found.answer {
            Answer::Secret(secret) => Ok(Known { secret, is_fresh: found.is_fresh, asked: true }),
            Answer::Roles(_) => Ok(Known { secret: None, is_fresh: true, asked: true }),
        },
        // Who has proven nothing is not told which databases there are.
        Some(Err(Failure::NoSuchDatabase(why))) => {
            named.detail = Some(why);
            Ok(Known { secret: None, is_fresh: true, asked: true })
        }
        Some(Err(failure)) => Err(login_rule::unanswered(failure, named)),
    }
}

/// The exchange of messages.
async fn prove(
    core: &Rc<WorkerState>,
    stream: &mut Stream,
    candidate: &Candidate<'_>,
    method: Method,
    known: Known,
    named: &mut Named,
) -> Result<Credential, Refused> {
    let setup = core.setup();
    let end_point = if stream.is_tls() { setup.tls.end_point().map(<[u8]>::to_vec) } else { None };
    let shown = known.secret.as_ref().map_or(Credential::None, Secret::credential);
    let mut auth =
        ClientAuth::new(method, candidate.user, known.secret, &core.proxy.decoy).with_channel_binding(end_point);
    let mut is_fresh = known.is_fresh;
    let mut step = auth.start();
    let mut out = Vec::with_capacity(128);
    let mut body = Zeroizing::new(Vec::new());
    loop {
        match step {
            Step::Send(body) => backend::authentication(&mut out, &body),
            Step::SendThenDone(body, done) => {
                backend::authentication(&mut out, &body);
                stream.write_all(&out).await?;
                return Ok(done.credential);
            }
            Step::Done(done) => {
                // Trusted, it has proven nothing that could be passed on: what is known of it serves.
                return Ok(if matches!(done.credential, Credential::None) { shown } else { done.credential });
            }
            Step::Fail(AuthError::Refused { .. }) if !is_fresh => {
                is_fresh = true;
                let newest = look_up(core, candidate, true, named).await.ok();
                if let Some(again) = newest.and_then(|newest| auth.check_again(newest.secret, &body)) {
                    step = again;
                } else {
                    step = Step::Fail(AuthError::wrong_password(candidate.user));
                }
                continue;
            }
            Step::Fail(error) => {
                named.detail = error.log_detail().or(named.detail.take());
                return Err(refusal(core, method, &error).into());
            }
        }
        stream.write_all(&out).await?;
        out.clear();
        body = answer(stream, auth.max_body()).await?;
        if auth.is_heavy() {
            let answered = std::mem::take(&mut body);
            let work = tokio::task::spawn_blocking(move || {
                let step = auth.receive(&answered);
                (auth, step, answered)
            });
            (auth, step, body) = work.await.map_err(|_| Refused::Gone)?;
        } else {
            step = auth.receive(&body);
        }
    }
}

/// What a client is told whose proof is none.
fn refusal(core: &WorkerState, method: Method, error: &AuthError) -> Report {
    let code = code_of(error.sqlstate());
    if method == Method::ScramSha256 && matches!(error, AuthError::Refused { .. }) && core.is_like_pgbouncer() {
        return Report::fatal(code, "SASL authentication failed");
    }
    Report::fatal(code, error.to_string()).with_detail(error.detail().map(str::to_owned))
}

/// Reads the body of one `p` message, and nothing behind it.
pub(super) async fn answer(stream: &mut Stream, most: usize) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let mut input = Zeroizing::new(Vec::with_capacity(2048));
    loop {
        match peek_front(&input, most.max(HEADER)) {
            Ok(Some(header)) if header.tag != b'p' => {
                let text = format!("expected password response, got message type {}", header.tag);
                return Err(errors::malformed_login(text).into());
            }
            Ok(Some(header)) if header.body() > most => {
                return Err(errors::malformed_login("invalid message length").into());
            }
            Ok(Some(header)) if header.total == input.len() => return Ok(input.split_off(HEADER).into()),
            Ok(Some(header)) if header.total < input.len() => {
                return Err(errors::malformed_login("unexpected data after the password message").into());
            }
            Ok(_) => stream.read_some(&mut input, 2048).await?,
            Err(error) => return Err(errors::malformed_login(error.to_string()).into()),
        }
    }
}

/// SQLSTATEs are five static characters in our reports.
fn code_of(code: &str) -> &'static str {
    const KNOWN: [&str; 5] = ["28P01", "28000", "08P01", "0A000", "XX000"];
    KNOWN.into_iter().find(|known| *known == code).unwrap_or("28000")
}
