//! LDAP, in both of PostgreSQL's modes: a simple bind with a name that is put together, or a search and then a bind.

use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapResult, Scope, SearchEntry};

use crate::auth::hba::{LdapOptions, LdapScheme};

/// How long connecting, and then each operation, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the password is the user's. Err: why not, for the log.
pub(super) async fn judge(options: &LdapOptions, user: &str, password: &str) -> Result<(), String> {
    let mut ldap = connect(options).await?;
    let dn = match &options.base_dn {
        None => {
            let (prefix, suffix) = (options.prefix.as_deref(), options.suffix.as_deref());
            format!("{}{user}{}", prefix.unwrap_or_default(), suffix.unwrap_or_default())
        }
        Some(base) => {
            let dn = search(&mut ldap, options, base, user).await?;
            // The search has left the connection bound to whoever searches.
            let _ = ldap.unbind().await;
            ldap = connect(options).await?;
            dn
        }
    };
    let bound = bind(&mut ldap, &dn, password).await;
    let _ = ldap.unbind().await;
    bound.map_err(|why| format!("LDAP login failed for user \"{dn}\": {why}"))
}

async fn bind(ldap: &mut Ldap, dn: &str, password: &str) -> Result<(), String> {
    let LdapResult { rc, text, .. } =
        ldap.with_timeout(PATIENCE).simple_bind(dn, password).await.map_err(|error| error.to_string())?;
    if rc == 0 { Ok(()) } else { Err(format!("result code {rc} {text}")) }
}

/// To the first server of the list that answers.
async fn connect(options: &LdapOptions) -> Result<Ldap, String> {
    let (scheme, usual) = match options.scheme {
        LdapScheme::Ldap => ("ldap", 389),
        LdapScheme::Ldaps => ("ldaps", 636),
    };
    let mut why = "no LDAP server is named".to_owned();
    for server in options.server.split_whitespace() {
        let url = format!("{scheme}://{server}:{}", options.port.unwrap_or(usual));
        let settings = LdapConnSettings::new().set_conn_timeout(PATIENCE).set_starttls(options.tls);
        match LdapConnAsync::with_settings(settings, &url).await {
            Ok((connection, ldap)) => {
                // It ends with the last handle.
                tokio::spawn(async move { drop(connection.drive().await) });
                return Ok(ldap);
            }
            Err(error) => why = format!("could not contact LDAP server \"{url}\": {error}"),
        }
    }
    Err(why)
}

/// The only entry of that user.
async fn search(ldap: &mut Ldap, options: &LdapOptions, base: &str, user: &str) -> Result<String, String> {
    // As PostgreSQL: what has a meaning in a filter is no name.
    if user.contains(['*', '(', ')', '\\', '/']) {
        return Err("invalid character in user name for LDAP authentication".to_owned());
    }
    let (dn, password) = (options.bind_dn.as_deref(), options.bind_password.as_deref());
    bind(ldap, dn.unwrap_or_default(), password.map_or("", String::as_str))
        .await
        .map_err(|why| format!("could not perform initial LDAP bind: {why}"))?;
    let filter = match (&options.search_filter, &options.search_attribute) {
        (Some(filter), _) => filter.replace("$username", user),
        (None, attribute) => format!("({}={user})", attribute.as_deref().unwrap_or("uid")),
    };
    let scope = match options.scope {
        0 => Scope::Base,
        1 => Scope::OneLevel,
        _ => Scope::Subtree,
    };
    let found = ldap.with_timeout(PATIENCE).search(base, scope, &filter, vec!["1.1"]).await;
    let (entries, _) = found
        .and_then(ldap3::SearchResult::success)
        .map_err(|error| format!("could not search LDAP for filter \"{filter}\": {error}"))?;
    let mut entries = entries.into_iter().map(SearchEntry::construct);
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry.dn),
        (None, _) => Err(format!("LDAP user \"{user}\" does not exist")),
        (Some(_), Some(_)) => Err(format!("LDAP user \"{user}\" is not unique")),
    }
}
