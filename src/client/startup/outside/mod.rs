//! Passwords that somebody else judges: an LDAP server or PAM. Both want them in clear text.

#[cfg(feature = "ldap")]
mod ldap;
#[cfg(feature = "pam")]
mod pam;

use std::rc::Rc;

use super::authenticate::{Candidate, answer};
use super::login_rule;
use super::negotiate::{Named, Refused};
use crate::auth::hba::Rule;
#[cfg(any(feature = "ldap", feature = "pam"))]
use crate::auth::hba::RuleMethod;
use crate::auth::{Credential, MAX_PASSWORD_BODY, code, password_of};
use crate::net::Stream;
use crate::protocol::{Report, backend};
use crate::shared::WorkerState;

/// Asks the client for its password and has it judged.
pub(super) async fn prove(
    core: &Rc<WorkerState>,
    stream: &mut Stream,
    rule: &Rule,
    candidate: &Candidate<'_>,
    named: &mut Named,
) -> Result<Credential, Refused> {
    let mut out = Vec::with_capacity(16);
    backend::authentication(&mut out, &code::CLEARTEXT.to_be_bytes());
    stream.write_all(&out).await?;
    let body = answer(stream, MAX_PASSWORD_BODY).await?;
    let password = password_of(&body).map_err(|error| {
        let code = if error.sqlstate() == "28P01" { "28P01" } else { "08P01" };
        Report::fatal(code, error.to_string())
    })?;
    // Whoever judges may be slow: only so many wait for it, and `client_login_timeout` ends the others' wait.
    let turn = core.proxy.judged_elsewhere.acquire().await;
    let judged = judge(rule, candidate, password).await;
    drop(turn);
    match judged {
        Ok(()) => Ok(Credential::password(password)),
        Err(why) => {
            named.detail = Some(why);
            Err(login_rule::failed(rule.method, candidate.user).into())
        }
    }
}

/// Err: why not, for the log.
async fn judge(rule: &Rule, candidate: &Candidate<'_>, password: &[u8]) -> Result<(), String> {
    let _text = std::str::from_utf8(password).map_err(|_| "the password is not UTF-8".to_owned())?;
    let _user = candidate.user;
    #[cfg(feature = "ldap")]
    if let (RuleMethod::Ldap, Some(options)) = (rule.method, &rule.options.ldap) {
        return ldap::judge(options, _user, _text).await;
    }
    #[cfg(feature = "pam")]
    if rule.method == RuleMethod::Pam {
        return pam::judge(rule.options.pam_service.as_deref(), _user, _text).await;
    }
    // The rule was refused when its file was read, where this build has no such method.
    Err(format!("the method {} is not supported by this build", rule.method.word()))
}
