//! Host-based authentication: which method holds for whom, in the format of PostgreSQL's `pg_hba.conf`, and which role a
//! name of elsewhere stands for, in that of its `pg_ident.conf`.
//!
//! ```text
//! file ──tokens──▶ fields of a line ──rule, options──▶ Rule ──matching──▶ the first that fits counts
//! ```
//!
//! - [`tokens`]: lines, words, quotes, `@file` and `include`; the only place where files are read, when a configuration is
//!   loaded;
//! - [`rule`] and [`options`]: what a line says, with PostgreSQL's own words for what is wrong with it;
//! - [`matching`]: whom a rule is for; [`ident`]: maps of names.
//!
//! Membership in roles (`+role`) only a server knows. [`Hba::find`] says that it needs to be known and is asked again.

mod ident;
mod matching;
mod options;
mod rule;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::Path;
use std::sync::Arc;

pub use self::ident::IdentMaps;
pub use self::matching::{Asked, From, Verdict};
pub use self::options::{CertificateName, ClientCertificate, LdapOptions, LdapScheme};
pub use self::rule::{Connection, HostMatch, Rule, RuleMethod, Word};

/// A line with a rule or with an error, where it stands.
#[derive(Clone, Debug)]
pub struct Line {
    /// The file, which may be an included one.
    pub file: Arc<Path>,
    /// Its number, from 1; of a continued line the first.
    pub number: usize,
    /// What it says, or what is wrong with it.
    pub rule: Result<Rule, String>,
}

/// The rules of a file, in order.
#[derive(Clone, Debug, Default)]
pub struct Hba {
    /// Every line but comments and blank ones.
    pub lines: Vec<Line>,
}

impl Hba {
    /// Reads a file and what it includes. Lines that are wrong stay in it, with what is wrong.
    ///
    /// # Errors
    /// The file itself cannot be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let lines = tokens::read(path)?;
        let parsed = |line: tokens::RawLine| {
            let rule = match line.error {
                Some(error) => Err(error),
                None => rule::parse(&line.fields),
            };
            Line { file: line.file, number: line.number, rule }
        };
        Ok(Self { lines: lines.into_iter().map(parsed).collect() })
    }

    /// As [`Self::read`], where every line has to be right: PostgreSQL does not take a file with an error either.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub fn load(path: &Path) -> Result<Self, String> {
        let hba = Self::read(path)?;
        for line in &hba.lines {
            if let Err(error) = &line.rule {
                return Err(format!("{}, line {}: {error}", line.file.display(), line.number));
            }
        }
        if hba.lines.is_empty() {
            return Err(format!("{} contains no entries", path.display()));
        }
        Ok(hba)
    }

    /// One rule for everybody: what `auth_type` says without a file.
    #[must_use]
    pub fn everybody(method: RuleMethod) -> Self {
        let rule = Rule::everybody(method);
        Self { lines: vec![Line { file: Path::new("").into(), number: 0, rule: Ok(rule) }] }
    }

    /// The rules that are right.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.lines.iter().filter_map(|line| line.rule.as_ref().ok())
    }
}
