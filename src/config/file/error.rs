//! What was found wrong in a configuration, each with its place.

use std::fmt;

/// A place in a text: both numbers count from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

/// One thing that is wrong (or only doubtful, as a warning): where, which key, why and what would be right.
///
/// Its text is `file:line: key: reason`; line and key are left out where there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file as it was named by whoever asked for it, or `--upstream` for a URL on the command line.
    pub file: String,
    /// Where in the file; none when something is missing from the file as a whole.
    pub place: Option<Place>,
    /// The dotted path of the key, such as `databases.app.pool_size`; empty for syntax errors outside any key.
    pub key: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = self.place {
            write!(f, ":{}", place.line)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)
    }
}

/// Everything that is wrong with a configuration, in the order of the file: never just the first mistake.
///
/// Its text is one line for each error. The warnings that were found beside them are kept apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.errors))]
pub struct ConfigErrors {
    /// At least one.
    pub errors: Vec<Finding>,
    /// Doubtful, but not a reason to refuse the configuration.
    pub warnings: Vec<Finding>,
}

impl ConfigErrors {
    /// Whether nothing is wrong but that a key needs another one beside it.
    pub fn lack_other_keys(&self) -> bool {
        let lacks = |reason: &str| reason.starts_with("needs ") || reason.contains(" needs ");
        !self.errors.is_empty() && self.errors.iter().all(|error| lacks(&error.reason))
    }
}

fn lines(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    lines.join("\n")
}
