//! The keys of `[pgbouncer]`: each is taken, translated, or named with a sentence why it is not.

use super::emit::{Emitter, text};
use super::ini::Entry;
use super::values::{Form, literal, number};
use super::{Translation, one_line};
use crate::config::checks::nearest::nearest;
use crate::config::{AuthType, Config};

/// What becomes of a key.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is a key of pgsluice too.
    Taken(Form),
    /// It is one under another name.
    Renamed(&'static str, Form),
    /// It is one of pgsluice's keys in the versions that have it; else what is said of it.
    IfThere(Form, &'static str),
    /// It has no place here: why.
    Left(&'static str),
    /// It is read by a function of its own.
    Own,
}

use Fate::{IfThere, Left, Own, Renamed, Taken};
use Form::{Bytes, Count, Flag, List, Millis, Mode, Path, Seconds, Text, Word};

const NAMES: &str = "names are looked up by the system at each connection: nothing is cached that could grow old";
const BUFFERS: &str = "buffers are sized by buffer_size, and sockets by the kernel as they need it";
const EVERYWHERE: &str = "pgsluice follows every setting of a client, whether the server reports it or not";

/// All keys of PgBouncer 1.25 and of those of its older and next releases that files have.
const KEYS: &[(&str, Fate)] = &[
    ("admin_users", Taken(List)),
    ("application_name_add_host", Taken(Flag)),
    ("auth_dbname", IfThere(Text, "it is not available yet, with auth_query")),
    ("auth_file", Taken(Path)),
    ("auth_hba_file", IfThere(Path, "it is not available yet: auth_type holds for every client")),
    ("auth_ident_file", IfThere(Path, "it is not available yet, with auth_hba_file")),
    ("auth_ldap_options", IfThere(Text, "it is not available yet: users stand in auth_file")),
    ("auth_query", IfThere(Text, "it is not available yet: users stand in auth_file")),
    ("auth_type", Own),
    ("auth_user", IfThere(Text, "it is not available yet, with auth_query: users stand in auth_file")),
    ("autodb_idle_timeout", Left("databases that come into being by \"*\" cost nothing while nobody uses them")),
    ("cancel_wait_timeout", Taken(Seconds)),
    ("client_idle_timeout", Taken(Seconds)),
    ("client_login_timeout", Taken(Seconds)),
    ("client_tls13_ciphers", Taken(Text)),
    ("client_tls_ca_file", Taken(Path)),
    ("client_tls_cert_file", Taken(Path)),
    ("client_tls_ciphers", Taken(Text)),
    (
        "client_tls_dheparams",
        Left("there are no suites with finite-field DHE, which PgBouncer needs the parameters for"),
    ),
    ("client_tls_ecdhcurve", Left("key exchange is by X25519, P-256 or P-384, as the client likes")),
    ("client_tls_key_file", Taken(Path)),
    ("client_tls_protocols", Taken(Text)),
    ("client_tls_sslmode", Taken(Word)),
    ("conffile", Left("RELOAD reads the file that pgsluice was started with")),
    ("default_pool_size", Taken(Count)),
    ("disable_pqexec", Left("simple queries cannot be switched off")),
    ("dns_max_ttl", Left(NAMES)),
    ("dns_nxdomain_ttl", Left(NAMES)),
    ("dns_zone_check_period", Left(NAMES)),
    ("idle_transaction_timeout", Taken(Seconds)),
    ("ignore_startup_parameters", Taken(List)),
    ("job_name", Left("the service manager names the process")),
    ("listen_addr", Own),
    ("listen_backlog", Taken(Count)),
    ("listen_port", Taken(Count)),
    ("log_connections", Taken(Flag)),
    ("log_disconnections", Taken(Flag)),
    ("log_pooler_errors", Taken(Flag)),
    ("log_stats", Taken(Flag)),
    ("logfile", Taken(Path)),
    ("login_notify_message", Taken(Text)),
    ("max_client_conn", Taken(Count)),
    ("max_db_client_connections", Taken(Count)),
    ("max_db_connections", Taken(Count)),
    ("max_packet_size", Renamed("max_message_size", Bytes)),
    ("max_prepared_statements", Taken(Count)),
    ("max_user_client_connections", Taken(Count)),
    ("max_user_connections", Taken(Count)),
    ("min_pool_size", Taken(Count)),
    ("peer_id", Taken(Count)),
    ("pidfile", Taken(Path)),
    ("pkt_buf", Left(BUFFERS)),
    ("pool_idle_timeout", Taken(Seconds)),
    ("pool_mode", Taken(Word)),
    ("query_timeout", Taken(Seconds)),
    ("query_wait_notify", Taken(Seconds)),
    ("query_wait_timeout", Taken(Seconds)),
    ("reserve_pool_size", Taken(Count)),
    ("reserve_pool_timeout", Taken(Seconds)),
    ("resolv_conf", Left(NAMES)),
    ("sbuf_loopcnt", Left("no client can keep a worker from the others")),
    (
        "scram_iterations",
        IfThere(Count, "a verifier in auth_file has its own number, and plain passwords are tried with 4096"),
    ),
    ("server_check_delay", Taken(Seconds)),
    ("server_check_query", Own),
    ("server_connect_timeout", Taken(Seconds)),
    ("server_fast_close", Taken(Flag)),
    ("server_idle_timeout", Taken(Seconds)),
    ("server_lifetime", Taken(Seconds)),
    ("server_login_retry", Taken(Seconds)),
    ("server_reset_query", Taken(Text)),
    ("server_reset_query_always", Taken(Flag)),
    ("server_round_robin", Left("the connection that was used last is used first, which lets the others be closed")),
    ("server_tls13_ciphers", Taken(Text)),
    ("server_tls_ca_file", Taken(Path)),
    ("server_tls_cert_file", Taken(Path)),
    ("server_tls_ciphers", Taken(Text)),
    ("server_tls_key_file", Taken(Path)),
    ("server_tls_protocols", Taken(Text)),
    ("server_tls_sslmode", Taken(Word)),
    ("service_name", Left("the service manager names the process")),
    (
        "so_reuseport",
        Left(
            "one process uses all cores, and two with modes of their own on one port could let writes through a closed gate",
        ),
    ),
    ("stats_period", Taken(Seconds)),
    ("stats_users", Taken(List)),
    ("suspend_timeout", Taken(Seconds)),
    ("syslog", Taken(Flag)),
    ("syslog_facility", Taken(Text)),
    ("syslog_ident", Taken(Text)),
    (
        "tcp_defer_accept",
        Left("a connection that says nothing costs next to nothing until client_login_timeout ends it"),
    ),
    ("tcp_keepalive", Taken(Flag)),
    ("tcp_keepcnt", Taken(Count)),
    ("tcp_keepidle", Taken(Seconds)),
    ("tcp_keepintvl", Taken(Seconds)),
    ("tcp_socket_buffer", Left(BUFFERS)),
    ("tcp_user_timeout", Taken(Millis)),
    ("track_extra_parameters", Left(EVERYWHERE)),
    ("transaction_timeout", Taken(Seconds)),
    ("unix_socket_dir", Own),
    ("unix_socket_group", Taken(Text)),
    ("unix_socket_mode", Taken(Mode)),
    ("user", Taken(Text)),
    ("verbose", Own),
];

/// Whether PgBouncer has a key of that name in its main section.
pub(in crate::config) fn is_known(name: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == name)
}

/// server_lifetime 0 of PgBouncer: a server connection is used once.
pub(super) const USED_ONCE: &str = "\"1ms\"";

/// What PgBouncer takes where nothing is written and pgsluice something else.
const DEFAULTS: &[(&str, &str)] = &[
    ("auth_type", "\"md5\""),
    ("listen_addr", "[]"),
    ("listen_backlog", "128"),
    ("log_format", "\"pgbouncer\""),
    ("log_stats", "true"),
    ("max_client_conn", "100"),
    ("pgbouncer_compatible", "true"),
    ("pool_mode", "\"session\""),
    ("query_wait_notify", "\"5s\""),
    ("server_check_query", "\"<empty>\""),
];

fn has(name: &str) -> bool {
    Config::general_keys().any(|key| key.name == name)
}

/// The number of a key that is written, or its default: one that has to fit to another.
fn count(entries: &[&Entry], key: &str, default: i64) -> i64 {
    let written = entries.iter().find(|entry| entry.key == key).and_then(|entry| number(&entry.value).ok());
    written.unwrap_or(default)
}

impl Translation<'_> {
    /// Writes the keys at the top of the file. Of a key that stands there twice the last counts.
    pub(super) fn general(&mut self, entries: &[Entry]) {
        let mut last: Vec<&Entry> = Vec::new();
        for entry in entries {
            match last.iter_mut().find(|known| known.key == entry.key) {
                Some(known) => *known = entry,
                None => last.push(entry),
            }
        }
        self.port = u16::try_from(count(&last, "listen_port", 6432)).unwrap_or(6432);
        self.auth_file = last.iter().any(|entry| entry.key == "auth_file" && !entry.value.is_empty());
        self.size = count(&last, "default_pool_size", 20);
        for entry in &last {
            self.one(entry, &last);
        }
        let own = self.own.clone();
        let missing = |(name, _): &&(&str, &str)| {
            has(name) && last.iter().all(|entry| entry.key != *name) && own.iter().all(|key| key != name)
        };
        for (name, literal) in DEFAULTS.iter().filter(missing) {
            self.out.key(name, literal, None);
        }
        if !self.auth_file {
            self.out.key("auth_file", "\"\"", None);
        }
        if last.iter().all(|entry| entry.key != "unix_socket_dir") && std::path::Path::new("/tmp").is_dir() {
            self.socket_folder = Some("/tmp".into());
            self.out.key("unix_socket_dir", "\"/tmp\"", None);
        }
    }

    fn one(&mut self, entry: &Entry, all: &[&Entry]) {
        let Some((_, fate)) = KEYS.iter().find(|(known, _)| *known == entry.key) else {
            let near = nearest(&entry.key, KEYS.iter().map(|(known, _)| *known));
            let hint = near.map_or_else(String::new, |known| format!("; did you mean \"{known}\"?"));
            self.error(entry, format!("unknown parameter{hint}"));
            return;
        };
        match *fate {
            Taken(form) | IfThere(form, _) if has(&entry.key) => self.written(entry, &entry.key, form, all),
            Renamed(name, form) => self.written(entry, name, form, all),
            Taken(_) => self.leave(entry, "pgsluice does not have it"),
            IfThere(_, why) | Left(why) => self.leave(entry, why),
            Own => self.own(entry),
        }
    }

    fn written(&mut self, entry: &Entry, name: &str, form: Form, all: &[&Entry]) {
        if entry.value.is_empty() && matches!(form, Count | Flag | Seconds | Millis | Mode | Bytes) {
            self.error(entry, "has no value");
            return;
        }
        match literal(&entry.value, form, self.folder) {
            Ok(literal) => {
                let literal = self.fitted(entry, name, literal, all);
                if name == entry.key {
                    self.out.same(name, &literal, entry)
                } else {
                    self.renamed(entry, name, &literal)
                }
            }
            Err(why) => self.error(entry, why),
        }
    }

    /// A value that PgBouncer takes and pgsluice does not is brought to the nearest one that it takes.
    fn fitted(&mut self, entry: &Entry, name: &str, literal: String, all: &[&Entry]) -> String {
        let bounded = |low: i64, high: i64| {
            let number = number(&entry.value).unwrap_or(low);
            number.clamp(low, high)
        };
        let (fitted, why) = match name {
            "max_message_size" => (bounded(1024, 1 << 30).to_string(), "at most 1 GB, at least 1 kB"),
            "default_pool_size" | "max_client_conn" | "listen_backlog" => {
                (bounded(1, 1_000_000).to_string(), "at least 1, at most a million")
            }
            "min_pool_size" => {
                let most = count(all, "default_pool_size", 20).max(1);
                (bounded(0, most).to_string(), "not more than default_pool_size")
            }
            "server_lifetime" if literal == "0" => return USED_ONCE.to_owned(),
            "server_connect_timeout" if literal == "0" => ("\"1d\"".to_owned(), "there is always a limit"),
            "server_tls_protocols" | "client_tls_protocols" | "unix_socket_mode" => return literal,
            _ => return literal,
        };
        if fitted != literal && !(name == "max_message_size" && entry.value == "2147483647") {
            self.note(entry, format!("taken as {fitted}: {why}"));
        }
        fitted
    }

    fn renamed(&mut self, entry: &Entry, name: &str, literal: &str) {
        self.out.comment(&format!("{} of PgBouncer:", entry.key));
        self.out.key(name, literal, Some(entry));
        self.account(entry, format!("taken as {name}"));
    }

    /// A key that is not taken: said in the file that is printed, at start, and by SHOW CONFIG NOTES.
    pub(super) fn leave(&mut self, entry: &Entry, why: &str) {
        self.out.comment(&format!("not taken: {} = {}", entry.key, one_line(&entry.value)));
        self.out.comment(&format!("  {why}"));
        self.warn(entry, format!("not taken: {why}"));
        self.account(entry, format!("not taken: {why}"));
    }

    fn own(&mut self, entry: &Entry) {
        let value = entry.value.as_str();
        match entry.key.as_str() {
            "auth_type" => self.auth_type(entry),
            "listen_addr" => {
                let names: Vec<&str> = super::values::names(value).collect();
                // One socket for all addresses takes those of both families.
                let all = names.iter().any(|name| matches!(*name, "*" | "0.0.0.0" | "::"));
                let literal = match names.as_slice() {
                    ["0.0.0.0"] => text("0.0.0.0"),
                    _ if all => text("*"),
                    names => super::emit::list(names.iter().copied()),
                };
                self.out.same("listen_addr", &literal, entry);
            }
            "unix_socket_dir" => {
                if value.starts_with('@') {
                    self.leave(entry, "sockets in Linux's abstract namespace have no permissions: name a folder");
                    return;
                }
                let folder = super::values::path(value, self.folder);
                self.socket_folder = Some(folder.clone()).filter(|_| !value.is_empty());
                self.out.same("unix_socket_dir", &text(&folder.display().to_string()), entry);
            }
            "server_check_query" => {
                let query = if value == ";" { "<empty>" } else { value };
                self.out.same("server_check_query", &text(query), entry);
            }
            "verbose" => match number(value) {
                Ok(level) => {
                    let word = if level > 0 { "\"debug\"" } else { "\"info\"" };
                    self.renamed(entry, "log_level", word);
                }
                Err(why) => self.error(entry, why),
            },
            _ => {}
        }
    }

    fn auth_type(&mut self, entry: &Entry) {
        let word = entry.value.to_ascii_lowercase();
        let out: &mut Emitter = &mut self.out;
        match word.as_str() {
            "any" => {
                out.same("auth_type", "\"any\"", entry);
                self.note(
                    entry,
                    "taken as it is, but a database without a user of its own gets the client's".to_owned(),
                );
            }
            known if known.parse::<AuthType>().is_ok() => out.same("auth_type", &text(known), entry),
            "hba" | "cert" | "pam" | "ldap" | "peer" => {
                out.comment(&format!(
                    "auth_type {word} is not available yet: clients log in with the secrets in auth_file."
                ));
                out.same("auth_type", "\"scram-sha-256\"", entry);
                self.warn(
                    entry,
                    format!(
                        "\"{word}\" is not available yet: clients log in by SCRAM-SHA-256 with the secrets in auth_file"
                    ),
                );
                self.account(entry, "taken as \"scram-sha-256\"".to_owned());
            }
            _ => self.error(entry, format!("unknown auth_type {}", text(&entry.value))),
        }
    }
}
