//! The userlist: PgBouncer's `auth_file`, one `"user" "secret"` per line.
//!
//! As in [PgBouncer](https://www.pgbouncer.org/config.html#authentication-file-format): both fields stand in double
//! quotes, a quote inside is written twice, what follows the second field is ignored, and `;` at the start of a line
//! begins a comment. Stricter than PgBouncer where it guesses: a broken SCRAM verifier or MD5 hash is an error and
//! not a password, a field ends on its line, and the first broken line is reported instead of ending the list.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

use super::decoy::Decoy;
use super::secret::{Secret, SecretKind};

/// Longest user name in bytes, as in PgBouncer.
pub const MAX_USER_LEN: usize = 127;
/// Longest secret in bytes, as in PgBouncer.
pub const MAX_SECRET_LEN: usize = 65_535;

/// Users and their secrets.
#[derive(Default, Clone)]
pub struct Userlist {
    users: HashMap<String, Entry>,
    repeated: Vec<RepeatedUser>,
}

#[derive(Clone)]
struct Entry {
    text: zeroize::Zeroizing<String>,
    secret: Secret,
    line: usize,
}

/// A user who stands in the list more than once. The last line counts, as in PgBouncer; worth a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatedUser {
    /// The name.
    pub user: String,
    /// The line that does not count, from 1.
    pub overridden_line: usize,
    /// The line that counts, from 1.
    pub line: usize,
}

/// A line that is not a userlist line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct UserlistError {
    /// Line number, from 1. The caller knows and adds the file's name.
    pub line: usize,
    /// What is wrong and what would be right.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// Text where a quoted user name should begin.
    #[error("expected a user name in double quotes, as in \"user\" \"secret\"")]
    UserNotQuoted,
    /// A comment in the shell's style.
    #[error("expected a user name in double quotes; comments begin with ; and not with #")]
    HashComment,
    /// No closing quote before the end of the line.
    #[error("the {0} has no closing double quote (a quote inside is written twice: \"\")")]
    Unclosed(&'static str),
    /// The user stands alone.
    #[error("expected a secret in double quotes after the user name, as in \"user\" \"secret\"")]
    SecretNotQuoted,
    /// An empty name.
    #[error("the user name is empty")]
    EmptyUser,
    /// A NUL, which cannot be sent to a server.
    #[error("the {0} contains a NUL byte")]
    Nul(&'static str),
    /// Longer than PgBouncer takes.
    #[error("the {0} is longer than {1} bytes")]
    TooLong(&'static str, usize),
    /// Begins like a SCRAM verifier and is none.
    #[error(
        "the secret is not a complete SCRAM verifier; expected \
         SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey> as in pg_authid.rolpassword"
    )]
    BrokenScram,
    /// Begins like an MD5 hash and is none.
    #[error("the secret is not a valid MD5 hash; expected md5 and 32 lower-case hexadecimal digits")]
    BrokenMd5,
}

impl Userlist {
    /// Reads the text of a userlist.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, UserlistError> {
        let mut list = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let parsed = parse_line(line).map_err(|problem| UserlistError { line: number, problem })?;
            if let Some((user, secret)) = parsed {
                list.insert(user, secret, number);
            }
        }
        Ok(list)
    }

    fn insert(&mut self, user: String, text: String, line: usize) {
        let secret = Secret::from_text(&text);
        let text = zeroize::Zeroizing::new(text);
        let entry = Entry { text, secret, line };
        if let Some(old) = self.users.insert(user.clone(), entry) {
            self.repeated.push(RepeatedUser { user, overridden_line: old.line, line });
        }
    }

    /// The secret of a user; `None` if the user is not in the list.
    #[must_use]
    pub fn get(&self, user: &str) -> Option<&Secret> {
        self.users.get(user).map(|entry| &entry.secret)
    }

    /// The users, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The names, in no order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Users who stand there more than once.
    #[must_use]
    pub fn repeated(&self) -> &[RepeatedUser] {
        &self.repeated
    }

    /// The kind of secret that most users have; SCRAM, PostgreSQL's default, in an empty list and in a draw.
    #[must_use]
    pub fn common_kind(&self) -> SecretKind {
        let count = |kind| {
            let same = |entry: &&Entry| entry.secret.kind() == Some(kind);
            self.users.values().filter(same).count()
        };
        // `max_by_key` takes the last of equals.
        [SecretKind::Plain, SecretKind::Md5, SecretKind::Scram]
            .into_iter()
            .max_by_key(|&kind| count(kind))
            .unwrap_or_default()
    }

    /// Takes over from an older list what was derived for users whose secret is still the same.
    pub fn inherit(&mut self, old: &Self) {
        for (user, entry) in &mut self.users {
            if let Some(before) = old.users.get(user)
                && before.text == entry.text
            {
                entry.secret = before.secret.clone();
            }
        }
    }

    /// [`Secret::prepare`] for every user: about 2.5 milliseconds for each with a plain password, so off the event loop.
    pub fn prepare(&self, decoy: &Decoy) {
        for (user, entry) in &self.users {
            entry.secret.prepare(user, decoy);
        }
    }
}

impl fmt::Debug for Userlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Userlist").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

fn parse_line(line: &str) -> Result<Option<(String, String)>, Problem> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with(';') {
        return Ok(None);
    }
    let (user, rest) = match line.strip_prefix('"') {
        Some(rest) => quoted(rest, "user name", MAX_USER_LEN)?,
        None if line.starts_with('#') => return Err(Problem::HashComment),
        None => return Err(Problem::UserNotQuoted),
    };
    if user.is_empty() {
        return Err(Problem::EmptyUser);
    }
    let (secret, _ignored) = match rest.trim_start().strip_prefix('"') {
        Some(rest) => quoted(rest, "secret", MAX_SECRET_LEN)?,
        None => return Err(Problem::SecretNotQuoted),
    };
    check_kind(&secret)?;
    Ok(Some((user, secret)))
}

/// The field up to its closing quote, and what follows it.
fn quoted<'a>(text: &'a str, field: &'static str, limit: usize) -> Result<(String, &'a str), Problem> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or(Problem::Unclosed(field))?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                value.push('"');
                rest = next;
            }
            None if value.len() > limit => return Err(Problem::TooLong(field, limit)),
            None if value.contains('\0') => return Err(Problem::Nul(field)),
            None => return Ok((value, after)),
        }
    }
}

/// Nobody's password looks like a verifier with one character missing: that is a slip in copying.
fn check_kind(secret: &str) -> Result<(), Problem> {
    let plain = matches!(Secret::from_text(secret), Secret::Plain(_));
    if plain && secret.starts_with("SCRAM-SHA-256$") {
        return Err(Problem::BrokenScram);
    }
    let hex_tail = |tail: &str| tail.len() == 32 && tail.bytes().all(|c| c.is_ascii_hexdigit());
    if plain && secret.strip_prefix("md5").is_some_and(hex_tail) {
        return Err(Problem::BrokenMd5);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                         wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn plain(list: &Userlist, user: &str) -> String {
        match list.get(user) {
            Some(Secret::Plain(password)) => String::from_utf8(password.as_bytes().to_vec()).unwrap(),
            other => panic!("{user}: {other:?}"),
        }
    }

    #[test]
    fn reads_what_pgbouncer_reads() {
        let text = format!(
            "; users\r\n\n  \"al\"\"ice\"\t\"pa\"\"ss;word\" \"ignored\" ; more\r\n\"bob\"\"\" \"x\"\n\
             \"hash\" \"md5d96c1b2ff9b1d9c9a4ab5b1c0e8a1f11\"\n\"scram\" \"{SCRAM}\"\n   ; \"no\" \"one\"\n\"empty\" \"\""
        );
        let list = Userlist::parse(&text).unwrap();
        assert_eq!(list.len(), 5);
        assert_eq!(plain(&list, "al\"ice"), "pa\"ss;word");
        assert_eq!(plain(&list, "bob\""), "x");
        assert!(matches!(list.get("hash"), Some(Secret::Md5(_))));
        assert!(matches!(list.get("scram"), Some(Secret::Scram(_))));
        assert!(matches!(list.get("empty"), Some(Secret::Empty)));
        assert!(list.get("no").is_none());
    }

    #[test]
    fn every_broken_line_is_named() {
        for (text, line, problem) in [
            ("\"a\" \"b\"\nc d", 2, Problem::UserNotQuoted),
            ("# a comment", 1, Problem::HashComment),
            ("\"a", 1, Problem::Unclosed("user name")),
            ("\"a\"\"\n\"b\" \"c\"", 1, Problem::Unclosed("user name")),
            ("\n\n\"a\"", 3, Problem::SecretNotQuoted),
            ("\"a\" b", 1, Problem::SecretNotQuoted),
            ("\"a\" \"b", 1, Problem::Unclosed("secret")),
            ("\"\" \"b\"", 1, Problem::EmptyUser),
            ("\"a\" \"b\0c\"", 1, Problem::Nul("secret")),
            ("\"a\" \"SCRAM-SHA-256$4096:AAAA\"", 1, Problem::BrokenScram),
            ("\"a\" \"md5D96C1B2FF9B1D9C9A4AB5B1C0E8A1F11\"", 1, Problem::BrokenMd5),
        ] {
            let error = Userlist::parse(text).unwrap_err();
            assert_eq!(error, UserlistError { line, problem }, "{text}");
        }
        let long = format!("\"{}\" \"x\"", "u".repeat(MAX_USER_LEN + 1));
        let error = Userlist::parse(&long).unwrap_err();
        assert_eq!(error.to_string(), "line 1: the user name is longer than 127 bytes");
    }

    #[test]
    fn the_last_of_repeated_lines_counts_and_is_told() {
        let list = Userlist::parse("\"a\" \"1\"\n\"a\" \"2\"").unwrap();
        assert_eq!(plain(&list, "a"), "2");
        assert_eq!(list.repeated(), [RepeatedUser { user: "a".into(), overridden_line: 1, line: 2 }]);
    }

    #[test]
    fn derived_keys_survive_a_reload_of_the_same_secret_only() {
        let old = Userlist::parse("\"a\" \"1\"\n\"b\" \"1\"").unwrap();
        let mut new = Userlist::parse("\"a\" \"1\"\n\"b\" \"2\"").unwrap();
        new.inherit(&old);
        let same = |user| match (old.get(user), new.get(user)) {
            (Some(Secret::Plain(x)), Some(Secret::Plain(y))) => std::sync::Arc::ptr_eq(x, y),
            _ => false,
        };
        assert!(same("a") && !same("b"));
        assert_eq!(plain(&new, "b"), "2");
    }

    #[test]
    fn most_users_give_the_kind_of_the_decoy() {
        let kind = |text: &str| Userlist::parse(text).unwrap().common_kind();
        assert_eq!(kind(""), SecretKind::Scram);
        assert_eq!(kind("\"a\" \"x\"\n\"b\" \"y\""), SecretKind::Plain);
        assert_eq!(kind(&format!("\"a\" \"x\"\n\"b\" \"{SCRAM}\"")), SecretKind::Scram);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\"; #\\n\\ra-c\u{e9}\0]{0,60}") {
            let _ = Userlist::parse(&text);
        }

        #[test]
        fn quoting_round_trips(user in "[a-z\"; #]{1,20}", secret in "[a-z\";\\\\ ]{1,20}") {
            let line = format!("\"{}\" \"{}\"", user.replace('"', "\"\""), secret.replace('"', "\"\""));
            let list = Userlist::parse(&line).unwrap();
            prop_assert_eq!(plain(&list, &user), secret);
        }
    }
}
