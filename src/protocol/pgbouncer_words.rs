//! What PgBouncer says where pgsluice itself says something, for programs and people that know its words (`pgbouncer_compatible`).
//!
//! SQLSTATEs stay where PostgreSQL has one for just that and drivers act on it: log-ins (28), limits (53) and what an operator or a
//! time limit of the session ends (57). The rest is 08P01, which PgBouncer has for everything.

use super::error_fields::{Report, Severity};

/// PgBouncer's SQLSTATE.
const CODE: &str = "08P01";

impl Report {
    /// As PgBouncer would say it. None: it stays as it is, as what a server has said and what PgBouncer has nothing like.
    pub fn in_pgbouncers_words(&self) -> Option<Self> {
        if self.place.is_some() || !matches!(self.severity, Severity::Error | Severity::Fatal) {
            return None;
        }
        let message = words(self.code, &self.message)?;
        let keeps = ["28", "53", "57", "3D"].iter().any(|class| self.code.starts_with(class));
        let code = if keeps { self.code } else { CODE };
        // What it says in its own words is all that it says.
        Some(Self { severity: self.severity, ..Self::error(code, message) })
    }
}

impl Report {
    /// As PgBouncer's console says it of this command. None: it stays as it is, as for commands that PgBouncer does not have.
    pub fn of_pgbouncers_console(&self, command: &str) -> Option<Self> {
        let command = command.trim().trim_end_matches(';').trim_end();
        let word = command.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if ["maintenance", "offline", "online", "cluster", "listen", "unlisten"].contains(&&*word) {
            return None;
        }
        let quoted = |behind: &str| self.message.strip_prefix("database \"")?.strip_suffix(behind);
        let message = match (self.code, &*word) {
            ("42601", "kill_client") => "invalid client pointer supplied".to_owned(),
            ("42601", _) => format!("invalid command '{command}', use SHOW HELP;"),
            ("42704", "kill_client") => "client not found".to_owned(),
            ("3D000", _) => format!("no such database: {}", quoted("\" does not exist")?),
            ("55000", "resume") => match quoted("\" is not paused") {
                Some(name) => format!("database {name} is not paused"),
                None => "pooler is not paused/suspended".to_owned(),
            },
            ("55000", _) => self.message.clone(),
            ("57P01", _) => "pooler is shutting down".to_owned(),
            _ => return None,
        };
        Some(Self { hint: self.hint.clone(), ..Self::error(CODE, message) })
    }
}

/// PgBouncer's words for an error of a session or of a log-in.
fn words(code: &str, message: &str) -> Option<String> {
    let named = |before: &str, behind: &str| message.strip_prefix(before)?.strip_suffix(behind);
    let theirs = match (code, message) {
        ("3D000", _) => return Some(format!("no such database: {}", named("database \"", "\" does not exist")?)),
        ("55000", _) => {
            let name = named("database \"", "\" is not currently accepting connections")?;
            return Some(format!("database \"{name}\" is disabled"));
        }
        ("53300", "sorry, too many clients already") => "no more connections allowed (max_client_conn)",
        ("57014", "query_timeout") => "query timeout",
        ("57014", "query_timeout: no server connection") => "query_timeout",
        ("25P04", _) => "transaction timeout",
        ("25P03", _) => "idle transaction timeout",
        ("57P05", _) => "client_idle_timeout",
        ("57P01", "terminating connection due to administrator command") => "server shutting down",
        ("57P01", "the proxy is shutting down") => "pooler is shutting down",
        ("28000", "no PostgreSQL user name specified in startup packet") => "no username supplied",
        ("28000", text) if text.starts_with("TLS is required") => "SSL required",
        ("28000", text) if text.starts_with("Peer authentication failed") => "unix socket login rejected",
        ("28000", text) if text.starts_with("certificate authentication failed") => "certificate authentication failed",
        ("28000", text) if text.starts_with("LDAP authentication failed") => "LDAP authentication failed",
        ("28000", text) if text.starts_with("PAM authentication failed") => "PAM authentication failed",
        ("28000", text) if text.starts_with("\"trust\" authentication failed") => "\"trust\" authentication failed",
        ("28P01", text) if text.starts_with("password authentication failed for user") => {
            "password authentication failed"
        }
        ("0A000", text) if text.starts_with("transaction blocks not allowed") => text,
        ("08006", text) if text.starts_with("server closed the connection") => "server conn crashed?",
        _ => return None,
    };
    Some(theirs.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::error_fields::Place;
    use super::*;

    #[test]
    fn own_errors_have_pgbouncers_words_and_those_of_servers_their_own() {
        let said = |report: Report| {
            let report = report.in_pgbouncers_words().unwrap_or(report);
            (report.code, report.message, report.detail)
        };
        let own = |code, text: &str| said(Report::fatal(code, text).with_detail(Some("more".into())));
        assert_eq!(own("3D000", "database \"a b\" does not exist"), ("3D000", "no such database: a b".into(), None));
        assert_eq!(
            own("55000", "database \"x\" is not currently accepting connections"),
            ("08P01", "database \"x\" is disabled".into(), None)
        );
        assert_eq!(own("25P04", "terminating …").0, "08P01");
        assert_eq!(own("57014", "query_wait_timeout"), ("57014", "query_wait_timeout".into(), Some("more".into())));
        assert_eq!(own("25006", "cannot execute INSERT in a read-only transaction").0, "25006");
        let place = Place { file: b"postinit.c".into(), line: b"1".into(), routine: b"InitPostgres".into() };
        let theirs = Report::fatal("3D000", "database \"x\" does not exist").with_place(Some(Arc::new(place)));
        assert_eq!(said(theirs).1, "database \"x\" does not exist");
        let console = |code, text: &str, command| {
            Report::error(code, text).of_pgbouncers_console(command).map(|report| (report.code, report.message))
        };
        for (code, text, command, theirs) in [
            ("3D000", "database \"dne\" does not exist", "KILL dne;", "no such database: dne"),
            ("42704", "client 1000 does not exist", "KILL_CLIENT 1000", "client not found"),
            ("42601", "syntax error at or near \"x\"", "kill_client x", "invalid client pointer supplied"),
            ("42601", "invalid command \"nonsense\"", " nonsense ; ", "invalid command 'nonsense', use SHOW HELP;"),
            ("55000", "database \"a\" is not paused", "RESUME a", "database a is not paused"),
            ("55000", "pgsluice is not paused", "RESUME", "pooler is not paused/suspended"),
        ] {
            assert_eq!(console(code, text, command), Some(("08P01", theirs.to_owned())), "{command}");
        }
        assert_eq!(console("3D000", "database \"dne\" does not exist", "MAINTENANCE ON dne"), None);
        assert_eq!(console("F0000", "RELOAD failed", "RELOAD"), None);
        let notice = Report::notice("query_timeout");
        assert_eq!(said(notice).1, "query_timeout");
    }
}
