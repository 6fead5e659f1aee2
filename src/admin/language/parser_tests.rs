//! Every command reads back, and what is none is refused with words.

use super::*;
use crate::admin::language::words::statements;

fn read(text: &str) -> Result<Command, Report> {
    let all = statements(text)?;
    parse(&all[0].tokens, &all[0].places)
}

fn gate(verb: Verb, target: Target, options: &[(&str, &str)], wait: Wait) -> Command {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Command::Gate(GateCommand { verb, target, options, wait })
}

#[test]
fn the_gate() {
    let app = || Target::One("app".to_owned());
    let on = |options: &[(&str, &str)], wait| gate(Verb::On, app(), options, wait);
    for (text, command) in [
        ("MAINTENANCE ON app", on(&[], Wait::Quiesced)),
        ("maintenance on APP nowait", on(&[], Wait::Flipped)),
        ("MAINTENANCE ON \"app\" WITH (writes reject)", on(&[("writes", "reject")], Wait::Quiesced)),
        (
            "MAINTENANCE ON app WITH (message = 'it''s on, (soon)', Drain_Timeout 30s, until '2026-12-01 14:00Z') NOWAIT",
            on(
                &[("message", "it's on, (soon)"), ("drain_timeout", "30s"), ("until", "2026-12-01 14:00Z")],
                Wait::Flipped,
            ),
        ),
        ("MAINTENANCE OFF *", gate(Verb::Off, Target::All, &[], Wait::Quiesced)),
        ("OFFLINE app WITH (message 'x')", gate(Verb::Offline, app(), &[("message", "x")], Wait::Quiesced)),
        ("ONLINE \"My-App\"", gate(Verb::Online, Target::One("My-App".into()), &[], Wait::Quiesced)),
    ] {
        assert_eq!(read(text).unwrap(), command, "{text}");
    }
    assert_eq!(read("MAINTENANCE CHECK app").unwrap(), Command::Check(app()));
    assert_eq!(read("MAINTENANCE ANNOUNCE app 'soon'").unwrap(), Command::Announce(app(), "soon".into()));
    assert_eq!(read("MAINTENANCE ANNOUNCE app ''").unwrap(), Command::Announce(app(), String::new()));
    assert!(read("MAINTENANCE ANNOUNCE app").is_err());
    let rehearse = |lasts| Command::Rehearse(app(), lasts);
    let ten = Some(Duration::from_secs(600));
    assert_eq!(read("MAINTENANCE REHEARSE app FOR '10min'").unwrap(), rehearse(ten));
    assert_eq!(read("maintenance rehearse app for '0'").unwrap(), rehearse(None));
    assert_eq!(read("MAINTENANCE REHEARSE app STOP").unwrap(), rehearse(None));
}

#[test]
fn the_rest() {
    let control = Command::Control;
    for (text, command) in [
        ("PAUSE", control(Control::Pause(None))),
        ("PAUSE app", control(Control::Pause(Some("app".into())))),
        ("resume \"App\"", control(Control::Resume(Some("App".into())))),
        ("KILL_CLIENT 17", control(Control::KillClient(17))),
        ("SHUTDOWN WAIT_FOR_CLIENTS", control(Control::Shutdown(Shutdown::WaitForClients))),
        ("SHOW MAINTENANCE", Command::Show(Show::Maintenance(None))),
        ("SHOW MAINTENANCE app", Command::Show(Show::Maintenance(Some("app".into())))),
        ("sHoW STATS_TOTALS", Command::Show(Show::StatsTotals)),
        ("SHOW config notes", Command::Show(Show::ConfigNotes)),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", Command::Polite(Polite::Begin("BEGIN"))),
        ("SET extra_float_digits = 3", Command::Polite(Polite::Other("SET"))),
        ("SELECT c.oid FROM pg_catalog.pg_class c", Command::Catalog),
    ] {
        assert_eq!(read(text).unwrap(), command, "{text}");
    }
}

#[test]
fn a_key_that_nobody_knows_is_refused_in_pgbouncers_words_and_what_drivers_set_is_not() {
    for (text, near) in [
        ("SET nope = 1", None),
        ("SET nope TO 'x'", None),
        ("SET max_cliet_conn = 50", Some("max_client_conn")),
        ("SET max_client_con = 5", Some("max_client_conn")),
        ("SET SESSION pool_mod = 'session'", Some("pool_mode")),
    ] {
        let report = read(text).unwrap_err();
        assert_eq!((report.code, &*report.message), ("08P01", "SET failed"), "{text}");
        assert!(report.detail.unwrap().starts_with("unrecognized configuration parameter \""), "{text}");
        let hint = report.hint.unwrap();
        assert!(near.is_none_or(|near| hint == format!("Did you mean \"{near}\"?")), "{text}: {hint}");
    }
    for text in [
        "SET extra_float_digits = 3",
        "SET DateStyle TO 'ISO'",
        "SET TIME ZONE 'UTC'",
        "SET NAMES 'utf8'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET LOCAL statement_timeout = 0",
        "SET application_name = 'x'",
        "SET client_min_messages TO error",
        "SET search_path = public",
    ] {
        assert_eq!(read(text).unwrap(), Command::Polite(Polite::Other("SET")), "{text}");
    }
}

#[test]
fn mistakes_say_where_and_where_to_look() {
    for (text, code, words) in [
        ("FOO", "42601", "invalid command \"FOO\""),
        ("SHOW", "42601", "end of input"),
        ("SHOW FOO", "42601", "near \"FOO\""),
        ("SHOW STATS please", "42601", "near \"please\""),
        ("SHOW 'stats'", "42601", "near \"'stats'\""),
        ("MAINTENANCE", "42601", "end of input"),
        ("MAINTENANCE ON", "42601", "needs the name of a database"),
        ("MAINTENANCE UP app", "42601", "near \"UP\""),
        ("MAINTENANCE ON app WITH", "42601", "end of input"),
        ("MAINTENANCE ON app WITH ()", "42601", "near \")\""),
        ("MAINTENANCE ON app WITH (message)", "42601", "near \")\""),
        ("MAINTENANCE ON app WITH (message 'a' 'b')", "42601", "near \"'b'\""),
        ("MAINTENANCE ON app NOWAIT WITH (a b)", "42601", "near \"WITH\""),
        ("MAINTENANCE OFF app WITH ()", "42601", "near \")\""),
        ("MAINTENANCE ON app, other", "42601", "near \",\""),
        ("PAUSE 'app'", "42601", "near \"'app'\""),
        ("DISABLE", "42601", "end of input"),
        ("KILL_CLIENT x", "42601", "near \"x\""),
        ("SHUTDOWN NOW", "42601", "near \"NOW\""),
        ("SET default_pool_size", "42601", "end of input"),
        ("SELECT * FROM accounts", "0A000", "not queries"),
        ("INSERT INTO t VALUES (1)", "42601", "invalid command \"INSERT\""),
        ("\"SHOW\" stats", "42601", "near \"\"SHOW\"\""),
    ] {
        let report = read(text).unwrap_err();
        assert_eq!(report.code, code, "{text}");
        assert!(report.message.contains(words), "{text}: {}", report.message);
        assert!(report.hint.is_some(), "{text}");
    }
    for (text, position) in [
        ("FOO", "1"),
        ("  SHOW é", "8"),
        ("SHOW", "5"),
        ("MAINTENANCE ON app WITH (message 'a' 'b')", "38"),
        ("MAINTENANCE ON", "15"),
        ("PAUSE \"\"", "7"),
        ("PAUSE ''", "7"),
    ] {
        assert_eq!(read(text).unwrap_err().position.as_deref(), Some(position), "{text}");
    }
    assert!(read("PAUSE \"\"").unwrap_err().message.starts_with("zero-length delimited identifier"));
    assert_eq!(read("KILL_CLIENT 99999999999999999999").unwrap_err().code, "22003");
    let many = format!("MAINTENANCE ON app WITH ({})", vec!["a b"; 1000].join(","));
    assert!(read(&many).is_err());
    assert!(read(&"x".repeat(50_000)).unwrap_err().message.len() < 200);
}
