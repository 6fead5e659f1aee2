//! Settings that a start-up packet asks for: what of them a server is asked to take, as the client wrote it.

use crate::protocol::startup_packet::Start;
use crate::sql::Own;

/// Settings that only count while a connection is opened, and load code: a connection that others use too cannot honour
/// them, and one that is opened to try a start-up packet must not run what they name.
const PRELOADS: [&str; 2] = ["session_preload_libraries", "local_preload_libraries"];

/// What a start-up packet asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupParameters {
    /// Parameters for a server's start-up packet, `options` first. `application_name` is not among them.
    pub(super) parameters: Vec<(String, String)>,
    /// `application_name`, if the packet has it.
    pub(super) application_name: Option<String>,
    /// `default_transaction_read_only` as it was asked for last.
    pub(super) read_only: Option<bool>,
    /// Names that the server does not list among its settings: custom ones and `role`.
    pub(super) unlisted: Vec<String>,
    /// `pgsluice.cluster`: on which cluster an operator works. No server is told.
    pub(super) cluster: Option<String>,
    /// Whether `client_encoding` is asked for.
    pub(super) encoding: bool,
}

impl StartupParameters {
    /// Parameters for a server's start-up packet, without `application_name`.
    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }

    /// Names that the server does not list among its settings.
    pub fn unlisted(&self) -> &[String] {
        &self.unlisted
    }

    /// Whether `client_encoding` is asked for.
    pub fn asks_encoding(&self) -> bool {
        self.encoding
    }

    /// All parameters, and the application's name once more.
    pub fn into_parameters(self) -> (Vec<(String, String)>, Option<String>) {
        let mut parameters = self.parameters;
        parameters.extend(self.application_name.clone().map(|name| ("application_name".to_owned(), name)));
        (parameters, self.application_name)
    }

    /// Reads a start-up packet; `ignored` names settings that are dropped.
    pub fn read(start: &Start, ignored: &[String]) -> Self {
        let drops = |name: &str| {
            PRELOADS.iter().any(|known| known.eq_ignore_ascii_case(name)) || ignored.iter().any(|known| known == name)
        };
        let mut wanted = Self::default();
        if let Some(options) = start.get("options").filter(|_| !drops("options")) {
            let words = words(options);
            let (mut kept, mut dropped) = (String::new(), false);
            for option in parse(&words) {
                match &option.setting {
                    Some((name, _)) if drops(name) => {
                        dropped = true;
                        continue;
                    }
                    Some((name, value)) if is_cluster(name) => {
                        (wanted.cluster, dropped) = (Some(value.clone()), true);
                        continue;
                    }
                    Some((name, value)) => wanted.note(name, value),
                    None => {}
                }
                option.words.iter().for_each(|word| escape(word, &mut kept));
            }
            let options = if dropped { kept } else { options.to_owned() };
            if !options.trim().is_empty() {
                wanted.parameters.push(("options".into(), options));
            }
        }
        for (name, value) in &start.parameters {
            match name.as_str() {
                "user" | "database" | "options" | "replication" => {}
                name if name.starts_with("_pq_.") || drops(name) => {}
                name if is_cluster(name) => wanted.cluster = Some(value.clone()),
                "application_name" => wanted.application_name = Some(value.clone()),
                name => {
                    wanted.note(name, value);
                    wanted.parameters.push((name.to_owned(), value.clone()));
                }
            }
        }
        wanted
    }

    fn note(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            // What is no truth value the server refuses.
            "default_transaction_read_only" => self.read_only = truth(value).or(self.read_only),
            "client_encoding" => self.encoding = true,
            "application_name" => self.application_name = Some(value.to_owned()),
            _ if name == "role" || name.contains('.') => self.unlisted.push(name),
            _ => {}
        }
    }
}

fn is_cluster(name: &str) -> bool {
    Own::of(name.as_bytes()) == Some(Own::Cluster)
}

/// One option, and the words it was written in.
struct Option_<'a> {
    words: &'a [String],
    setting: Option<(String, String)>,
}

/// Splits `options` as PostgreSQL does: at white space, a backslash takes the next character as it is.
fn words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_whitespace() || c == '\x0b' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Finds `-c name=value`, `-cname=value` and `--name=value`; the rest is the server's to understand.
fn parse(words: &[String]) -> impl Iterator<Item = Option_<'_>> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let (text, count) = match first.strip_prefix("-c").or_else(|| first.strip_prefix("--")) {
            Some("") => (rest.get(1).map(String::as_str), 2),
            Some(text) => (Some(text), 1),
            None => (None, 1),
        };
        let (own, tail) = rest.split_at(count.min(rest.len()));
        rest = tail;
        let setting = text.and_then(|text| text.split_once('='));
        let setting = setting.map(|(name, value)| (name.replace('-', "_"), value.to_owned()));
        Some(Option_ { words: own, setting })
    })
}

/// Appends a word in a way that [`words`] reads it again.
fn escape(word: &str, out: &mut String) {
    if !out.is_empty() {
        out.push(' ');
    }
    for c in word.chars() {
        if c.is_ascii_whitespace() || c == '\x0b' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
}

/// A truth value in any of PostgreSQL's spellings, which may be cut short.
pub(in crate::client) fn truth(text: &str) -> Option<bool> {
    let text = text.trim_ascii().to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parameters: &[(&str, &str)], ignored: &[&str]) -> StartupParameters {
        let parameters = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let ignored: Vec<String> = ignored.iter().map(|name| (*name).to_owned()).collect();
        StartupParameters::read(&Start { minor: 0, parameters }, &ignored)
    }

    #[test]
    fn options_go_on_as_they_were_written() {
        let options = r"-c geqo=off --my.word=a\ b -e -csearch_path=a\\,b";
        let wanted = read(&[("user", "u"), ("options", options), ("DateStyle", "ISO")], &[]);
        assert_eq!(wanted.parameters, [("options".into(), options.into()), ("DateStyle".into(), "ISO".to_owned())]);
        assert_eq!(wanted.unlisted, ["my.word"]);
        assert_eq!(words(options), ["-c", "geqo=off", "--my.word=a b", "-e", r"-csearch_path=a\,b"]);
    }

    #[test]
    fn what_is_ignored_or_loads_code_is_taken_out() {
        let options = r"-c geqo=off -c session-preload-libraries=x --local_preload_libraries=y -c my.word=a\ \\b";
        let wanted = read(&[("options", options), ("extra_float_digits", "3")], &["geqo", "extra_float_digits"]);
        assert_eq!(wanted.parameters, [("options".to_owned(), r"-c my.word=a\ \\b".to_owned())]);
        assert_eq!(read(&[("options", "-c geqo=off")], &["options"]), StartupParameters::default());
    }

    #[test]
    fn the_last_word_on_writing_counts() {
        let options = "-c default_transaction_read_only=on --default-transaction-read-only=of";
        assert_eq!(read(&[("options", options)], &[]).read_only, Some(false));
        let both = [("Default_Transaction_Read_Only", "t"), ("options", "-c default_transaction_read_only=off")];
        assert_eq!(read(&both, &[]).read_only, Some(true));
        assert_eq!(
            (truth("o"), truth("of"), truth(" ON "), truth("y"), truth("2")),
            (None, Some(false), Some(true), Some(true), None)
        );
    }
}
