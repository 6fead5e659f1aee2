//! The syntax of a pgbouncer.ini, as libusual reads it: sections, `key = value`, comments in lines of their own, `%include`.

use std::rc::Rc;

use crate::config::file::error::{Finding, Place};

/// Files within files, at most: PgBouncer's limit.
const DEEPEST: usize = 10;
/// Lines of all files together, far more than any configuration has.
const MOST_LINES: usize = 200_000;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) file: Rc<str>,
    pub(super) line: u32,
}

impl Origin {
    pub(super) fn finding(&self, key: &str, reason: impl Into<String>) -> Finding {
        Finding {
            file: self.file.to_string(),
            place: Some(Place { line: self.line, column: 1 }),
            key: key.to_owned(),
            reason: reason.into(),
        }
    }
}

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

impl Entry {
    /// The key with its section, for findings.
    pub(super) fn path(&self) -> String {
        if self.section == "pgbouncer" { self.key.clone() } else { format!("{}.{}", self.section, self.key) }
    }
}

/// Reads a text and what it includes; `open` gives the text of an included file.
pub(super) fn read(
    file: &str,
    text: &str,
    open: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Vec<Entry>, Finding> {
    let mut reader = Reader { entries: Vec::new(), section: String::new(), lines: 0, open };
    reader.read(file, text, 0)?;
    Ok(reader.entries)
}

struct Reader<'o> {
    entries: Vec<Entry>,
    section: String,
    lines: usize,
    open: &'o dyn Fn(&str) -> Result<String, String>,
}

impl Reader<'_> {
    fn read(&mut self, file: &str, text: &str, depth: usize) -> Result<(), Finding> {
        let file: Rc<str> = file.into();
        for (at, line) in text.lines().enumerate() {
            let origin = Origin { file: file.clone(), line: u32::try_from(at + 1).unwrap_or(u32::MAX) };
            self.lines += 1;
            if self.lines > MOST_LINES {
                return Err(origin.finding("", format!("more than {MOST_LINES} lines")));
            }
            self.line(line.trim(), origin, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, origin: Origin, depth: usize) -> Result<(), Finding> {
        let blank = |c: char| c == ' ' || c == '\t';
        if let Some(name) = line.strip_prefix("%include").filter(|rest| rest.starts_with(blank)) {
            let name = name.trim();
            if depth >= DEEPEST {
                return Err(origin.finding("", "include nesting level too deep"));
            }
            let text = (self.open)(name)
                .map_err(|why| origin.finding("", format!("cannot read the included file {name}: {why}")))?;
            return self.read(name, &text, depth + 1);
        }
        if line.is_empty() || line.starts_with(['#', ';']) {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix('[') {
            let Some((name, behind)) = rest.split_once(']') else {
                return Err(origin.finding("", "syntax error: the bracket of this section is not closed"));
            };
            self.section = name.to_owned();
            return if behind.trim().is_empty() { Ok(()) } else { self.line(behind.trim(), origin, depth) };
        }
        let (key, rest) = key(line).map_err(|why| origin.finding("", format!("syntax error: {why}")))?;
        let Some(value) = rest.trim_start_matches(blank).strip_prefix('=') else {
            return Err(origin.finding(&key, "syntax error: \"=\" must follow the key"));
        };
        if self.section.is_empty() {
            return Err(origin.finding(&key, "syntax error: no section such as [pgbouncer] stands before this key"));
        }
        let value = value.trim().to_owned();
        self.entries.push(Entry { section: self.section.clone(), key, value, origin });
        Ok(())
    }
}

/// A key and what follows it. In quotes it may have any characters; a doubled quote stands for one.
fn key(line: &str) -> Result<(String, &str), String> {
    if let Some(quote) = line.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let mut name = String::new();
        let mut rest = line.get(1..).unwrap_or_default();
        loop {
            let at = rest.find(quote).ok_or("the closing quote is missing")?;
            name.push_str(rest.get(..at).unwrap_or_default());
            rest = rest.get(at + 1..).unwrap_or_default();
            match rest.strip_prefix(quote) {
                Some(more) => {
                    name.push(quote);
                    rest = more;
                }
                None => break,
            }
        }
        return if name.is_empty() { Err("the key is empty".to_owned()) } else { Ok((name, rest)) };
    }
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
    let end = line.find(|c| !bare(c)).unwrap_or(line.len());
    match line.split_at_checked(end) {
        Some((name, rest)) if !name.is_empty() => Ok((name.to_owned(), rest)),
        _ => Err("a key has letters, digits, \"_\", \".\", \"-\" and \"*\"; others stand in quotes".to_owned()),
    }
}

/// The pairs of a connection string, `host=... port=5432 password='it''s'`.
///
/// The error never repeats a value: it may be a password.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (key, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let value = behind.trim_start().strip_prefix('=');
        let Some(value) = value.filter(|_| !key.is_empty()) else {
            return Err(
                "syntax error in connection string: write key=value, with a space between two of them".to_owned()
            );
        };
        let (value, behind) = value_of(value.trim_start())
            .ok_or_else(|| format!("syntax error in connection string: the closing quote of {key} is missing"))?;
        if value.is_empty() {
            return Err(format!("syntax error in connection string: {key} has no value"));
        }
        found.push((key.to_owned(), value));
        rest = behind.trim_start();
    }
    Ok(found)
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    loop {
        let at = rest.find('\'')?;
        value.push_str(rest.get(..at)?);
        rest = rest.get(at + 1..)?;
        match rest.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Result<Vec<(String, String, String)>, String> {
        let open = |name: &str| match name {
            "more.ini" => Ok("b = 2\n[users]\nann = pool_size=1\n".to_owned()),
            "loop.ini" => Ok("%include loop.ini\n".to_owned()),
            _ => Err("no such file or directory".to_owned()),
        };
        let entries = read("t.ini", text, &open).map_err(|finding| finding.to_string())?;
        Ok(entries.into_iter().map(|entry| (entry.section, entry.key, entry.value)).collect())
    }

    #[test]
    fn sections_comments_quotes_and_includes() {
        let text = "; c\n  [pgbouncer]\n# c\na = x ; not a comment\n%include more.ini\n\n[databases]\n'my db' = host=h\n\"a\"\"b\" =\n* = port=1\n";
        let expected = [
            ("pgbouncer", "a", "x ; not a comment"),
            ("pgbouncer", "b", "2"),
            ("users", "ann", "pool_size=1"),
            ("databases", "my db", "host=h"),
            ("databases", "a\"b", ""),
            ("databases", "*", "port=1"),
        ];
        let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(read_all(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_ini_is_named_with_its_line() {
        for (text, said) in [
            ("[pgbouncer\n", "t.ini:1: syntax error: the bracket"),
            ("\nx = 1\n", "t.ini:2: x: syntax error: no section"),
            ("[a]\nx y\n", "t.ini:2: x: syntax error: \"=\""),
            ("[a]\n?=1\n", "t.ini:2: syntax error: a key has"),
            ("[a]\n'b = 1\n", "t.ini:2: syntax error: the closing quote"),
            ("%include gone.ini\n", "t.ini:1: cannot read the included file gone.ini"),
            ("%include loop.ini\n", "loop.ini:1: include nesting level too deep"),
        ] {
            let found = read_all(text).unwrap_err();
            assert!(found.starts_with(said), "{text:?}: {found}");
        }
    }

    #[test]
    fn connection_strings() {
        let read =
            |text| pairs(text).map(|pairs| pairs.into_iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>());
        assert_eq!(read("host=a,b  port = 1 password='it''s x'").unwrap(), ["host:a,b", "port:1", "password:it's x"]);
        assert_eq!(read("connect_query='set a=''b'''user=u").unwrap(), ["connect_query:set a='b'", "user:u"]);
        assert!(read("").unwrap().is_empty());
        for text in ["host", "host=", "=x", "password='s3cret", "a b=c"] {
            let error = read(text).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "\\PC*") {
            let _ = read_all(&text);
            let _ = read_all(&format!("[pgbouncer]\n{text}"));
            let _ = pairs(&text);
        }
    }
}
