//! Lines and words of such files, as `next_token` and its callers in PostgreSQL's `hba.c` read them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How deep files may include each other.
const DEEPEST: usize = 10;
/// The longest word (bytes).
const LONGEST: usize = 10_240;
/// The largest file, and the most lines in all: what is included can grow fast.
const LARGEST: u64 = 4 << 20;
const MOST_LINES: usize = 100_000;

/// A word, and whether it began with a quote: then it has no meaning but itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Token {
    /// Whether it is that word of the language.
    pub(super) fn is(&self, word: &str) -> bool {
        !self.quoted && self.text == word
    }
}

/// Words with commas between.
pub(super) type Field = Vec<Token>;

/// A line that says something.
pub(super) struct RawLine {
    pub(super) file: Arc<Path>,
    pub(super) number: usize,
    pub(super) fields: Vec<Field>,
    pub(super) error: Option<String>,
}

/// The operating system's reason without its number.
fn plain(error: std::io::Error) -> String {
    match error.to_string().split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => error.to_string(),
    }
}

/// All lines of a file and of those that it includes.
pub(super) fn read(path: &Path) -> Result<Vec<RawLine>, String> {
    let mut lines = Vec::new();
    let text = open(path).map_err(|error| format!("could not open file \"{}\": {error}", path.display()))?;
    tokenize(path, &text, 0, &mut lines)?;
    Ok(lines)
}

fn open(path: &Path) -> Result<String, String> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let about = std::fs::metadata(path).map_err(plain)?;
    if !about.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(plain)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(plain)?;
    if bytes.len() as u64 > LARGEST {
        return Err("it is too large".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

fn beside(including: &Path, named: &str) -> PathBuf {
    including.parent().unwrap_or(Path::new("")).join(named)
}

fn tokenize(path: &Path, text: &str, depth: usize, out: &mut Vec<RawLine>) -> Result<(), String> {
    let file: Arc<Path> = path.into();
    let mut rest = text.lines().zip(1..);
    while let Some((first, number)) = rest.next() {
        let mut line = first.to_owned();
        // Only a backslash that the last piece has brought: an empty piece ends the line.
        let mut piece = first;
        while piece.ends_with('\\') {
            line.pop();
            let Some((next, _)) = rest.next() else { break };
            line.push_str(next);
            piece = next;
        }
        let (fields, error) = match fields(path, &line, depth) {
            Ok(fields) => (fields, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if fields.is_empty() && error.is_none() {
            continue;
        }
        if out.len() >= MOST_LINES {
            return Err(format!("{} and what it includes have more than {MOST_LINES} lines", path.display()));
        }
        let included = match (&*fields, &error) {
            ([first, second], None) => include(path, first, second, depth, out)?,
            _ => None,
        };
        match included {
            Some(Ok(())) => {}
            Some(Err(error)) => out.push(RawLine { file: file.clone(), number, fields, error: Some(error) }),
            None => out.push(RawLine { file: file.clone(), number, fields, error }),
        }
    }
    Ok(())
}

/// Carries out `include` and its like. None: the line is none of them.
fn include(
    path: &Path,
    first: &Field,
    second: &Field,
    depth: usize,
    out: &mut Vec<RawLine>,
) -> Result<Option<Result<(), String>>, String> {
    let (Some(directive), Some(named)) = (first.first(), second.first()) else { return Ok(None) };
    let named = beside(path, &named.text);
    let mut whole = |named: &Path, if_exists: bool| {
        if if_exists && !named.exists() {
            return Ok(Ok(()));
        }
        match open_deeper(named, depth) {
            Ok(text) => tokenize(named, &text, depth + 1, out).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    };
    Ok(Some(match directive.text.as_str() {
        "include" => whole(&named, false)?,
        "include_if_exists" => whole(&named, true)?,
        "include_dir" => match files_in(&named) {
            Err(error) => Err(error),
            Ok(files) => {
                let mut all = Ok(());
                for file in files {
                    all = all.and(whole(&file, false)?);
                }
                all
            }
        },
        _ => return Ok(None),
    }))
}

fn open_deeper(path: &Path, depth: usize) -> Result<String, String> {
    let name = path.display();
    if depth + 1 > DEEPEST {
        return Err(format!("could not open file \"{name}\": maximum nesting depth exceeded"));
    }
    open(path).map_err(|error| format!("could not open file \"{name}\": {error}"))
}

/// Files of a folder whose names end in `.conf`, in order, without hidden ones.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |error: std::io::Error| format!("could not open directory \"{}\": {}", folder.display(), plain(error));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".conf") && !name.starts_with('.') && name.len() > 5 && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn fields(path: &Path, line: &str, depth: usize) -> Result<Vec<Field>, String> {
    let mut rest = line;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let mut field = Field::new();
        loop {
            let next = next_token(rest);
            rest = next.rest;
            let Some(token) = next.token else { break };
            if token.text.len() > LONGEST {
                return Err("authentication file token too long".to_owned());
            }
            match token.text.strip_prefix('@') {
                Some(named) if !token.quoted && !named.is_empty() => {
                    field.extend(words_of(&beside(path, named), depth)?);
                }
                _ => field.push(token),
            }
            if !next.more {
                break;
            }
        }
        if !field.is_empty() {
            fields.push(field);
        }
    }
    Ok(fields)
}

/// Every word of a file.
fn words_of(path: &Path, depth: usize) -> Result<Vec<Token>, String> {
    let text = open_deeper(path, depth)?;
    let mut lines = Vec::new();
    tokenize(path, &text, depth + 1, &mut lines)?;
    let mut words = Vec::new();
    for line in lines {
        match line.error {
            Some(error) => return Err(error),
            None => words.extend(line.fields.into_iter().flatten()),
        }
    }
    Ok(words)
}

struct Next<'t> {
    /// None: the line has ended.
    token: Option<Token>,
    /// A comma has ended it: another word of the same field follows.
    more: bool,
    rest: &'t str,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn next_token(line: &str) -> Next<'_> {
    let line = line.trim_start_matches(|c| is_blank(c) || c == ',');
    let (mut text, mut quoted, mut saw_quote) = (String::new(), false, false);
    let (mut in_quote, mut was_quote, mut more) = (false, false, false);
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        match c {
            _ if is_blank(c) && !in_quote => {
                end = at;
                break;
            }
            '#' if !in_quote => break,
            ',' if !in_quote => {
                (more, end) = (true, at);
                break;
            }
            _ => {}
        }
        if c != '"' || was_quote {
            text.push(c);
        }
        // A quote inside is written twice.
        was_quote = in_quote && c == '"' && !was_quote;
        if c == '"' {
            in_quote = !in_quote;
            saw_quote = true;
            quoted |= text.is_empty();
        }
    }
    let token = (saw_quote || !text.is_empty()).then_some(Token { text, quoted });
    Next { token, more, rest: line.get(end..).unwrap_or_default() }
}
