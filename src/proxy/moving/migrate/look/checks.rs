//! What is looked at before a migration: each a line with what it means and what can be done about it.

use std::sync::Arc;
use std::time::Duration;

use super::catalog;
use crate::moving::{Line, Status};
use crate::proxy::moving::lines::{fail, listed, ok, warn};
use crate::proxy::moving::migrate::sides::{PATIENCE, Side};
use crate::proxy::moving::migrate::streams;
use crate::proxy::moving::talk::field;
use crate::server::own_query::Row;
use crate::shared::ProxyState;
use crate::sql::own_statements::migrate as sql;
use crate::sql::own_statements::migrate::checks as migrate_checks;

/// A catalog that is longer is not compared (bytes).
const LONGEST: usize = 64 << 20;
/// How long it may take to read one.
const READS: Duration = Duration::from_secs(120);
/// Tables that are looked into at once.
const MOST_LOOKED: usize = 500;
/// Checks whose failure a person may accept.
const ACCEPTABLE: [&str; 14] = [
    "replica_identity",
    "large_objects",
    "unlogged",
    "extensions",
    "encoding",
    "logins",
    "types",
    "sequences",
    "indexes",
    "constraints",
    "views",
    "functions",
    "triggers",
    "subscriptions",
];

/// What a side says of itself.
struct Facts(Vec<Row>);

impl Facts {
    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Row> {
        self.0.iter().filter(move |row| field(row, 0) == kind)
    }

    fn names<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = String> + 'a {
        self.of(kind).map(|row| field(row, 1).to_owned())
    }

    fn count(&self, kind: &str) -> u64 {
        self.of(kind).next().and_then(|row| field(row, 1).parse().ok()).unwrap_or(0)
    }

    fn setting(&self, name: &str) -> &str {
        self.0.iter().find(|row| field(row, 0) == "setting" && field(row, 1) == name).map_or("", |row| field(row, 2))
    }

    fn number(&self, name: &str) -> u64 {
        self.setting(name).parse().unwrap_or(0)
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        self.of(kind).any(|row| field(row, 1) == name)
    }
}

/// Before clients are led to the new side. `names` are those of both directions of replication.
pub(in crate::proxy::moving::migrate) async fn there(
    proxy: &Arc<ProxyState>,
    old: &mut Side,
    new: &mut Side,
    names: (&str, &str),
    accept: &[String],
) -> Vec<Line> {
    let (of_old, of_new) = match (facts(old).await, facts(new).await) {
        (Ok(of_old), Ok(of_new)) => (of_old, of_new),
        (of_old, of_new) => {
            return [("source", of_old.err()), ("target", of_new.err())].into_iter().filter_map(reach).collect();
        }
    };
    let follows = streams::is_subscribed(names.0, new).await.unwrap_or(false);
    let mut lines = vec![versions(&of_old, &of_new), rights(old, &of_old), rights(new, &of_new)];
    lines.push(wal_level(old, &of_old, new, &of_new));
    lines.push(room(old, &of_old, new, &of_new, follows));
    lines.push(keeps(&of_old));
    lines.extend(contents(&of_old, &of_new));
    lines.push(extensions(&of_old, &of_new));
    lines.push(encoding(&of_old, &of_new));
    lines.push(logins(&of_old, &of_new, old, new));
    lines.push(settings(&of_old, &of_new));
    lines.push(subscriptions(&of_old, &of_new, names));
    lines.push(slots(&of_old, names));
    lines.push(prepared(&of_old));
    lines.push(fires(&of_old, &of_new));
    lines.extend(schemas(old, new).await);
    if !follows {
        lines.push(rows(new, &of_new).await);
    }
    lines.push(connection("connection", new, &old.conninfo, names.0).await);
    lines.push(connection("connection_back", old, &new.conninfo, names.1).await);
    lines.push(members(proxy, old));
    for line in &mut lines {
        if line.status == Status::Fail && ACCEPTABLE.contains(&line.name.as_str()) && accept.contains(&line.name) {
            line.status = Status::Warn;
            line.detail.push_str(" (accepted)");
        }
    }
    lines
}

/// Before clients are led back.
pub(in crate::proxy::moving::migrate) async fn back(
    proxy: &Arc<ProxyState>,
    from: &mut Side,
    to: &mut Side,
    active: &str,
) -> Vec<Line> {
    let (of_from, of_to) = match (facts(from).await, facts(to).await) {
        (Ok(of_from), Ok(of_to)) => (of_from, of_to),
        (of_from, of_to) => {
            return [("source", of_from.err()), ("target", of_to.err())].into_iter().filter_map(reach).collect();
        }
    };
    let mut lines = vec![versions(&of_from, &of_to), prepared(&of_from), members(proxy, from)];
    let remedy = "Look at the log of the side that follows. Without replication there is no way back.";
    lines.push(match streams::slot(active, from).await {
        Ok(Some(slot)) if slot.lost => fail("replication", format!("slot \"{active}\" has lost its log"), remedy),
        Ok(Some(slot)) if slot.active => ok("replication", format!("it runs, {} bytes behind", slot.behind)),
        Ok(Some(slot)) => {
            warn("replication", format!("nobody receives slot \"{active}\", {} bytes behind", slot.behind), remedy)
        }
        Ok(None) => fail("replication", format!("there is no slot \"{active}\""), remedy),
        Err(failure) => fail("replication", failure.why, remedy),
    });
    lines.push(match streams::all_followed(active, from, to).await {
        Ok(tables) => ok("tables", format!("{tables} follow")),
        Err(failure) => fail("tables", failure.why, "What was written to it would be lost."),
    });
    lines
}

fn reach((name, why): (&str, Option<String>)) -> Option<Line> {
    let remedy =
        "Give switchover_user a role that may log in to the database on both clusters; it has to be a superuser.";
    why.map(|why| fail(name, why, remedy))
}

async fn facts(side: &mut Side) -> Result<Facts, String> {
    let rows = side.talk.rows_within(&migrate_checks::facts(), PATIENCE).await;
    let role = side.talk.role().to_owned();
    rows.map(Facts)
        .map_err(|error| format!("{} on {} cannot be asked as \"{role}\": {error}", side.place.dbname, side.server()))
}

fn versions(old: &Facts, new: &Facts) -> Line {
    let text = format!("from {} to {}", old.setting("server_version"), new.setting("server_version"));
    let number = |facts: &Facts| facts.number("server_version_num") / 10_000;
    match (number(old), number(new)) {
        (from, to) if from < 11 || to < 11 => fail("version", text, "Version 11 is the oldest that can do it."),
        (from, to) if from > to => warn("version", text, "That is an older version: look at what the database uses."),
        _ => ok("version", text),
    }
}

fn rights(side: &Side, facts: &Facts) -> Line {
    let (role, server) = (side.talk.role(), side.server());
    match facts.of("role").next() {
        Some(row) if field(row, 2) == "true" => ok("rights", format!("\"{role}\" is a superuser on {server}")),
        Some(row) if field(row, 3) != "0" => warn(
            "rights",
            format!("\"{role}\" is no superuser on {server}"),
            "It has to be enough that it is the provider's.",
        ),
        _ => {
            let remedy = "Publications of all tables and subscriptions need one: give it as switchover_user.";
            fail("rights", format!("\"{role}\" is no superuser on {server}"), remedy)
        }
    }
}

fn wal_level(old: &Side, of_old: &Facts, new: &Side, of_new: &Facts) -> Line {
    let wrong: Vec<_> = [(old, of_old), (new, of_new)]
        .into_iter()
        .filter(|(_, facts)| facts.setting("wal_level") != "logical")
        .map(|(side, facts)| format!("{} on {}", facts.setting("wal_level"), side.server()))
        .collect();
    if wrong.is_empty() {
        return ok("wal_level", "logical on both sides");
    }
    let remedy =
        "ALTER SYSTEM SET wal_level = 'logical', and restart that server. Both sides send: the way back does, too.";
    fail("wal_level", format!("wal_level is {}", wrong.join(", and ")), remedy)
}

/// Slots, senders and workers, on both sides.
fn room(old: &Side, of_old: &Facts, new: &Side, of_new: &Facts, follows: bool) -> Line {
    if follows {
        return ok("room", "replication is there already");
    }
    let mut lacks = Vec::new();
    for (side, facts, copies) in [(old, of_old, true), (new, of_new, false)] {
        // Each copy of a table has a slot and a sender of its own for a time.
        let extra = if copies { 1 + of_new.number("max_sync_workers_per_subscription") } else { 1 };
        for (setting, used) in [("max_replication_slots", "slots"), ("max_wal_senders", "senders")] {
            let (most, used) = (facts.number(setting), facts.count(used));
            if most < used + extra {
                lacks.push(format!(
                    "{setting} on {} is {most}, {used} are used, {extra} more are needed",
                    side.server()
                ));
            }
        }
        let (most, used) = (facts.number("max_logical_replication_workers"), facts.count("subscriptions"));
        if most < used + 1 {
            lacks.push(format!("max_logical_replication_workers on {} is {most}, {used} are used", side.server()));
        }
    }
    if lacks.is_empty() {
        return ok("room", "there are slots, senders and workers left on both sides");
    }
    fail("room", lacks.join("; "), "ALTER SYSTEM SET it to more, and restart that server.")
}

fn keeps(old: &Facts) -> Line {
    match old.setting("max_slot_wal_keep_size") {
        "-1" | "" => warn(
            "disk",
            "the log is kept until it is copied, however long that takes",
            "Watch the disk of the old side.",
        ),
        most => warn(
            "disk",
            format!("max_slot_wal_keep_size is {most} MB"),
            "If the copy takes longer than that much log, it begins anew.",
        ),
    }
}

/// What replication leaves behind.
fn contents(old: &Facts, new: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    let without = listed(old.names("identity"));
    lines.push(if without.is_empty() {
        ok("replica_identity", "every table has one")
    } else {
        let text = format!("UPDATE and DELETE would fail on {without}: nothing says which row is meant");
        fail("replica_identity", text, "Add a primary key, or ALTER TABLE … REPLICA IDENTITY FULL.")
    });
    lines.push(match old.count("large objects") {
        0 => ok("large_objects", "there are none"),
        count => {
            let text = format!(
                "{} large objects are not replicated",
                if count > 1000 { "more than 1000".to_owned() } else { count.to_string() }
            );
            fail("large_objects", text, "Copy them by hand (pg_dump --large-objects), or have them in bytea.")
        }
    });
    let filled = listed(old.of("unlogged").filter(|row| field(row, 2) == "true").map(|row| field(row, 1).to_owned()));
    let unlogged = listed(old.names("unlogged"));
    lines.push(match (filled.is_empty(), unlogged.is_empty()) {
        (_, true) => ok("unlogged", "there are no unlogged tables"),
        (true, false) => {
            warn("unlogged", format!("empty, and not replicated: {unlogged}"), "What is written to them stays behind.")
        }
        (false, false) => {
            let remedy = "ALTER TABLE … SET LOGGED, or accept that the rows stay behind.";
            fail("unlogged", format!("rows are not replicated: {filled}"), remedy)
        }
    });
    let is_filled = |facts: &Facts, name: &str| {
        facts.of("materialized").any(|row| field(row, 1) == name && field(row, 2) == "true")
    };
    let stale = listed(old.names("materialized").filter(|name| is_filled(old, name) && !is_filled(new, name)));
    lines.push(if stale.is_empty() {
        ok("materialized", "no materialized view waits for its rows")
    } else {
        warn(
            "materialized",
            format!("not filled on the new side: {stale}"),
            "REFRESH MATERIALIZED VIEW there, before the cut or after it.",
        )
    });
    lines
}

fn extensions(old: &Facts, new: &Facts) -> Line {
    let missing: Vec<_> = old.names("extension").filter(|name| !new.has("extension", name)).collect();
    if !missing.is_empty() {
        let absent: Vec<_> = missing.iter().filter(|name| !new.has("available", name)).cloned().collect();
        let mut remedy = format!("On the new side: CREATE EXTENSION {}.", missing.join("; CREATE EXTENSION "));
        if !absent.is_empty() {
            remedy.push_str(&format!(" These have to be installed first: {}.", absent.join(", ")));
        }
        return fail("extensions", format!("missing: {}", listed(missing.into_iter())), remedy);
    }
    let version = |facts: &Facts, name: &str| {
        facts.of("extension").find(|row| field(row, 1) == name).map(|row| field(row, 2).to_owned())
    };
    let other = listed(old.names("extension").filter_map(|name| {
        let (old, new) = (version(old, &name)?, version(new, &name)?);
        (old != new).then(|| format!("{name} {old}, {new} there"))
    }));
    if other.is_empty() {
        return ok("extensions", "the same on both sides");
    }
    warn("extensions", format!("other versions: {other}"), "Look at what has changed between them.")
}

fn encoding(old: &Facts, new: &Facts) -> Line {
    let words = |facts: &Facts| {
        facts.of("encoding").next().map(|row| [1, 2, 3].map(|at| field(row, at).to_owned())).unwrap_or_default()
    };
    let (from, to) = (words(old), words(new));
    let text = format!("{} there, {} here", to.join(" "), from.join(" "));
    match (from.first() == to.first(), from == to) {
        (true, true) => ok("encoding", from.join(" ")),
        (true, false) => warn("encoding", text, "Texts are sorted otherwise there."),
        (false, _) => fail("encoding", text, "CREATE DATABASE … ENCODING … TEMPLATE template0 on the new side."),
    }
}

fn logins(old: &Facts, new: &Facts, from: &Side, to: &Side) -> Line {
    let is_own = |name: &String| !name.starts_with("pg_") && !name.starts_with("rds");
    let missing = listed(old.names("login").filter(is_own).filter(|name| !new.has("login", name)));
    if missing.is_empty() {
        return ok("logins", "every role that logs in may do so on the new side");
    }
    let remedy = format!(
        "{} | {}, and grant CONNECT.",
        program("pg_dumpall --roles-only", from, false),
        program("psql -X", to, true)
    );
    fail("logins", format!("may not log in to the new side: {missing}"), remedy)
}

/// A program of PostgreSQL's, with where it connects to.
fn program(words: &str, side: &Side, database: bool) -> String {
    let address = side.cluster.upstreams.get(side.at).map(|one| (one.address.host_words(), one.address.port()));
    let (host, port) = address.unwrap_or_default();
    let dbname = if database { format!(" -d {}", side.place.dbname) } else { String::new() };
    format!("{words} -h {host} -p {port} -U {}{dbname}", side.talk.role())
}

fn settings(old: &Facts, new: &Facts) -> Line {
    let words = |facts: &Facts| -> Vec<String> {
        let of = |row: &Row| match field(row, 1) {
            "" => field(row, 2).to_owned(),
            role => format!("{role}: {}", field(row, 2)),
        };
        facts.of("override").map(of).collect()
    };
    let there = words(new);
    let missing = listed(words(old).into_iter().filter(|one| !there.contains(one)));
    if missing.is_empty() {
        return ok("settings", "settings of roles and of the database are there");
    }
    warn("settings", format!("not set on the new side: {missing}"), "ALTER DATABASE … SET, ALTER ROLE … SET there.")
}

fn subscriptions(old: &Facts, new: &Facts, names: (&str, &str)) -> Line {
    let is_other = |name: &String| name != names.0 && name != names.1;
    let receives = listed(
        old.of("subscription")
            .filter(|row| field(row, 2) == "true")
            .map(|row| field(row, 1).to_owned())
            .filter(is_other),
    );
    if !receives.is_empty() {
        let text = format!("the old side itself gets rows by {receives}: they would go on to come there");
        return fail("subscriptions", text, "Have the new side subscribe instead.");
    }
    let there = listed(new.names("subscription").filter(is_other));
    if there.is_empty() {
        return ok("subscriptions", "there are no others");
    }
    warn("subscriptions", format!("the new side also gets rows by {there}"), "They must not be the same rows.")
}

fn slots(old: &Facts, names: (&str, &str)) -> Line {
    let is_other = |name: &String| name != names.0 && name != names.1;
    let others = listed(old.names("slot").filter(is_other));
    if others.is_empty() {
        return ok("slots", "nobody else follows the database");
    }
    warn(
        "slots",
        format!("others follow the old side: {others}"),
        "They get nothing from the cut on: have them follow the new side.",
    )
}

fn prepared(old: &Facts) -> Line {
    let words = listed(old.names("prepared"));
    if words.is_empty() {
        return ok("prepared", "no transaction is prepared");
    }
    warn(
        "prepared",
        format!("prepared transactions: {words}"),
        "COMMIT PREPARED or ROLLBACK PREPARED before the cut, which fails else.",
    )
}

fn fires(old: &Facts, new: &Facts) -> Line {
    let words = listed(new.names("fires").chain(old.names("fires")));
    if words.is_empty() {
        return ok("replica_triggers", "no trigger fires for replicated rows");
    }
    warn(
        "replica_triggers",
        format!("these fire for replicated rows, too: {words}"),
        "Look that they do nothing twice.",
    )
}

async fn schemas(old: &mut Side, new: &mut Side) -> Vec<Line> {
    let text = migrate_checks::catalog();
    let of_old = old.talk.rows_bounded(&text, READS, LONGEST).await;
    let of_new = new.talk.rows_bounded(&text, READS, LONGEST).await;
    let (of_old, of_new) = match (of_old, of_new) {
        (Ok(of_old), Ok(of_new)) => (of_old, of_new),
        (Err(error), _) | (_, Err(error)) => {
            return vec![warn(
                "schema",
                format!("the schemas cannot be compared: {error}"),
                "Compare two pg_dump --schema-only.",
            )];
        }
    };
    if catalog::is_missing(&of_old, &of_new) {
        let dump = program("pg_dump --schema-only --no-publications --no-subscriptions", old, true);
        let remedy = format!("{dump} | {}", program("psql -X -v ON_ERROR_STOP=1", new, true));
        return vec![fail("schema", "the new side has no tables yet", remedy)];
    }
    catalog::compare(&of_old, &of_new)
}

async fn rows(new: &mut Side, facts: &Facts) -> Line {
    let tables: Vec<_> = facts.names("filled").collect();
    let mut filled = Vec::new();
    for part in tables.chunks(MOST_LOOKED) {
        match new.talk.rows_within(&migrate_checks::has_rows(part), PATIENCE).await {
            Ok(rows) => filled.extend(rows.iter().map(|row| field(row, 0).to_owned())),
            Err(error) => return fail("rows", error.to_string(), "Look at the tables of the new side."),
        }
    }
    if filled.is_empty() {
        return ok("rows", "the tables of the new side are empty");
    }
    let remedy = format!("On the new side: TRUNCATE {}", filled.join(", "));
    fail("rows", format!("the new side has rows already: {}", listed(filled.into_iter())), remedy)
}

/// Whether a server reaches the other one as a subscriber would.
async fn connection(name: &str, subscriber: &mut Side, conninfo: &str, stream: &str) -> Line {
    let tried = subscriber.talk.rows_within(&sql::try_connection(&format!("{stream}_try"), conninfo), PATIENCE).await;
    // It may have been left in a transaction.
    subscriber.talk.hang_up();
    match tried {
        Ok(_) => ok(name, format!("{} reaches the other side", subscriber.server())),
        Err(error) => {
            let remedy = "replication_conninfo of the other cluster says how its primary is reached from there.";
            fail(name, format!("{} does not reach the other side: {error}", subscriber.server()), remedy)
        }
    }
}

/// Who writes past the gate is not held.
fn members(proxy: &Arc<ProxyState>, side: &Side) -> Line {
    let lets = proxy.databases.all().into_iter().filter(|database| {
        let setup = database.setup();
        let here = *setup.gate.place() == side.place;
        here && setup
            .settings
            .maintenance
            .write_rules
            .iter()
            .any(|rule| rule.action == crate::config::RuleAction::Allow)
    });
    let names = listed(lets.map(|database| database.name.to_string()));
    if names.is_empty() {
        return ok("rules", "no write rule lets writes through");
    }
    warn(
        "rules",
        format!("write rules let some writes through: {names}"),
        "Those fail with 25006 while the old side is fenced.",
    )
}
