//! Keys that take one of several words.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use toml::de::DeValue;

use super::setting::{Key, Kind, Setting, text};
use crate::config::checks::nearest::nearest;
use crate::config::values::units::quoted;

macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $( $(#[doc = $vdoc:literal])* $variant:ident = $word:literal, )* }
        $( refused { $( $refused:literal: $why:literal, )* } )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[doc = $vdoc])* $variant, )* }

        impl $name {
            /// Every word that may be written, in the order of the documentation.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
            const REFUSED: &'static [(&'static str, &'static str)] = &[$($(($refused, $why)),*)?];

            /// The word, as written in the file and on the console.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl FromStr for $name {
            /// What would be right.
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                if let Some((word, why)) = Self::REFUSED.iter().find(|(word, _)| *word == text) {
                    return Err(format!("\"{word}\" {why}"));
                }
                match text {
                    $( $word => Ok(Self::$variant), )*
                    other => Err(not_a_word(other, &Self::KIND)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Setting for $name {
            const KIND: Kind = Kind { noun: "word", words: Self::WORDS, refused: Self::REFUSED };
            fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
                text(value)?.parse()
            }
            fn plain(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}

fn not_a_word(found: &str, kind: &Kind) -> String {
    let usable: Vec<String> = kind.accepted().map(|word| format!("\"{word}\"")).collect();
    let list = match usable.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    };
    let hint = nearest(found, kind.accepted()).map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
    format!("must be {list}, found {}{hint}", quoted(found))
}

words! {
    /// When a server connection goes back to the pool.
    pub enum PoolMode {
        /// When the client leaves.
        Session = "session",
        /// When the transaction ends.
        Transaction = "transaction",
        /// When the statement ends: transaction blocks are refused.
        Statement = "statement",
    }
}

words! {
    /// How a database begins.
    pub enum Start {
        /// Clients are let in.
        Online = "online",
        /// They are not, until somebody gives ONLINE.
        Offline = "offline",
    }
}

words! {
    /// How clients prove who they are.
    pub enum AuthType {
        /// Not at all. With pgbouncer_compatible only users that auth_file or auth_query knows come in.
        Trust = "trust",
        /// Not at all, and whoever it is comes in.
        Any = "any",
        /// MD5 challenge, or SCRAM for users whose secret is a SCRAM verifier.
        Md5 = "md5",
        /// SCRAM-SHA-256 (RFC 7677).
        ScramSha256 = "scram-sha-256",
        /// The password in clear text: only sensible inside TLS.
        Plain = "plain",
        /// By the certificate that they show.
        Cert = "cert",
        /// As auth_hba_file says.
        Hba = "hba",
    } refused {
        "peer": "is a method for auth_type \"hba\": write \"local all all peer\" in auth_hba_file",
        "pam": "is a method for auth_type \"hba\": write \"host all all all pam\" in auth_hba_file",
        "ldap": "is a method for auth_type \"hba\": write \"host all all all ldap ldapserver=...\" in auth_hba_file",
    }
}

impl AuthType {
    /// Whether it cannot work without the secrets in auth_file.
    pub const fn needs_secrets(self) -> bool {
        !matches!(self, Self::Trust | Self::Any | Self::Cert | Self::Hba)
    }
}

words! {
    /// How TLS begins, in libpq's words (`sslnegotiation`).
    pub enum Negotiation {
        /// After an SSLRequest that the server has granted.
        Postgres = "postgres",
        /// At once.
        Direct = "direct",
    }
}

words! {
    /// TLS, in libpq's words: <https://www.postgresql.org/docs/current/libpq-ssl.html>
    pub enum SslMode {
        /// Never.
        Disable = "disable",
        /// If the other side insists.
        Allow = "allow",
        /// If the other side can.
        Prefer = "prefer",
        /// Always; the other side's certificate is not checked.
        Require = "require",
        /// Always, with a certificate signed by the CA.
        VerifyCa = "verify-ca",
        /// Always, with a certificate signed by the CA and made for that host name.
        VerifyFull = "verify-full",
    }
}

impl SslMode {
    /// Whether the other side's certificate is checked against a CA.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
    /// Whether a connection without TLS is refused.
    pub const fn insists(self) -> bool {
        matches!(self, Self::Require | Self::VerifyCa | Self::VerifyFull)
    }
}

words! {
    /// How much is logged.
    pub enum LogLevel {
        /// What needs a person.
        Error = "error",
        /// What a person should know: mode changes, degradations.
        Warn = "warn",
        /// Connections and pools.
        Info = "info",
        /// For finding a fault.
        Debug = "debug",
        /// Every message.
        Trace = "trace",
    }
}

words! {
    /// A facility of syslog (RFC 5424, section 6.2.1).
    pub enum SyslogFacility {
        /// Authorization.
        Auth = "auth",
        /// Authorization that not everybody may read.
        Authpriv = "authpriv",
        /// Background programs.
        Daemon = "daemon",
        /// Programs of users.
        User = "user",
        /// Local use.
        Local0 = "local0",
        /// Local use.
        Local1 = "local1",
        /// Local use.
        Local2 = "local2",
        /// Local use.
        Local3 = "local3",
        /// Local use.
        Local4 = "local4",
        /// Local use.
        Local5 = "local5",
        /// Local use.
        Local6 = "local6",
        /// Local use.
        Local7 = "local7",
    }
}

words! {
    /// The form of log lines.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object in each line.
        Json = "json",
        /// As PgBouncer writes them, for programs that read its log.
        Pgbouncer = "pgbouncer",
        /// The same in OpenTelemetry's log data model, with its names.
        Otel = "otel",
    }
}

words! {
    /// Where reads of an application go while the gate is open.
    pub enum Reads {
        /// Always the primary.
        Primary = "primary",
        /// A replica; an error if there is none.
        Replica = "replica",
        /// A replica, or the primary if no replica is fit.
        PreferReplica = "prefer_replica",
    }
}

words! {
    /// Whose writes a read on a replica must show.
    pub enum Causal {
        /// Those of its own session.
        Session = "session",
        /// Those of every session.
        Database = "database",
        /// Nobody's: a replica within max_lag will do.
        Off = "off",
    }
}

words! {
    /// Where reads go in maintenance.
    pub enum MaintenanceReads {
        /// A replica that has everything, or the primary on a guarded connection.
        Any = "any",
        /// Replicas alone: the primary is left in peace.
        Replica = "replica",
        /// The primary alone, on guarded connections.
        Primary = "primary",
    }
}

words! {
    /// What becomes of a maintenance that is not quiesced in time.
    pub enum OnTimeout {
        /// The gate opens again, and what was in the way is reported.
        Revert = "revert",
        /// What is left is cancelled and rolled back.
        Cancel = "cancel",
    }
}

words! {
    /// What becomes of a database when this proxy cannot reach its fleet.
    pub enum OnLoss {
        /// It takes no writes until the fleet is back.
        ReadOnly = "read_only",
        /// It goes on. A flip elsewhere does not reach it.
        Keep = "keep",
    }
}

words! {
    /// What becomes of writes in maintenance.
    pub enum Writes {
        /// SQLSTATE 25006 at once.
        Reject = "reject",
        /// They wait for the gate up to hold_timeout, then 25006.
        Hold = "hold",
    }
}

words! {
    /// Who may run DDL through the proxy.
    pub enum Ddl {
        /// Anyone whom PostgreSQL lets.
        Anyone = "anyone",
        /// Operators alone; others get 42501.
        Operator = "operator",
    } refused {
        "operator": "is not available yet; use \"anyone\" and PostgreSQL's own privileges",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_word_gets_all_right_ones_and_the_nearest() {
        assert_eq!("verify-full".parse(), Ok(SslMode::VerifyFull));
        assert_eq!(
            "Transaction".parse::<PoolMode>(),
            Err("must be \"session\", \"transaction\" or \"statement\", found \"Transaction\"; did you mean \"transaction\"?"
                .to_owned())
        );
        assert_eq!(
            "operators".parse::<Ddl>().unwrap_err().split(';').next(),
            Some("must be \"anyone\", found \"operators\"")
        );
    }
}
