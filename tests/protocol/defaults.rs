//! What a start-up packet asks for is what RESET goes back to, though the server connection is others' too.

use pgsluice_fixtures::{Frame, Login, Raw};

use crate::stand::{Stand, ask, extended, login, refusal, simple};

/// What a direct connection and one through the proxy are compared by.
fn both(stand: &Stand, database: &str, parameters: &[(&str, &str)]) -> [Raw; 2] {
    let name = database.trim_end_matches("_session");
    let direct = Raw::connect(&stand.server(), &login(name, parameters)).expect("a direct connection");
    let proxied = Raw::connect(&stand.proxy.tcp(), &login(database, parameters)).expect("a proxied connection");
    [direct, proxied]
}

const SHOWN: [&str; 14] = [
    "DateStyle",
    "TimeZone",
    "IntervalStyle",
    "client_encoding",
    "application_name",
    "search_path",
    "client_min_messages",
    "statement_timeout",
    "extra_float_digits",
    "work_mem",
    "my.word",
    "seq_page_cost",
    "default_transaction_isolation",
    "default_transaction_read_only",
];

fn shown(raw: &mut Raw) -> Vec<String> {
    SHOWN
        .iter()
        .map(|name| format!("{name} = {}", ask(raw, &format!("SELECT current_setting('{name}', true)"))))
        .collect()
}

const PACKET: [(&str, &str); 8] = [
    (
        "options",
        r#"-c search_path=app,"Odd\ One",public --work-mem=7MB -c my.word=it\'s\ so\\ -cstatement_timeout=50s -c seq_page_cost=1.5"#,
    ),
    ("DateStyle", "sql,dmy"),
    ("timezone", "europe/berlin"),
    ("IntervalStyle", "ISO_8601"),
    ("extra_float_digits", "2"),
    ("client_min_messages", "warning"),
    ("client_encoding", "utf8"),
    ("application_name", "the application"),
];

/// A second client of the same server connection, whose defaults are others, between each two steps.
fn disturb(stand: &Stand, database: &str) -> Raw {
    let others = [
        ("DateStyle", "German"),
        ("options", "-c search_path=elsewhere -c work_mem=9MB -c my.word=other -c statement_timeout=0"),
    ];
    Raw::connect(&stand.proxy.tcp(), &login(database, &others)).expect("another client")
}

/// Which of several settings is reported first is nobody's business.
fn in_any_order(frames: &[Frame]) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    frames
        .chunk_by_mut(|a, b| a.tag == b'S' && b.tag == b'S')
        .for_each(|some| some.sort_by(|a, b| a.body.cmp(&b.body)));
    frames
}

#[test]
fn a_start_up_packet_is_honoured_and_spelled_as_postgresql_does() {
    let stand = Stand::shared();
    for database in ["plain", "plain_session"] {
        let [mut direct, mut proxied] = both(&stand, database, &PACKET);
        for name in ["DateStyle", "TimeZone", "IntervalStyle", "client_encoding", "application_name"] {
            assert_eq!(proxied.parameters().get(name), direct.parameters().get(name), "{name} in {database}");
        }
        assert_eq!(proxied.parameters().get("client_encoding").map(String::as_str), Some("UTF8"));
        assert_eq!(shown(&mut proxied), shown(&mut direct), "{database}");
    }
}

#[test]
fn reset_goes_back_to_what_the_client_asked_for() {
    let stand = Stand::shared();
    let steps = [
        "SET DateStyle TO ISO; SET work_mem TO '1MB'; SET my.word TO 'x'; SET search_path TO pg_catalog",
        "RESET work_mem",
        "RESET DateStyle; SHOW DateStyle",
        "SET my.word TO DEFAULT",
        "SET search_path TO DEFAULT; SELECT 1; RESET my.word; SELECT current_setting('my.word'), 1/0",
        "SET search_path TO pg_catalog",
        "BEGIN; RESET search_path; SHOW search_path; ROLLBACK; SHOW search_path",
        "BEGIN; SET LOCAL work_mem TO DEFAULT; SHOW work_mem; COMMIT; SHOW work_mem",
        "BEGIN",
        "RESET search_path",
        "SHOW search_path",
        "ROLLBACK",
        "SHOW search_path",
        "SET TIME ZONE 'UTC'",
        "SET TIME ZONE LOCAL",
        "SET application_name TO 'x'",
        "RESET ALL",
        "SET DateStyle TO ISO; SET application_name TO 'y'; SET work_mem TO '3MB'",
        "DISCARD ALL",
        "SHOW DateStyle",
        "BEGIN",
        "DISCARD ALL",
        "ROLLBACK",
        "SELECT set_config('work_mem', NULL, false) IS NULL",
        "RESET no_such_setting",
        "RESET ALL; what is this",
        "SET default_transaction_read_only TO on; RESET default_transaction_read_only",
        // Last: whoever uses savepoints keeps the connection.
        "BEGIN; SET work_mem TO '2MB'; SAVEPOINT a; RESET ALL; SHOW work_mem; ROLLBACK TO a; SHOW work_mem; COMMIT",
        "SHOW work_mem",
    ];
    for database in ["shared", "shared_session"] {
        let [mut direct, mut proxied] = both(&stand, database, &PACKET);
        let mut idle = true;
        for step in steps {
            // In a block it would wait for the one connection.
            if idle && database == "shared" && step != "SHOW work_mem" {
                assert_eq!(ask(&mut disturb(&stand, database), "SHOW DateStyle"), "German, DMY");
            }
            let (answer, right) = (simple(&mut proxied, step), simple(&mut direct, step));
            assert_eq!(in_any_order(&answer), in_any_order(&right), "{step} in {database}");
            idle = right.last().is_some_and(|ready| ready.body == b"I");
        }
        assert_eq!(shown(&mut proxied), shown(&mut direct), "{database}");
    }
}

#[test]
fn an_operator_s_own_connection_is_opened_with_its_packet() {
    let stand = Stand::shared();
    let dba = || PACKET.iter().fold(Login::new("dba", "plain").password("dba"), |login, (n, v)| login.parameter(n, v));
    let [mut direct, mut proxied] =
        [stand.server(), stand.proxy.tcp()].map(|address| Raw::connect(&address, &dba()).expect("a connection"));
    for step in
        ["SET work_mem TO '1MB'", "DO 'BEGIN RESET ALL; END'", "SELECT source FROM pg_settings WHERE name = 'work_mem'"]
    {
        assert_eq!(simple(&mut proxied, step), simple(&mut direct, step), "{step}");
    }
    assert_eq!(shown(&mut proxied), shown(&mut direct));
}

#[test]
fn the_same_in_the_extended_protocol() {
    let stand = Stand::shared();
    let batches: [&[&str]; 8] = [
        &["SET work_mem TO '1MB'", "SET DateStyle TO ISO"],
        &["RESET work_mem", "SHOW work_mem"],
        &["SET search_path TO pg_catalog"],
        &["RESET ALL", "SHOW search_path", "SHOW DateStyle"],
        &["SET work_mem TO '1MB'"],
        &["RESET work_mem", "SELECT 1/0"],
        &["SHOW work_mem"],
        &["DISCARD ALL"],
    ];
    for database in ["shared", "shared_session"] {
        let [mut direct, mut proxied] = both(&stand, database, &PACKET);
        for batch in batches {
            let (answer, right) = (extended(&mut proxied, batch), extended(&mut direct, batch));
            assert_eq!(in_any_order(&answer), in_any_order(&right), "{batch:?} in {database}");
        }
        assert_eq!(shown(&mut proxied), shown(&mut direct), "{database}");
    }
}

#[test]
fn what_is_wrong_in_a_start_up_packet_is_refused_in_postgresql_s_words() {
    let stand = Stand::shared();
    for packet in [
        ("DateStyle", "foo"),
        ("no_such_setting", "1"),
        ("options", "-c no_such_setting=1"),
        ("options", "-c work_mem=lots"),
        ("options", "-c work_mem"),
        ("options", "what is this"),
        ("options", "-c max_connections=7"),
        ("options", "-c log_statement=all"),
        ("client_encoding", "nothing"),
        ("TimeZone", "Nowhere/Land"),
        ("default_transaction_read_only", "perhaps"),
        ("options", "-c default_transaction_read_only=perhaps"),
        ("search_path", "a,,b"),
    ] {
        let login = login("errors", &[packet]);
        assert_eq!(refusal(&stand.proxy.tcp(), &login), refusal(&stand.server(), &login), "{packet:?}");
    }
    // Nothing of it is remembered.
    Raw::connect(&stand.proxy.tcp(), &login("errors", &[("DateStyle", "ISO")])).expect("a connection");
}

#[test]
fn in_maintenance_defaults_hold_and_lift_no_guard() {
    let stand = Stand::shared();
    let options =
        r"-c work_mem=7MB -c default_transaction_read_only=off -c transaction_read_only=off -c search_path=a,b";
    let mut before = Raw::connect(&stand.proxy.tcp(), &login("gate", &[("options", options)])).unwrap();
    ask(&mut before, "CREATE TABLE public.t (n int)");
    stand.console("MAINTENANCE ON gate");
    let after = Raw::connect(&stand.proxy.tcp(), &login("gate", &[("options", options)])).unwrap();
    for mut client in [before, after] {
        let resets = ["RESET ALL", "DISCARD ALL", "RESET default_transaction_read_only", "SET work_mem TO DEFAULT"];
        for step in resets {
            ask(&mut client, "SET work_mem TO '1MB'; SET search_path TO c");
            let frames = simple(&mut client, step);
            assert!(frames.iter().all(|frame: &Frame| frame.tag != b'D' && frame.tag != b'T'), "{step}: {frames:?}");
            let refused = ask(&mut client, "INSERT INTO public.t VALUES (1)");
            assert!(refused.contains("25006"), "{step}: {refused}");
            let frames = extended(&mut client, &[step]);
            assert!(frames.iter().all(|frame| frame.tag != b'E' && frame.tag != b'D'), "{step}: {frames:?}");
            let refused = extended(&mut client, &["INSERT INTO public.t VALUES (1)"]);
            assert!(
                refused.iter().filter_map(Frame::error).any(|error| error.code() == "25006"),
                "{step}: {refused:?}"
            );
        }
        assert_eq!(ask(&mut client, "SHOW work_mem"), "7MB");
        ask(&mut client, "RESET ALL");
        assert_eq!(ask(&mut client, "SHOW search_path"), "a,b");
    }
    assert_eq!(stand.cluster.primary().psql_in("gate", "SELECT count(*) FROM t").unwrap(), "0");
    stand.console("MAINTENANCE OFF gate");
    let login = login("gate", &[("options", "-c default_transaction_read_only=on")]);
    let mut reader = Raw::connect(&stand.proxy.tcp(), &login).unwrap();
    ask(&mut reader, "SET default_transaction_read_only TO off");
    assert_eq!(ask(&mut reader, "SHOW default_transaction_read_only"), "off");
    ask(&mut reader, "RESET ALL");
    assert_eq!(ask(&mut reader, "SHOW default_transaction_read_only"), "on");
}
