//! Files for psql taken apart into the statements that psql would send.
//!
//! A statement ends at a semicolon outside of quotes, dollar quotes, comments, parentheses and BEGIN ATOMIC; `\;` does
//! not end it, `\gset`, `\gexec` and their like do. Of what psql itself does, only `\set`, `\getenv` and `\c` matter
//! here: variables, and a new connection.

use std::collections::HashMap;

/// What a file asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    Statement(Statement),
    /// `\c`: a new connection.
    Reconnect,
}

/// One message's text.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Statement {
    pub sql: String,
    /// What follows COPY … FROM STDIN, up to the line `\.`.
    pub data: Option<String>,
    /// Where it begins.
    pub line: usize,
}

impl Statement {
    /// Its first words, in lower case.
    fn words(&self) -> Vec<String> {
        let bare: String = self.sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        bare.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).take(3).map(str::to_lowercase).collect()
    }

    /// Whether a transaction block begins with it.
    pub fn opens_block(&self) -> bool {
        let words = self.words();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        matches!(words.as_slice(), ["begin", ..] | ["start", "transaction", ..])
    }

    /// Whether the transaction block ends with it.
    pub fn closes_block(&self) -> bool {
        let words = self.words();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["commit" | "rollback", "prepared", ..] => false,
            ["rollback", "to", ..] => false,
            ["rollback", "transaction" | "work", "to"] => false,
            ["commit" | "rollback" | "end" | "abort", ..] => !self.sql.to_lowercase().contains("chain"),
            ["prepare", "transaction", ..] => true,
            _ => false,
        }
    }
}

/// The steps of a file; `variables` are psql's and what `\getenv` finds.
pub fn split(text: &str, variables: &HashMap<String, String>) -> Vec<Step> {
    let mut splitter = Splitter {
        text,
        at: 0,
        line: 1,
        sql: String::new(),
        began: 1,
        depth: 0,
        variables: variables.clone(),
        steps: Vec::new(),
    };
    splitter.run();
    splitter.steps
}

struct Splitter<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    sql: String,
    /// The line on which `sql` began.
    began: usize,
    /// Open parentheses.
    depth: usize,
    variables: HashMap<String, String>,
    steps: Vec<Step>,
}

impl Splitter<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Moves on by so many bytes, which belong to the statement if `keep`.
    fn pass(&mut self, bytes: usize, keep: bool) {
        let passed = &self.text[self.at..self.at + bytes];
        if keep {
            if self.sql.trim().is_empty() {
                self.sql.clear();
                self.began = self.line;
            }
            self.sql.push_str(passed);
        }
        self.line += passed.matches('\n').count();
        self.at += bytes;
    }

    fn run(&mut self) {
        while let Some(first) = self.rest().chars().next() {
            let rest = self.rest();
            match first {
                '-' if rest.starts_with("--") => {
                    let end = rest.find('\n').unwrap_or(rest.len());
                    self.pass(end, !self.sql.trim().is_empty());
                }
                '/' if rest.starts_with("/*") => self.pass(comment(rest), true),
                '\'' => {
                    let escapes = self.sql.ends_with(['e', 'E'])
                        && !self.sql[..self.sql.len() - 1].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                    self.pass(quoted(rest, '\'', escapes), true);
                }
                '"' => self.pass(quoted(rest, '"', false), true),
                '$' if !self.sql.ends_with(|c: char| c.is_alphanumeric() || c == '_') => match dollar(rest) {
                    Some(end) => self.pass(end, true),
                    None => self.pass(1, true),
                },
                '\\' => self.backslash(),
                ':' if !rest.starts_with("::") && !self.sql.ends_with(':') && self.variable() => {}
                ';' if self.depth == 0 && !in_atomic(&self.sql) => {
                    self.pass(1, false);
                    self.finish();
                }
                '(' => {
                    self.depth += 1;
                    self.pass(1, true);
                }
                ')' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.pass(1, true);
                }
                _ => self.pass(first.len_utf8(), true),
            }
        }
        self.finish();
    }

    /// The statement is complete.
    fn finish(&mut self) {
        self.depth = 0;
        let sql = std::mem::take(&mut self.sql).trim().to_owned();
        if sql.is_empty() {
            return;
        }
        let lower = sql.to_lowercase();
        let copies_in = lower.starts_with("copy") && {
            let after = lower.rfind("from").map_or("", |at| &lower[at + 4..]);
            after.trim_start().starts_with("stdin")
        };
        let data = copies_in.then(|| {
            let rest = self.rest();
            let begin = rest.find('\n').map_or(rest.len(), |at| at + 1);
            let end = rest[begin..].find("\\.\n").map_or(rest.len(), |at| begin + at);
            let data = rest[begin..end].to_owned();
            self.pass((end + 3).min(self.rest().len()), false);
            data
        });
        self.steps.push(Step::Statement(Statement { sql, data, line: self.began }));
    }

    /// A command of psql.
    fn backslash(&mut self) {
        let rest = self.rest();
        if rest.starts_with("\\;") {
            self.sql.push(';');
            self.at += 2;
            return;
        }
        let end = rest.find('\n').unwrap_or(rest.len());
        let line = rest[..end].to_owned();
        let mut words = line[1..].split_whitespace();
        let command = words.next().unwrap_or_default().to_owned();
        let words: Vec<String> = words.map(str::to_owned).collect();
        self.pass(end, false);
        match (command.as_str(), words.as_slice()) {
            ("g" | "gx" | "gset" | "gexec" | "gdesc" | "crosstabview" | "watch", _) => self.finish(),
            ("c" | "connect", _) => self.steps.push(Step::Reconnect),
            ("set", [name, values @ ..]) => {
                let value = values.iter().map(|word| self.expanded(word)).collect();
                self.variables.insert(name.clone(), value);
            }
            ("getenv", [name, variable]) => {
                if let Some(value) = self.variables.get(variable).cloned() {
                    self.variables.insert(name.clone(), value);
                }
            }
            _ => {}
        }
    }

    /// A word of `\set`.
    fn expanded(&self, word: &str) -> String {
        match word.strip_prefix(':') {
            Some(name) => self.variables.get(name).cloned().unwrap_or_default(),
            None => word.trim_matches('\'').to_owned(),
        }
    }

    /// `:name`, `:'name'` or `:"name"`, if there is one.
    fn variable(&mut self) -> bool {
        let rest = &self.rest()[1..];
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let inside = &rest[quote.map_or(0, char::len_utf8)..];
        let length = inside.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inside.len());
        let Some(value) = self.variables.get(&inside[..length]).cloned() else {
            return false;
        };
        let quote = quote.map_or(String::new(), String::from);
        self.sql += &format!("{quote}{value}{quote}");
        self.at += 1 + length + 2 * quote.len();
        true
    }
}

/// Length of a comment, nested ones with it.
fn comment(text: &str) -> usize {
    let (bytes, mut at, mut depth) = (text.as_bytes(), 2, 1);
    while at < bytes.len() && depth > 0 {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Length of a dollar-quoted constant.
fn dollar(text: &str) -> Option<usize> {
    let tag = 1 + text[1..].find('$')?;
    let name = &text[1..tag];
    let sound = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_numeric());
    let body = tag + 1;
    sound.then(|| text[body..].find(&text[..body]).map_or(text.len(), |end| body + end + body))
}

/// Whether a statement so far is in the body of a function that BEGIN ATOMIC has begun.
fn in_atomic(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    if !lower.starts_with("create") {
        return false;
    }
    let Some(begin) = lower.split_once("begin atomic").map(|(_, body)| body) else {
        return false;
    };
    let words = begin.split(|c: char| !c.is_alphanumeric() && c != '_');
    let depth = words.fold(1i32, |depth, word| match word {
        "case" => depth + 1,
        "end" => depth - 1,
        _ => depth,
    });
    depth > 0
}

#[test]
fn statements_end_where_psql_ends_them() {
    let text = "-- a comment; here\nSELECT 'a;b', \"c;d\", $x$;$x$, E'\\';' /* ; /* ; */ ; */;\n\\set n 'x'\n\
                SELECT (1;2);COPY t FROM stdin;\n1;\n\\.\nSELECT :'n', a::int \\gset\nBEGIN\\; COMMIT;\\c -\n\
                CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 2; END;\nSELECT :missing";
    let steps = split(text, &HashMap::new());
    let sql: Vec<_> = steps
        .iter()
        .map(|step| match step {
            Step::Statement(statement) => statement.sql.as_str(),
            Step::Reconnect => "\\c",
        })
        .collect();
    assert_eq!(
        sql,
        [
            "SELECT 'a;b', \"c;d\", $x$;$x$, E'\\';' /* ; /* ; */ ; */",
            "SELECT (1;2)",
            "COPY t FROM stdin",
            "SELECT 'x', a::int",
            "BEGIN; COMMIT",
            "\\c",
            "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 2; END",
            "SELECT :missing"
        ]
    );
    let Some(Step::Statement(copy)) = steps.get(2) else { panic!("{steps:?}") };
    assert_eq!((copy.data.as_deref(), copy.line), (Some("1;\n"), 4));
}
