//! What a client may do in a turn: everything that leaves something behind in a session, and what shows it.

use pgsluice_fixtures::mutate::Dice;
use pgsluice_fixtures::raw::message::*;
use std::fmt;

/// Messages that are sent at once.
pub type Step = Vec<Vec<u8>>;

/// What one of the two does while the other waits. It ends outside of a transaction, and holds nothing that keeps the
/// server connection from the other.
#[derive(Clone)]
pub struct Turn {
    pub who: usize,
    steps: Vec<Step>,
    ends: Vec<Step>,
}

impl Turn {
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.ends)
    }

    /// Of every message: the step, and which one there.
    pub fn places(&self) -> Vec<(usize, usize)> {
        let steps = self.steps.iter().enumerate();
        steps.flat_map(|(at, step)| (0..step.len()).map(move |message| (at, message))).collect()
    }

    pub fn leave_out(&mut self, (step, message): (usize, usize)) {
        self.steps[step].remove(message);
        self.steps.retain(|step| !step.is_empty());
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.steps() {
            for message in step {
                writeln!(f, "  {} {}", self.who, message.escape_ascii())?;
            }
            writeln!(f, "    --")?;
        }
        Ok(())
    }
}

const SETTINGS: &[(&str, &[&str])] = &[
    ("work_mem", &["1MB", "2MB"]),
    ("search_path", &["other", "other, public", ""]),
    ("TimeZone", &["UTC", "America/St_Johns"]),
    ("DateStyle", &["German", "ISO, DMY"]),
    ("IntervalStyle", &["iso_8601", "postgres"]),
    ("my.key", &["a", "b'c"]),
    ("statement_timeout", &["30s", "1min"]),
    ("extra_float_digits", &["0", "3"]),
    ("client_min_messages", &["error", "notice"]),
    ("standard_conforming_strings", &["off", "on"]),
    ("application_name", &["one", "two"]),
    ("client_encoding", &["LATIN1", "UTF8"]),
    ("bytea_output", &["escape", "hex"]),
    ("default_transaction_isolation", &["serializable", "read committed"]),
    ("default_transaction_read_only", &["on", "off"]),
    ("transaction_isolation", &["serializable", "read committed"]),
    ("no_such_setting", &["1"]),
];

const TEXTS: &[&str] = &[
    "BEGIN",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "SAVEPOINT a",
    "SAVEPOINT b",
    "RELEASE a",
    "ROLLBACK TO a",
    "ROLLBACK TO b",
    "RESET ALL",
    "DISCARD ALL",
    "DISCARD PLANS",
    "DEALLOCATE ALL",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
    "SHOW transaction_isolation",
    "SHOW transaction_read_only",
    "SET ROLE alice",
    "SET LOCAL ROLE alice",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION alice",
    "RESET SESSION AUTHORIZATION",
    "SELECT current_user, session_user",
    "SELECT sets(), current_setting('work_mem')",
    "SELECT * FROM t ORDER BY 1",
    "SELECT v FROM public.t ORDER BY id",
    "INSERT INTO public.t (id, v) VALUES (6, 'x') ON CONFLICT (id) DO UPDATE SET v = public.t.v || 'y'",
    "UPDATE public.t SET v = 'z' WHERE id = 1 RETURNING v",
    "DELETE FROM public.t WHERE id = 5",
    "SELECT nextval('public.s')",
    "COPY public.t TO STDOUT",
    "SELECT 1/0",
    "SELECT no_such_column",
    "not sql",
    "",
    "SELECT timestamptz '2026-01-02 03:04:05+00', date '2026-01-02', interval '1 day 2 hours', 0.1::float8 / 3",
    r"SELECT '\x00ff'::bytea, 'a\b', U&'\00e4'",
    "SELECT count(*) FROM pg_listening_channels()",
    // Of one of several statements PostgreSQL tells the message, pgsluice the PREPARE.
    "SELECT name, CASE WHEN statement NOT LIKE '%PREPARE x%' THEN statement END FROM pg_cursors ORDER BY name",
    "DO $$ BEGIN RAISE NOTICE 'said'; END $$",
    "CREATE TABLE public.n (a int)",
    "DROP TABLE public.n",
    "SELECT pg_advisory_xact_lock(7)",
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "SELECT lo_create(42)",
    "SELECT lo_open(42, 393216)",
    "SELECT lowrite(0, 'words')",
    "SELECT lo_get(42)",
    "SELECT lo_unlink(42)",
    "NOTIFY x, 'heard'",
    "ALTER TABLE public.t ADD COLUMN IF NOT EXISTS w int",
    "ALTER TABLE public.t DROP COLUMN IF EXISTS w",
    "DECLARE d CURSOR FOR SELECT id FROM public.t ORDER BY id",
    "FETCH 2 FROM d",
    "EXECUTE x",
    "EXECUTE x; EXECUTE y(1)",
    "EXECUTE y(3)",
    "EXPLAIN (COSTS OFF) EXECUTE x",
    "EXECUTE s0(2)",
    "EXECUTE s1(1)",
    "EXECUTE d",
    "DEALLOCATE x",
    "DEALLOCATE s0",
    "DEALLOCATE PREPARE d",
    "PREPARE s1 AS SELECT 3",
    "PREPARE y (int) AS SELECT v FROM public.t WHERE id = $1",
    "PREPARE y (int) AS DELETE FROM public.t WHERE id = $1",
    "BEGIN; PREPARE x AS SELECT 'within'; ROLLBACK",
    "PREPARE x AS SELECT 'first'; EXECUTE x; DEALLOCATE x; PREPARE x AS SELECT 'then'; EXECUTE x",
    "ROLLBACK; EXECUTE x",
    "FETCH 1 FROM c",
    "SELECT * FROM mine",
    "BEGIN; SET LOCAL my.key = 'x'; SHOW my.key; COMMIT",
    "SET my.key = 'y'; SELECT 1/0",
    "BEGIN; SET my.key = 'z'; ROLLBACK; SHOW my.key",
    "BEGIN; CREATE TEMP TABLE brief (a int) ON COMMIT DROP; INSERT INTO brief VALUES (1); COMMIT",
];

/// What keeps the server connection, with what gives it back.
const KEEPING: &[(&str, &str)] = &[
    ("LISTEN x", "UNLISTEN *"),
    ("CREATE TEMP TABLE mine AS SELECT 1 AS a", "DISCARD TEMP"),
    ("CREATE TEMP TABLE mine (a int) ON COMMIT DELETE ROWS", "DISCARD TEMP"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM public.t ORDER BY id", "CLOSE ALL"),
    ("SELECT pg_advisory_lock(8)", "SELECT pg_advisory_unlock_all()"),
    ("SELECT set_config('my.' || 'key', 'w', false)", "DISCARD ALL"),
];

/// What is prepared under a name that others use too: of the one kind, the rows hang on the search_path.
const BY_PATH: &[&str] = &[
    "PREPARE x AS SELECT * FROM t ORDER BY 1",
    "PREPARE x AS SELECT count(*) FROM t",
    "PREPARE x AS INSERT INTO t VALUES (8) RETURNING *",
    "PREPARE d AS SELECT * FROM t ORDER BY 1",
];

/// Of the other it does not, and it can always be prepared: it may be shown.
const SHOWN: &[&str] = &[
    "PREPARE x AS SELECT * FROM public.t ORDER BY 1",
    "PREPARE x AS UPDATE public.t SET v = 'u' WHERE id = 2 RETURNING *",
    "SELECT name, parameter_types, from_sql, CASE WHEN NOT from_sql THEN statement END \
     FROM pg_prepared_statements ORDER BY name",
    "SELECT count(*) FROM pg_prepared_statements",
];

const PORTALS: &[&str] = &["", "p", "q"];

/// Words for a query, which may keep the server connection: then what ends that is added to `shutdown`.
fn text(dice: &mut Dice, names: &[&str], ends: &mut Vec<&'static str>) -> String {
    match dice.below(11) {
        0..=3 => {
            let (name, values) = *dice.of(SETTINGS);
            let value = match *dice.of::<&str>(values) {
                // There t is nowhere: the error of EXECUTE comes ahead of ParseComplete then.
                "" | "other, public" if names == BY_PATH => "public",
                value => value,
            };
            match dice.below(9) {
                0 => format!("SET LOCAL {name} = '{}'", value.replace('\'', "''")),
                1 => format!("RESET {name}"),
                2 => format!("SET {name} TO DEFAULT"),
                3 => format!("SELECT set_config('{name}', '{}', false)", value.replace('\'', "''")),
                4 => format!("SELECT set_config('{name}', '{}', true)", value.replace('\'', "''")),
                5 => format!("SHOW {name}"),
                6 => format!("SELECT current_setting('{name}', true)"),
                _ => format!("SET {name} = '{}'", value.replace('\'', "''")),
            }
        }
        4 => {
            let (words, end) = *dice.of(KEEPING);
            ends.push(end);
            words.to_owned()
        }
        5 => dice.of::<&str>(names).to_string(),
        _ => dice.of::<&str>(TEXTS).to_string(),
    }
}

fn step(dice: &mut Dice, names: &[&str], ends: &mut Vec<&'static str>) -> Step {
    let name = format!("s{}", dice.below(3));
    // Of statements without parameters: a Bind with too many or too few, in an aborted transaction, is told of those only
    // if the statement stands on the server connection already.
    let plain = format!("n{}", dice.below(3));
    let portal = *dice.of::<&str>(PORTALS);
    let mut step = Step::new();
    for _ in 0..1 + dice.below(4) {
        let words = text(dice, names, ends);
        match dice.below(16) {
            0..=4 => step.push(query(&words)),
            5 => step.push(query(&format!("{words}; {}", text(dice, names, ends)))),
            6 | 7 => step.extend([parse("", &words, &[]), bind("", "", &[]), describe_portal(""), execute("", 0)]),
            // Not what keeps the server connection: it may run in another turn.
            8 => {
                let words = *dice.of::<&str>(TEXTS);
                // What is shown can always be prepared.
                let hangs = names == SHOWN && (words.contains(" mine") || words.contains(" t "));
                step.push(parse(&plain, if hangs { "SELECT 1" } else { words }, &[]));
            }
            9 => step.extend([
                parse(&name, &format!("SELECT v FROM public.t WHERE id = $1 /* {name} */"), &[23]),
                bind(portal, &name, &[Some(b"2")]),
            ]),
            10 => step.extend([bind(portal, &plain, &[]), describe_portal(portal), execute(portal, 0)]),
            11 => step.push(if dice.below(3) == 0 {
                describe_statement(&name)
            } else {
                // The unnamed one of a query that has failed crashes PostgreSQL 15.18.
                execute(if portal.is_empty() { "p" } else { portal }, dice.below(3) as i32)
            }),
            12 => step.push(if dice.below(2) == 0 { close_statement(&name) } else { close_portal(portal) }),
            13 => {
                step.push([query("COPY public.t (id, v) FROM STDIN"), copy_data(b"9\tcopied\n"), copy_done()].concat())
            }
            14 if dice.below(2) == 0 => {
                step.extend([parse("d", "SELECT * FROM public.t ORDER BY 1", &[]), describe_statement("d")]);
            }
            14 if dice.below(2) == 0 => step.extend([bind(portal, "d", &[]), execute(portal, 0)]),
            14 if dice.below(3) > 0 => step.push(match dice.below(6) {
                0 => parse("x", "SELECT 'by protocol'", &[]),
                1 => close_statement("x"),
                2 => describe_statement("x"),
                _ => [bind(portal, "x", &[]), execute(portal, 0)].concat(),
            }),
            14 => step.push(function_call(964, &[Some(&42_u32.to_be_bytes())])),
            _ => step.push(if dice.below(2) == 0 { sync() } else { flush() }),
        }
    }
    // A Parse takes a snapshot, behind which the level cannot be changed. One that pgsluice answers takes none, and one that a
    // Describe needs takes one.
    let says = |message: &Vec<u8>| message.to_ascii_lowercase().windows(9).any(|words| words == b"isolation");
    if step.iter().any(says) {
        step.retain(|message| message[0] != b'P' || message[5] == 0);
        step.retain(|message| message[0] != b'D' || message[5] != b'S');
    }
    step
}

/// A case.
pub fn turns(dice: &mut Dice) -> Vec<Turn> {
    let names = *dice.of(&[BY_PATH, SHOWN]);
    let turn = |dice: &mut Dice| {
        let mut ends = Vec::new();
        let steps = (0..1 + dice.below(4)).map(|_| step(dice, names, &mut ends)).collect();
        let ends = std::iter::once("ROLLBACK").chain(ends).map(|end| vec![query(end)]).collect();
        Turn { who: dice.below(2), steps, ends }
    };
    (0..2 + dice.below(10)).map(|_| turn(dice)).collect()
}
