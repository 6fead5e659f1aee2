//! The commented example file and the documentation, both made from the tables of keys.

use std::fmt::Write as _;

use super::fleet::Fleet;
use super::setting::Key;
use super::tables::{Cluster, Database, Http, Maintenance, Metrics, Refusals, User};
use super::webhook::Webhook;
use crate::config::Config;
use crate::config::file::section::{Section, Shown};
use crate::config::values::units::show_size;

/// The introduction of the example file.
const HEAD: &str = "\
pgsluice: configuration.

A line that begins with \"#\" and a key is that key's default: take the \"#\" away to change it.
Durations have a unit: us, ms, s, min, h or d; a bare number means seconds.
Sizes have a unit: B, kB, MB, GB or TB; a bare number means bytes.
Relative paths are relative to the folder of this file.
\"pgsluice check-config FILE\" tells what is wrong; RELOAD on the console or SIGHUP takes over changes.";

/// The example file, as `pgsluice example-config` prints it.
pub fn example() -> String {
    let mut out = String::new();
    comment(&mut out, HEAD);
    let defaults = Config::empty();
    for section in defaults.sections() {
        heading(&mut out, section.title());
        keys(&mut out, section, &[], Where::Top);
    }
    heading(&mut out, Maintenance::default().title());
    out.push_str("[maintenance]\n");
    keys(&mut out, &Maintenance::default(), &[], Where::Table);
    heading(&mut out, Http::default().title());
    out.push_str("[http]\n");
    keys(&mut out, &Http::default(), &[], Where::Table);
    heading(&mut out, Metrics::default().title());
    out.push_str("[metrics]\n");
    keys(&mut out, &Metrics::default(), &[], Where::Table);
    heading(&mut out, Refusals::default().title());
    out.push_str("[refusals]\n");
    keys(&mut out, &Refusals::default(), &[], Where::Table);

    heading(&mut out, Fleet::default().title());
    out.push_str("[fleet]\n");
    keys(&mut out, &Fleet::default(), &[], Where::Table);

    heading(&mut out, Webhook::default().title());
    out.push_str("#[[webhook]]\n");
    keys(&mut out, &Webhook::default(), &[], Where::Table);

    heading(&mut out, "Clusters: sets of servers of which one takes writes");
    out.push_str("[clusters.main]\n");
    keys(&mut out, &Cluster::default(), &["upstreams", "monitor_user"], Where::Table);
    out.push('\n');
    keys(&mut out, &Cluster::default().server_tls, &[], Where::Table);

    heading(&mut out, "Databases: the names that clients connect to; [databases.\"*\"] is every other name");
    out.push_str("[databases.app]\n");
    keys(&mut out, &Database::default(), &["cluster"], Where::Table);
    out.push('\n');
    comment(&mut out, "The keys of [maintenance], for this database alone.");
    out.push_str("[databases.app.maintenance]\n");
    for shown in Maintenance::default().shown() {
        let _ = writeln!(out, "#{} = {}", shown.key.name, shown.literal);
    }

    heading(&mut out, "Users: what is different for one of them, in every database");
    out.push_str("#[users.alice]\n");
    keys(&mut out, &User::default(), &[], Where::Table);
    out
}

/// The reference in Markdown: every key with what may be written, its default and what it does.
pub fn documentation() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
        The configuration is one TOML file: `/etc/pgsluice/pgsluice.toml`, unless `--config` names another.\n\n\
        - `pgsluice example-config` prints a file with every key.\n\
        - `pgsluice check-config FILE` lists everything that is wrong with a file: line, key and what would be right.\n\
        - RELOAD on the [console](GLOSSARY.md#console), or SIGHUP, takes over what has changed. A key marked *restart* keeps\n  \
        its value until the next start.\n\n\
        How values are written:\n\n\
        - Durations are text with one of PostgreSQL's units: `\"500ms\"`, `\"10s\"`, `\"5min\"`, `\"1h\"`, `\"1d\"`. A bare number\n  \
        means seconds, as in PgBouncer.\n\
        - Sizes are text with one of PostgreSQL's units: `\"64kB\"`, `\"8MB\"`, `\"1GB\"`. A bare number means bytes.\n\
        - Lists are `[\"a\", \"b\"]`, or one text with commas, `\"a, b\"`.\n\
        - Relative paths are relative to the folder of the file.\n\n\
        Words such as [pool](GLOSSARY.md#pool), [reserve](GLOSSARY.md#reserve) and [operator](GLOSSARY.md#operator) are in the\n\
        [glossary](GLOSSARY.md). The tables below are made from the code that reads the file, and a test keeps them so.\n",
    );
    let defaults = Config::empty();
    for section in defaults.sections() {
        table(&mut out, section.title(), "", section, Where::Top);
    }
    table(&mut out, "`[maintenance]`", Maintenance::default().title(), &Maintenance::default(), Where::Table);
    table(&mut out, "`[http]`", Http::default().title(), &Http::default(), Where::Table);
    table(&mut out, "`[metrics]`", Metrics::default().title(), &Metrics::default(), Where::Table);
    table(&mut out, "`[refusals]`", Refusals::default().title(), &Refusals::default(), Where::Table);
    table(
        &mut out,
        "`[fleet]`",
        "Several pgsluice with one mode for each database ([how](FLEET.md)).",
        &Fleet::default(),
        Where::Table,
    );
    table(
        &mut out,
        "`[[webhook]]`",
        "Somebody who is told of [events](EVENTS.md) over HTTP; one table for each. The file needs none.",
        &Webhook::default(),
        Where::Table,
    );
    let cluster = Cluster::default();
    table(
        &mut out,
        "`[clusters.NAME]`",
        "A [cluster](GLOSSARY.md#cluster) is a set of servers of which one takes writes. The file has at least one.",
        &cluster,
        Where::Table,
    );
    rows(&mut out, &cluster.server_tls, Where::Table);
    table(
        &mut out,
        "`[databases.NAME]`",
        "A name that clients connect to. The file has at least one. `[databases.\"*\"]` stands for every name that has no table of its own.\n\
        `pgsluice` and `pgbouncer` are the console's names. `[databases.NAME.maintenance]` takes the keys of `[maintenance]`, for this\n\
        database alone.",
        &Database::default(),
        Where::Table,
    );
    table(
        &mut out,
        "`[users.NAME]`",
        "What is different for one user, in every database. The file needs none.",
        &User::default(),
        Where::Table,
    );
    out
}

fn heading(out: &mut String, title: &str) {
    let _ = write!(out, "\n\n# ---- {title} ----\n\n");
}

fn comment(out: &mut String, text: &str) {
    for line in text.lines() {
        out.push_str(format!("# {}", line.trim()).trim_end());
        out.push('\n');
    }
}

/// The keys of a section; those in `live` are set, the others stand there as comments with their defaults.
fn keys(out: &mut String, section: &dyn Section, live: &[&str], place: Where) {
    for shown in section.shown() {
        comment(out, shown.key.doc);
        let is_live = live.contains(&shown.key.name);
        let facts = facts(shown.key, place, is_live);
        if !facts.is_empty() {
            comment(out, &facts);
        }
        let mark = if is_live { "" } else { "#" };
        let _ = writeln!(out, "{mark}{} = {}\n", shown.key.name, value(&shown));
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
}

fn value(shown: &Shown) -> &str {
    match (shown.key.example, shown.literal.as_str()) {
        ("", literal) => literal,
        (example, "\"\"" | "[]") => example,
        (_, literal) => literal,
    }
}

/// What may be written, as one line for the example file; `live`: it must be.
fn facts(key: &Key, place: Where, live: bool) -> String {
    let mut facts = Vec::new();
    let obvious = matches!(key.kind.noun, "text" | "path" | "true or false");
    if !key.kind.words.is_empty() {
        facts.push(key.kind.accepted().collect::<Vec<_>>().join(" | "));
    } else if !obvious && !key.kind.noun.starts_with("list") {
        facts.push(noun(key));
    }
    match inherited(key, place) {
        Some(from) => facts.push(format!("default: {from}")),
        None if live => facts.push("required".to_owned()),
        None if !key.example.is_empty() => facts.push("not set by default".to_owned()),
        None => {}
    }
    if key.restart {
        facts.push("needs a restart".to_owned());
    }
    match facts.as_slice() {
        [] => String::new(),
        facts => format!("({})", facts.join("; ")),
    }
}

/// The top of the file, or a table that takes its defaults from there.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    Top,
    Table,
}

fn inherited(key: &Key, place: Where) -> Option<&'static str> {
    match key.inherits {
        "" => None,
        from if from == key.name => (place == Where::Table).then_some("the same key at the top"),
        from => Some(from),
    }
}

/// The kind of value, with its bounds where they say anything.
fn noun(key: &Key) -> String {
    let noun = key.kind.noun;
    match (noun, key.min, key.max) {
        (_, 0, 0..=65_535) if noun == "number" => format!("{noun}, 0 to {}", key.max),
        ("number", 0, _) => noun.to_owned(),
        ("number", low, 0..=65_535) => format!("{noun}, {low} to {}", key.max),
        ("number", low, _) => format!("{noun}, at least {low}"),
        ("size", low, high) if high < u64::MAX => {
            format!("{noun}, {} to {}", show_size(low), show_size(high))
        }
        _ => noun.to_owned(),
    }
}

fn table(out: &mut String, title: &str, text: &str, section: &dyn Section, place: Where) {
    let _ = write!(out, "\n## {title}\n\n");
    if !text.is_empty() {
        let _ = write!(out, "{text}\n\n");
    }
    out.push_str("| key | value | default | what it does |\n| --- | --- | --- | --- |\n");
    rows(out, section, place);
}

fn rows(out: &mut String, section: &dyn Section, place: Where) {
    for shown in section.shown() {
        let key = shown.key;
        let what = if key.kind.words.is_empty() {
            noun(key)
        } else {
            let words: Vec<String> = key.kind.accepted().map(|word| format!("`{word}`")).collect();
            words.join(" ")
        };
        let default = match (inherited(key, place), shown.literal.as_str()) {
            (Some(from), _) => from.to_owned(),
            (None, "\"\"" | "[]") => String::new(),
            (None, literal) => format!("`{literal}`"),
        };
        let doc: Vec<&str> = key.doc.lines().map(str::trim).collect();
        let restart = if key.restart { " *restart*" } else { "" };
        let _ = writeln!(out, "| `{}` | {what} | {default} | {}{restart} |", key.name, doc.join(" "));
    }
}
