//! Bytes on the console: the greeting, rights, the extended protocol, and what is malformed.

use pgsluice_fixtures::raw::message::{
    bind, bind_with_formats, close_statement, copy_data, describe_portal, describe_statement, execute, flush, frame,
    function_call, parse, query, sync, terminate,
};
use pgsluice_fixtures::{Frame, Login, Raw};

use crate::stand::{SOON, console, printed, proxy, psql, raw, refusal, rows};

fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}

fn code(frames: &[Frame]) -> String {
    frames.iter().find_map(Frame::error).map(|error| error.code().to_owned()).unwrap_or_default()
}

#[test]
fn the_greeting_is_a_servers() {
    let proxy = proxy();
    let console = console(&proxy);
    let reported = console.parameters();
    assert!(reported["server_version"].starts_with("16.0-pgsluice"), "{reported:?}");
    for (name, value) in [
        ("client_encoding", "UTF8"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("session_authorization", "admin"),
    ] {
        assert_eq!(reported[name], value);
    }
    assert!(console.key().is_some());
}

#[test]
fn who_may_do_what() {
    let proxy = proxy();
    let refused = Raw::connect(&proxy.tcp(), &Login::new("nobody", "pgsluice").password("nobody")).unwrap_err();
    assert_eq!(refused.sqlstate(), Some("42501"));
    assert!(refused.to_string().contains("not allowed"), "{refused}");
    let wrong = Raw::connect(&proxy.tcp(), &Login::new("admin", "pgsluice").password("wrong")).unwrap_err();
    assert_eq!(wrong.sqlstate(), Some("28P01"));
    let mut stats = raw(&proxy, "stats", "pgbouncer");
    rows(&mut stats, "SHOW STATS; SHOW POOLS; SHOW MAINTENANCE; SELECT 1; SET search_path = x");
    for sql in ["PAUSE", "RELOAD", "SHUTDOWN", "KILL app", "MAINTENANCE ON app", "ONLINE app", "MAINTENANCE CHECK app"]
    {
        assert_eq!(refusal(&mut stats, sql), "42501", "{sql}");
    }
    rows(&mut stats, "SHOW STATS");
}

#[test]
fn simple_queries() {
    let proxy = proxy();
    let mut console = console(&proxy);
    for (sql, expected) in [
        ("", "IZ"),
        (" ; ", "IZ"),
        ("SHOW VERSION", "TDCZ"),
        ("SHOW VERSION; SHOW VERSION;", "TDCTDCZ"),
        ("show VERSION -- a comment", "TDCZ"),
        ("BEGIN; SHOW VERSION; COMMIT", "CTDCCZ"),
        ("SHOW VERSION; FOO", "EZ"),
        ("SHOW DNS_HOSTS", "TCZ"),
        ("SELECT c.relname FROM pg_catalog.pg_class c", "TCZ"),
        ("SHOW server_version", "TDCZ"),
        ("DISCARD ALL", "CZ"),
    ] {
        let frames = console.round_trip(&query(sql), SOON).unwrap();
        assert_eq!(tags(&frames), expected, "{sql}");
    }
    let ready = |console: &mut Raw, sql: &str| console.round_trip(&query(sql), SOON).unwrap().pop().unwrap().body;
    assert_eq!(ready(&mut console, "BEGIN"), b"T");
    assert_eq!(ready(&mut console, "FOO"), b"T");
    assert_eq!(ready(&mut console, "ROLLBACK"), b"I");
    let error = console.round_trip(&query("FOO"), SOON).unwrap();
    let fields = error[0].error_fields();
    assert_eq!((fields[&'C'].as_str(), fields[&'M'].as_str()), ("42601", "invalid command \"FOO\""));
    assert!(fields[&'H'].contains("SHOW HELP"));
}

#[test]
fn the_extended_protocol() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut talk = |messages: &[Vec<u8>]| console.round_trip(&messages.concat(), SOON).unwrap();
    let none: &[Option<&[u8]>] = &[];
    let frames =
        talk(&[parse("", "SHOW VERSION", &[]), bind("", "", none), describe_portal(""), execute("", 0), sync()]);
    assert_eq!(tags(&frames), "12TDCZ");
    let frames = talk(&[parse("s", "SHOW STATE", &[]), describe_statement("s"), sync()]);
    assert_eq!(tags(&frames), "1tTZ");
    // A portal of nine rows, one at a time, then the rest.
    let frames = talk(&[bind("", "s", none), execute("", 1), execute("", 1), execute("", 0), sync()]);
    assert_eq!(tags(&frames), "2DsDsDDDDDDDCZ");
    let frames = talk(&[bind("", "s", none), execute("", 9), sync(), execute("", 1), sync()]);
    assert_eq!(tags(&frames), "2DDDDDDDDDCZ");
    let frames = talk(&[]);
    assert_eq!((tags(&frames).as_str(), code(&frames).as_str()), ("EZ", "34000"));
    for (messages, expected) in [
        (vec![bind("", "nosuch", none), execute("", 0), sync()], "26000"),
        (vec![parse("s", "SHOW STATE", &[]), sync()], "42P05"),
        (vec![parse("", "SHOW STATE; SHOW STATE", &[]), sync()], "42601"),
        (vec![parse("", "FOO", &[]), bind("", "", none), sync()], "42601"),
        (vec![parse("", "PAUSE $1", &[23]), sync()], "0A000"),
        (vec![parse("", "PAUSE $1", &[]), bind("", "", none), sync()], "08P01"),
        (vec![parse("", "PAUSE $1", &[]), bind("", "", &[None]), sync()], "22004"),
        (vec![parse("", "SHOW \u{ff}", &[]), sync()], "42601"),
        (vec![parse("", "PAUSE $1", &[]), bind("", "", &[Some(b"nosuch")]), execute("", 0), sync()], "3D000"),
    ] {
        let frames = talk(&messages);
        assert_eq!(code(&frames), expected, "{frames:?}");
        assert!(frames.last().unwrap().tag == b'Z' && tags(&frames).matches('E').count() == 1, "{frames:?}");
    }
    // After an error everything is skipped to the Sync; then it goes on.
    let frames = talk(&[parse("", "FOO", &[]), flush(), parse("x", "SHOW STATE", &[]), sync()]);
    assert_eq!(tags(&frames), "EZ");
    let frames = talk(&[describe_statement("x"), sync()]);
    assert_eq!(code(&frames), "26000");
    let frames = talk(&[
        close_statement("s"),
        close_statement("s"),
        parse("s", "", &[]),
        bind("", "s", none),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(tags(&frames), "3312IZ");
    let frames = talk(&[parse("", "PAUSE $1", &[]), bind("", "", &[Some(b"app")]), execute("", 0), sync()]);
    assert_eq!(tags(&frames), "12CZ");
    let frames = talk(&[parse("", "RESUME app", &[]), bind("", "", none), describe_portal(""), execute("", 0), sync()]);
    assert_eq!(tags(&frames), "12nCZ");
    let frames = talk(&[parse("", "SHOW STATE", &[]), bind_with_formats("", "", &[], none, &[1, 1, 1]), sync()]);
    assert_eq!(code(&frames), "08P01");
    let frames = talk(&[function_call(1, none)]);
    assert_eq!((tags(&frames).as_str(), code(&frames).as_str()), ("EZ", "0A000"));
    let frames = talk(&[copy_data(b"left over"), query("SHOW VERSION")]);
    assert_eq!(tags(&frames), "TDCZ");
}

#[test]
fn what_is_malformed_ends_the_connection() {
    let proxy = proxy();
    for bytes in [
        frame(b'Q', b"SHOW VERSION"),
        frame(b'Q', b"SHOW VERSION\0SHUTDOWN\0"),
        frame(b'Q', b""),
        frame(b'P', b"s\0SHOW VERSION\0\0\x01"),
        frame(b'B', b"\0\0\0\0\0\x05"),
        frame(b'E', b"\0\0\0\0"),
        frame(b'D', b"X\0"),
        frame(b'S', b"x"),
        frame(b'y', b""),
        frame(b'p', b"secret\0"),
        b"Q\0\0\0\x03".to_vec(),
        b"Q\x7f\xff\xff\xff".to_vec(),
        b"Q\xff\xff\xff\xff".to_vec(),
        b"\0\0\0\0".to_vec(),
    ] {
        let mut console = console(&proxy);
        console.send(&bytes).unwrap();
        let frames = console.frames_until_closed(SOON).unwrap();
        assert_eq!(code(&frames), "08P01", "{bytes:?}: {frames:?}");
    }
    let mut leaving = console(&proxy);
    leaving.send(&terminate()).unwrap();
    assert!(leaving.frames_until_closed(SOON).unwrap().is_empty());
    rows(&mut console(&proxy), "SHOW VERSION");
    let mut odd = console(&proxy);
    let frames = odd.round_trip(&frame(b'Q', b"SHOW \xff\0"), SOON).unwrap();
    assert_eq!(code(&frames), "22021");
}

#[test]
fn psql_feels_at_home() {
    let proxy = proxy();
    for probe in ["\\d", "\\dt", "\\d t", "\\l", "\\du", "\\dn", "\\conninfo", "\\encoding"] {
        psql(&proxy, "admin", "pgsluice", &["-c", probe]);
    }
    let text = printed(&psql(&proxy, "admin", "pgsluice", &["-At", "-c", "\\d", "-c", "\\l", "-c", "SHOW VERSION"]));
    assert!(text.contains(concat!("pgsluice ", env!("CARGO_PKG_VERSION"))), "{text}");
    let socket = proxy.dir().to_string_lossy().into_owned();
    let text = printed(&psql(&proxy, "admin", "pgsluice", &["-h", &socket, "-At", "-c", "SHOW CLIENTS"]));
    assert!(text.contains("|unix|"), "{text}");
}
