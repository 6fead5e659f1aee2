//! Text that is run over a connection which nobody guards: dblink's. It passes only if all that it names is shown to write nothing,
//! judged by this database's own catalog where the connection leads back here. What another database has under its names nobody
//! has read: there only constants and PostgreSQL's own pass.

use crate::sql::classify::analyzer::Scope;
use crate::sql::classify::function_calls;
use crate::sql::classify::function_calls::{Connection, Remote};
use crate::sql::hidden_writers::harmless::is_harmless;
use crate::sql::hidden_writers::mentions::{Depth, Mention, mentions};
use crate::sql::hidden_writers::reach::Finding;
use crate::sql::hidden_writers::verdict::HiddenWriters;
use crate::sql::lex::lexer::Lexer;

/// Where this database is, as far as connections say that lead back to it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::sql::hidden_writers) struct Here {
    dbname: String,
    port: String,
    /// Foreign servers that lead elsewhere.
    elsewhere: Vec<String>,
}

impl Here {
    /// It is that database on that port.
    pub fn is(&mut self, dbname: &str, port: &str) {
        (self.dbname, self.port) = (dbname.to_owned(), port.to_owned());
    }

    /// The foreign server of that name leads elsewhere.
    pub fn leads_elsewhere(&mut self, server: &str) {
        self.elsewhere.push(server.to_owned());
    }

    /// Whether a connection string, or a name, may lead elsewhere. A connection of a name has been opened by such a string.
    fn may_be_elsewhere(&self, connection: &[u8]) -> bool {
        let Ok(text) = str::from_utf8(connection) else { return true };
        if !text.contains('=') && !text.contains("://") {
            return self.elsewhere.iter().any(|server| server == text.trim());
        }
        let known = ["host", "hostaddr", "port", "dbname", "user", "password", "connect_timeout", "application_name"];
        let (mut host, mut port, mut dbname) = ("", "5432", "");
        for pair in text.split_ascii_whitespace() {
            let Some((key, value)) = pair.split_once('=').filter(|(key, _)| known.contains(key)) else { return true };
            let value = value.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\'')).unwrap_or(value);
            // Of several the first that answers counts.
            if value.contains(',') && key != "password" {
                return true;
            }
            match key {
                "host" | "hostaddr" => host = value,
                "port" => port = value,
                "dbname" => dbname = value,
                _ => {}
            }
        }
        let local =
            host.is_empty() || host.starts_with('/') || host.starts_with("127.") || matches!(host, "localhost" | "::1");
        !local || port != self.port || dbname != self.dbname
    }
}

/// Why a call of dblink's may lead to a writer by the text that it is given; None: it is no such call, or leads to none.
pub(in crate::sql::hidden_writers) fn leads_on(
    unseen: &HiddenWriters,
    scope: Scope<'_>,
    (schema, name): (Option<&[u8]>, &[u8]),
    behind: &Lexer<'_>,
) -> Option<Finding> {
    let remote = function_calls::remote(name)?;
    if !unseen.listed.has(schema, name) && unseen.namesakes.has(schema, name) {
        return None;
    }
    match remote {
        Remote::Sql => {
            let Some(sql) = function_calls::remote_text(name, behind.clone()) else {
                return Some("text for another connection that is no constant".into());
            };
            let connection = function_calls::remote_connection(name, behind.clone());
            let elsewhere = match &connection {
                Connection::Open => false,
                Connection::Text(text) => unseen.here.may_be_elsewhere(text),
                Connection::Computed => true,
            };
            if elsewhere {
                return names_more(&sql, scope).then(|| "what another database has under these names".into());
            }
            // Both readings of a backslash, because the other server's setting is not known.
            [true, false].into_iter().find_map(|standard| {
                let mut found = None;
                mentions(Lexer::new(&sql, standard), scope, false, Depth::Words, &mut |mention| {
                    if found.is_none() {
                        found = writes(unseen, scope, &mention);
                    }
                });
                found
            })
        }
        Remote::Connect => match function_calls::remote_connection(name, behind.clone()) {
            Connection::Text(text) if !unseen.here.may_be_elsewhere(&text) => None,
            // What goes over it later is judged as if it led here.
            _ => Some("a connection to another database".into()),
        },
        Remote::Cursor => (!function_calls::names_a_cursor(name, behind.clone()))
            .then(|| "a cursor's name that may be more than a name".into()),
    }
}

/// Why something that a text names may write where nothing keeps it from writing.
fn writes(unseen: &HiddenWriters, scope: Scope<'_>, mention: &Mention<'_, '_>) -> Option<Finding> {
    if let Some(finding) = unseen.writing.named(mention) {
        return Some(finding.clone());
    }
    (!unseen.is_harmless(scope, mention)).then(|| "what is not known to write nothing, over another connection".into())
}

/// Whether a text names more than what is PostgreSQL's own in every database.
pub(in crate::sql::hidden_writers) fn names_more(sql: &[u8], scope: Scope<'_>) -> bool {
    const TYPES: [&[u8]; 9] =
        [b"int", b"integer", b"bigint", b"smallint", b"text", b"numeric", b"boolean", b"date", b"timestamptz"];
    let own = |schema: Option<&[u8]>| matches!(schema, Some(b"pg_catalog" | b"information_schema"));
    let empty = |behind: &Lexer<'_>| {
        let mut lexer = behind.clone();
        let first = lexer.next();
        first.is(b')') || first.is(b'*') && lexer.next().is(b')')
    };
    [true, false].into_iter().any(|standard| {
        let mut more = false;
        mentions(Lexer::new(sql, standard), scope, false, Depth::Words, &mut |mention| {
            more |= match mention {
                Mention::Call(schema, name, ref behind) => {
                    let harmless = is_harmless(name) && scope.list.function(name, schema).is_none();
                    !(harmless && (own(schema) || schema.is_none() && empty(behind)))
                }
                Mention::Relation(schema, _) => !own(schema),
                // Of a call it is told as well.
                Mention::Type(schema, name) => !(TYPES.contains(&name) || own(schema) || is_harmless(name)),
                Mention::Operator(run, _) => run != b"*",
                Mention::Field(_) => false,
                _ => true,
            };
        });
        more
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Analyzer;

    #[test]
    fn a_connection_leads_here_only_if_it_says_so() {
        let mut here = Here::default();
        here.is("app", "6000");
        here.leads_elsewhere("oth");
        for (connection, elsewhere) in [
            ("host=127.0.0.1 port=6000 dbname=app user=lnk password=lnk", false),
            ("port=6000 dbname='app'", false),
            ("mine", false),
            ("oth", true),
            ("dbname=other port=6000", true),
            ("dbname=app", true),
            ("host=far port=6000 dbname=app", true),
            ("service=x port=6000 dbname=app", true),
            ("postgresql://127.0.0.1:6000/app", true),
            ("port=6000 dbname=app dbname=other", true),
            ("host=127.0.0.1,far port=6000 dbname=app", true),
            ("host=0.0.0.0 port=6000 dbname=app", true),
        ] {
            assert_eq!(here.may_be_elsewhere(connection.as_bytes()), elsewhere, "{connection}");
        }
    }

    #[test]
    fn of_another_database_only_postgresqls_own_is_known() {
        let analyzer = Analyzer::default();
        for sql in
            ["SELECT 1", "SELECT now(), version()", "SELECT count(*) FROM pg_catalog.pg_class", "SELECT 'x'::text"]
        {
            assert!(!names_more(sql.as_bytes(), analyzer.scope()), "{sql}");
        }
        for sql in [
            "SELECT * FROM v",
            "SELECT f()",
            "SELECT upper(1, 2)",
            "SELECT 'a'::text + 'b'::text",
            "SELECT 1::d",
            "TABLE v",
        ] {
            assert!(names_more(sql.as_bytes(), analyzer.scope()), "{sql}");
        }
    }
}
