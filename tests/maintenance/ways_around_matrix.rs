//! Every way to write in maintenance, in every form a statement can be put into: nothing is written, and the layer that
//! stopped it is the one that `ways_around.expected` names.
//!
//! Letters: R the reader refused it, C the catalog's word of what it names did, S the server, B the block that it could not end, P the proof before COMMIT, G the guard
//! fell and the server connection was closed, or a pinned session's made read-only again, e another error of PostgreSQL's, . it ran and did no harm, - no such form.
//! `PGSLUICE_TEST_UPDATE=1` writes the file anew, for reading the difference.

use crate::stand::{Stand, query};
use crate::ways_around_schema::{Layers, Observer, attempt, close, run, stand};
use pgsluice_fixtures::Raw;
use pgsluice_fixtures::raw::message::{bind, describe_statement, execute, parse, query as q, sync};

/// The ways. Those that begin with SELECT, INSERT, UPDATE, DELETE or WITH can be explained, prepared and the like.
const WAYS: &[&str] = &[
    "SET default_transaction_read_only = off",
    "SET SESSION default_transaction_read_only TO DEFAULT",
    "SET LOCAL default_transaction_read_only = 'of'",
    "SET U&\"default_transaction_read\\005fonly\" = 0",
    "RESET default_transaction_read_only",
    "SET transaction_read_only = off",
    "SET LOCAL transaction_read_only = off",
    "RESET transaction_read_only",
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "RESET ALL",
    "DISCARD ALL",
    "BEGIN READ WRITE",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
    "COMMIT AND CHAIN",
    "SELECT set_config('default_transaction_read_only', 'off', false)",
    "SELECT pg_catalog.\"set_config\"('default_transaction_read_only', 'off', false)",
    "SELECT U&\"set\\005fconfig\"(U&'default_transaction_read\\005fonly', 'off', false)",
    "SELECT set_config(new_value => 'off', is_local => false, setting_name => 'default_transaction_read_only')",
    "SELECT set_config('default_' || 'transaction_read_only', 'off', false)",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT lifts()",
    "UPDATE pg_settings SET setting = 'off' WHERE name = 'default_transaction_read_only'",
    "ALTER ROLE app SET default_transaction_read_only = off",
    "ALTER DATABASE app SET default_transaction_read_only = off",
    "ALTER SYSTEM SET default_transaction_read_only = off",
    "SET ROLE app",
    "SET SESSION AUTHORIZATION app",
    "PREPARE TRANSACTION 'mine'",
    "COMMIT PREPARED 'waiting'",
    "ROLLBACK PREPARED 'waiting'",
    "SELECT nextval('s')",
    "SELECT setval('s', 99)",
    "SELECT lo_create(0)",
    "SELECT lo_put(4711, 0, 'gone')",
    "SELECT lowrite(lo_open(4711, 131072), 'gone')",
    "SELECT lo_unlink(4711)",
    "SELECT pg_advisory_xact_lock(1)",
    "NOTIFY c",
    "SELECT pg_notify('c', '')",
    "LOCK TABLE locked",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * INTO n FROM t",
    "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x",
    "INSERT INTO t VALUES (900, 'x')",
    "INSERT INTO w VALUES (901, 'by a rule')",
    "DELETE FROM t",
    "COPY t FROM STDIN",
    "TRUNCATE t",
    "REFRESH MATERIALIZED VIEW m",
    "VACUUM t",
    "ANALYZE t",
    "REINDEX TABLE t",
    "CLUSTER t USING t_pkey",
    "CREATE TABLE n (a int)",
    "CREATE TEMP TABLE n (a int)",
    "EXPLAIN ANALYZE CREATE TABLE n AS SELECT 1",
    "SELECT pg_logical_emit_message(false, 'a', 'b')",
    "CALL commits()",
    "CALL just_writes()",
    "SELECT writes()",
    "SELECT hidden()",
    "SELECT hidden_immutable()",
    "SELECT * FROM hidden_view",
    "SELECT 1 <~> 'x'",
    "SELECT CAST(ROW(1)::odd AS text)",
    "SELECT hidden_sum(id) FROM t",
    "SELECT 1::checked",
    "SELECT * FROM secret",
    "SELECT hidden_rolled_on('INSERT INTO t VALUES (902, ''x'')')",
];

type Form = (&'static str, fn(&mut Raw, &str) -> Option<bool>);

/// Forms in which a way is tried, on a connection that has nothing of its own. None: there is no such form. Whether PostgreSQL had an error.
const FORMS: &[Form] = &[
    ("simple", |raw, way| Some(errs(raw, &q(way), 1))),
    ("message", |raw, way| Some(errs(raw, &q(&format!("SELECT 1; {way}; SELECT 2")), 1))),
    ("commit", |raw, way| Some(errs(raw, &q(&format!("{way}; COMMIT; SELECT 2")), 1))),
    ("extended", |raw, way| Some(errs(raw, &[run_extended(way), sync()].concat(), 1))),
    ("pipeline", |raw, way| {
        let bytes = [run_extended("SELECT 1"), run_extended(way), run_extended("SELECT 2"), sync()].concat();
        Some(errs(raw, &bytes, 1))
    }),
    ("block", |raw, way| Some(errs(raw, &[q("BEGIN"), q(way), q("COMMIT")].concat(), 3))),
    ("ext.block", |raw, way| {
        let bytes = [run_extended("BEGIN"), run_extended(way), run_extended("COMMIT"), sync()].concat();
        Some(errs(raw, &bytes, 1))
    }),
    ("savepoint", |raw, way| {
        let bytes = ["BEGIN", "SAVEPOINT a", way, "RELEASE a", "COMMIT AND CHAIN", "COMMIT"].map(q).concat();
        Some(errs(raw, &bytes, 6))
    }),
    ("execute", |raw, way| {
        preparable(way).then(|| errs(raw, &[q(&format!("PREPARE x AS {way}")), q("EXECUTE x")].concat(), 2))
    }),
    ("do", |raw, way| Some(errs(raw, &q(&format!("DO $do$ BEGIN EXECUTE $e${way}$e$; END $do$")), 1))),
    ("function", |raw, way| Some(errs(raw, &q(&format!("SELECT runs($e${way}$e$)")), 1))),
    ("call", |raw, way| Some(errs(raw, &[run_extended(&format!("CALL calls($e${way}$e$)")), sync()].concat(), 1))),
    ("explain", |raw, way| preparable(way).then(|| errs(raw, &q(&format!("EXPLAIN ANALYZE {way}")), 1))),
    ("copy", |raw, way| preparable(way).then(|| errs(raw, &q(&format!("COPY ({way}) TO STDOUT")), 1))),
    ("cursor", |raw, way| {
        let declare = format!("DECLARE c CURSOR FOR {way}");
        let bytes = ["BEGIN", &declare, "FETCH ALL FROM c", "COMMIT"].map(q).concat();
        is_query(way).then(|| errs(raw, &bytes, 4))
    }),
    ("hold", |raw, way| is_query(way).then(|| errs(raw, &q(&format!("DECLARE c CURSOR WITH HOLD FOR {way}")), 1))),
];

/// Its name, what is done before the gate closes, and what after.
type EarlyForm = (&'static str, fn(&mut Raw, &str), fn(&mut Raw) -> bool);

/// Forms in which something is done before the gate closes.
const BEFORE: &[EarlyForm] = &[
    (
        "parsed",
        |raw, way| _ = attempt(raw, &[parse("p", way, &[]), sync()].concat(), 1),
        |raw| errs(raw, &[describe_statement("p"), bind("", "p", &[]), execute("", 0), sync()].concat(), 1),
    ),
    (
        "prepared",
        |raw, way| run(raw, &format!("PREPARE x AS {way}")),
        |raw| errs(raw, &[q("EXECUTE x"), q("BEGIN"), q("EXECUTE x"), q("COMMIT")].concat(), 4),
    ),
];

fn preparable(way: &str) -> bool {
    ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH"].iter().any(|word| way.starts_with(word))
        && !way.contains(" INTO n")
}

fn is_query(way: &str) -> bool {
    preparable(way) && (way.starts_with("SELECT") || way.starts_with("WITH"))
}

fn run_extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

fn errs(raw: &mut Raw, bytes: &[u8], readies: usize) -> bool {
    attempt(raw, bytes, readies).is_none_or(|frames| frames.iter().any(|frame| frame.tag == b'E'))
}

struct Trial {
    stand: Stand,
    observer: Observer,
    layers: Layers,
    counts: [u64; 6],
    everything: Vec<Vec<u8>>,
}

impl Trial {
    /// Tries one cell; then whether that has opened the gate for what comes behind it.
    fn cell(&mut self, name: &str, raw: &mut Raw, try_it: impl FnOnce(&mut Raw) -> Option<bool>) -> String {
        let Some(failed) = try_it(raw) else { return "-".into() };
        let mut letters = self.layers.since(&mut self.counts);
        if letters.is_empty() {
            letters.push(if failed { 'e' } else { '.' });
        }
        let behind = ["ROLLBACK", "SELECT hidden()", "SELECT writes()", "DISCARD ALL"].map(q).concat();
        if attempt(raw, &behind, 4).is_none() {
            *raw = self.stand.app();
        }
        assert_eq!(self.observer.everything(), self.everything, "{name} has written, or what came behind it");
        self.counts = self.layers.counts();
        letters
    }
}

/// What later servers do otherwise: from which major on, for which way (none for all), and what stands there instead of what.
const ON_LATER: [(u32, Option<&str>, &str, &str); 3] = [
    // It refuses to write large objects itself.
    (16, None, "P", "S"),
    // Once something has been read it is an error.
    (16, Some("RESET transaction_read_only"), "-  .  .  .  -", "-  e  e  e  -"),
    (18, Some("LOCK TABLE locked"), "e  .  .  e  e", "e  .  .  e  ."),
];

/// The table of PostgreSQL 15 as it is on a server of that major.
fn on_major(expected: &str, major: u32) -> String {
    let line = |line: &str| {
        let Some((cells, way)) = line.split_once(" | ") else { return line.to_owned() };
        let mut cells = cells.to_owned();
        for (since, of, instead, now) in ON_LATER {
            if major >= since && of.is_none_or(|of| of == way) {
                cells = cells.replace(instead, now);
            }
        }
        format!("{cells} | {way}")
    };
    expected.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Tries every way in every form; of those that can be prepared every `every`th is prepared before the gate closes too. The table, and
/// the server's major version.
pub fn table(mode: &str, stand: Stand, mut observer: Observer, ways: &[&str], every: usize) -> (String, u32) {
    // Whoever is to be prepared before the flip; a pinned session has a server connection each.
    let early = |way: &&&str| preparable(way);
    let mut prepared = Vec::new();
    for (_, prepare, _) in BEFORE {
        for way in ways.iter().filter(early).step_by(every) {
            let mut raw = stand.app();
            prepare(&mut raw, way);
            prepared.push(raw);
        }
    }
    close(&stand);
    let mut layers = Layers::new(&stand);
    let (counts, everything) = (layers.counts(), observer.everything());
    let mut trial = Trial { stand, observer, layers, counts, everything };
    let mut prepared = prepared.into_iter();
    let mut early_cells: Vec<Vec<String>> = Vec::new();
    for (form, _, try_it) in BEFORE {
        let cells = ways.iter().filter(early).step_by(every).map(|way| {
            let mut raw = prepared.next().expect("one for each");
            trial.cell(&format!("{mode}, {form}: {way}"), &mut raw, |raw| Some(try_it(raw)))
        });
        early_cells.push(cells.collect());
    }
    let names = FORMS.iter().map(|form| form.0).chain(BEFORE.iter().map(|form| form.0));
    let mut table = format!("{mode}: {}\n", names.collect::<Vec<_>>().join(" "));
    let mut early_cells: Vec<_> = early_cells.into_iter().map(Vec::into_iter).collect();
    let mut nth_early = 0;
    let mut raw = trial.stand.app();
    for way in ways {
        let mut cells: Vec<String> = Vec::new();
        for (form, try_it) in FORMS {
            cells.push(trial.cell(&format!("{mode}, {form}: {way}"), &mut raw, |raw| try_it(raw, way)));
        }
        let has_early = early(&way) && nth_early % every == 0;
        nth_early += usize::from(early(&way));
        for column in &mut early_cells {
            cells.push(if has_early { column.next().expect("one for each") } else { "-".into() });
        }
        table.push_str(&format!("{} | {way}\n", cells.iter().map(|cell| format!("{cell:3}")).collect::<String>()));
    }
    // Nothing that was tried has shut anybody out.
    let mut raw = trial.stand.app();
    assert!(!errs(&mut raw, &q("SELECT count(*) FROM t"), 1));
    trial.stand.off();
    let frames = query(&mut raw, "UPDATE t SET v = v WHERE id = 1");
    assert!(frames.iter().all(|frame| frame.tag != b'E'));
    (table, trial.stand.cluster.installation().version.major)
}

fn compare(mode: &str) {
    let stand = stand(mode);
    let observer = Observer::new(&stand);
    let (found, major) = table(mode, stand, observer, WAYS, 2);
    let path = format!("{}/tests/maintenance/ways_around.{mode}.expected", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("PGSLUICE_TEST_UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    same(&on_major(&std::fs::read_to_string(&path).unwrap_or_default(), major), &found);
}

/// Tells the lines of two tables that differ.
#[track_caller]
pub fn same(expected: &str, found: &str) {
    let lines = expected.lines().zip(found.lines()).filter(|(expected, found)| expected != found);
    let differences: Vec<String> = lines.map(|(e, f)| format!("expected {e}\nfound    {f}")).collect();
    assert!(differences.is_empty() && expected.lines().count() == found.lines().count(), "{}", differences.join("\n"));
}

#[test]
fn every_way_in_every_form_in_transaction_mode() {
    compare("transaction");
}

#[test]
fn every_way_in_every_form_in_session_mode() {
    compare("session");
}

#[test]
fn every_way_in_every_form_in_statement_mode() {
    compare("statement");
}
