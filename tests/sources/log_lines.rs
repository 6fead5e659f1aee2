//! Lines of the log, as they are written in the sources: each has a name, and each value is of a kind that stays.

use crate::{code, is_test, sources};

/// What stands in the brackets of each call of a macro that logs, on one line.
fn calls(text: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace"] {
        for (at, start) in text.match_indices(&format!("tracing::{level}!(")) {
            calls.push(bracket(&text[at + start.len()..]));
        }
    }
    calls
}

/// The text up to the bracket that closes, outside of string literals.
fn bracket(text: &str) -> String {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    let end = text.find(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    text[..end.unwrap()].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Names of fields, without the message that follows them.
fn names(call: &str) -> Vec<&str> {
    let fields = call.split(", \"").next().unwrap();
    let name = |part: &str| part.split('=').next().unwrap().trim().trim_start_matches(['%', '?']).len();
    fields.split(", ").map(|part| part.trim_start_matches(['%', '?'])).map(|part| &part[..name(part)]).collect()
}

#[test]
fn every_line_has_an_event_and_no_value_is_a_debug_form() {
    let mut seen = 0;
    for source in sources(&["src"]).iter().filter(|source| !is_test(source)) {
        for call in calls(&code(source)) {
            seen += 1;
            let place = format!("{}: {call}", source.path.display());
            // Where a target stands, it stands first.
            let call =
                call.strip_prefix("target: ").and_then(|rest| rest.split_once(", ")).map_or(&*call, |(_, rest)| rest);
            assert!(call.starts_with("event"), "no event: {place}");
            assert!(!call.contains("= ?") && !call.contains(", ?") && !call.contains(":?}"), "a debug form: {place}");
            let all = names(call);
            let is_duration = |name: &&&str| {
                name.ends_with("_ms") || !["age", "took", "waited", "lasts", "elapsed", "duration"].contains(name)
            };
            assert!(all.iter().all(|name| is_duration(&name)), "a duration without its unit: {place}");
            let reserved = ["message", "level", "timestamp", "fields"];
            assert!(!all.iter().any(|name| reserved.contains(name)), "a name that JSON has already: {place}");
        }
    }
    assert!(seen > 60, "calls are found: {seen}");
}
