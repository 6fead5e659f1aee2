//! Write rules: what becomes of certain writes in maintenance, one line each.

use super::units::quoted;
use crate::config::keys::list::Item;
use crate::config::keys::setting::Kind;

/// What a rule does with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// SQLSTATE 25006 at once.
    Reject,
    /// It waits for the gate.
    Hold,
    /// It is answered as done and sent nowhere.
    Discard {
        /// The rows that the answer counts: some frameworks take an UPDATE of none for a failure.
        rows: u32,
    },
    /// It is run.
    Allow,
}

/// A kind of statement that a rule can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleStatement {
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

/// `reject`, `hold`, `discard`, `discard(ROWS)` or `allow`.
fn action(word: &str) -> Option<RuleAction> {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "reject" => Some(RuleAction::Reject),
        "hold" => Some(RuleAction::Hold),
        "discard" => Some(RuleAction::Discard { rows: 0 }),
        "allow" => Some(RuleAction::Allow),
        other => {
            let rows = other.strip_prefix("discard(")?.strip_suffix(')')?;
            let digits = !rows.is_empty() && rows.bytes().all(|byte| byte.is_ascii_digit());
            rows.parse().ok().filter(|_| digits).map(|rows| RuleAction::Discard { rows })
        }
    }
}

const STATEMENTS: [(&str, RuleStatement); 3] =
    [("insert", RuleStatement::Insert), ("update", RuleStatement::Update), ("delete", RuleStatement::Delete)];

/// A table as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTable {
    /// Only where the statement spells this schema, if one is given.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
}

/// `ACTION [STATEMENT, …] [on TABLE, …] [by USER, …] [from APPLICATION, …]`. What is not named is not asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRule {
    /// What it does.
    pub action: RuleAction,
    /// Kinds of statements; none for all.
    pub statements: Vec<RuleStatement>,
    /// Tables; none for all.
    pub tables: Vec<RuleTable>,
    /// Roles that clients log in as; none for all.
    pub users: Vec<String>,
    /// Values of application_name; none for all.
    pub applications: Vec<String>,
    text: String,
}

impl WriteRule {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it asks for the statement's kind or table.
    pub fn asks_for_target(&self) -> bool {
        !self.statements.is_empty() || !self.tables.is_empty()
    }
}

/// Words and commas; what stands in quotes is one word.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, tail) = match first {
            ',' => (",".to_owned(), rest.get(1..)),
            '\'' | '"' => {
                let inner = rest.get(1..).unwrap_or_default();
                let end =
                    inner.find(first).ok_or_else(|| format!("has a quote that does not end: {}", quoted(text)))?;
                (format!("={}", inner.get(..end).unwrap_or_default()), inner.get(end + 1..))
            }
            _ => {
                let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
                (rest.get(..end).unwrap_or_default().to_owned(), rest.get(end..))
            }
        };
        words.push(word);
        rest = tail.unwrap_or_default().trim_start();
    }
    Ok(words)
}

fn table(word: &str) -> Result<RuleTable, String> {
    let (quoted_whole, word) = word.strip_prefix('=').map_or((false, word), |word| (true, word));
    let fold = |name: &str| if quoted_whole { name.to_owned() } else { name.to_lowercase() };
    let (schema, name) = match word.split_once('.') {
        Some((schema, name)) if !quoted_whole => (Some(fold(schema)), fold(name)),
        _ => (None, fold(word)),
    };
    if name.is_empty() || schema.as_deref() == Some("") {
        return Err(format!("has no name of a table after \"on\": {}", quoted(word)));
    }
    Ok(RuleTable { schema, name })
}

impl Item for WriteRule {
    const KIND: Kind = Kind::new("list of rules");

    fn from_text(text: &str) -> Result<Self, String> {
        let all = words(text)?;
        let example = "such as \"discard update on auth_user by web\"";
        let mut rest = all.iter().map(String::as_str).peekable();
        let Some(action) = rest.next().and_then(action) else {
            return Err(format!("must begin with reject, hold, discard or allow, {example}, found {}", quoted(text)));
        };
        let mut rule = Self {
            action,
            statements: Vec::new(),
            tables: Vec::new(),
            users: Vec::new(),
            applications: Vec::new(),
            text: text.to_owned(),
        };
        let mut part = "";
        let mut comma = true;
        for word in rest {
            let lower = word.to_ascii_lowercase();
            match lower.as_str() {
                "," if !comma => comma = true,
                "on" | "by" | "from" if !comma || part.is_empty() && rule.statements.is_empty() => {
                    part = match lower.as_str() {
                        "on" => "on",
                        "by" => "by",
                        _ => "from",
                    };
                    comma = true;
                }
                "," => return Err(format!("has a comma too many, {example}, found {}", quoted(text))),
                _ if !comma => {
                    return Err(format!(
                        "must have a comma before {}, {example}",
                        quoted(word.trim_start_matches('='))
                    ));
                }
                _ => {
                    comma = false;
                    let plain = word.trim_start_matches('=').to_owned();
                    match part {
                        "on" => rule.tables.push(table(word)?),
                        "by" => rule.users.push(plain),
                        "from" => rule.applications.push(plain),
                        _ => match STATEMENTS.iter().find(|(name, _)| lower == *name) {
                            Some((_, statement)) => rule.statements.push(*statement),
                            None => {
                                return Err(format!(
                                    "knows insert, update and delete, {example}, found {}",
                                    quoted(word)
                                ));
                            }
                        },
                    }
                }
            }
        }
        if comma && (!part.is_empty() || !rule.statements.is_empty()) {
            return Err(format!("ends too early, {example}, found {}", quoted(text)));
        }
        if matches!(action, RuleAction::Discard { .. } | RuleAction::Allow) && rule.tables.is_empty() {
            return Err(format!("must name a table, {example}, found {}", quoted(text)));
        }
        Ok(rule)
    }

    fn show(&self) -> String {
        self.text.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_in_all_its_parts() {
        let text = "Discard update, insert on Auth_User, \"Session\", s.t by web, 'the app' from 'gunicorn: worker'";
        let rule = WriteRule::from_text(text).unwrap();
        assert_eq!(rule.action, RuleAction::Discard { rows: 0 });
        let counted = WriteRule::from_text("discard(1) update on t").unwrap();
        assert_eq!(counted.action, RuleAction::Discard { rows: 1 });
        assert_eq!(rule.statements, [RuleStatement::Update, RuleStatement::Insert]);
        let table = |schema: Option<&str>, name: &str| RuleTable { schema: schema.map(Into::into), name: name.into() };
        assert_eq!(rule.tables, [table(None, "auth_user"), table(None, "Session"), table(Some("s"), "t")]);
        assert_eq!(
            (rule.users, rule.applications),
            (vec!["web".into(), "the app".into()], vec!["gunicorn: worker".into()])
        );
        for text in ["hold", "reject by batch", "hold insert from cron", "reject on t"] {
            assert!(WriteRule::from_text(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, words) in [
            ("", "must begin with"),
            ("drop on t", "must begin with"),
            ("discard(+1) on t", "must begin with"),
            ("discard(99999999999) on t", "must begin with"),
            ("discard", "must name a table"),
            ("allow insert by web", "must name a table"),
            ("discard truncate on t", "knows insert, update and delete"),
            ("discard update on", "ends too early"),
            ("discard update, on t", "knows insert"),
            ("discard on t u", "comma before \"u\""),
            ("discard on t,, u", "comma too many"),
            ("discard on 't", "does not end"),
            ("discard on .t", "no name of a table"),
        ] {
            let error = WriteRule::from_text(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
